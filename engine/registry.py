"""Who knows every workflow by (namespace, name, version): filled while modules load, asked by engine, CLI and web.

Safe to use from any number of threads. Definitions are built outside the lock, as building may import modules.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from engine.definition import StepTemplate, TaskDefinition, handler_path, is_prerelease, nearest_workflow, version_key
from engine.errors import DefinitionConflict, DefinitionError, NotFound

if TYPE_CHECKING:
    from engine.discovery import LoadReport


class Handler(Protocol):
    """What the registry gives out: a TaskHandler or a Workflow."""

    @property
    def definition(self) -> TaskDefinition:
        """The definition that this handler stands for."""
        ...

    def run_task(self, context: Mapping[str, Any] | None = None, **request_fields: Any) -> str:
        """Submit a task; returns its id."""
        ...


class Registration:
    """One workflow version as it was declared; its handler is built and checked when it is first needed."""

    def __init__(
        self, namespace: str, name: str, version: str, module: str, build: Callable[[], Handler], *, eager: bool = True
    ) -> None:
        self.namespace, self.name, self.version, self.module = namespace, name, version, module
        self.eager = eager
        self._build = build
        self._handler: Handler | None = None

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}@{self.version}"

    def handler(self) -> Handler:
        """The handler with every step tied to its code; raises DefinitionError when that cannot be done."""
        if self._handler is None:
            from engine.binding import bindings  # which imports the handlers that import this module

            built = self._build()
            bindings(built.definition)
            self._handler = built
        return self._handler

    def may_be_early(self) -> bool:
        """Whether the handler is good or may become so when its module is complete; raises what is wrong for good."""
        try:
            self.handler()
        except NameError:
            return True
        except DefinitionError as error:
            if any(problem.code != "unknown_handler" for problem in error.problems):
                raise
            return True
        return False


class _Handlers(Mapping[str, Handler]):
    """`namespace/name` to the handler of its highest version, as the registry stands at each look."""

    def __init__(self, registry: HandlerRegistry) -> None:
        self._registry = registry

    def __getitem__(self, key: str) -> Handler:
        namespace, slash, name = key.partition("/") if isinstance(key, str) else ("", "", "")
        if not slash or key not in self._registry.released():
            raise KeyError(key)
        return self._registry.get(name, namespace_name=namespace)

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry.released())

    def __len__(self) -> int:
        return len(self._registry.released())

    def __repr__(self) -> str:
        return f"<handlers {list(self)}>"


class HandlerRegistry:
    """All workflows and event subscribers that this process knows."""

    _instance: ClassVar[HandlerRegistry | None] = None
    _instance_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._workflows: dict[str, dict[str, list[Registration]]] = {}
        self._subscribers: dict[str, type[Any]] = {}
        self._thread = threading.local()

    @classmethod
    def instance(cls) -> HandlerRegistry:
        """The registry of this process, which decorators and subclasses register with."""
        with cls._instance_lock:
            if cls._instance is None:
                cls._instance = cls()
            return cls._instance

    # Asking

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """A live mapping of `namespace/name` to the handler of the highest version."""
        return _Handlers(self)

    def get(self, name: str, namespace_name: str = "default", version: str | None = None) -> Handler:
        """The handler of that version; without one, of the highest that is no pre-release.

        Raises NotFound, DefinitionConflict when the version was declared twice with other content, and DefinitionError
        when the workflow turns out to be wrong only now.
        """
        candidates = self._candidates(f"{namespace_name}/{name}", version)
        return _agreed([registration.handler() for registration in candidates])

    def registered_handlers(self) -> dict[str, list[str]]:
        """`namespace/name` to its versions, the highest first, pre-releases included."""
        with self._lock:
            known = {key: list(versions) for key, versions in self._workflows.items()}
        return {key: sorted(known[key], key=version_key, reverse=True) for key in sorted(known)}

    def handlers_for_namespace(self, namespace: str) -> dict[str, list[str]]:
        """The same for one namespace."""
        return {key: versions for key, versions in self.registered_handlers().items() if key.startswith(f"{namespace}/")}

    def released(self) -> list[str]:
        """The `namespace/name` keys that have a version other than pre-releases."""
        return [key for key, versions in self.registered_handlers().items() if not all(map(is_prerelease, versions))]

    def handler_info(self, name: str, namespace_name: str = "default", version: str | None = None) -> dict[str, Any]:
        """What there is to know of a version: namespace, name, version, versions, description, schema, steps. It is the caller's own: changed, it changes nothing else."""
        definition = self.get(name, namespace_name, version).definition
        return {
            "namespace": definition.namespace,
            "name": definition.name,
            "version": definition.version,
            "versions": self.registered_handlers()[f"{namespace_name}/{name}"],
            "description": definition.description,
            "schema": deepcopy(definition.schema),
            "steps": [_step_info(step) for step in definition.steps],
        }

    def definitions(self) -> list[TaskDefinition]:
        """The definitions of all versions, by namespace and name, the highest version first; raises as `get` does."""
        pairs = [(key, version) for key, versions in self.registered_handlers().items() for version in versions]
        return [_agreed([one.handler() for one in self._candidates(key, version)]).definition for key, version in pairs]

    def subscribers(self) -> list[type[Any]]:
        """The EventSubscriber subclasses, in the order in which they were defined."""
        with self._lock:
            return list(self._subscribers.values())

    def _candidates(self, key: str, version: str | None) -> list[Registration]:
        with self._lock:
            versions = self._workflows.get(key)
            if not versions:
                raise NotFound(f"no workflow {key!r} is registered{nearest_workflow(key, self._workflows)}")
            chosen = self._highest(key, versions) if version is None else version
            if chosen not in versions:
                raise NotFound(f"{key!r} has no version {chosen!r}; there is {', '.join(sorted(versions, key=version_key))}")
            return list(versions[chosen])

    def _highest(self, key: str, versions: Iterable[str]) -> str:
        released = [version for version in versions if not is_prerelease(version)]
        if not released:
            raise NotFound(f"{key!r} has pre-releases only, which must be named: {', '.join(sorted(versions, key=version_key))}")
        return max(released, key=version_key)

    # Filling

    def add(self, registration: Registration) -> None:
        """Take a registration; at once when its module is complete enough, else checked on first use.

        Raises DefinitionError, or DefinitionConflict with the difference; then nothing is registered.
        """
        collected = self._collected()
        if collected is not None:
            collected.setdefault(registration.module, []).append(registration)
            return
        early = not registration.eager or registration.may_be_early()
        if not early:
            self._refuse_conflict(registration)
        self._place(registration, settled=not early)

    def add_subscriber(self, subscriber: type[Any]) -> None:
        """Take an EventSubscriber subclass; one of the same module and name is replaced."""
        collected = self._collected()
        if collected is not None:
            collected.setdefault(subscriber.__module__, []).append(subscriber)
            return
        with self._lock:
            self._subscribers[str(handler_path(subscriber))] = subscriber

    def register(self, handler: Handler) -> None:
        """Take a handler that is already built, such as a Workflow or a TaskHandler with its definition."""
        definition = handler.definition
        self.add(Registration(definition.namespace, definition.name, definition.version, type(handler).__module__, lambda: handler))

    def load(
        self, targets: Iterable[str | Path] = (), *, entry_points: bool = True, environment: str | None = None
    ) -> LoadReport:
        """Load modules, packages and folders, and what installed packages offer; what fails is reported, the rest is there."""
        from engine.discovery import load

        return load(self, targets, entry_points=entry_points, environment=environment)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._workflows.clear()
            self._subscribers.clear()

    @contextmanager
    def collecting(self) -> Iterator[dict[str, list[Any]]]:
        """While this lasts, what this thread registers is only gathered, by module, for `commit` to take or not."""
        before = self._collected()
        gathered: dict[str, list[Any]] = {}
        self._thread.collected = gathered
        try:
            yield gathered
        finally:
            self._thread.collected = before

    def commit(self, gathered: list[Any]) -> None:
        """Take all of one module's registrations and subscribers, or raise and take none."""
        registrations = [item for item in gathered if isinstance(item, Registration)]
        _require_sound(registrations)
        for registration in registrations:
            self._refuse_conflict(registration, registrations)
        for registration in registrations:
            self._place(registration, settled=True)
        for item in gathered:
            if not isinstance(item, Registration):
                self.add_subscriber(item)

    def _collected(self) -> dict[str, list[Any]] | None:
        found: dict[str, list[Any]] | None = getattr(self._thread, "collected", None)
        return found

    def _place(self, registration: Registration, *, settled: bool) -> None:
        with self._lock:
            versions = self._workflows.setdefault(f"{registration.namespace}/{registration.name}", {})
            # What cannot be compared yet stands beside what is known, until both can be asked for.
            versions[registration.version] = [*([] if settled else versions.get(registration.version, [])), registration]

    def _refuse_conflict(self, registration: Registration, siblings: Iterable[Registration] = ()) -> None:
        with self._lock:
            known = list(self._workflows.get(f"{registration.namespace}/{registration.name}", {}).get(registration.version, ()))
        known += [other for other in siblings if other.key == registration.key and other is not registration]
        _agreed([*(one.handler() for one in known), registration.handler()])


