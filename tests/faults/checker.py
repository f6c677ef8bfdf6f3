"""Decides from the ledger, the database and the log of faults whether the product kept its word: I1 to I10, each in plain code."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from ledger import Place, Run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sql"))

from invariants import RULES, Violated

PENDING, READY, RUNNING, RETRYING, COMPLETED, FAILED, CANCELLED, SKIPPED, RESOLVED = range(9)
FINAL = {COMPLETED, FAILED, CANCELLED, SKIPPED, RESOLVED}
SATISFIED = {COMPLETED, SKIPPED, RESOLVED}
MAY_FAIL = ("hopeless", "poison", "blocking", "greedy")
"""The workflows, by which keys begin, whose steps cannot end well."""
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Violation:
    """One promise that was not kept. By timing: a machine that is busy with other things may have been to blame."""

    invariant: str
    text: str
    by_timing: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """One row of the history; `step` is None for the task's own, `at` in seconds of the wall clock. Rescued: another engine took it back."""

    event_id: int
    task: str
    step: str | None
    at: float
    from_state: int
    to_state: int
    attempt: int | None
    worker: int | None
    error: str | None
    rescued: bool = False


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step as it stands, with the names of its parents."""

    task: str
    name: str
    state: int
    attempts: int
    retry_limit: int
    parents: tuple[str, ...]


@dataclass(slots=True)
class Records:
    """What the database says of the tasks of one run."""

    tasks: dict[str, int]
    keys: Counter[str]
    steps: dict[Place, StepRow]
    moves: list[Move]
    workers: dict[int, str] = field(default_factory=dict)

    def of_steps(self) -> dict[Place, list[Move]]:
        found: dict[Place, list[Move]] = defaultdict(list)
        for move in self.moves:
            if move.step is not None:
                found[move.task, move.step].append(move)
        return found

    def of_tasks(self) -> dict[str, list[Move]]:
        found: dict[str, list[Move]] = defaultdict(list)
        for move in self.moves:
            if move.step is None:
                found[move.task].append(move)
        return found


@dataclass(slots=True)
class Evidence:
    """Everything a verdict rests on. `accepted` are task ids by the key they were asked for with; `touched` are workers that a fault was aimed at,
    with the moment of the wall clock of the first; `drained` are the moments at which workers were told to end."""

    runs: dict[Place, list[Run]]
    records: Records
    accepted: dict[str, str]
    touched: dict[int, float] = field(default_factory=dict)
    drained: dict[int, float] = field(default_factory=dict)
    waits: Sequence[float] = ()
    usual_wait: float = 0.4
    longest_wait: float = 1.4
    probes: Sequence[Any] = ()
    samples: Sequence[str] = ()
    heard: Sequence[int] | None = None
    """Ids of events in the order in which a subscriber heard of them; None when it had no time to."""


def read_records(conn: psycopg.Connection[Any], tasks: Sequence[str]) -> Records:
    """The tasks, their steps and their history as they are now."""
    ids = {"ids": list(tasks)}
    states = conn.execute("select task_id::text, state, correlation_id from tasker_task where task_id = any(%(ids)s::uuid[])", ids).fetchall()
    keys = conn.execute("select correlation_id, count(*) from tasker_task where correlation_id is not null group by 1").fetchall()
    steps = conn.execute(
        """
        select t.task_id::text, p.name, s.state, s.attempts, s.retry_limit,
               array(select o.name from tasker_template o where o.definition_id = p.definition_id and o.step_no = any(p.parents))
          from tasker_task t join tasker_step s using (task_no)
          join tasker_template p on p.definition_id = s.definition_id and p.step_no = s.step_no
         where t.task_id = any(%(ids)s::uuid[])
        """,
        ids,
    ).fetchall()
    moves = conn.execute(
        """
        select h.event_id, t.task_id::text, p.name, extract(epoch from h.at)::float8, h.from_state, h.to_state, h.attempt, h.worker_id,
               h.detail ->> 'type', coalesce(starts_with(h.detail ->> 'message', 'the engine that ran this step died'), false)
          from tasker_task t join tasker_history h using (task_no)
          left join tasker_template p on p.definition_id = t.definition_id and p.step_no = h.step_no
         where t.task_id = any(%(ids)s::uuid[]) order by h.event_id
        """,
        ids,
    ).fetchall()
    return Records(
        {row[0]: row[1] for row in states},
        Counter({row[0]: row[1] for row in keys}),
        {(row[0], row[1]): StepRow(row[0], row[1], row[2], row[3], row[4], tuple(row[5])) for row in steps},
        [Move(*row) for row in moves],
    )


def broken_rules(conn: psycopg.Connection[Any]) -> list[str]:
    """The rules of tests/sql/invariants.py that do not hold now, each with the first rows that break it."""
    found = ((rule, conn.execute(query.encode()).fetchmany(3)) for rule, query in RULES.items())
    return [f"not so: {rule}: {rows}" for rule, rows in found if rows]


def check(evidence: Evidence) -> list[Violation]:
    """Every violation there is."""
    rules = (
        lost_tasks,
        doubled_tasks,
        steps_before_parents,
        doubled_holders,
        false_rescues,
        reruns_of_completed,
        terminal_events,
        unheard_events,
        broken_histories,
        attempts_out_of_limit,
        taken_on_while_draining,
        long_waits,
        bad_answers,
        leftovers,
    )
    return [violation for rule in rules for violation in rule(evidence)]


def summary(violations: Sequence[Violation]) -> str:
    """The number by invariant, and the first few in words."""
    counts = Counter(violation.invariant for violation in violations)
    first = [f"  {violation.invariant} {violation.text}" for violation in violations[:SHOWN]]
    return "\n".join([f"{len(violations)} violations: {dict(counts)}", *first])


def assert_none(violations: Sequence[Violation], words: str = "") -> None:
    """Raises `Violated` with all of them in short, and the words; a plain AssertionError where each is by timing."""
    if not all(violation.by_timing for violation in violations):
        raise Violated(f"{summary(violations)}\n{words}")
    assert not violations, f"{summary(violations)}\n{words}"


# ---- I1


def lost_tasks(evidence: Evidence) -> Iterator[Violation]:
    """Every accepted task is there and has ended."""
    for key, task in evidence.accepted.items():
        state = evidence.records.tasks.get(task)
        if state is None:
            yield Violation("I1", f"task {task} ({key}) was accepted and is not there")
        elif state not in FINAL:
            yield Violation("I1", f"task {task} ({key}) has not ended: {_open_steps(evidence, task)}")
        elif state != COMPLETED and not key.startswith(MAY_FAIL):
            yield Violation("I1", f"task {task} ({key}) ended in state {state} though nothing in it fails for good: {_errors(evidence, task)}")


def _open_steps(evidence: Evidence, task: str) -> str:
    rows = [row for row in evidence.records.steps.values() if row.task == task and row.state not in FINAL]
    return ", ".join(f"{row.name} in state {row.state} after {row.attempts} attempts" for row in rows)


def _errors(evidence: Evidence, task: str) -> str:
    return ", ".join(f"{move.step}: {move.error}" for move in evidence.records.moves if move.task == task and move.to_state == FAILED)


def doubled_tasks(evidence: Evidence) -> Iterator[Violation]:
    """A request whose answer was lost made one task or none; asked again with its key it made no second."""
    for key in evidence.accepted:
        if evidence.records.keys[key] > 1:
            yield Violation("I1", f"the request {key} made {evidence.records.keys[key]} tasks")


# ---- I2


def steps_before_parents(evidence: Evidence) -> Iterator[Violation]:
    """No step starts before all its parents have ended well, neither on record nor in truth."""
    moves = evidence.records.of_steps()
    for place, row in evidence.records.steps.items():
        starts = [move.event_id for move in moves[place] if move.to_state == RUNNING]
        for parent in row.parents:
            satisfied = [move.event_id for move in moves[row.task, parent] if move.to_state in SATISFIED]
            if starts and not (satisfied and satisfied[0] < starts[0]):
                yield Violation("I2", f"{row.name} of {row.task} started on record before {parent} was done")
            begun, parent_runs = evidence.runs.get(place), evidence.runs.get((row.task, parent))
            if begun and parent_runs and not _end_that_counts(moves[row.task, parent], parent_runs) <= begun[0].start:
                yield Violation("I2", f"{row.name} of {row.task} ran before {parent} had ended well")


def _end_that_counts(moves: Sequence[Move], runs: Sequence[Run]) -> float:
    """When the attempt ended that is on record as completed; never where none is. Of an attempt that was handed back the number comes again."""
    attempt = next((move.attempt for move in moves if move.to_state == COMPLETED), None)
    ends = [run.end for run in runs if run.attempt == attempt and run.end is not None]
    return ends[-1] if ends else inf


# ---- I3


def doubled_holders(evidence: Evidence) -> Iterator[Violation]:
    """A claim is run once; two runs of a step overlap only when the first one's lease was over, and then it changes nothing."""
    moves = evidence.records.of_steps()
    for place, runs in evidence.runs.items():
        if place not in evidence.records.steps:
            continue
        starts = Counter(move.attempt for move in moves[place] if move.to_state == RUNNING)
        for attempt, times in Counter(run.attempt for run in runs).items():
            if times > starts[attempt]:
                yield Violation("I3", f"{place[1]} of {place[0]} ran {times} times in attempt {attempt}, which was claimed {starts[attempt]} times")
        for earlier, later in pairwise(runs):
            if earlier.end is not None and later.start < earlier.end and not _given_up(moves[place], earlier, later):
                yield Violation("I3", f"{place[1]} of {place[0]} ran twice at once: attempts {earlier.attempt} and {later.attempt}")
        yield from _outcomes_of_others(place, moves[place])


