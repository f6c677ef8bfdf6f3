"""`/search`: one box finds tasks, failures and workflows, also without JavaScript, and nothing of foreign namespaces."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import session_of, token_for

from engine import rollups, steps
from engine.db import Database
from engine.finding import words
from webapp.access import COOKIE


@pytest.fixture
def indexed(db: Database, failed_task: str) -> str:
    """A task of which a step failed, found by everything that is known of it."""
    assert rollups.catch_up(db)
    while words.index_words(db) or not db.value("select exists (select from tasker_step_words)"):
        pass
    return failed_task


def linked(page: str) -> set[str]:
    """The tasks and steps that the page leads to."""
    return set(re.findall(r'href="(/tasks/[^"?]+)"', page.partition("<main")[2]))


def test_the_box_of_every_page_finds_by_context_error_and_name(client: FlaskClient, indexed: str) -> None:
    assert re.search(r'<form class="finder" action="/search" role="search">', client.get("/engines").text)
    assert linked(client.get("/search?q=7").text) == {f"/tasks/{indexed}"}
    assert linked(client.get(f"/search?q={indexed[:8]}").text) == {f"/tasks/{indexed}"}
    failure = client.get("/search?q=slow+answer").text
    assert f"/tasks/{indexed}/steps/charge" in linked(failure)
    assert "Steps that failed" in failure
    assert 'href="/workflows/shop/process_order/1.0.0"' in client.get("/search?q=process").text


@pytest.mark.parametrize("get_over", ["skip", "resolve", "retry"])
def test_a_step_that_has_got_over_its_error_is_shown_with_it(client: FlaskClient, indexed: str, db: Database, engine: Any, get_over: str) -> None:
    given = {"result": None} if get_over == "resolve" else {}
    getattr(steps, f"{get_over}_step")(db, indexed, "charge", actor="tests", **given)
    if get_over == "retry":
        engine.complete(indexed, "charge")
    page = client.get("/search?q=slow+answer").text
    assert f"/tasks/{indexed}/steps/charge" in linked(page)
    assert "GatewayTimeout: no answer &lt;b&gt;in&lt;/b&gt; time" in page


def test_what_is_not_there_is_said_with_what_to_do(client: FlaskClient, indexed: str) -> None:
    assert "Nothing bears all of it" in client.get("/search?q=zanzibar").text
    assert "Type the id of a task" in client.get("/search").text
    hostile = client.get("/search?q=%3Cscript%3Ealert(1)%3C/script%3E'%22%00%F0%9F").text
    assert "<script>alert" not in hostile
    assert "This link to older ones is damaged" in client.get("/search?q=7&tasks_before=x").text


def test_older_ones_are_led_to(client: FlaskClient, launch: Callable[..., str]) -> None:
    made = [launch(number, tags=("bulk",)) for number in range(1, 24)]
    page = client.get("/search?q=bulk").text
    [older] = re.findall(r'rel="next" href="([^"]+)">Older tasks', page)
    rest = client.get(older.replace("&amp;", "&")).text
    assert linked(page) | linked(rest) == {f"/tasks/{task_id}" for task_id in made}
    assert not linked(page) & linked(rest)


def test_nothing_of_a_foreign_namespace_is_found(app: Flask, indexed: str, database_url: str) -> None:
    stranger = FlaskClient(app)
    stranger.set_cookie(COOKIE, session_of(database_url, "stranger", "viewer", "elsewhere"))
    for text in ("7", indexed, "slow answer", "process_order", "charge"):
        assert linked(stranger.get(f"/search?q={text}").text) == set(), text
        assert "Nothing bears all of it" in stranger.get(f"/search?q={text}").text


def test_an_answer_of_the_api_is_the_same(client: FlaskClient, indexed: str, app: Flask, database_url: str) -> None:


    caller: Any = FlaskClient(app)
    found = caller.get("/api/v1/search?q=slow+answer", headers={"Authorization": f"Bearer {token_for(database_url)}"}).json
    assert [(one["task_id"], one["step_name"]) for one in found["steps"]] == [(indexed, "charge")]
    assert found["tasks"] == []
