"""The table of a task's steps: a page at a time, and by state."""

from __future__ import annotations

import re
from collections.abc import Callable

import psycopg
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from engine import tasks
from engine.db import Database
from engine.handlers import Workflow
from engine.requests import TaskRequest

Post = Callable[..., TestResponse]


@pytest.fixture
def wide_task(db: Database) -> str:
    """A step, 449 behind it, and a join over them all."""
    wide = Workflow("count_stock", namespace="shop", version="1.0.0")
    wide.step(name="begin")(lambda task: None)
    shelves = [f"shelf_{number}" for number in range(1, 450)]
    for shelf in shelves:
        wide.step(name=shelf, depends_on_step="begin")(lambda task: None)
    wide.step(name="report", depends_on_steps=shelves)(lambda task: None)
    tasks.register_definition(db, wide.definition)
    return tasks.submit(db, TaskRequest("count_stock", "shop"))


@pytest.fixture
def two_failed(wide_task: str, conn: psycopg.Connection[tuple[object, ...]]) -> str:
    conn.execute("update tasker_step set state = 5, attempts = 1 where step_no in (7, 404)")
    conn.execute("update tasker_task set failed_count = 2, state = 2")
    return wide_task


def rows(page: str) -> list[str]:
    table = page.split('id="task-steps"')[1].split("</table>")[0]
    return re.findall(r'<tr id="step-[0-9]+"[^>]* data-step="([^"]+)"', table)


def test_a_hundred_steps_are_on_a_page(client: FlaskClient, wide_task: str) -> None:
    pages = [client.get(f"/tasks/{wide_task}", query_string={"steps_from": start}).text for start in range(0, 451, 100)]
    assert [len(rows(page)) for page in pages] == [100, 100, 100, 100, 51]
    assert "1 to 100 of 451" in pages[0]
    assert "401 to 451 of 451" in pages[-1]
    assert sorted(name for page in pages for name in rows(page)) == sorted({"begin", "report", *(f"shelf_{number}" for number in range(1, 450))})


def test_pages_lead_to_each_other(client: FlaskClient, wide_task: str) -> None:
    first, second = (client.get(f"/tasks/{wide_task}", query_string={"steps_from": start}).text for start in (0, 100))
    assert 'rel="prev"' not in first
    assert f'<a rel="next" href="/tasks/{wide_task}?steps_from=100#task-steps">' in first
    assert f'<a rel="prev" href="/tasks/{wide_task}#task-steps">' in second
    assert f'<a rel="next" href="/tasks/{wide_task}?steps_from=200#task-steps">' in second


def test_steps_in_one_state_are_shown_alone(client: FlaskClient, two_failed: str) -> None:
    whole = client.get(f"/tasks/{two_failed}").text
    assert f'href="/tasks/{two_failed}?steps=failed#task-steps"' in whole
    assert rows(client.get(f"/tasks/{two_failed}?steps=failed").text) == ["shelf_7", "shelf_404"]
    assert "No step is completed now." in client.get(f"/tasks/{two_failed}?steps=completed").text


@pytest.mark.parametrize("asked", ["steps=asleep", "steps_from=-5", "steps_from=99999999999", "steps_from=\u0663", "steps_from=9e9", "steps=&steps_from="])
def test_what_makes_no_sense_shows_steps_all_the_same(client: FlaskClient, wide_task: str, asked: str) -> None:
    assert len(rows(client.get(f"/tasks/{wide_task}?{asked}").text)) == 100


def test_a_place_behind_the_end_shows_the_last_page(client: FlaskClient, wide_task: str) -> None:
    assert "401 to 451 of 451" in client.get(f"/tasks/{wide_task}?steps_from=9000").text


def test_a_live_page_keeps_what_it_shows(client: FlaskClient, two_failed: str) -> None:
    page = client.get(f"/tasks/{two_failed}?steps=failed").text
    assert f'hx-get="/tasks/{two_failed}?steps=failed"' in page
    update = client.get(f"/tasks/{two_failed}?steps=failed", headers={"HX-Request": "true"}).text
    assert rows(update) == ["shelf_7", "shelf_404"]


def test_an_action_keeps_what_its_page_shows(client: FlaskClient, two_failed: str, post: Post) -> None:
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/tasks").text)
    assert token
    headers = {"HX-Request": "true", "HX-Current-URL": f"http://localhost/tasks/{two_failed}?steps=failed#task-steps"}
    path = f"/tasks/{two_failed}/notes"
    assert rows(client.post(path, data={"csrf_token": token[1], "note": " "}, headers=headers).text) == ["shelf_7", "shelf_404"]


def test_a_group_of_the_graph_leads_to_the_row_of_its_first_step(client: FlaskClient, wide_task: str) -> None:
    graph = client.get(f"/tasks/{wide_task}?steps_from=200").text.split('id="graph-drawing"')[1].split("</svg>\n  </div>")[0]
    [lead] = set(re.findall(r'<a href="([^"]*#step-[0-9]+)"', graph))
    page, _, row = lead.partition("#")
    assert f'<tr id="{row}"' in client.get(page).text


def test_a_short_table_is_not_cut_and_offers_no_states(client: FlaskClient, failed_task: str) -> None:
    page = client.get(f"/tasks/{failed_task}").text
    assert len(rows(page)) == 4
    assert "Steps by state" not in page
