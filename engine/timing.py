"""When a schedule is due: cron expressions on the clock of a time zone, and intervals. It only computes; schedules asks it, and whoever shows a schedule."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import islice, takewhile
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from engine.definition import nearest, shown
from engine.errors import Problem, RequestError

Kind = Literal["cron", "interval"]
Policy = Literal["skip", "one", "all"]
POLICIES: tuple[Policy, ...] = ("skip", "one", "all")
ON_TIME = timedelta(minutes=1)
"""A run this late still counts as on time."""
MAX_CATCH_UP = 100
MOST_MISSED = 1_000
"""How many runs `all` makes up for, the newest ones."""

MAX_TEXT = 200
LONGEST = timedelta(days=366)
LONGEST_ZONE = 64
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS = (("d", 86_400, "day"), ("h", 3_600, "hour"), ("m", 60, "minute"), ("s", 1, "second"))
_INTERVAL = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Timing:
    """What `cron` or `every` has checked; all times are UTC."""

    kind: Kind
    expression: str
    time_zone: str = "UTC"

    def runs(self, anchor: datetime, after: datetime) -> Iterator[datetime]:
        """Every run later than `after`, in order. An interval is counted from `anchor`, one of its runs.

        A cron time that the clock leaves out in spring is run when it goes on; one that it shows twice in autumn is run once.
        """
        return self._by_interval(anchor, after) if self.kind == "interval" else self._by_cron(after)

    def due(self, first: datetime, now: datetime, limit: int) -> list[datetime]:
        """The newest `limit` runs of those from `first`, itself a run, up to `now`."""
        reach = timedelta(hours=1)
        while True:
            # looking back in growing strides: from a year ago it would be half a million minutes
            begin = max(first, now - reach)
            runs = takewhile(lambda at: at <= now, self.runs(first, begin))
            found = deque([first] if begin == first else [], limit)
            found.extend(runs)
            if len(found) == limit or begin == first:
                return list(found)
            reach *= 4

    def upcoming(self, first: datetime, count: int) -> list[datetime]:
        """`first` and the runs after it, at most `count` in all."""
        return [first, *islice(self.runs(first, first), count - 1)]

    def words(self) -> str:
        """`At 02:30 every day, Europe/Berlin time`; `Every 15 minutes`."""
        if self.kind == "interval":
            return f"Every {_in_words(interval_seconds(self.expression))}"
        return f"{_explained(self.expression)}, {self.time_zone}{'' if self.time_zone == 'UTC' else ' time'}"

    def _by_interval(self, anchor: datetime, after: datetime) -> Iterator[datetime]:
        length = timedelta(seconds=interval_seconds(self.expression))
        at = anchor + ((after - anchor) // length + 1) * length
        while True:
            yield at
            at += length

    def _by_cron(self, after: datetime) -> Iterator[datetime]:
        for found in CronSim(self.expression, after.astimezone(_zone(self.time_zone))):
            at = found.astimezone(UTC)
            # in the hour that comes twice it would begin with the first one again
            if at > after:
                after = at
                yield at


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about a schedule that is due: the runs to make tasks for, the one to wait for (None: there is none), and how many runs
    pass without a task of their own, since no engine was there in time; MOST_MISSED for more."""

    runs: tuple[datetime, ...]
    next_run_at: datetime | None
    missed_count: int = 0


def plan(timing: Timing, policy: Policy, *, due: datetime, now: datetime) -> Plan:
    """What becomes of the runs from `due` to `now`: `skip` runs the newest if it is on time, `one` the newest, `all` the newest MAX_CATCH_UP."""
    # within the time in which a run is on time nobody was away, however short the interval
    passed = len(timing.due(due, now, MOST_MISSED)) if now - due > ON_TIME else 1
    runs = timing.due(due, now, MAX_CATCH_UP if policy == "all" else 1)
    if policy == "skip" and now - runs[-1] > ON_TIME:
        runs = []
    return Plan(tuple(runs), next(timing.runs(due, now), None), max(0, passed - len(runs)))


def cron(expression: str, time_zone: str = "UTC") -> Timing:
    """The times of a cron expression of five fields, or `@daily` and its like. Raises RequestError, also when it names no time at all."""
    zone_problems = _zone_problems(time_zone)
    text = " ".join(str(expression).split())
    text = NICKNAMES.get(text.lower(), text)
    problem = _cron_problem(text)
    if problem or zone_problems:
        raise RequestError([*([Problem("cron", "bad_cron", problem)] if problem else []), *zone_problems])
    return Timing("cron", text, time_zone)


def every(interval: str | timedelta) -> Timing:
    """The times of an interval: a timedelta, or text such as `90s`, `15m`, `1h30m`, `1d`. Raises RequestError."""
    seconds = interval.total_seconds() if isinstance(interval, timedelta) else interval_seconds(interval)
    if seconds != int(seconds) or not 1 <= seconds <= LONGEST.total_seconds():
        message = f"{shown(str(interval))} must be whole seconds, from 1s to 366d, such as 90s, 15m, 1h30m or 1d"
        raise RequestError([Problem("every", "bad_interval", message)])
    return Timing("interval", interval_text(int(seconds)))


def _cron_problem(text: str) -> str | None:
    if len(text) > MAX_TEXT:
        return f"has {len(text):,} characters; the limit is {MAX_TEXT}"
    if len(text.split()) != 5:
        return f"{shown(text)} must have five fields: minute, hour, day of month, month, day of week"
    try:
        found = next(CronSim(text, datetime.now(UTC)), None)
    except (CronSimError, AssertionError, ValueError) as error:
        return f"{shown(text)} is no cron expression: {str(error).lower() or 'a part of it has no meaning'}"
    return None if found else f"{shown(text)} names a time that never comes"


def _zone_problems(name: str) -> list[Problem]:
    try:
        _zone(name)
    except (KeyError, ValueError, OSError):
        return [Problem("time_zone", "unknown_zone", f"there is no time zone {shown(name)}{nearest(name, available_timezones())}")]
    return []


@lru_cache(maxsize=256)
def _zone(name: str) -> tzinfo:
    if len(name) > LONGEST_ZONE:  # each part of it would be looked for as a module within a module
        raise ValueError("no zone has so long a name")
    # cronsim knows that this UTC has no summer time, and takes the short way
    return UTC if name == "UTC" else ZoneInfo(name)


@lru_cache(maxsize=256)
def _explained(expression: str) -> str:
    try:
        return str(CronSim(expression, datetime.now(UTC)).explain())
    except (CronSimError, AssertionError, LookupError, ValueError):
        return expression


def interval_seconds(text: str) -> int:
    """The length of an interval such as `90s`, `1h30m`, `90d`; 0 for what is none."""
    found = _INTERVAL.fullmatch("".join(str(text).lower().split()))
    return sum(int(number or 0) * size for number, (_, size, _) in zip(found.groups(), _UNITS, strict=True)) if found else 0


def interval_text(seconds: int) -> str:
    """As it is written: `1h30m`, `90d`."""
    return "".join(f"{number}{unit}" for number, unit, _ in _parts(seconds))


def _in_words(seconds: int) -> str:
    parts = [f"{number} {word}{'s' if number > 1 else ''}" for number, _, word in _parts(seconds)]
    return " ".join(parts).removeprefix("1 ") if len(parts) == 1 else " ".join(parts)


def _parts(seconds: int) -> Iterator[tuple[int, str, str]]:
    for unit, size, word in _UNITS:
        if seconds >= size:
            yield seconds // size, unit, word
            seconds %= size
