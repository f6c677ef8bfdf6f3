"""The palette without a script, the zone that an account has chosen, what a tab says, and who is told of a task's end."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from signed_in import session_of
from werkzeug.test import TestResponse

from engine import batches, steps, tasks
from engine.db import Database
from engine.states import StepState
from webapp.access import COOKIE

HandEngine, Post = Any, Callable[..., TestResponse]


def test_the_palette_is_a_page_too_and_leads_only_where_its_reader_may_go(app: Flask, client: FlaskClient, post: Post, failed_task: str) -> None:
    post("/views", title="Broken <payments>", state="failed")
    page = client.get("/palette").text
    assert 'href="/audit"' in page
    assert "Broken &lt;payments&gt;" in page
    lines = client.get(f"/palette?q={failed_task[:13]}", headers={"HX-Request": "true"}).text
    assert f'data-url="/tasks/{failed_task}"' in lines
    assert "<html" not in lines
    assert "/workflows/shop/process_order/1.0.0/launch" in client.get("/palette?q=process").text

    stranger = FlaskClient(app)
    stranger.set_cookie(COOKIE, session_of(app.config["DATABASE_URL"], "stranger", "viewer", "elsewhere"))
    seen = stranger.get("/palette?q=process").text
    assert "process_order" not in seen
    assert 'href="/audit"' not in seen
    assert "&lt;payments&gt;" not in stranger.get("/palette?q=Broken").text


def test_times_are_in_the_zone_of_the_account_whatever_the_browser_says(client: FlaskClient, post: Post, failed_task: str) -> None:
    client.set_cookie("zone", "Europe/Berlin")
    assert 'data-zone="Europe/Berlin">' in client.get("/tasks").text
    assert post("/settings/zone", zone="Asia/Tokyo").status_code == 303
    page = client.get(f"/tasks/{failed_task}").text
    assert 'data-zone="Asia/Tokyo" data-zone-chosen>' in page
    assert post("/settings/zone", zone="Mars/Olympus").status_code == 422
    assert post("/settings/zone", zone="").status_code == 303
    assert 'data-zone="Europe/Berlin">' in client.get("/tasks").text


def test_a_tab_says_how_what_it_shows_stands(client: FlaskClient, launch: Callable[..., str], engine: HandEngine) -> None:
    task_id = launch()
    page = client.get(f"/tasks/{task_id}").text
    assert f"<title>Pending · process_order {task_id[:8]} · Tasker</title>" in page
    assert "/static/icons/pending.svg" in page
    engine.fail(task_id, "validate")
    region = client.get(f"/tasks/{task_id}", headers={"HX-Request": "true"}).text
    assert 'data-tab-state="failed"' in region
    assert 'data-tab-ended="yes"' in region
    overview = client.get("/").text
    assert "<title>1 failed · Overview · Tasker</title>" in overview
    for state in ("pending", "running", "retrying", "completed", "failed", "cancelled", "resolved", "plain"):
        assert client.get(f"/static/icons/{state}.svg").status_code == 200, state


def test_the_tab_of_a_step_a_batch_and_a_launched_file_says_how_these_stand(
    client: FlaskClient, post: Post, db: Database, launch: Callable[..., str], engine: HandEngine
) -> None:
    rows = "/workflows/shop/process_order/1.0.0/launch/rows"
    file = post(rows, rows="order_id\n1\n2\n", token="t" * 16, _launch="1").headers["Location"]
    tag = file.rpartition("/")[2]
    first, second = (str(row[0]) for row in db.rows("select task_id from tasker_task order by task_no"))
    batch = post("/batches/new/pause", tag=tag, count="2").headers["Location"]
    step = f"/tasks/{first}/steps/validate"

    def says(address: str, state: str, title: str) -> bool:
        """Both when it is opened and when it is renewed."""
        page, region = client.get(address).text, client.get(address, headers={"HX-Request": "true"}).text
        told = f'data-tab-state="{state}" data-tab-title="{title} · Tasker"'
        return f"<title>{title} · Tasker</title>" in page and f"/static/icons/{state}.svg" in page and told in page and told in region

    of_first, of_file = f"validate of process_order {first[:8]}", f"process_order, {tag}"
    assert says(step, "ready", f"Ready · {of_first}")
    assert says(batch, "running", "At it · Pause 2")
    assert says(file, "pending", f"0 of 2 ended · {of_file}")
    tasks.cancel_task(db, second, actor="tests")
    engine.fail(first, "validate", retryable=True, delay=40.0)
    batches.run_due(db, Event())
    assert says(step, "retrying", f"Retrying · {of_first}")
    assert says(batch, "completed", "Done, 1 refused · Pause 2")
    assert says(file, "running", f"1 of 2 ended · {of_file}")
    tasks.resume_task(db, first, actor="tests")
    steps.retry_step(db, first, "validate", actor="tests")
    engine.fail(first, "validate")
    assert says(step, "failed", f"Failed · {of_first}")
    assert says(file, "failed", f"2 of 2 ended, 1 failed · {of_file}")
    for state in StepState:
        assert client.get(f"/static/icons/{state}.svg").status_code == 200, state


def test_a_reader_has_others_told_of_a_tasks_end_and_thinks_better_of_it(client: FlaskClient, post: Post, launch: Callable[..., str]) -> None:
    task_id = launch()
    assert post(f"/tasks/{task_id}/followers", channel="email", target="ops@example.com").status_code == 303
    page = client.get(f"/tasks/{task_id}").text
    assert "email: ops@example.com" in page
    where = page.partition(f'action="/tasks/{task_id}/followers/')[2].partition('"')[0]
    assert post(f"/tasks/{task_id}/followers/{where}").status_code == 303
    assert "ops@example.com" not in client.get(f"/tasks/{task_id}").text
    for channel, target in (("email", "ops"), ("webhook", "javascript:alert(1)"), ("pigeon", "ops@example.com")):
        refused = post(f"/tasks/{task_id}/followers", channel=channel, target=target)
        assert refused.status_code == 422, target
