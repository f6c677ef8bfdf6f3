"""Decisions, map steps and their items on the pages of a task, a step and a workflow."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

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
def press(db: Database, conn: psycopg.Connection[Any], engine: Any) -> Any:
    """An engine for the workflow list -> print (for each) -> carry (decision) -> post or courier."""
    flow = Workflow("print_books", namespace="press")

    @flow.step()
    def list_books() -> None: ...

    @flow.step(depends_on_step="list_books", for_each="list_books.books")
    def print_book(item: Any) -> None: ...

    @flow.step(depends_on_step="print_book", decision=True)
    def carry() -> None: ...

    @flow.step(depends_on_step="carry")
    def post() -> None: ...

    @flow.step(depends_on_step="carry")
    def courier() -> None: ...

    return type(engine)(conn, [tasks.register_definition(db, flow.definition)])


@pytest.fixture
def printing(db: Database, press: Any) -> Callable[[int], str]:
    """Makes a task that prints so many books, and has made the items for them."""

    def make(count: int) -> str:
        task_id = tasks.submit(db, TaskRequest("print_books", "press"))
        press.complete(task_id, "list_books", result={"books": [{"title": f"Volume {number}"} for number in range(count)]})
        press.expand(task_id, "print_book")
        return task_id

    return make


def test_a_map_step_names_where_its_list_comes_from(client: FlaskClient, db: Database) -> None:
    flow = Workflow("bind_books", namespace="press")
    flow.define("begin")
    flow.define("list_books", depends_on_step="begin", handler_class="press.list_books")
    flow.define("bind", depends_on_step="list_books", for_each="list_books.books", handler_class="press.bind")
    tasks.register_definition(db, flow.definition)
    task_id = tasks.submit(db, TaskRequest("bind_books", "press"))
    assert "<code>list_books.books</code>" in client.get(f"/tasks/{task_id}/steps/bind").text


def test_a_map_step_is_one_node_with_the_count_of_its_items(client: FlaskClient, printing: Callable[[int], str], press: Any) -> None:
    task_id = printing(3)
    press.complete(task_id, "print_book[1]")
    page = client.get(f"/tasks/{task_id}").text
    assert page.count('class="node state-') == 5
    node = page[page.index('class="node state-pending" data-step="print_book"') :][:1200]
    assert ">print_book</text>" in node
    assert ">Pending 1/3</text>" in node
    assert "items: 2 running, 1 completed" in node
    assert 'href="#icon-map"' in node


def test_a_failed_item_shows_in_the_node_the_table_and_the_headline(client: FlaskClient, printing: Callable[[int], str], press: Any) -> None:
    task_id = printing(30)
    press.fail(task_id, "print_book[29]")
    page = client.get(f"/tasks/{task_id}").text
    assert ">Pending 1 failed</text>" in page
    assert 'class="row-failed item" data-step="print_book[29]"' in page
    assert "29 items of print_book are running. print_book[29] failed and holds its branch." in page
    assert f'formaction="/tasks/{task_id}/steps/print_book%5B29%5D/retry"' in page


def test_the_table_of_a_task_stops_at_twenty_items_and_leads_to_the_rest(client: FlaskClient, printing: Callable[[int], str]) -> None:
    task_id = printing(120)
    page = client.get(f"/tasks/{task_id}").text
    assert page.count(' item" data-step="print_book[') == 20
    assert f'<a href="/tasks/{task_id}/steps/print_book#step-items">100 more of print_book</a>' in page
    first = client.get(f"/tasks/{task_id}/steps/print_book").text
    assert first.count('data-step="print_book[') == 50
    assert f'href="/tasks/{task_id}/steps/print_book?items_from=50#step-items">Later' in first
    last = client.get(f"/tasks/{task_id}/steps/print_book?items_from=100").text
    assert 'data-step="print_book[119]"' in last
    assert "Later</a>" not in last
    assert f'href="/tasks/{task_id}/steps/print_book?items_from=50#step-items">Earlier' in last


@pytest.mark.parametrize("place", ["-5", "x", "99999999999999999999"])
def test_a_place_that_is_none_shows_a_page_all_the_same(client: FlaskClient, printing: Callable[[int], str], place: str) -> None:
    assert client.get(f"/tasks/{printing(2)}/steps/print_book?items_from={place}").status_code == 200


def test_htmx_gets_the_items_with_the_other_regions(client: FlaskClient, printing: Callable[[int], str]) -> None:
    regions = client.get(f"/tasks/{printing(2)}/steps/print_book", headers={"HX-Request": "true"}).text
    assert '<div id="step-items"' in regions
    assert 'data-step="print_book[1]"' in regions
    assert "<html" not in regions


def test_an_item_has_a_page_with_what_it_works_on(client: FlaskClient, printing: Callable[[int], str]) -> None:
    task_id = printing(3)
    page = client.get(f"/tasks/{task_id}/steps/print_book[2]").text
    assert "What it works on" in page
    assert "Volume 2" in page
    assert f'2 of <a href="/tasks/{task_id}/steps/print_book">print_book</a>' in page
    assert client.get(f"/tasks/{task_id}/steps/print_book[3]").status_code == 404


def test_an_item_is_retried_like_any_step(client: FlaskClient, post: Post, printing: Callable[[int], str], press: Any) -> None:
    task_id = printing(2)
    press.fail(task_id, "print_book[0]")
    answer = post(f"/tasks/{task_id}/steps/print_book[0]/retry", reason="paper came")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/tasks/{task_id}/steps/print_book%5B0%5D")
    assert press.state(task_id, "print_book[0]") == "ready"


def test_the_activity_tells_a_map_step_as_one_piece_of_work(client: FlaskClient, printing: Callable[[int], str], press: Any) -> None:
    task_id = printing(2)
    press.complete(task_id, "print_book[0]", "print_book[1]")
    press.expand(task_id, "print_book")
    page = " ".join(client.get(f"/tasks/{task_id}").text.split())
    for words in ("started, attempt 1 on test engine", "made 2 items and waits for them", "has all its items", "completed"):
        assert page.count(f"steps/print_book\">print_book</a> {words}") == 1


def test_what_a_decision_did_not_choose_says_so(client: FlaskClient, printing: Callable[[int], str], press: Any) -> None:
    task_id = printing(0)
    press.decide(task_id, "carry", "post")
    page = client.get(f"/tasks/{task_id}").text
    assert "was skipped: not chosen by carry" in page
    assert "No decision chose a way to it." in page
    assert 'href="#icon-decision"' in page
    assert "It was passed over: no decision before it chose a way to it." in client.get(f"/tasks/{task_id}/steps/courier").text


def test_a_person_decides_with_the_names_offered(client: FlaskClient, post: Post, printing: Callable[[int], str], press: Any) -> None:
    task_id = printing(0)
    press.fail(task_id, "carry")
    page = client.get(f"/tasks/{task_id}/steps/carry/preview/resolution").text
    assert "Which steps go on, as a JSON list of their names: post, courier." in page
    refused = post(f"/tasks/{task_id}/steps/carry/resolution", result='["curier"]')
    assert refused.status_code == 422
    assert "did you mean &#39;courier&#39;?" in refused.text
    shown = post(f"/tasks/{task_id}/steps/carry/preview/resolution", result='["courier"]').text
    seen = re.findall(r'name="seen" value="(\w+)"', shown)[0]
    chosen = {"result": '["courier"]', "looked_at": '["courier"]'}
    assert post(f"/tasks/{task_id}/steps/carry/resolution", seen=seen, **chosen).status_code == 303
    assert (press.state(task_id, "courier"), press.state(task_id, "post")) == ("ready", "skipped")


def test_the_result_of_a_map_step_is_asked_for_as_a_list(client: FlaskClient, post: Post, printing: Callable[[int], str], press: Any) -> None:
    task_id = printing(1)
    assert ">[]</textarea>" in client.get(f"/tasks/{task_id}/steps/print_book/preview/resolution").text
    refused = post(f"/tasks/{task_id}/steps/print_book/resolution", result='"a"')
    assert (refused.status_code, "as this is a map step" in refused.text) == (422, True)
    assert ">[]</textarea>" not in client.get(f"/tasks/{task_id}/steps/print_book[0]/preview/resolution").text


def test_a_workflows_page_marks_decisions_and_map_steps(client: FlaskClient, press: Any) -> None:
    page = client.get("/workflows/press/print_books/0.1.0").text
    assert 'href="#icon-decision"' in page
    assert "for each of <code>list_books.books</code>" in page
