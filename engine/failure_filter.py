"""What narrows the list of failures, as its query parameters and kept views have it, and the groups that it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from engine.db import Database
from engine.failures import FailureGroup, failure_groups
from engine.permissions import Namespaces

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
        """Whether the list has the group."""
        return (
            self.namespace in (None, group.namespace)
            and self.name in (None, group.name)
            and self.step in (None, group.step_name)
            and (self.error or "").lower() in group.signature.lower()
            and (self.owner or "").lower() in (group.known.owner or "").lower()
        )


def read_failure_filter(given: Mapping[str, str]) -> FailureFilter:
    """The filter that query parameters ask for; others are passed over."""
    return FailureFilter(**{each.name: given.get(each.name, "").replace("\x00", "").strip()[:LONGEST] or None for each in fields(FailureFilter)})


def chosen_failures(db: Database, chosen: FailureFilter, *, namespaces: Namespaces = None) -> list[FailureGroup]:
    """The groups that the filter leaves, the one that failed last first."""
    # by what is shown, never by what is stored: an error that is looked for must not be guessed where it is masked
    return [each for each in failure_groups(db, namespace=chosen.namespace, name=chosen.name, namespaces=namespaces) if chosen.holds(each)]
