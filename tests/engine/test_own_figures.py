"""What an engine counts of its own work stands in its row of the database, by its heartbeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from engine import PermanentError, TaskRequest, Workflow, tasks
from engine.db import Database
from engine.monitoring.own_figures import SECONDS, SIZES, Figures, Histogram
from engine.registry import HandlerRegistry
from engine.scheduler import Engine


def test_a_histogram_keeps_each_value_below_its_limit() -> None:
    histogram = Histogram((1, 5))
    for value in (0.5, 1, 2, 5, 6):
        histogram.note(value)
    assert histogram.written() == {"bins": [2, 2, 1], "sum": 14.5}


def test_a_call_that_fails_is_counted() -> None:
    figures = Figures()
    try:
        with figures.call("heartbeat"):
            raise ValueError
    except ValueError:
        pass
    assert sum(figures.written(running=0, listener_seconds=None)["calls"]["heartbeat"]["bins"]) == 1


def test_why_steps_go_back_is_told_until_it_is_over() -> None:
    figures = Figures()
    figures.hindered("StoreFailed", "there is no folder")
    figures.hindered("StoreFailed", "it does not answer")
    figures.hindered("handler_missing", "shop/order@2.0.0 is not registered")
    assert figures.written(running=0, listener_seconds=None)["hindrances"] == ["it does not answer", "shop/order@2.0.0 is not registered"]
    figures.unhindered("StoreFailed")
    assert figures.written(running=0, listener_seconds=None)["hindrances"] == ["shop/order@2.0.0 is not registered"]


def test_each_call_that_a_duty_makes_counts_by_the_dutys_name(database_url: str) -> None:
    figures = Figures()
    database = Database(database_url, note=figures.of_duty)
    database.value("select pg_sleep(0.3)")
    with figures.duty("reap"):
        database.value("select pg_sleep(0.02)")
        with pytest.raises(psycopg.Error):
            database.value("select 1 / 0")
        with database.connection() as connection, connection.transaction():
            connection.execute("select 1")
    database.close()
    [(name, written)] = figures.written(running=0, listener_seconds=None)["calls"].items()
    assert (name, sum(written["bins"])) == ("reap", 5), "two statements, and one between the two of its transaction"
    assert written["sum"] >= 0.02


def test_an_engine_times_every_kind_of_call_and_every_duty(registry: HandlerRegistry, db: Database, database_url: str, eventually: Callable[..., bool]) -> None:
    flow = Workflow("all_kinds", namespace="tests", version="1.0.0", limit={"at_once": 1})
    flow.define("choose", decision=True, handler_class=lambda: ["list", "large", "fail"])
    flow.define("list", depends_on_step="choose", handler_class=lambda: [1, 2])
    flow.define("each", depends_on_step="list", for_each="list", handler_class=lambda item: item)
    flow.define("large", depends_on_step="choose", handler_class=lambda: "x" * 9_000)
    flow.define("read", depends_on_step="large", handler_class=lambda large: len(large))
    flow.define("fail", depends_on_step="choose", handler_class=_fail)
    engine = Engine(database_url, registry, runner="threads", concurrency=2, grace=1)
    engine.start()
    try:
        task_id = tasks.submit(db, TaskRequest("all_kinds", "tests"))
        assert eventually(lambda: db.value("select finished_at is not null from tasker_task where task_id = %(id)s", {"id": task_id}))
        for name, duty, _ in engine._duties():
            engine._timed(name, duty)()
        written = engine.figures.written(running=0, listener_seconds=None)["calls"]
    finally:
        engine.drain()
    calls = {name: sum(times["bins"]) for name, times in written.items()}
    reports = {"complete_and_claim", "decide_steps", "expand_step", "fail_steps", "free_places", "read_tasks", "read_items", "read_results"}
    duties = {"heartbeat", "reap", "places", "schedules", "batches", "views", "notices", "retention", "rollup", "words"}
    assert reports | duties <= calls.keys()
    assert calls["expand_step"] >= 2  # of any there are more where a report met a conflict and was made again


def _fail() -> None:
    raise PermanentError("never")


def test_an_engine_writes_its_figures_with_its_heartbeat(
    registry: HandlerRegistry, db: Database, database_url: str, conn: psycopg.Connection[Any], eventually: Callable[..., bool]
) -> None:
    Workflow("one", namespace="tests", version="1.0.0").define("work")
    engine = Engine(database_url, registry, runner="threads", concurrency=2, grace=1)
    engine.start()
    try:
        task_id = tasks.submit(db, TaskRequest("one", "tests"))
        assert eventually(lambda: db.value("select finished_at is not null from tasker_task where task_id = %(id)s", {"id": task_id}))
        assert eventually(lambda: engine.worker.heard_at is not None)
        engine.worker.heartbeat(conn)
        [(written,)] = conn.execute("select figures from tasker_worker").fetchall()
        engine.worker._lose_lease()
        engine.worker._lose_lease()
        losses = engine.figures.written(running=0, listener_seconds=None)["lease_losses"]
    finally:
        engine.drain()
    assert (len(written["batches"]["bins"]), sum(written["batches"]["bins"]), written["batches"]["sum"]) == (len(SIZES) + 1, 1, 1)
    assert sum(written["calls"]["complete_and_claim"]["bins"]) >= 1
    assert len(written["calls"]["complete_and_claim"]["bins"]) == len(SECONDS) + 1
    assert (written["running"], losses) == (0, 1)
    assert written["listener_seconds"] >= 0
