"""What `/metrics` tells, read from the database: so it is the same whichever process is asked, and right with any number of engines and dashboards.

Counts and durations come from the roll-ups, the rest from a bounded number of rows. The dashboard calls it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString, NamedTuple

from engine.access.permissions import Namespaces
from engine.db import Database

MOST_NAMES = 200
"""Workflows with labels of their own, those that were known first; all others are counted together as OTHERS."""
OTHERS = "(others)"
MOST_ENGINES = 100
COUNTED = 100_001
"""Nothing that waits is counted any further."""
EVER = 3  # the grain of the roll-ups
OVERDUE_SECONDS = 60.0

Workflow = tuple[str, str]
"""Namespace and name; versions are counted together."""


@dataclass(slots=True)
class Spread:
    """Durations: how many were in each bin of tasker_bin_limits, and their sum in seconds."""

    bins: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, bins: list[int], seconds: float) -> None:
        """Those too."""
        self.bins += [0] * (len(bins) - len(self.bins))
        for at, count in enumerate(bins):
            self.bins[at] += count
        self.seconds += seconds


@dataclass(slots=True)
class Moves:
    """What one workflow's tasks and steps have done since the installation began."""

    tasks: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    steps: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    timeouts: int = 0
    crashes: int = 0
    task_seconds: Spread = field(default_factory=Spread)
    step_seconds: Spread = field(default_factory=Spread)
    queue_seconds: Spread = field(default_factory=Spread)


class EngineFigures(NamedTuple):
    """One living engine, and what it counts of itself, see engine.monitoring.own_figures."""

    name: str
    draining: bool
    heartbeat_seconds: float
    concurrency: int
    figures: Mapping[str, Any]


class Standing(NamedTuple):
    """How the installation stands now; seconds are 0 where nothing waits."""

    open_tasks: int
    ready_steps: int
    oldest_ready_seconds: float
    delayed_steps: int
    engines_gone: int
    oldest_expired_lease_seconds: float
    overdue_schedules: int
    refused_runs: int
    missed_runs: int
    uncounted_moves: int


@dataclass(frozen=True, slots=True)
class Measures:
    """All of it; `standing` is None and `engines` are none for who may see only some namespaces."""

    workflows: Mapping[Workflow, Moves]
    limits: list[float]
    standing: Standing | None
    engines: list[EngineFigures]


def read_measures(db: Database, *, namespaces: Namespaces = None) -> Measures:
    """What is to be told to who may see these namespaces, or all. Raises `DatabaseUnavailable`."""
    limits: list[float] = db.value("select tasker_bin_limits()")
    if namespaces is not None:
        return Measures(_workflows(db, namespaces), limits, None, [])
    return Measures(_workflows(db, None), limits, Standing(*db.rows(_STANDING, {"most": COUNTED, "overdue": OVERDUE_SECONDS})[0]), _engines(db))


def _workflows(db: Database, namespaces: Namespaces) -> dict[Workflow, Moves]:
    """Every registered workflow, also one that has done nothing yet."""
    found: dict[Workflow, Moves] = {}
    for namespace, name, is_step, state, count, timeouts, crashes, seconds, bins in _moves(db, namespaces):
        key = (namespace, name) if (namespace, name) in found or len(found) < MOST_NAMES else (OTHERS, OTHERS)
        moves = found.setdefault(key, Moves())
        if state is not None:
            _add(moves, is_step, state, count, timeouts, crashes, Spread(bins, seconds))
    return found


def _add(moves: Moves, is_step: bool, state: str, count: int, timeouts: int, crashes: int, took: Spread) -> None:
    (moves.steps if is_step else moves.tasks)[state] += count
    moves.timeouts += timeouts
    moves.crashes += crashes
    if is_step and state == "running":
        moves.queue_seconds.add(took.bins, took.seconds)
    elif is_step:
        moves.step_seconds.add(took.bins, took.seconds)
    elif state != "running":
        moves.task_seconds.add(took.bins, took.seconds)


def _moves(db: Database, namespaces: Namespaces) -> Iterable[tuple[Any, ...]]:
    # by key for each definition: beside these rows stand those of every minute, hour and day
    query: LiteralString = """
        select d.namespace, d.name, r.is_step, tasker_state_name(r.state), r.move_count, r.timeout_count, r.crash_count, extract(epoch from r.took)::float8, r.bins
          from tasker_definition d
          left join lateral (
           select true as is_step, s.state, s.move_count, s.timeout_count, s.crash_count, s.took, s.bins from tasker_step_rollup s
            where s.definition_id = d.definition_id and s.grain = %(ever)s and s.state = any('{2,3,4,5,6,7,8}'::smallint[]) and s.step_no = -1
           union all
           select false, t.state, t.move_count, 0, 0, t.took, t.bins from tasker_task_rollup t
            where t.definition_id = d.definition_id and t.grain = %(ever)s and t.state = any('{2,4,5,6,8}'::smallint[])
           offset 0) r on true
         where %(allowed)s::text[] is null or d.namespace = any(%(allowed)s)
         order by d.definition_id
    """
    return db.rows(query, {"ever": EVER, "allowed": None if namespaces is None else sorted(namespaces)})


def _engines(db: Database) -> list[EngineFigures]:
    query: LiteralString = """
        select distinct on (w.name collate "C") w.name, w.draining, extract(epoch from tasker_clock() - w.seen_at)::float8, w.concurrency, w.figures
          from tasker_worker w where w.lease_until > tasker_clock() order by w.name collate "C", w.worker_id desc limit %(most)s
    """
    return [EngineFigures(*row) for row in db.rows(query, {"most": MOST_ENGINES})]


_STANDING: LiteralString = """
    select (select count(*)::int from (select from tasker_task t where t.finished_at is null limit %(most)s) t),
           (select count(*)::int from (select from tasker_ready r where r.definition_id > 0 limit %(most)s) r),
           coalesce((select greatest(0, extract(epoch from tasker_clock() - (q.rank + t.priority * interval '1 minute')))::float8
                       from tasker_front(1) q
                       join tasker_task t using (task_no)), 0),
           (select count(*)::int from (select from tasker_delayed d limit %(most)s) d),
           (select count(*)::int from tasker_worker w where w.lease_until <= tasker_clock()),
           coalesce((select extract(epoch from tasker_clock() - min(w.lease_until))::float8 from tasker_worker w where w.lease_until <= tasker_clock()), 0),
           (select count(*)::int from tasker_schedule s where not s.paused and s.next_run_at < tasker_clock() - make_interval(secs => %(overdue)s)),
           (select coalesce(sum(s.refused_count), 0)::bigint from tasker_schedule s),
           (select coalesce(sum(s.missed_count), 0)::bigint from tasker_schedule s),
           (select greatest(0, coalesce(pg_sequence_last_value(pg_get_serial_sequence('tasker_history', 'event_id')::regclass), 0)
                               - coalesce((select p.counted_to from tasker_rollup_place p), 0)))
"""
