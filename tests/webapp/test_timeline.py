"""`/tasks/<id>/timeline`: queue, attempts and back-off of every step, as bars and in figures."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from flask.testing import FlaskClient

from engine import queries
from engine.db import Database
from webapp.timeline import Timeline, timeline

Launch = Callable[..., str]
BACKOFF = 40.0



def drawn(db: Database, task_id: str) -> Timeline:
    detail = queries.task(db, task_id)
    return timeline(detail.task, detail.steps, queries.moves(db, task_id), queries.clock(db))


def lane(found: Timeline, name: str) -> Any:
    return next(each for each in found.lanes if each.step.name == name)


def test_a_root_waits_in_the_queue_until_it_is_claimed(db: Database, launch: Launch, engine: Any) -> None:
    task_id = launch()
    assert [bar.kind for bar in lane(drawn(db, task_id), "validate").bars] == ["queue"]
    engine.claim()
    assert [bar.kind for bar in lane(drawn(db, task_id), "validate").bars] == ["queue", "run"]


def test_every_attempt_and_every_back_off_is_a_bar(db: Database, launch: Launch, engine: Any) -> None:
    task_id = launch()
    engine.fail(task_id, "validate", retryable=True, delay=BACKOFF)
    found = lane(drawn(db, task_id), "validate")
    assert [(bar.kind, bar.outcome) for bar in found.bars] == [
        ("queue", "running"),
        ("run", "retrying"),
        ("backoff", "retrying"),
    ]
    assert found.bars[1].words.startswith("attempt 1 on test engine: ran ")
    assert found.bars[1].words.endswith(", retrying")


def test_a_step_that_waits_for_others_has_no_bar(db: Database, launch: Launch, engine: Any) -> None:
    task_id = launch()
    engine.claim()
    assert lane(drawn(db, task_id), "ship").bars == ()


def test_a_task_that_is_over_ends_with_its_last_move(db: Database, launch: Launch, engine: Any) -> None:
    task_id = launch()
    engine.complete(task_id, "validate", "charge", "reserve", "ship")
    found = drawn(db, task_id)
    task = queries.task(db, task_id).task
    assert task.finished_at
    assert abs((task.finished_at - found.begins_at).total_seconds() - found.length) < 0.001
    assert all(bar.left + bar.width <= 100.01 for each in found.lanes for bar in each.bars)
    assert found.critical[0] == "validate"
    assert found.critical[-1] == "ship"


def test_the_page_has_bars_and_the_same_in_figures(client: FlaskClient, failed_task: str) -> None:
    page = client.get(f"/tasks/{failed_task}/timeline").text
    assert page.count('class="row-') == 4
    assert re.search(r'class="bar bar-run state-failed"', page)
    assert re.search(r"attempt 1 on test engine: ran [\d.]+ m?s, failed", page)
    assert 'aria-current="page">Timeline' in page
    assert "charge failed" in page


def test_htmx_gets_the_lines(client: FlaskClient, failed_task: str) -> None:
    region = client.get(f"/tasks/{failed_task}/timeline", headers={"HX-Request": "true"}).text
    assert 'id="task-timeline"' in region
    assert "<html" not in region


def test_an_unknown_task_has_no_timeline(client: FlaskClient) -> None:
    assert client.get(f"/tasks/{uuid4()}/timeline").status_code == 404
