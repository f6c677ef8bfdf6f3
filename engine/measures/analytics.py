"""How workflows fare over a range of time: throughput, rates, durations and what holds them up. Pages and API ask here; all figures stand on the roll-ups.

It changes nothing. The one look at single tasks, for the critical path, is at a bounded number of the newest made before the range ends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, LiteralString

from engine.access.permissions import Namespaces
from engine.db import Database
from engine.errors import NotFound
from engine.measures.critical_shares import Run, critical_paths, latest_runs
from engine.measures.figures import (
    Bottlenecks,
    CriticalPaths,
    Ends,
    Performance,
    Scope,
    Slot,
    SlowTask,
    StepFigures,
    WorkflowFigures,
)
from engine.measures.quantiles import Spread, spread
from engine.measures.spans import Range
from engine.states import STEP_STATES, TASK_STATES, StepState, TaskState

WORKFLOWS_SHOWN = 50
STEPS_SHOWN = 10
TASKS_SHOWN = 10
UNCOUNTED_CAP = 10_001


def performance(db: Database, scope: Scope, asked: Range, *, namespaces: Namespaces = None) -> Performance:
    """How the tasks of the scope fared in the range. Raises `NotFound` when it names what is not there."""
    known = _definitions(db, scope, namespaces)
    tasks = _task_figures(db, known, asked)
    together = _Steps.read(db, [(number, -1) for number in known], asked)
    return Performance(
        range=asked,
        length=min(asked.to_at, now(db)) - asked.from_at,
        ends=tasks.ends(None),
        task=tasks.took(None),
        step=together.all(StepState.COMPLETED),
        queue=together.all(StepState.RUNNING),
        slots=tuple(Slot(at, tasks.ends(at), tasks.took(at)) for at in asked.slots),
        workflows=tuple(_busiest(known, tasks)[:WORKFLOWS_SHOWN]),
        uncounted_count=uncounted_count(db),
    )


def all_workflows(db: Database, scope: Scope, asked: Range, *, namespaces: Namespaces = None) -> list[WorkflowFigures]:
    """Every workflow of the scope of which a task ended in the range, the busiest first. Raises `NotFound` when it names what is not there."""
    known = _definitions(db, scope, namespaces)
    return _busiest(known, _task_figures(db, known, asked))


def all_steps(db: Database, scope: Scope, asked: Range, *, namespaces: Namespaces = None) -> list[StepFigures]:
    """Every step of the scope that anything happened to in the range, by workflow and in their order. Raises `NotFound` when it names what is not there."""
    known = _definitions(db, scope, namespaces)
    steps = _Steps.read(db, _all_steps(known), asked, binned=False)
    told = _step_figures(db, known, steps, set(steps.moves), asked)
    return [told[key] for key in _all_steps(known) if key in told]


def bottlenecks(db: Database, scope: Scope, asked: Range, *, namespaces: Namespaces = None) -> Bottlenecks:
    """What held the tasks of the scope up in the range. Raises `NotFound` when it names what is not there."""
    known = _definitions(db, scope, namespaces)
    steps = _Steps.read(db, _all_steps(known), asked, binned=False)
    worst = {
        "slowest_steps": steps.worst(lambda key: steps.mean(key, StepState.COMPLETED)),
        "longest_waits": steps.worst(lambda key: steps.mean(key, StepState.RUNNING)),
        "retry_hot_spots": steps.worst(steps.troubles),
    }
    told = _step_figures(db, known, steps, {key for keys in worst.values() for key in keys}, asked)
    slow = [row for row in _workflows(known, _task_figures(db, known, asked)) if row.took.count]
    runs = latest_runs(db, known, asked) if scope.name and _is_of_one_workflow(known) else {}
    return Bottlenecks(
        range=asked,
        **{name: tuple(told[key] for key in keys) for name, keys in worst.items()},
        slowest_workflows=tuple(sorted(slow, key=lambda row: -(row.took.mean or 0))[:STEPS_SHOWN]),
        slowest_tasks=_slowest_tasks(known, runs),
        critical=_critical(db, known, runs),
        is_of_one_workflow=_is_of_one_workflow(known),
        uncounted_count=uncounted_count(db),
    )


def now(db: Database) -> datetime:
    """The database's time."""
    found: datetime = db.value("select tasker_clock()")
    return found


def uncounted_count(db: Database) -> int:
    """How many moves are not counted yet, up to 10,001: a few of the last seconds, or more while no engine runs."""
    query: LiteralString = """
        select count(*)::int
          from (select from tasker_history h where h.event_id > coalesce((select p.counted_to from tasker_rollup_place p), 0) limit %(cap)s) h
    """
    found: int = db.value(query, {"cap": UNCOUNTED_CAP})
    return found


# ---- which workflows


@dataclass(frozen=True, slots=True)
class _Definition:
    namespace: str
    name: str
    version: str
    step_count: int


