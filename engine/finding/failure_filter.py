"""What narrows the list of failures, as its query parameters and kept views have it, and the groups that it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from engine.access.permissions import Namespaces
from engine.db import Database
from engine.finding import failures
from engine.finding.failures import LISTED, SEARCHED, FailureGroup, each_group
from engine.finding.tally import Tally
from engine.finding.task_counts import MOST

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
    """The groups that a filter leaves, the one that failed last first, at most `LISTED`; `looked_at` of `group_count` were looked through where there are older ones.

    `tasks_looked_at`: so many tasks with a failed step were looked through, the newest, where there are older ones; what is counted is the least number then.
    """

    groups: tuple[FailureGroup, ...]
    looked_at: int | None = None
    group_count: int = 0
    tasks_looked_at: int | None = None


def read_failure_filter(given: Mapping[str, str]) -> FailureFilter:
    """The filter that query parameters ask for; others are passed over."""
    return FailureFilter(**{each.name: given.get(each.name, "").replace("\x00", "").strip()[:LONGEST] or None for each in fields(FailureFilter)})


def chosen_failures(db: Database, chosen: FailureFilter, *, namespaces: Namespaces = None) -> list[FailureGroup]:
    """The groups that the filter leaves, the one that failed last first, at most `LISTED`."""
    return list(found_failures(db, chosen, namespaces=namespaces).groups)


def count_failures(db: Database, chosen: FailureFilter, *, namespaces: Namespaces = None) -> Tally:
    """How many groups that the filter leaves somebody has to look at, `MOST` for more: not acknowledged, and not healed by a later run. Of the `SEARCHED` that failed last."""
    asked = each_group(db, namespace=chosen.namespace, name=chosen.name, step=chosen.step, owner=chosen.owner, namespaces=namespaces, limit=SEARCHED)
    number = sum(chosen.holds(group) and not group.acknowledged and not group.is_healed for group in asked.each)
    return Tally(min(number, MOST), number < MOST and (asked.is_cut or asked.number > SEARCHED))


def found_failures(db: Database, chosen: FailureFilter, *, namespaces: Namespaces = None) -> FoundFailures:
    """The same, and how far was looked: through `SEARCHED` groups for a text."""
    most = SEARCHED if chosen.error else LISTED
    groups: list[FailureGroup] = []
    asked = each_group(db, namespace=chosen.namespace, name=chosen.name, step=chosen.step, owner=chosen.owner, namespaces=namespaces, limit=most + 1)
    tasks_looked_at = failures.LOOKED_AT if asked.is_cut else None
    for looked_at, group in enumerate(asked.each):
        if looked_at == most or len(groups) == LISTED:
            return FoundFailures(tuple(groups), looked_at, asked.number, tasks_looked_at)
        # by what is shown, never by what is stored: an error that is looked for must not be guessed where it is masked
        groups += [group] if chosen.holds(group) else []
    return FoundFailures(tuple(groups), group_count=asked.number, tasks_looked_at=tasks_looked_at)
