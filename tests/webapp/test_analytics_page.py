"""`/analytics`: what the page says is what the tables say, and all that was asked stands in the address."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import session_of

from engine import Workflow, rollups, tasks
from engine.db import Database
from webapp.access import COOKIE

Launch = Callable[..., str]


@pytest.fixture
def busy(db: Database, launch: Launch, engine: Any, failed_task: str) -> None:
    """Two tasks have completed, one has failed, and everything is counted."""
    for task_id in (launch(), launch()):
        engine.complete(task_id, "validate", "charge", "reserve", "ship")
    assert rollups.catch_up(db)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def words_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<title>.*?</title>|<svg.*?</svg>|<[^>]+>", " ", page, flags=re.S))


def test_the_figures_are_those_of_the_tables(client: FlaskClient, busy: None, conn: psycopg.Connection[Any]) -> None:
    page = client.get("/analytics?period=hour").text
    counts = dict(conn.execute("select state, count(*)::int from tasker_task where finished_at is not null group by 1").fetchall())
    assert counts == {4: 2, 5: 1}
    words = words_of(page)
    assert "Tasks ended 3 2 completed, 1 failed" in words
    assert "Completed 67 % Failed 33 %" in words
    waits = conn.execute("select count(*)::int from tasker_history where step_no is not null and to_state = 2").fetchone()
    attempts = conn.execute("select count(*)::int from tasker_step where state = 4").fetchone()
    assert waits
    assert attempts
    assert f"Completed attempts of steps {attempts[0]} " in words
    assert f"Waits of steps for an engine {waits[0]} " in words
    assert "shop/ process_order @1.0.0 3 67" in words
    assert re.search(r'role="img" aria-label="Tasks that ended by minute: 3 tasks in all', page), "a picture says what it shows"
    assert "<style" not in page
    assert not re.search(r"<[^>]+ style=", page)


def test_bottlenecks_name_steps_and_the_path_of_one_workflow(client: FlaskClient, busy: None) -> None:
    words = words_of(client.get("/analytics/bottlenecks").text)
    assert "Steps that fail or are tried again" in words
    assert "Choose one workflow" in words
    page = client.get("/analytics/bottlenecks?namespace=shop&name=process_order").text
    assert "the last 2 completed tasks of 1.0.0" in words_of(page)
    assert "cannot be told" not in page
    assert re.search(r'<th scope="row">validate</th><td class="number">\d+', page)
    assert 'href="/analytics?namespace=shop&amp;name=process_order"' in page, "the other view keeps what was asked"


def test_a_workflows_name_alone_tells_what_would_shorten_it_unless_several_have_it(client: FlaskClient, busy: None, db: Database) -> None:
    assert "the last 2 completed tasks of 1.0.0" in words_of(client.get("/analytics/bottlenecks?name=process_order").text)
    twin = Workflow("process_order", namespace="branch", version="1.0.0")
    twin.define("validate")
    tasks.register_definition(db, twin.definition)
    words = words_of(client.get("/analytics/bottlenecks?name=process_order").text)
    assert "There are workflows of this name in several namespaces." in words
    assert "What would shorten this workflow" not in words


def test_the_figures_of_every_workflow_and_step_are_there_as_files(client: FlaskClient, busy: None, db: Database) -> None:
    (workflow,) = lines(client.get("/analytics?period=hour&format=ndjson").text)
    assert [workflow[name] for name in ("namespace", "name", "version", "ended", "completed", "failed")] == ["shop", "process_order", "1.0.0", 3, 2, 1]
    assert workflow["seconds_longest"] == pytest.approx(db.value("select extract(epoch from max(finished_at - started_at))::float8 from tasker_task where state = 4"))
    steps = lines(client.get("/analytics/bottlenecks?period=hour&format=ndjson").text)
    expected = db.rows(
        """select p.name, count(*) filter (where h.to_state = 2)::int, count(*) filter (where h.to_state = 4)::int
             from tasker_history h join tasker_task t using (task_no) join tasker_template p on p.definition_id = t.definition_id and p.step_no = h.step_no
            group by p.name, p.step_no order by p.step_no"""
    )
    assert [(row["step_name"], row["started"], row["completed"]) for row in steps] == expected
    assert client.get("/analytics?namespace=nowhere&format=csv").status_code == 200, "a page that says what is wrong"
    assert client.get("/analytics/bottlenecks?period=hour&format=csv").text.startswith("namespace,name,version,step_name,started")


def test_a_time_in_which_no_task_of_the_workflow_completed_is_said(client: FlaskClient, failed_task: str, db: Database) -> None:
    assert rollups.catch_up(db)
    said = "Which step would shorten this workflow cannot be told: none of the newest 1 000 tasks"
    assert said in client.get("/analytics/bottlenecks?namespace=shop&name=process_order").text
    assert said not in client.get("/analytics/bottlenecks").text


def test_what_cannot_be_read_stays_with_a_sentence(client: FlaskClient, busy: None) -> None:
    page = client.get("/analytics?from=yesterday&period=fortnight").text
    assert "“yesterday” is no time" in page
    assert "There is no period “fortnight”" in page
    assert 'value="yesterday"' in page
    missing = client.get("/analytics?namespace=nowhere")
    assert missing.status_code == 200
    assert "There is no namespace &#34;nowhere&#34;" in missing.text
    assert client.get("/analytics/bottlenecks?from=9999-12-31T23:59&to=0001-01-01T00:00").status_code == 200
    assert client.get("/analytics?from=2001-01-01&to=2200-01-01").status_code == 200


def test_an_empty_time_is_said_to_be_empty(client: FlaskClient, definition_id: int) -> None:
    assert "No task ended in this time" in client.get("/analytics").text
    assert "No step began or ended in this time" in client.get("/analytics/bottlenecks").text


def test_what_waits_to_be_counted_is_said(client: FlaskClient, launch: Launch, engine: Any) -> None:
    engine.complete(launch(), "validate")
    assert re.search(r"\d+ moves of the last moments are not counted yet", words_of(client.get("/analytics").text))


def test_nobody_sees_figures_of_a_foreign_namespace(app: Flask, busy: None, database_url: str) -> None:
    stranger = FlaskClient(app)
    stranger.set_cookie(COOKIE, session_of(database_url, "stranger", "viewer", "elsewhere"))
    for path in ("/analytics", "/analytics/bottlenecks"):
        page = stranger.get(path).text
        assert "process_order" not in page
        assert "There is no namespace &#34;shop&#34;" in stranger.get(f"{path}?namespace=shop").text
