"""Three engines and the dashboard at work, and one kind of fault after the other: whatever happens, the checker finds nothing.

Those that are not marked run with every change; `make faults` runs all of them, and then a night's worth at random.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import faults
import pytest
from arena import Arena, until
from checker import assert_none
from claimers import claimers

pytestmark = pytest.mark.timeout(300)

SEED = 20_240
TREES, AT_ONCE = 12, 20
TRIES = 3
LADDERS = 5
CLAIMERS = 50
KILL_PAUSE_SECONDS = 3.0
ATTEMPTS_PER_SECOND = 20
LENGTHS = pytest.mark.parametrize("seconds", [5, pytest.param(30, marks=pytest.mark.nightly)])
"""Of an outage; the long one is for the night."""
HEARS_AGAIN_SECONDS = 4.0
STALL_LISTENER = next(fault for fault in faults.NIGHTLY if fault.__name__ == "stall_listener")
AT_LENGTH: dict[faults.Fault, faults.Fault] = {
    faults.kill_engine: faults.kill_engines,
    faults.restart_server: faults.restart_server_thrice,
    faults.hold_rows: partial(faults.hold_rows, seconds=20),
    faults.lock_table: partial(faults.lock_table, seconds=20),
}
"""What takes longer here than in a night, where one fault follows another."""
STANDARD_LOAD = {faults.kill_engine: 400}
"""Trees of seven steps, for that alone."""
NIGHTLY_ONLY = (
    faults.crash_in_rescue,
    faults.crash_in_drain,
    faults.cut_reports,
    STALL_LISTENER,
    faults.deliver_late_to_slow_steps,
    faults.delay_all,
    faults.throttle_all,
    faults.reset_all,
    faults.refuse_one,
    faults.use_up_connections,
    faults.drain_engine_with_long_steps,
    faults.hold_rows,
    faults.lock_table,
    faults.deadlock_storm,
    faults.change_schema,
)


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """One installation for all faults; each must leave it whole."""
    installation = Arena(tmp_path_factory.mktemp("arena"), seed=SEED)
    try:
        installation.start_engines(3)
        installation.start_web()
        yield installation
    finally:
        installation.end()


def marked(fault: faults.Fault) -> object:
    return pytest.param(fault, id=fault.__name__, marks=[pytest.mark.nightly] if fault in NIGHTLY_ONLY else [])


@pytest.mark.parametrize("fault", [marked(fault) for fault in faults.NIGHTLY])
def test_nothing_is_lost_or_doubled_by(arena: Arena, fault: faults.Fault) -> None:
    arena.start_engines(3)
    with patience(arena) if fault in faults.HARDSHIPS else nullcontext():
        assert_survived(arena, fault)


@contextmanager
def patience(arena: Arena) -> Iterator[None]:
    """Engines with a longer lease, at which no fault was aimed yet."""
    usual, arena.lease = arena.lease, faults.PATIENT_LEASE_SECONDS
    arena.exchange_engines(3)
    try:
        yield
    finally:
        arena.lease = usual
        arena.exchange_engines(3)


def assert_survived(arena: Arena, fault: faults.Fault) -> None:
    """Everything holds after the fault, which has met something that was running."""
    for _ in range(TRIES):  # now and then it meets a moment of rest
        arena.run_load([AT_LENGTH.get(fault, fault)], trees=STANDARD_LOAD.get(fault, TREES), at_once=AT_ONCE)
        arena.assert_kept()
        assert arena.longest_call() <= faults.LONGEST_CALL_SECONDS
        assert not [engine.said() for engine in arena.engines if "Traceback" in engine.said()]
        if arena.faults[-1].hit(arena.ledger.all()):
            return
    pytest.fail("the fault met nothing that was running, so it proves nothing")


@pytest.mark.nightly
def test_nothing_is_lost_or_doubled_by_a_minute_of_ended_sessions(arena: Arena) -> None:
    arena.start_engines(3)
    arena.run_load([partial(faults.terminate_sessions, seconds=60)], trees=3 * 400, at_once=AT_ONCE)
    arena.assert_kept()
    assert arena.longest_call() <= faults.LONGEST_CALL_SECONDS


@pytest.mark.nightly
def test_engines_that_seldom_look_hear_of_ready_steps_whatever_befell_their_listeners(tmp_path: Path) -> None:
    """Forbids: a listener that is connected again and does not listen, which the poll would hide."""
    arena = Arena(tmp_path, seed=SEED, bug="polls_seldom")
    try:
        arena.start_engines(3)
        for fault in (faults.deafen, STALL_LISTENER, faults.restart_server, faults.terminate_sessions):
            arena.run_load([fault], trees=TREES, at_once=AT_ONCE, pause=HEARS_AGAIN_SECONDS)
            arena.assert_kept()
    finally:
        arena.end()


@pytest.mark.long
def test_each_of_a_thousand_joins_runs_once(arena: Arena) -> None:
    """Ladders of 200 diamonds, among three engines."""
    arena.start_engines(3)
    arena.submit("ladder", LADDERS)
    arena.settle()
    arena.assert_kept()


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("ladders", "fans", "others"), [pytest.param(40, 8, 0, id="of three"), pytest.param(10, 2, CLAIMERS - 3, id="of fifty")])
def test_each_of_ten_thousand_joins_runs_once_while_engines_die(arena: Arena, ladders: int, fans: int, others: int) -> None:
    """Forbids: those that end the parents of a join at once leave it to each other, or both begin it."""
    arena.start_engines(3)
    keys = arena.submit("ladder", ladders) + arena.submit("wide", fans)
    with claimers(arena, others, ("ladder", "wide")):
        while arena.open_tasks() > ladders // 2:
            faults.kill_engine(arena)
            arena.start_engines(3)
            time.sleep(KILL_PAUSE_SECONDS)
        arena.settle(600)
    arena.assert_kept()
    wanted = {arena.accepted[key] for key in keys}
    runs = [run.engine for run in arena.ledger.all() if run.task in wanted]
    print(f"{len(runs)} executions, {sum(engine.startswith('engine') for engine in runs)} of them by engines that die")


def test_a_subscriber_heard_of_every_end_in_order(arena: Arena) -> None:
    """Through all that was done before."""
    arena.start_engines(3)
    arena.submit("tree", 20)
    arena.settle()
    violations = arena.verdict(hearing=True)
    assert_none(violations)


@LENGTHS
def test_an_outage_is_borne_with_few_words_and_few_attempts(arena: Arena, seconds: int) -> None:
    """No engine ends; each asks at a bounded rate, says so once in ten seconds, and starts anew when it may, as its lease is over."""
    arena.exchange_engines(3)  # those that were here may just have told of an outage
    engines = arena.living()
    before = [(len(engine.said()), engine.proxy.accepted, engine.workers()) for engine in engines]
    faults.reset_all(arena, seconds)
    asked = [engine.proxy.accepted for engine in engines]
    until(lambda: all(set(engine.workers()) - set(workers) for engine, (_, _, workers) in zip(engines, before, strict=True)), "the engines to start anew")
    arena.run_load([], trees=TREES, at_once=AT_ONCE)
    arena.assert_kept()
    print(f"connection attempts a second in {seconds} s of resets: {[round((now - then) / seconds, 1) for now, (_, then, _) in zip(asked, before, strict=True)]}")
    for engine, now, (said, then, _) in zip(engines, asked, before, strict=True):
        words = engine.said()[said:]
        assert engine.alive
        assert now - then < seconds * ATTEMPTS_PER_SECOND
        assert 1 <= words.count("has no database") <= 1 + seconds // 10, words
        assert words.count("WARNING") <= 4 + seconds // 10, words  # and that its lease is lost, if it came back in that moment
        assert "Traceback" not in words
        assert "starts anew" in words
