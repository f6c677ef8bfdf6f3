"""Steps that harm their process, each kind twice, and as many that block theirs as there are processes, among thirty trees on one engine: they end as failed with their cause, and nobody else notices."""

from __future__ import annotations

import statistics
import threading
import time
from pathlib import Path

import pytest
from arena import CONCURRENCY, LEASE_SECONDS, Arena, Beside, until
from checker import RUNNING, assert_none, check

pytestmark = pytest.mark.timeout(300)

CAUSES = {
    "exit": ("worker_crashed", "exit"),
    "segfault": ("worker_crashed", "SIGSEGV"),
    "kill": ("worker_crashed", "SIGKILL"),
    "abort": ("worker_crashed", "SIGABRT"),
    "recursion": ("worker_crashed", "SIGSEGV"),
    "memory": ("worker_crashed", "SIGKILL"),
    "loop": ("timeout", ""),
    "interpreter": ("timeout", ""),
    "sleep in C": ("timeout", ""),
}
DEADLY = [kind for kind, (cause, _) in CAUSES.items() if cause == "worker_crashed"]
BLOCKING = ("loop", "interpreter", "interpreter", "interpreter", "sleep in C", "sleep in C", "sleep in C", "sleep in C")
"""All at once: as many as the engine has processes."""
ATTEMPTS = 2
LIMIT_SECONDS = 2.0
TIMEOUT_MARGIN_SECONDS = 2.0
DRAIN_MARGIN_SECONDS = 1.0
CROWD, WORK_SECONDS = 400, 0.1
HARMFUL, HARM_BY_DEATH = 20, ("exit", "segfault", "kill", "abort", "recursion")
SLOWED = 1.1
GOES_ON_SECONDS = 1.0
SLACK = pytest.mark.parametrize("slack", [pytest.param(4.0, id="on a busy machine"), pytest.param(0.0, id="on an idle one", marks=pytest.mark.nightly)])
"""Seconds that a machine which others use as well may add; at night nobody does."""


class Heartbeats:
    """The longest time that the engine's lease went without renewal, looked at from outside."""

    def __init__(self, arena: Arena) -> None:
        self.longest = 0.0
        self._arena, self._over = arena, threading.Event()
        self._watching = Beside(self._watch)

    def stop(self) -> float:
        self._over.set()
        self._watching.end()
        return self.longest

    def _watch(self) -> None:
        with self._arena.direct() as conn:
            while not self._over.wait(0.1):
                row = conn.execute("select extract(epoch from max(clock_timestamp() - seen_at))::float8 from tasker_worker").fetchone()
                assert row is not None
                self.longest = max(self.longest, row[0] or 0.0)


