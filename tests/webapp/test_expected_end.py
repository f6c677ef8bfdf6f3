"""When a task is likely to end, from what its workflow took before."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from shown import facts, is_near, words

from engine import queries, rollups
from engine.db import Database
from engine.measures import standing
from webapp.filters import seconds

Launch = Callable[..., str]
HOUR = 3600.0


def given_runs(conn: Any, launch: Launch, engine: Any, *, count: int, seconds: float) -> None:
    """So many completed tasks that each took so long."""
    for _ in range(count):
        engine.complete(launch(), "validate", "charge", "reserve", "ship")
    conn.execute("update tasker_task set started_at = finished_at - make_interval(secs => %s) where state = 4", [seconds])


@pytest.mark.parametrize("count", [0, 4])
def test_too_few_runs_foretell_nothing(conn: Any, db: Database, launch: Launch, engine: Any, client: FlaskClient, count: int) -> None:
    given_runs(conn, launch, engine, count=count, seconds=HOUR)
    task_id = launch()
    engine.claim()
    of = queries.task(db, task_id).task
    assert standing.usuals(db, [(of.namespace, of.name, of.version)]) == {}
    assert "Usually takes" not in client.get(f"/tasks/{task_id}").text


def test_a_running_task_is_expected_to_take_as_long_as_others(conn: Any, launch: Launch, engine: Any, client: FlaskClient) -> None:
    given_runs(conn, launch, engine, count=5, seconds=HOUR)
    task_id = launch()
    engine.claim()
    page = client.get(f"/tasks/{task_id}").text
    assert "Expected end" in page
    assert "of 5 runs" in page
    assert "Longer than usual" not in page


def test_what_is_usual_and_what_was_taken_are_what_plain_sql_finds(conn: Any, db: Database, launch: Launch, engine: Any, client: FlaskClient) -> None:
    given_runs(conn, launch, engine, count=5, seconds=HOUR)
    conn.execute("update tasker_task set started_at = finished_at - task_no * task_no * interval '10 minutes'")
    conn.execute("update tasker_history set at = at - task_no * task_no * interval '7 minutes' where step_no = 1 and to_state = 2")
    conn.execute("update tasker_step set started_at = finished_at - task_no * task_no * interval '7 minutes' where step_no = 1")
    assert rollups.catch_up(db)
    running = launch()
    engine.claim()
    usual_of = "select percentile_cont(0.5) within group (order by x.took), percentile_cont(0.95) within group (order by x.took), percentile_disc(0.95) within group (order by x.took)"
    of_tasks = conn.execute(f"{usual_of} from (select finished_at - started_at as took from tasker_task where state = 4) x").fetchone()
    of_steps = conn.execute(f"{usual_of} from (select finished_at - started_at as took from tasker_step where state = 4 and step_no = 1) x").fetchone()
    (started_at,) = conn.execute("select started_at from tasker_task where task_id = %s", [running]).fetchone()
    done, task_took, step_took = conn.execute(
        "select t.task_id, t.finished_at - t.started_at, s.finished_at - s.started_at from tasker_task t join tasker_step s using (task_no) where t.state = 4 and s.step_no = 1 order by 2 offset 1 limit 1"
    ).fetchone()
    usual = f"{seconds(of_tasks[0])} 95 in 100 at most {seconds(of_tasks[1])}, of 5 runs"
    shown = facts(client.get(f"/tasks/{running}").text)
    assert words(shown["Usually takes"]) == usual
    assert [datetime.fromisoformat(at) for at in re.findall(r'datetime="([^"]+)"', shown["Expected end"])] == [started_at + of_tasks[0], started_at + of_tasks[1]]
    shown = facts(client.get(f"/tasks/{done}").text)
    assert (words(shown["Usually takes"]), shown["Took"]) == (usual, seconds(task_took))
    shown = facts(client.get(f"/tasks/{done}/steps/charge").text)
    assert shown["Took"] == seconds(step_took)
    told = re.fullmatch(r"(.+) 95 in 100 at most (.+), of 5 attempts that completed", words(shown["Usually takes"]))
    assert told
    assert is_near(told[1], of_steps[0].total_seconds())
    assert is_near(told[2], of_steps[2].total_seconds())


def test_a_task_that_runs_longer_than_nearly_all_says_so(conn: Any, launch: Launch, engine: Any, client: FlaskClient) -> None:
    given_runs(conn, launch, engine, count=5, seconds=HOUR)
    task_id = launch()
    engine.claim()
    conn.execute("update tasker_task set started_at = started_at - interval '2 hours' where task_id = %s", [task_id])
    page = client.get(f"/tasks/{task_id}").text
    assert "Longer than usual" in page
    assert "Expected end" not in page


@pytest.mark.parametrize(("seconds", "asked"), [(HOUR, 1), (0.0, 2)])
def test_what_is_usual_is_found_once_for_all_readers_and_kept(
    conn: Any, launch: Launch, engine: Any, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, seconds: float, asked: int
) -> None:
    given_runs(conn, launch, engine, count=5, seconds=HOUR)
    client.application.config["GLANCE_SECONDS"] = seconds
    calls, find = [], standing.usuals
    monkeypatch.setattr(standing, "usuals", lambda *given: calls.append(given) or find(*given))
    task_id = launch()
    engine.claim()
    assert ["of 5 runs" in client.get(f"/tasks/{task_id}").text for _ in range(2)] == [True, True]
    assert len(calls) == asked
