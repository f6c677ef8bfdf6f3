"""What narrows the list of failures, as its query parameters and kept views have it, and the groups that it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from engine.access.permissions import Namespaces
from engine.db import Database
from engine.finding.failures import LISTED, SEARCHED, FailureGroup, each_group

LONGEST = 200


@dataclass(frozen=True, slots=True)
class FailureFilter:
    """What a group must have: the workflow and the step by their names, `error` anywhere in what is shown of it, and who looks after it."""

    namespace: str | None = None
    name: str | None = None
    step: str | None = None
    error: str | None = None
    owner: str | None = None

    def parameters(self) -> dict[str, str]:
        """The query parameters that make this filter."""
        return {name: value for name, value in asdict(self).items() if value}

    def holds(self, group: FailureGroup) -> bool:
        """Whether what is shown of the group has the text."""
        return (self.error or "").lower() in group.signature.lower()


@dataclass(frozen=True, slots=True)
class FoundFailures:
    """The groups that a filter leaves, the one that failed last first, at most `LISTED`; `looked_at` of `group_count` were looked through where there are older ones."""

    groups: tuple[FailureGroup, ...]
    looked_at: int | None = None
    group_count: int = 0


def read_failure_filter(given: Mapping[str, str]) -> FailureFilter:
    """The filter that query parameters ask for; others are passed over."""
    return FailureFilter(**{each.name: given.get(each.name, "").replace("\x00", "").strip()[:LONGEST] or None for each in fields(FailureFilter)})


def chosen_failures(db: Database, chosen: FailureFilter, *, namespaces: Namespaces = None) -> list[FailureGroup]:
    """The groups that the filter leaves, the one that failed last first, at most `LISTED`."""
    return list(found_failures(db, chosen, namespaces=namespaces).groups)


def count_failures(db: Database, chosen: FailureFilter, *, namespaces: Namespaces = None) -> int:
    """How many groups that the filter leaves somebody has to look at: not acknowledged, and not healed by a later run. Of the `SEARCHED` that failed last."""
    _, asked = each_group(db, namespace=chosen.namespace, name=chosen.name, step=chosen.step, owner=chosen.owner, namespaces=namespaces, limit=SEARCHED)
    return sum(chosen.holds(group) and not group.acknowledged and not group.is_healed for group in asked)


def found_failures(db: Database, chosen: FailureFilter, *, namespaces: Namespaces = None) -> FoundFailures:
    """The same, and how far was looked: through `SEARCHED` groups for a text."""
    most = SEARCHED if chosen.error else LISTED
    groups: list[FailureGroup] = []
    group_count, asked = each_group(db, namespace=chosen.namespace, name=chosen.name, step=chosen.step, owner=chosen.owner, namespaces=namespaces, limit=most + 1)
    for looked_at, group in enumerate(asked):
        if looked_at == most or len(groups) == LISTED:
            return FoundFailures(tuple(groups), looked_at, group_count)
        # by what is shown, never by what is stored: an error that is looked for must not be guessed where it is masked
        groups += [group] if chosen.holds(group) else []
    return FoundFailures(tuple(groups), group_count=group_count)
