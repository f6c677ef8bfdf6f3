"""When a task is likely to end, from what its workflow took before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from engine import queries
from engine.db import Database
from engine.measures import standing

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