def _given_up(moves: Sequence[Move], earlier: Run, later: Run) -> bool:
    return any(move.attempt == earlier.attempt and move.from_state == RUNNING and move.to_state != COMPLETED and move.at <= later.wall for move in moves)


def _outcomes_of_others(place: Place, moves: Sequence[Move]) -> Iterator[Violation]:
    holder: tuple[int | None, int | None] = (None, None)
    for move in moves:
        if move.to_state == RUNNING:
            holder = (move.worker, move.attempt)
        elif move.from_state == RUNNING and move.worker is not None and (move.worker, move.attempt) != holder:
            yield Violation("I3", f"{place[1]} of {place[0]} was ended by worker {move.worker} in attempt {move.attempt}, held by {holder}")


def false_rescues(evidence: Evidence) -> Iterator[Violation]:
    """No engine that nobody harmed loses its steps to another."""
    for move in evidence.records.moves:
        if move.rescued and move.worker is not None and move.at < evidence.touched.get(move.worker, float("inf")):
            yield Violation("I3", f"{move.step} of {move.task} was taken from worker {move.worker}, which was well")


# ---- I4


def reruns_of_completed(evidence: Evidence) -> Iterator[Violation]:
    """Nothing starts after its completion was recorded."""
    for place, moves in evidence.records.of_steps().items():
        completed = [move for move in moves if move.to_state == COMPLETED]
        if completed and any(move.to_state == RUNNING and move.event_id > completed[0].event_id for move in moves):
            yield Violation("I4", f"{place[1]} of {place[0]} was claimed after its completion")
        late = [run for run in evidence.runs.get(place, ()) if completed and run.wall > completed[0].at]
        if late:
            yield Violation("I4", f"{place[1]} of {place[0]} started {late[0].wall - completed[0].at:.3f} s after its completion")