def _definitions(db: Database, scope: Scope, namespaces: Namespaces) -> dict[int, _Definition]:
    """Each definition of the scope by its number, by namespace and name, the newest version first."""
    query: LiteralString = """
        select d.definition_id, d.namespace, d.name, d.version, d.step_count from tasker_definition d
         where (%(namespace)s::text is null or d.namespace = %(namespace)s) and (%(name)s::text is null or d.name = %(name)s)
           and (%(version)s::text is null or d.version = %(version)s) and (%(allowed)s::text[] is null or d.namespace = any(%(allowed)s))
         order by d.namespace collate "C", d.name collate "C", d.prerelease, d.version_rank collate "C" desc
    """
    asked = {"namespace": scope.namespace, "name": scope.name, "version": scope.version}
    found = db.rows(query, {**asked, "allowed": None if namespaces is None else sorted(namespaces)})
    if not found and any(asked.values()):
        words = {"namespace": "namespace", "name": "workflow", "version": "version"}
        raise NotFound("there is no " + " with ".join(f'{words[key]} "{value}"' for key, value in asked.items() if value))
    return {row[0]: _Definition(*row[1:]) for row in found}


def _is_of_one_workflow(known: Mapping[int, _Definition]) -> bool:
    return len({(one.namespace, one.name) for one in known.values()}) == 1


def _all_steps(known: Mapping[int, _Definition]) -> list[Key]:
    return [(number, step_no) for number, one in known.items() for step_no in range(one.step_count)]


# ---- tasks


@dataclass(frozen=True, slots=True)
class _Timed:
    """Durations added up."""

    count: int = 0
    took: timedelta = timedelta()
    longest: timedelta = timedelta()

    def __add__(self, other: _Timed) -> _Timed:
        return _Timed(self.count + other.count, self.took + other.took, max(self.longest, other.longest))

    def spread(self, bins: Mapping[int, int]) -> Spread:
        return spread(bins, self.count, self.took.total_seconds(), self.longest.total_seconds())


Bins = dict[int, int]


def _no_bins() -> Bins:
    return defaultdict(int)