@SLACK
def test_harmful_steps_end_failed_with_their_cause_and_harm_no_one(slack: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arena.CONCURRENCY", len(BLOCKING))
    arena = Arena(tmp_path)
    try:
        arena.start_engines(1)
        engine = arena.engines[0]
        workers = engine.workers()
        heartbeats = Heartbeats(arena)
        trees = arena.submit("tree", 15)
        harmful = {key: kind for kind in DEADLY for key in arena.submit("poison", 2, {"by": kind})}
        trees += arena.submit("tree", 15)
        until(lambda: not arena.open_tasks(), "every task to end", 90)
        harmful |= block_all(arena)
        trees += arena.submit("tree", 5)
        until(lambda: not arena.open_tasks(), "every task to end", 90)
        longest = heartbeats.stop()
        violations = check(arena.evidence())
        assert_none(violations)
        assert engine.alive
        assert engine.workers() == workers
        assert 0 < longest < LEASE_SECONDS
        late = max(check_harmful(arena, arena.accepted[key], *CAUSES[kind]) for key, kind in harmful.items())
        assert 0 < late < TIMEOUT_MARGIN_SECONDS + slack
        check_neighbours(arena, [arena.accepted[key] for key in trees])
        print(f"the longest time without a heartbeat {longest:.1f} s, of a lease of {LEASE_SECONDS}; the latest time-out {late:.1f} s after its limit")
    finally:
        arena.end()


def block_all(arena: Arena) -> dict[str, str]:
    """Every process of the engine is in the hands of a step that lets nobody else run there."""
    keys = {key: kind for kind in BLOCKING for key in arena.submit("blocking", 1, {"by": kind})}
    until(lambda: len(arena.ledger.running()) == len(BLOCKING), "all processes to be blocked")
    return keys


def check_harmful(arena: Arena, task: str, cause: str, words: str) -> float:
    """The step was tried as often as it may be, said why it ended each time, and nothing that waits for it began. How late it was ended, in seconds."""
    with arena.direct() as conn:
        rows = conn.execute(
            """
            select h.detail ->> 'type', h.detail ->> 'message',
                   extract(epoch from h.at - lag(h.at) over (order by h.event_id))::float8 as seconds, h.to_state, h.from_state
              from tasker_history h join tasker_task t using (task_no) where t.task_id = %s and h.step_no = 0 order by h.event_id
            """,
            [task],
        ).fetchall()
        states = conn.execute("select s.state, s.attempts from tasker_step s join tasker_task t using (task_no) where t.task_id = %s order by step_no", [task]).fetchall()
    ended = [row for row in rows if row[4] == RUNNING]
    assert [row[0] for row in ended] == [cause] * ATTEMPTS, (cause, words, ended)
    assert all(words in row[1] for row in ended), ended
    assert states == [(5, ATTEMPTS), (0, 0)]
    return max(row[2] for row in ended) - LIMIT_SECONDS if cause == "timeout" else 0.0


def check_neighbours(arena: Arena, tasks: list[str]) -> None:
    """No attempt of theirs was charged to them but the one that fails by itself."""
    with arena.direct() as conn:
        row = conn.execute(
            """
            select count(*) from tasker_history h join tasker_task t using (task_no)
             where t.task_id = any(%s::uuid[]) and h.detail ->> 'type' in ('worker_crashed', 'timeout')
            """,
            [tasks],
        ).fetchone()
    assert row == (0,)


@pytest.mark.nightly
def test_steps_beside_twenty_that_kill_their_process_are_slowed_by_a_tenth_at_most(tmp_path: Path) -> None:
    arena = Arena(tmp_path)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    try:
        arena.start_engines(1)
        seconds_of_a_crowd(arena, harmed=True)  # handlers loaded, paces known
        for harmed in (False, True, True, False):
            seconds[harmed].append(seconds_of_a_crowd(arena, harmed))
    finally:
        arena.end()
    alone, beside = (statistics.median(seconds[harmed]) for harmed in (False, True))
    print(f"{CROWD} steps of {WORK_SECONDS} s: {alone:.2f} s alone, {beside:.2f} s beside {HARMFUL} that kill their process {ATTEMPTS} times each: {beside / alone - 1:.1%} more")
    assert beside < alone * SLOWED


def seconds_of_a_crowd(arena: Arena, harmed: bool) -> float:
    """From the first start to the last end of steps that harm nobody."""
    keys = []
    for kind in HARM_BY_DEATH * (HARMFUL // len(HARM_BY_DEATH)):
        keys += arena.submit("slow", CROWD // HARMFUL, {"seconds": WORK_SECONDS})
        if harmed:
            arena.submit("poison", 1, {"by": kind})
    arena.settle()
    with arena.direct() as conn:
        row = conn.execute(
            "select extract(epoch from max(s.finished_at) - min(s.started_at))::float8, count(*) from tasker_step s join tasker_task t using (task_no) where t.task_id = any(%s::uuid[]) and s.state = 4",
            [[arena.accepted[key] for key in keys]],
        ).fetchone()
    assert row is not None
    assert row[1] == CROWD
    return float(row[0])


@SLACK
def test_a_draining_engine_ends_within_its_grace_time_and_its_steps_go_on_at_once_uncharged(slack: float, tmp_path: Path) -> None:
    arena = Arena(tmp_path, grace=2)
    try:
        arena.start_engines(2)
        keys = arena.submit("slow", CONCURRENCY, {"seconds": 4})  # so that the other has room for all that the first hands back
        until(lambda: len(arena.ledger.running()) == CONCURRENCY, "all steps to run")
        first = max(arena.living(), key=lambda engine: len(arena.ledger.running(engine.label)))
        held = {run.task for run in arena.ledger.running(first.label)}
        begun = time.monotonic()
        first.process.terminate()
        first.process.wait(30)
        ended = time.monotonic()
        assert ended - begun < arena.grace + DRAIN_MARGIN_SECONDS + slack
        arena.settle()
        again = {run.task: run.start - ended for run in arena.ledger.all() if run.task in held and run.engine != first.label}
        print(f"{len(held)} steps went on {max(again.values(), default=0):.2f} s after the end of their engine, which took {ended - begun:.2f} s")
        assert set(again) == held
        assert max(again.values()) < GOES_ON_SECONDS + slack
        violations = check(arena.evidence())
        assert_none(violations)
        with arena.direct() as conn:
            rows = conn.execute("select max(attempts) from tasker_step").fetchone()
        assert rows == (1,)
        assert len(keys) == CONCURRENCY
    finally:
        arena.end()
