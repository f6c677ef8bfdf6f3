"""How long tasks are kept, and the sweep that drops what is older, alone and in a running engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from engine import TaskRequest, Workflow, events, tasks
from engine.db import Database
from engine.definition import StepTemplate, TaskDefinition
from engine.errors import NotFound, RequestError
from engine.keeping import retention
from engine.keeping.retention import BATCHES_PER_ROUND, STEPS_PER_BATCH, Dropped, Old, Sweep
from engine.registry import HandlerRegistry
from engine.scheduler import Engine

DAY = timedelta(days=1)
Conn = psycopg.Connection[Any]


def known(db: Database, name: str = "one", *, namespace: str = "tests", steps: int = 1) -> None:
    definition = TaskDefinition(namespace, name, version="1.0.0", steps=tuple(StepTemplate(f"s{number}") for number in range(steps)))
    tasks.register_definition(db, definition)


def ended(db: Database, conn: Conn, count: int, name: str = "one", *, namespace: str = "tests") -> list[str]:
    """New tasks, all of whose steps were skipped by hand."""
    ids = tasks.submit_many(db, [TaskRequest(name, namespace) for _ in range(count)])
    conn.execute("delete from tasker_ready")
    conn.execute("update tasker_step set state = 7, finished_at = tasker_clock() where state = 1")
    conn.execute("update tasker_task set state = 4, remaining = 0, finished_at = tasker_clock() where finished_at is null")
    return ids


def count(conn: Conn) -> int:
    found = conn.execute("select count(*) from tasker_task").fetchone()
    return int(found[0]) if found else -1


@pytest.mark.parametrize(("text", "length"), [("90d", 90 * DAY), ("1d12h", 1.5 * DAY), ("36h", 1.5 * DAY), ("1m", timedelta(minutes=1)), ("36500d", 36_500 * DAY)])
def test_a_retention_is_written_like_an_interval(text: str, length: timedelta) -> None:
    assert retention.retention(text) == length


@pytest.mark.parametrize("text", ["", "0d", "59s", "-1d", "90", "ninety days", "36501d", "99999d", "1y", "1.5d", "9" * 400, "9" * 400 + "d", "٣d"])
def test_what_is_no_retention_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="must be from 1m to 36500d"):
        retention.retention(text)


def test_a_namespace_has_its_own_retention_or_the_default(db: Database) -> None:
    known(db)
    known(db, namespace="other")
    retention.set_default(db, 90 * DAY, actor="ann")
    retention.set_retention(db, "other", None, actor="bob")
    found = {row.namespace: (row.retention, row.by_default, row.set_by) for row in retention.retentions(db)}
    assert found == {"other": (None, False, "bob"), "tests": (90 * DAY, True, "ann")}
    retention.follow_default(db, "other")
    assert retention.retention_of(db, "other").retention == 90 * DAY
    retention.set_default(db, None, actor="ann")
    assert retention.default_retention(db) is None
    assert retention.retention_of(db, "tests").retention is None


def test_an_unknown_namespace_is_not_found(db: Database) -> None:
    for act in (lambda: retention.set_retention(db, "nowhere", DAY, actor="ann"), lambda: retention.follow_default(db, "nowhere"), lambda: retention.retention_of(db, "nowhere")):
        with pytest.raises(NotFound, match="nowhere"):
            act()


def test_a_sweep_drops_what_is_old_in_every_namespace_that_says_so(db: Database, conn: Conn, later: Callable[..., Database]) -> None:
    for namespace in ("tests", "kept"):
        known(db, namespace=namespace)
        ended(db, conn, 3, namespace=namespace)
    retention.set_retention(db, "tests", 30 * DAY, actor="ann")
    assert Sweep(db).finish() == Dropped(0, 0)
    then = later(days=31)
    assert retention.old_tasks(then, namespace="tests") == Old(3, 0, 0)
    assert Sweep(then).finish() == Dropped(3, 3)
    assert count(conn) == 3
    assert retention.old_tasks(then, namespace="kept") == Old(0, 0, 0)


def test_a_sweep_may_be_of_one_namespace(db: Database, conn: Conn, later: Callable[..., Database]) -> None:
    for namespace in ("tests", "other"):
        known(db, namespace=namespace)
        ended(db, conn, 2, namespace=namespace)
    retention.set_default(db, DAY, actor="ann")
    assert Sweep(later(days=2), namespace="other").finish() == Dropped(2, 2)


def test_a_batch_holds_about_so_many_steps_and_a_round_so_many_batches(db: Database, conn: Conn, later: Callable[..., Database]) -> None:
    known(db, steps=300)
    ended(db, conn, 10)
    retention.set_default(db, DAY, actor="ann")
    sweep, never = Sweep(later(days=2)), threading.Event()
    assert STEPS_PER_BATCH // 300 == 3
    assert sweep.go_on(never, batches=1) == Dropped(3, 900)
    assert sweep.go_on(never, batches=2) == Dropped(6, 1_800)
    assert sweep.go_on(never) == Dropped(1, 300)
    assert BATCHES_PER_ROUND * STEPS_PER_BATCH == 100_000


def test_definitions_take_turns(db: Database, conn: Conn, later: Callable[..., Database]) -> None:
    for name in ("one", "two"):
        known(db, name, steps=1_000)
        ended(db, conn, 3, name)
    retention.set_default(db, DAY, actor="ann")
    Sweep(later(days=2)).go_on(threading.Event(), batches=2)
    left = conn.execute("select d.name, count(*) from tasker_task join tasker_definition d using (definition_id) group by 1 order by 1").fetchall()
    assert left == [("one", 2), ("two", 2)]


def test_a_round_ends_when_it_is_told_to_stop(db: Database, conn: Conn, later: Callable[..., Database]) -> None:
    known(db)
    ended(db, conn, 3)
    retention.set_default(db, DAY, actor="ann")
    stopped = threading.Event()
    stopped.set()
    assert Sweep(later(days=2)).go_on(stopped) == Dropped(0, 0)


def test_what_keeps_old_tasks_is_counted(db: Database, conn: Conn, later: Callable[..., Database]) -> None:
    known(db)
    ended(db, conn, 2)
    tasks.submit(db, TaskRequest("one", "tests"))
    retention.set_default(db, DAY, actor="ann")
    assert retention.old_tasks(later(days=2), namespace="tests") == Old(2, 1, 0)


def test_two_sweeps_at_once_share_the_work(db: Database, conn: Conn, later: Callable[..., Database]) -> None:
    # Forbids that a task is counted twice, or that one sweep fails for the other's sake.
    known(db, steps=50)
    ended(db, conn, 200)
    retention.set_default(db, DAY, actor="ann")
    then, dropped = later(days=2), []
    threads = [threading.Thread(target=lambda: dropped.append(Sweep(then).finish())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(dropped) == 4
    while (rest := Sweep(then).finish()).task_count:   # what each passed by for the other's sake
        dropped.append(rest)
    assert sum(each.task_count for each in dropped) == 200
    assert count(conn) == 0


def test_a_batch_that_takes_too_long_is_halved_until_it_is_through(db: Database, conn: Conn, later: Callable[..., Database], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "STEPS_PER_BATCH", 40)
    known(db)
    ended(db, conn, 40)
    retention.set_default(db, DAY, actor="ann")
    later(days=2)
    conn.execute("create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.02); return old; end'")
    conn.execute("create trigger slow before delete on tasker_step for each row execute function slow()")
    hurried = Database(db.url, max_size=1, call_seconds=0.5)
    assert Sweep(hurried).finish() == Dropped(40, 40)
    hurried.close()
    assert count(conn) == 0


def test_a_reader_of_events_goes_on_over_what_was_dropped(db: Database, conn: Conn, later: Callable[..., Database]) -> None:
    known(db)
    [gone] = ended(db, conn, 1)
    events.publish_event(db, "order.priced", task=gone)
    retention.set_default(db, DAY, actor="ann")
    then = later(days=2)
    assert Sweep(then).finish() == Dropped(1, 1)
    [kept] = ended(then, conn, 1)
    events.publish_event(then, "order.priced", task=kept)
    reader, deadline = events.EventReader(then, 0), time.monotonic() + 20
    while not (found := reader.read()):   # transactions of other databases of the server hold it back
        assert time.monotonic() < deadline, "nothing was read"
    assert [event["task_id"] for event in found] == [kept]


def test_a_running_engine_drops_what_is_old(
    db: Database, conn: Conn, later: Callable[..., Database], database_url: str, registry: HandlerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.scheduler.RETENTION_SECONDS", 0.1)
    known(db)
    ended(db, conn, 3)
    retention.set_retention(db, "tests", 30 * DAY, actor="ann")
    later(days=31)
    Workflow("other", namespace="tests", version="1.0.0").define("work")
    engine = Engine(database_url, registry, runner="threads", concurrency=2, grace=1)
    engine.start()
    try:
        deadline = time.monotonic() + 20
        while count(conn):
            assert time.monotonic() < deadline, "nothing was dropped"
            time.sleep(0.02)
    finally:
        engine.drain()