HandlerFactory = HandlerRegistry


def _require_sound(registrations: Iterable[Registration]) -> None:
    """Every handler can be had. Raises DefinitionError with all that is wrong with any of them, where their modules are complete."""
    errors = []
    for registration in registrations:
        try:
            registration.handler()
        except DefinitionError as error:
            errors.append(_with_handlers(error))
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise DefinitionError(replace(problem, path=f"{error.subject} {problem.path}") for error in errors for problem in error.problems)


def _with_handlers(error: DefinitionError) -> DefinitionError:
    """The same, with what is wrong with the handlers of a definition that could not be made."""
    from engine.binding import handler_problems

    return DefinitionError([*error.problems, *handler_problems(error.steps)], error.subject)


def _step_info(step: StepTemplate) -> dict[str, Any]:
    retry_on = sorted(str(handler_path(error)) for error in step.retry_on)
    return deepcopy(step.to_json()) | {"depends_on_steps": list(step.depends_on), "retry_on": retry_on}


def _agreed(handlers: list[Handler]) -> Handler:
    """The newest of the handlers that were declared for one version; raises DefinitionConflict unless all are the same."""
    first = handlers[0].definition
    for other in handlers[1:]:
        if difference := first.difference(other.definition):
            raise DefinitionConflict("\n  ".join([f"{first.key} is already registered with other content; give it a new version", *difference]))
    return handlers[-1]
