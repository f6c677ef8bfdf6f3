"""What may be done, in words: permissions `tasker.<resource>:<action>`, the roles that bundle them, and the rights that follow. Decided without a database."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

ACTIONS = {
    "task": ("index", "show", "create", "update", "retry", "cancel", "reveal"),
    "step": ("index", "show", "update", "retry", "cancel"),
    "workflow": ("index", "show", "update"),
    "schedule": ("index", "show", "create", "update", "destroy"),
    "event": ("index",),
    "metrics": ("index",),
    "analytics": ("index",),
    "account": ("index", "show", "create", "update"),
    "audit": ("index",),
}
PERMISSIONS = frozenset(f"tasker.{resource}:{action}" for resource, actions in ACTIONS.items() for action in actions)
GLOBAL = ("tasker.account:",)
"""What belongs to no namespace; a role that was given for one namespace brings nothing of it."""

VIEWER = frozenset(each for each in PERMISSIONS if each.endswith((":index", ":show")) and not each.startswith(("tasker.account:", "tasker.audit:")))
OPERATOR = VIEWER | {"tasker.task:create", "tasker.task:update", "tasker.task:retry", "tasker.task:cancel", "tasker.step:update", "tasker.step:retry", "tasker.step:cancel", "tasker.schedule:update"}
DEVELOPER = OPERATOR | {"tasker.workflow:update", "tasker.schedule:create", "tasker.schedule:destroy"}
ROLES: Mapping[str, frozenset[str]] = {"viewer": VIEWER, "operator": OPERATOR, "developer": DEVELOPER, "admin": PERMISSIONS}

Namespaces = frozenset[str] | None
"""Where something holds: in these namespaces, or everywhere when it is None."""
Grant = tuple[str, str | None, Sequence[str] | None]
"""A role, the namespace it was given for, and the permissions of one that is not built in."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Where each permission holds; one that is held nowhere is absent."""

    held: Mapping[str, Namespaces]

    @property
    def key(self) -> Hashable:
        """Equal for rights that are equal."""
        return frozenset(self.held.items())

    @classmethod
    def of(cls, grants: Iterable[Grant]) -> Rights:
        """What the grants bring together."""
        held: dict[str, Namespaces] = {}
        for role, namespace, permissions in grants:
            for permission in ROLES.get(role, frozenset(permissions or ())):
                if namespace is None or not permission.startswith(GLOBAL):
                    held[permission] = _joined(held.get(permission, frozenset()), namespace)
        return cls(held)

    def namespaces(self, permission: str) -> Namespaces:
        """Where the permission is held."""
        return self.held.get(permission, frozenset())

    def has(self, permission: str, namespace: str | None) -> bool:
        """Whether it is held there; without a namespace, whether it is held anywhere."""
        where = self.namespaces(permission)
        return where is None or (bool(where) if namespace is None else namespace in where)

    def covers(self, other: Rights) -> bool:
        """Whether everything in the other is held here too, wherever it holds there."""
        return all(self._covers(permission, where) for permission, where in other.held.items())

    def _covers(self, permission: str, where: Namespaces) -> bool:
        here = self.namespaces(permission)
        return here is None or (where is not None and where <= here)

    def within(self, scopes: Sequence[str] | None, namespace: str | None) -> Rights:
        """What is left of them for a token of these scopes, in that namespace."""
        allowed = PERMISSIONS if scopes is None else frozenset(expanded(scopes))
        return Rights({each: _cut(where, namespace) for each, where in self.held.items() if each in allowed and (namespace is None or not each.startswith(GLOBAL))})


def _joined(where: Namespaces, namespace: str | None) -> Namespaces:
    return None if where is None or namespace is None else where | {namespace}


def _cut(where: Namespaces, namespace: str | None) -> Namespaces:
    if namespace is None:
        return where
    return frozenset({namespace} if where is None or namespace in where else ())


def expanded(scopes: Iterable[str]) -> Iterator[str]:
    """The permissions that the scopes stand for: one by its name, all of a resource as `tasker.task:*`, or a built-in role. Unknown ones stand for none."""
    for scope in scopes:
        if scope in ROLES:
            yield from ROLES[scope]
        elif scope.endswith(":*"):
            yield from (each for each in PERMISSIONS if each.startswith(scope[:-1]))
        elif scope in PERMISSIONS:
            yield scope


def unknown_scopes(scopes: Iterable[str]) -> list[str]:
    """Those that stand for nothing."""
    return [scope for scope in scopes if not list(expanded([scope]))]
