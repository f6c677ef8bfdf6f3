"""The machine itself fails: its link, its disk, its clocks. Nothing is lost or doubled, and it goes on by itself when the machine is well again."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import faults
import psutil
import psycopg
import pytest
from arena import CONCURRENCY, LEASE_SECONDS, Arena, until
from figures import quantiles
from machine import Disk, Link, Memory, with_clock

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600)]

DOWN_SECONDS = 30
LONGEST_CALL_SECONDS = 10.0
ENGINE_MEGABYTES = 600
HOARDERS, BESIDE_A_HOARDER = 10, 19
APPOINTMENTS, DUE_SECONDS = 20, 5
DEFAULT_LEASE_SECONDS, HUNG_RESCUE_SECONDS = 30, 33.0
DISK_MEGABYTES, MORE_MEGABYTES = 160, 400
SMALL = {"shared_buffers": "32MB", "max_connections": "80", "min_wal_size": "32MB", "max_wal_size": "48MB", "checkpoint_timeout": "30s"}


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    installation = Arena(tmp_path, seed=10)
    yield installation
    installation.end()


# ---- F10


def test_an_engine_whose_link_is_down_loses_its_steps_to_others_and_comes_back(arena: Arena) -> None:
    link = Link()
    try:
        arena.start_engines(2)
        cut_off = arena.start_engine(link.there)
        until(lambda: cut_off.workers() or not cut_off.alive, "the engine behind the link")
        assert cut_off.alive, cut_off.said()
        workers = cut_off.workers()

        def cut(arena: Arena) -> None:
            until(lambda: arena.ledger.running(cut_off.label), "the engine behind the link to work")
            with arena.fault("the network link of an engine down", cut_off), arena.footprint.blind(), link.down():
                time.sleep(DOWN_SECONDS)

        arena.run_load([cut], trees=60)
        until(lambda: set(cut_off.workers()) - set(workers), "the engine to start anew")
        arena.run_load([], trees=20)
        arena.assert_kept()
        assert arena.faults[-1].hit(arena.ledger.all())
        assert cut_off.proxy.longest_call < LONGEST_CALL_SECONDS
    finally:
        for engine in arena.engines:
            engine.end()
        link.end()


# ---- F13


def test_a_full_disk_loses_nothing_and_is_said(tmp_path: Path) -> None:
    """First no file can grow, then no log of writes either, so that PostgreSQL ends; with more room it goes on where it was."""
    disk = Disk(tmp_path / "data", DISK_MEGABYTES)
    arena = Arena(tmp_path, seed=13, options=SMALL)
    try:
        arena.start_engines(2)
        arena.start_web()
        arena.run_load([lambda arena: fill_up(arena, disk)], trees=60)
        arena.assert_kept()
        assert all(engine.alive and "Traceback" not in engine.said() for engine in arena.engines), arena.last_words()
        assert max(lines_a_second(engine.said()) for engine in arena.engines) < 10, arena.last_words()
        assert any("make room on its disk" in engine.said() for engine in arena.engines), arena.last_words()
        refusals = [probe.text for probe in arena.visitors.probes if probe.status == 503]
        assert any("make room on its disk" in text or "cannot reach PostgreSQL" in text for text in refusals), refusals[:3]
    finally:
        arena.end()
        disk.end()


def fill_up(arena: Arena, disk: Disk) -> None:
    with arena.fault("the database's disk full"), arena.outage():
        end = time.monotonic() + 30
        while server_answers(arena) and time.monotonic() < end:
            disk.fill()
            time.sleep(0.2)
        until(lambda: page(arena, "/tasks")[0] in (0, 503) or server_answers(arena), "the dashboard to notice")
        disk.grow(MORE_MEGABYTES)
        faults.start_server(arena)


def server_answers(arena: Arena) -> bool:
    with suppress(psycopg.Error), arena.direct() as conn:
        conn.execute("select 1")
        return True
    return False


def page(arena: Arena, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(arena.web_url + path, headers=arena.cookie), timeout=15) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def lines_a_second(text: str) -> int:
    """The most lines with one second's time."""
    seconds = [line[:19] for line in text.splitlines()]
    return max((seconds.count(second) for second in set(seconds)), default=0)


# ---- F17


def test_steps_that_take_all_the_memory_there_is_end_failed_and_cost_the_engine_nothing(arena: Arena) -> None:
    """The kernel ends a process of its own choice: it must be the one that asks for too much."""
    memory = Memory(ENGINE_MEGABYTES)
    try:
        engine = arena.start_engine(memory.there)
        until(lambda: engine.workers() or not engine.alive, "the engine to come up")
        workers = engine.workers()
        for _ in range(HOARDERS):
            arena.submit("slow", BESIDE_A_HOARDER, {"seconds": 0.05})
            arena.submit("greedy")
        arena.settle()
        arena.assert_kept()
        assert (engine.alive, engine.workers()) == (True, workers), engine.said()
        assert memory.kills() == 2 * HOARDERS
        with arena.direct() as conn:
            ended = conn.execute("select state, attempts, error ->> 'message', count(*)::int from tasker_step where error is not null group by 1, 2, 3").fetchall()
            others = conn.execute("select count(*)::int, max(attempts) from tasker_step s join tasker_definition d using (definition_id) where d.name = 'slow' and s.state = 4").fetchone()
        assert ended == [(5, 2, "the handler's process was killed by SIGKILL (out of memory, or from outside) while it ran this step", HOARDERS)]
        assert others == (HOARDERS * BESIDE_A_HOARDER + 5, 1)
    finally:
        for engine in arena.engines:
            engine.end()
        until(lambda: not arena.footprint.labels_of_processes(), "its processes to be gone")
        memory.end()