# ---- I5


def terminal_events(evidence: Evidence) -> Iterator[Violation]:
    """A step and a task end once; nobody reopened any."""
    for name, groups in (("step", evidence.records.of_steps()), ("task", evidence.records.of_tasks())):
        for place, moves in groups.items():
            ends = sum(move.to_state in FINAL and move.from_state != move.to_state for move in moves)
            if ends > 1:
                yield Violation("I5", f"{name} {place} ended {ends} times")
    ended = evidence.records.of_tasks()
    for task, state in evidence.records.tasks.items():
        if state in FINAL and not any(move.to_state in FINAL for move in ended[task]):
            yield Violation("I5", f"task {task} has ended without an event")


def unheard_events(evidence: Evidence) -> Iterator[Violation]:
    """A subscriber hears of every end, and of none before what happened earlier; it may hear of some again."""
    if evidence.heard is None:
        return
    known = set(evidence.heard)
    for move in evidence.records.moves:
        told_of = move.to_state == COMPLETED or move.step is None and move.to_state == FAILED
        if told_of and 2 * move.event_id not in known:
            yield Violation("I5", f"nobody was told that {move.step or 'the task'} of {move.task} ended")
    newest, told = 0, set[int]()
    for event_id in evidence.heard:
        if event_id < newest and event_id not in told:
            yield Violation("I5", f"event {event_id} was told of only after {newest}")
        newest = max(newest, event_id)
        told.add(event_id)


