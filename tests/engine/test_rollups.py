"""The counting of moves as a duty of running engines."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from engine import TaskRequest, Workflow, rollups, tasks
from engine.db import Database
from engine.measures import spans
from engine.registry import HandlerRegistry
from engine.scheduler import Engine

COUNTED = "select coalesce(sum(move_count), 0)::int from tasker_task_rollup where grain = 3 and state = 4"


def test_of_several_running_engines_each_task_is_counted_once(
    db: Database, conn: psycopg.Connection[Any], database_url: str, registry: HandlerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.scheduler.ROLLUP_SECONDS", 0.05)
    Workflow("one", namespace="tests", version="1.0.0").define("work")
    engines = [Engine(database_url, registry, runner="threads", concurrency=4, grace=1) for _ in range(2)]
    try:
        for engine in engines:
            engine.start()
        tasks.submit_many(db, [TaskRequest("one", "tests") for _ in range(40)])
        deadline = time.monotonic() + 60
        while db.value(COUNTED) < 40:
            assert time.monotonic() < deadline, "not all were counted"
            time.sleep(0.05)
    finally:
        for engine in engines:
            engine.drain()
    assert rollups.catch_up(db)
    assert conn.execute(COUNTED).fetchone() == (40,)


def test_catching_up_does_not_wait_for_ever_for_an_open_transaction(db: Database, conn: psycopg.Connection[Any]) -> None:
    with conn.transaction():
        conn.execute("insert into tasker_history (task_no, at, from_state, to_state) values (1, now(), 0, 2)")
        db.rows("insert into tasker_history (task_no, at, from_state, to_state) values (2, now(), 0, 2) returning task_no")
        assert not rollups.catch_up(db, patience=0.05)
    assert rollups.catch_up(db)


def test_a_round_forgets_what_is_older_than_it_is_kept(db: Database, conn: psycopg.Connection[Any]) -> None:
    conn.execute("insert into tasker_namespace (namespace) values ('tests')")
    conn.execute(
        "insert into tasker_definition (namespace, name, version, version_rank, prerelease, fingerprint, step_count, created_at)"
        " values ('tests', 'one', '1.0.0', '1', false, '', 1, now())"
    )
    for grain, kept in ((0, spans.MINUTES_KEPT), (1, spans.HOURS_KEPT)):
        for age in (kept - timedelta(hours=1), kept + timedelta(hours=1)):
            conn.execute(
                "insert into tasker_task_rollup select definition_id, %s, 4, now() - %s, 1, 0, 0, '0', '0', '{}' from tasker_definition", [grain, age]
            )
    rollups.RollUp(db).go_on(threading.Event())
    assert conn.execute("select grain, count(*)::int from tasker_task_rollup group by 1 order by 1").fetchall() == [(0, 1), (1, 1)]