# ---- a hung host


def test_the_steps_of_a_hung_host_run_elsewhere_soon_after_its_lease_of_the_usual_length(tmp_path: Path) -> None:
    """Its connections stay open and say nothing, so the lease alone can tell."""
    arena = Arena(tmp_path, seed=30, lease=DEFAULT_LEASE_SECONDS)
    try:
        arena.start_engines(3)
        arena.submit("slow", 2 * CONCURRENCY, {"seconds": DEFAULT_LEASE_SECONDS + 10, "again": 0})  # the others have room for what one of them held
        until(lambda: len(arena.ledger.running()) == 2 * CONCURRENCY, "all steps to run")
        engine = max(arena.living(), key=lambda engine: len(arena.ledger.running(engine.label)))
        held = {run.task for run in arena.ledger.running(engine.label)}
        with arena.fault("a host that hangs", engine), suspended(engine.pid):
            hung = time.monotonic()
            elsewhere = lambda: {run.task: run.start - hung for run in arena.ledger.all() if run.task in held and run.engine != engine.label}  # noqa: E731
            until(lambda: set(elsewhere()) == held, "its steps to run elsewhere", 2 * DEFAULT_LEASE_SECONDS)
        print(f"{len(held)} steps of a hung host ran elsewhere after, s: {quantiles(elsewhere().values())}")
        assert max(elsewhere().values()) <= HUNG_RESCUE_SECONDS
        arena.settle()
        arena.assert_kept()
    finally:
        arena.end()


@contextmanager
def suspended(pid: int) -> Iterator[None]:
    """The process and all below it stand still for the length of the block."""
    process = psutil.Process(pid)
    all_of_it = [process, *process.children(recursive=True)]
    for each in all_of_it:
        each.suspend()
    try:
        yield
    finally:
        for each in all_of_it:
            with suppress(psutil.NoSuchProcess):
                each.resume()


# ---- F14


def test_engines_whose_clocks_are_hours_apart_and_drift_take_nothing_early(arena: Arena) -> None:
    for hours, rate in ((2, 1.0), (-2, 1.0), (-0.5, 1.1)):
        engine = arena.start_engine(with_clock(hours, rate))
        until(lambda engine=engine: "engine" in engine.said() or not engine.alive, f"{engine.label} to come up")
        assert abs(clock_of(engine.said()) - time.time() - 3600 * hours) < 120, engine.said()
    began = time.monotonic()
    appointments(arena)
    arena.run_load([], trees=150)
    arena.assert_kept()
    assert time.monotonic() - began > LEASE_SECONDS, "leases had no time to end"
    assert {run.engine for run in arena.ledger.all()} == {engine.label for engine in arena.engines}
    assert arena.touched == {}
    assert early_starts(arena) == (APPOINTMENTS, 0)


def appointments(arena: Arena) -> None:
    """Tasks of which one is due after another, by the database's clock."""
    with arena.direct() as conn:
        row = conn.execute("select tasker_clock()").fetchone()
    assert row is not None
    for number in range(APPOINTMENTS):
        arena.submit("slow", 1, {"seconds": 0}, run_at=row[0] + timedelta(seconds=DUE_SECONDS + number / 4))


def early_starts(arena: Arena) -> tuple[int, int]:
    """How many have begun of those that were due at some time, and how many of them before it."""
    with arena.direct() as conn:
        row = conn.execute(
            "select count(s.started_at)::int, count(*) filter (where s.started_at < t.run_at)::int from tasker_task t join tasker_step s using (task_no) where t.run_at is not null"
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def clock_of(said: str) -> float:
    """The wall clock that the first line was written by."""
    found = re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", said, re.MULTILINE)
    assert found, said
    return datetime.strptime(found[0], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()


# ---- F15


def test_a_database_clock_that_jumps_makes_steps_run_again_and_none_end_twice(arena: Arena) -> None:
    """All leases end at once, and then seem to last for ten minutes more: what waits for a time waits until the clock has come there."""
    arena.start_engines(3)
    arena.start_web()

    def jump(minutes: int) -> faults.Fault:
        def jumped(arena: Arena) -> None:
            with arena.fault(f"the database's clock at {minutes:+d} minutes"), arena.outage():
                arena.set_clock(60 * minutes)
                time.sleep(2 * LEASE_SECONDS)

        return jumped

    arena.run_load([jump(10), jump(-10), jump(30)], trees=60)
    arena.assert_kept()
    with arena.direct() as conn:
        ids = [str(row[0]) for row in conn.execute("select task_id from tasker_task where finished_at < started_at or started_at < created_at limit 20").fetchall()]
    assert ids, "no task of which the clock says that it ended before it began"
    for path in ("/tasks", *(f"/tasks/{task}" for task in ids[:5])):
        status, text = page(arena, path)
        assert status == 200
        assert not negative_durations(text), (path, negative_durations(text))


def negative_durations(text: str) -> list[str]:
    return re.findall(r">\s*[-−]\s*\d[\d.:]*\s*(?:ms|s|min|h)\b", text)
