"""What a step may have to wait for beside its parents: an engine with certain labels, a free place among so many, its turn within a period.

definition reads these options of workflows and steps; the database keeps them and lets the steps in, see sql/schema/87_gates.sql.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

PERIODS = {"per_second": 1, "per_minute": 60, "per_hour": 3600, "per_day": 86_400}
OPTIONS = ("at_once", *PERIODS, "key")
MOST_AT_ONCE = 100_000
MOST_PER_PERIOD = 10_000
MOST_LABELS = 16

_LABEL = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,62}\Z")
_KEY = re.compile(r"[^.\s\x00]+(\.[^.\s\x00]+)*\Z")

Refuse = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class Limit:
    """How many may go on at once, and how many may begin within a period; None: any number.

    With a `key`, a path in the context such as `customer.id`, every value found there has places of its own.
    """

    at_once: int | None = None
    per_period: int | None = None
    period: int = 1
    key: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The limit as the database takes it, without what it does not say."""
        given = {"at_once": self.at_once, "per_period": self.per_period, "period": None if self.per_period is None else self.period}
        return {name: value for name, value in given.items() if value is not None} | ({"key": self.key.split(".")} if self.key else {})

    @property
    def period_name(self) -> str:
        """`minute`, or `90 s` for one that has no name."""
        return next((name.removeprefix("per_") for name, seconds in PERIODS.items() if seconds == self.period), f"{self.period} s")

    def __str__(self) -> str:
        """`2 at once, 60 per minute, for each customer.id`"""
        parts = [f"{self.at_once} at once"] if self.at_once is not None else []
        parts += [f"{self.per_period} per {self.period_name}"] if self.per_period is not None else []
        return ", ".join(parts + ([f"for each {self.key}"] if self.key else []))


def read_limit(path: str, value: Any, refuse: Refuse) -> Limit | None:
    """The limit that an author's mapping means; what is wrong with it goes to `refuse(path, code, message)`."""
    if value is None or isinstance(value, Limit):
        return value
    if not isinstance(value, Mapping):
        refuse(path, "bad_type", f"must be a mapping such as {{'at_once': 3}} or {{'per_minute': 60, 'key': 'customer.id'}}, not {type(value).__name__}")
        return None
    for option in value:
        if option not in OPTIONS:
            refuse(f"{path}.{option}"[:100], "unknown_key", f"unknown option {str(option)[:80]!r}; there are {', '.join(OPTIONS)}")
    at_once = _number(f"{path}.at_once", value.get("at_once"), MOST_AT_ONCE, refuse)
    rates = [name for name in PERIODS if name in value]
    if len(rates) > 1:
        refuse(path, "two_rates", f"has {' and '.join(rates)}; choose one of them")
    per_period = _number(f"{path}.{rates[0]}", value[rates[0]], MOST_PER_PERIOD, refuse) if rates else None
    if "at_once" not in value and not rates:
        refuse(path, "no_limit", f"says neither at_once nor one of {', '.join(PERIODS)}")
    return Limit(at_once, per_period, PERIODS[rates[0]] if rates else 1, _key(f"{path}.key", value.get("key"), refuse))


def _number(path: str, value: Any, most: int, refuse: Refuse) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        refuse(path, "bad_type", f"must be a whole number, not {type(value).__name__}")
    elif not 1 <= value <= most:
        refuse(path, "out_of_range", f"must be between 1 and {most:,}, not {str(value)[:80]}")
    else:
        return value
    return None


def _key(path: str, value: Any, refuse: Refuse) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= 500 and _KEY.match(value):
        return value
    refuse(path, "bad_key", f"must be a place in the context such as 'customer_id' or 'customer.id', not {str(value)[:80]!r}")
    return None


def read_labels(path: str, value: Any, refuse: Refuse) -> tuple[str, ...]:
    """The labels, sorted, each once; what is wrong with them goes to `refuse(path, code, message)`."""
    given = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(given, (list, tuple, set, frozenset)) or not all(isinstance(label, str) and _LABEL.match(label) for label in given):
        refuse(path, "bad_label", "must be a label such as 'gpu', or a list of them: 1 to 63 of a-z, 0-9, '_', '.', ':', '-' that begin with a letter or digit")
        return ()
    if len(given) > MOST_LABELS:
        refuse(path, "too_many", f"has {len(given)} labels; the limit is {MOST_LABELS}")
    return tuple(sorted(set(given)))
