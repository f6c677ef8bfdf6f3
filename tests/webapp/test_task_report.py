"""`/tasks/<id>/report`, and what the dashboard says of retention."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from engine.db import Database
from engine.keeping import archives, retention
from engine.keeping.retention import Sweep

UNKNOWN = "7f3b4c80-0000-4000-8000-000000000000"


def test_the_page_of_a_task_links_to_its_report(client: FlaskClient, failed_task: str) -> None:
    page = client.get(f"/tasks/{failed_task}").text
    assert f'href="/tasks/{failed_task}/report" download' in page
    assert f'href="/tasks/{failed_task}/report?format=markdown" download' in page


def test_a_report_is_a_page_to_be_kept(client: FlaskClient, failed_task: str) -> None:
    answer = client.get(f"/tasks/{failed_task}/report")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="task-{failed_task}.html"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert "no answer &lt;b&gt;in&lt;/b&gt; time" in answer.text


def test_where_it_is_opened_nothing_but_its_own_style_counts(client: FlaskClient, failed_task: str) -> None:
    policy = client.get(f"/tasks/{failed_task}/report").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_a_report_may_be_markdown(client: FlaskClient, failed_task: str) -> None:
    answer = client.get(f"/tasks/{failed_task}/report?format=markdown")
    assert answer.content_type == "text/markdown; charset=utf-8"
    assert answer.headers["Content-Disposition"].endswith('.md"')
    assert answer.text.startswith("# `shop/process_order`")


def test_a_task_that_is_not_there_may_have_been_dropped(client: FlaskClient) -> None:
    for path in (f"/tasks/{UNKNOWN}", f"/tasks/{UNKNOWN}/report", f"/tasks/{UNKNOWN}/steps/charge"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "it may have been dropped after its retention" in answer.text


@pytest.mark.usefixtures("definition_id")
def test_a_namespace_says_how_long_it_keeps_its_tasks(client: FlaskClient, db: Database) -> None:
    assert "tasks kept for ever" in client.get("/workflows/shop").text
    retention.set_retention(db, "shop", timedelta(days=90), actor="ann")
    assert "tasks kept for 90 d" in client.get("/workflows/shop").text
    assert "tasks kept for 90 d" in client.get("/workflows").text
    archives.set_archive(db, "shop", "/srv/archive", actor="ann")
    assert "tasks kept for 90 d, then archived" in client.get("/workflows/shop").text
    db.value("select tasker_note_archive('shop', 0, 'no room')")
    page = client.get("/workflows").text
    assert "Archive fails: nothing is dropped" in page
    assert "then archived" not in page


def test_pages_go_on_without_a_task_that_was_dropped(client: FlaskClient, db: Database, launch: Callable[..., str], failed_task: str) -> None:
    kept = launch()
    db.value("update tasker_task set created_at = created_at - interval '2 days', finished_at = finished_at - interval '2 days' where state = 5 returning 1")
    retention.set_default(db, timedelta(days=1), actor="ann")
    assert Sweep(db).finish().task_count == 1
    for path in ("/", "/tasks", "/workflows/shop/process_order", f"/tasks/{kept}"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert failed_task not in answer.text
    assert client.get(f"/tasks/{failed_task}").status_code == 404