@dataclass(frozen=True, slots=True)
class _Tasks:
    """Figures by slot, by definition, and of all together by None."""

    counts: dict[Any, dict[TaskState, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    timed: dict[Any, _Timed] = field(default_factory=lambda: defaultdict(_Timed))
    bins: dict[Any, Bins] = field(default_factory=lambda: defaultdict(_no_bins))

    def ends(self, key: Any) -> Ends:
        found = self.counts[key]
        return Ends(found[TaskState.COMPLETED], found[TaskState.FAILED], found[TaskState.CANCELLED], found[TaskState.RESOLVED])

    def took(self, key: Any) -> Spread:
        return self.timed[key].spread(self.bins[key])


def _task_figures(db: Database, known: Mapping[int, _Definition], asked: Range) -> _Tasks:
    parameters = {**_pieces(asked), "definitions": list(known), "slot": asked.slot}
    counted = db.rows(
        """
        select definition_id, slot, state, net_count, timed_count, took, longest
          from tasker_task_figures(%(definitions)s, %(grains)s, %(froms)s, %(tos)s, %(slot)s)
        """,
        parameters,
    )
    binned = db.rows("select definition_id, slot, number, count from tasker_task_bins(%(definitions)s, %(grains)s, %(froms)s, %(tos)s, %(slot)s)", parameters)
    figures = _Tasks()
    for definition, slot, state, net_count, *timed in counted:
        for key in (definition,) if slot is None else (slot, None):
            figures.counts[key][TASK_STATES[state]] += net_count
            if TASK_STATES[state] == TaskState.COMPLETED:
                figures.timed[key] += _Timed(*timed)
    for definition, slot, number, count in binned:
        for key in (definition,) if slot is None else (slot, None):
            figures.bins[key][number] += count
    return figures


def _pieces(asked: Range) -> dict[str, Any]:
    return {
        "grains": [int(piece.grain) for piece in asked.pieces],
        "froms": [piece.from_at for piece in asked.pieces],
        "tos": [piece.to_at for piece in asked.pieces],
    }


def _busiest(known: Mapping[int, _Definition], tasks: _Tasks) -> list[WorkflowFigures]:
    return sorted(_workflows(known, tasks), key=lambda row: -row.ends.ended_count)


def _workflows(known: Mapping[int, _Definition], tasks: _Tasks) -> Iterator[WorkflowFigures]:
    """Those of which any task ended."""
    for number, one in known.items():
        if (ends := tasks.ends(number)).ended_count:
            yield WorkflowFigures(one.namespace, one.name, one.version, ends, tasks.took(number))


# ---- steps

Key = tuple[int, int]
"""A definition and the number of a step; step -1 is all of them together."""


@dataclass(frozen=True, slots=True)
class _Moves:
    """What a step moved into one state."""

    net_count: int = 0
    move_count: int = 0
    timed: _Timed = _Timed()
    timeout_count: int = 0
    crash_count: int = 0


@dataclass(frozen=True, slots=True)
class _Steps:
    """Figures by step and state."""

    moves: dict[Key, dict[StepState, _Moves]]
    bins: dict[tuple[Key, StepState], Bins]

    @classmethod
    def read(cls, db: Database, keys: Sequence[Key], asked: Range, *, binned: bool = True) -> _Steps:
        parameters = {**_pieces(asked), "definitions": [key[0] for key in keys], "steps": [key[1] for key in keys]}
        moves: dict[Key, dict[StepState, _Moves]] = defaultdict(dict)
        for definition, step_no, state, net_count, move_count, count, took, longest, timeouts, crashes in db.rows(
            """
            select definition_id, step_no, state, net_count, move_count, timed_count, took, longest, timeout_count, crash_count
              from tasker_step_figures(%(definitions)s, %(steps)s, %(grains)s, %(froms)s, %(tos)s)
            """,
            parameters,
        ):
            moves[definition, step_no][STEP_STATES[state]] = _Moves(net_count, move_count, _Timed(count, took, longest), timeouts, crashes)
        return cls(moves, _step_bins(db, parameters) if binned else {})

    def of(self, key: Key, state: StepState) -> _Moves:
        return self.moves.get(key, {}).get(state, _Moves())

    def all(self, state: StepState) -> Spread:
        """Of every step together."""
        bins = _no_bins()
        for (_, led_to), found in self.bins.items():
            for number, count in found.items() if led_to == state else ():
                bins[number] += count
        return sum((found[state].timed for found in self.moves.values() if state in found), _Timed()).spread(bins)

    def took(self, key: Key, state: StepState) -> Spread:
        return self.of(key, state).timed.spread(self.bins.get((key, state), {}))

    def mean(self, key: Key, state: StepState) -> float:
        timed = self.of(key, state).timed
        return timed.took.total_seconds() / timed.count if timed.count else 0

    def troubles(self, key: Key) -> float:
        """How many attempts were not the last one of a step that ended well."""
        return self.of(key, StepState.RETRYING).move_count + self.of(key, StepState.FAILED).move_count

    def worst(self, measure: Callable[[Key], float]) -> list[Key]:
        """The steps with the highest measure, those with none left out."""
        found = sorted(((measure(key), key) for key in self.moves), key=lambda each: (-each[0], each[1]))
        return [key for value, key in found[:STEPS_SHOWN] if value > 0]


def _step_bins(db: Database, parameters: dict[str, Any]) -> dict[tuple[Key, StepState], Bins]:
    bins: dict[tuple[Key, StepState], Bins] = defaultdict(_no_bins)
    query: LiteralString = "select definition_id, step_no, state, number, count from tasker_step_bins(%(definitions)s, %(steps)s, %(grains)s, %(froms)s, %(tos)s)"
    for definition, step_no, state, number, count in db.rows(query, parameters):
        bins[(definition, step_no), STEP_STATES[state]][number] = count
    return bins


def _step_figures(db: Database, known: Mapping[int, _Definition], steps: _Steps, chosen: set[Key], asked: Range) -> dict[Key, StepFigures]:
    keys = sorted(chosen)
    parameters = {"definitions": [key[0] for key in keys], "steps": [key[1] for key in keys]}
    binned = _Steps(steps.moves, _step_bins(db, {**_pieces(asked), **parameters}))
    names = db.rows(
        """
        select t.definition_id, t.step_no, t.name
          from unnest(%(definitions)s::int[], %(steps)s::int[]) as k (definition_id, step_no) join tasker_template t using (definition_id, step_no)
        """,
        parameters,
    )
    return {(definition, step_no): _told(known[definition], name, binned, (definition, step_no)) for definition, step_no, name in names}


UNSUCCESSFUL = (StepState.RETRYING, StepState.FAILED, StepState.CANCELLED)


def _told(one: _Definition, step_name: str, steps: _Steps, key: Key) -> StepFigures:
    ended = [steps.of(key, state) for state in UNSUCCESSFUL]
    return StepFigures(
        one.namespace,
        one.name,
        one.version,
        step_name,
        took=steps.took(key, StepState.COMPLETED),
        waited=steps.took(key, StepState.RUNNING),
        start_count=steps.of(key, StepState.RUNNING).move_count,
        retry_count=steps.of(key, StepState.RETRYING).move_count,
        failed_count=steps.of(key, StepState.FAILED).move_count,
        timeout_count=sum(each.timeout_count for each in ended),
        crash_count=sum(each.crash_count for each in ended),
        failed_seconds=sum((each.timed.took for each in ended), timedelta()).total_seconds(),
    )


# ---- single tasks, of one workflow


def _slowest_tasks(known: Mapping[int, _Definition], runs: Mapping[int, Sequence[Run]]) -> tuple[SlowTask, ...]:
    found = [run.told(known[number].version) for number, each in runs.items() for run in each]
    return tuple(sorted(found, key=lambda one: -one.took_seconds)[:TASKS_SHOWN])


def _critical(db: Database, known: Mapping[int, _Definition], runs: Mapping[int, Sequence[Run]]) -> CriticalPaths | None:
    """Of the newest version that completed anything."""
    for number, found in runs.items():
        if found:
            return critical_paths(db, number, known[number].version, known[number].step_count, found)
    return None