# ---- I6


def broken_histories(evidence: Evidence) -> Iterator[Violation]:
    """Each move begins where the last one ended (becoming ready leaves no trace), and the last one leads to where the row is."""
    moves = evidence.records.of_steps()
    for place, row in evidence.records.steps.items():
        state = PENDING
        for move in moves[place]:
            if move.from_state != state and not (move.from_state == READY and state in (PENDING, RETRYING)):
                yield Violation("I6", f"{place[1]} of {place[0]} moved from {move.from_state}, but was in {state}")
            state = move.to_state
        if row.state != state and not (row.state == READY and state in (PENDING, RETRYING)):
            yield Violation("I6", f"{place[1]} of {place[0]} is in state {row.state}; its history ends in {state}")
    ends = evidence.records.of_tasks()
    for task, row_state in evidence.records.tasks.items():
        if ends[task] and ends[task][-1].to_state != row_state:
            yield Violation("I6", f"task {task} is in state {row_state}; its history ends in {ends[task][-1].to_state}")


# ---- I7


def attempts_out_of_limit(evidence: Evidence) -> Iterator[Violation]:
    """Every start is charged, a hand-back is not, and no step starts more often than it may."""
    moves = evidence.records.of_steps()
    for place, row in evidence.records.steps.items():
        starts = sum(move.to_state == RUNNING for move in moves[place])
        handed_back = sum(move.from_state == RUNNING and move.to_state == READY for move in moves[place])
        if row.attempts != starts - handed_back:
            yield Violation("I7", f"{place[1]} of {place[0]} started {starts} times, was handed back {handed_back} times and has {row.attempts} attempts")
        if starts - handed_back > row.retry_limit:
            yield Violation("I7", f"{place[1]} of {place[0]} was tried {starts - handed_back} times of {row.retry_limit}")
        if len(evidence.runs.get(place, ())) > starts:
            yield Violation("I7", f"{place[1]} of {place[0]} ran {len(evidence.runs[place])} times and was claimed {starts} times")


def taken_on_while_draining(evidence: Evidence) -> Iterator[Violation]:
    """An engine that was told to end takes nothing on (half a second is for the signal to reach it)."""
    for move in evidence.records.moves:
        told = evidence.drained.get(move.worker or 0)
        if told is not None and move.to_state == RUNNING and move.step is not None and move.at > told + 0.5:
            yield Violation("I7", f"{move.step} of {move.task} was taken on {move.at - told:.1f} s after worker {move.worker} was told to end", by_timing=True)


# ---- I8, I9, I10


def long_waits(evidence: Evidence) -> Iterator[Violation]:
    """With nothing wrong any more, a ready step does not wait: half of them no longer than two rounds of the poll, and none for much longer."""
    if evidence.waits and (usual := median(evidence.waits)) > evidence.usual_wait:
        yield Violation("I8", f"ready steps wait {usual:.1f} s for idle engines", by_timing=True)
    for wait in evidence.waits:
        if wait > evidence.longest_wait:
            yield Violation("I8", f"a ready step waited {wait:.1f} s for idle engines", by_timing=True)


def bad_answers(evidence: Evidence) -> Iterator[Violation]:
    """The dashboard answers every request in time: with the page, or with 503 and when to ask again while it has no database."""
    for probe in evidence.probes:
        if problem := probe.problem():
            yield Violation("I9", problem, by_timing=probe.is_late)


def leftovers(evidence: Evidence) -> Iterator[Violation]:
    """No session rests in a transaction, no more connections than configured, no process outlives its engine. A rule broken at a commit is I6."""
    for sample in evidence.samples:
        yield Violation("I6" if sample.startswith("not so") else "I10", sample)
