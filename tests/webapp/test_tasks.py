"""`/tasks`: the list, its filters and its pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from webapp.listing import PAGE_SIZE, TaskFilter, read_filter

Launch = Callable[..., str]


def shown(client: FlaskClient, **parameters: str) -> list[str]:
    """The ids on the list, in its order."""
    page = client.get("/tasks", query_string=parameters)
    assert page.status_code == 200
    return re.findall(r'<th scope="row"><a class="id" href="/tasks/([^"]+)">', page.text)


def test_the_newest_task_comes_first(client: FlaskClient, launch: Launch) -> None:
    first, second = launch(), launch()
    assert shown(client) == [second, first]


def test_every_filter_narrows_the_list(client: FlaskClient, launch: Launch, failed_task: str, engine: Any) -> None:
    other = launch(correlation_id="ord-1", initiator="ana", tags=("vip",))
    assert shown(client, state="failed") == [failed_task]
    assert shown(client, state="pending") == [other]
    assert shown(client, tag="vip") == [other]
    assert (
        shown(client, q="ord-1")
        == shown(client, q="ana")
        == shown(client, q=other)
        == shown(client, q=other[:8])
        == [other]
    )
    assert shown(client, namespace="shop", name="process_order", version="1.0.0") == [other, failed_task]
    assert shown(client, namespace="bank") == shown(client, name="other") == shown(client, version="2.0.0") == []
    assert shown(client, created_to="2001-01-01T00:00") == shown(client, created_from="2999-01-01") == []
    assert shown(client, created_from="2001-01-01T00:00") == [other, failed_task]


def test_older_pages_lose_and_repeat_nothing(client: FlaskClient, launch: Launch) -> None:
    made = [launch() for _ in range(PAGE_SIZE + 3)]
    first = client.get("/tasks").text
    older = re.search(r'rel="next" href="/tasks\?cursor=(\d+)"', first)
    assert older
    assert shown(client) + shown(client, cursor=older[1]) == made[::-1]


@pytest.mark.parametrize(
    "parameters",
    [
        {"state": "sleeping"},
        {"created_from": "yesterday"},
        {"created_to": "9999-99-99"},
        {"cursor": "x"},
        {"cursor": "9" * 199},
        {"cursor": "-1"},
        {"q": "\x00'\";--"},
        {"q": "x" * 5000},
        {"namespace": "\x00"},
        {"tag": "{}"},
        {"created_from": "0001-01-01T00:00+14:00"},
        {"created_from": "9999-12-31T23:59-14:00"},
    ],
)
def test_no_value_of_a_filter_breaks_the_list(client: FlaskClient, launch: Launch, parameters: dict[str, str]) -> None:
    launch()
    shown(client, **parameters)


def test_a_value_that_was_left_out_is_said() -> None:
    chosen, problems = read_filter({"state": "sleeping", "created_from": "soon", "cursor": "abc", "tag": "vip"})
    assert chosen == TaskFilter(tag="vip")
    assert len(problems) == 3


def test_a_text_from_outside_stays_a_text(client: FlaskClient, launch: Launch) -> None:
    launch(initiator="<script>alert(1)</script>")
    assert "<script>alert" not in client.get("/tasks").text


def test_htmx_gets_the_rows_alone(client: FlaskClient, launch: Launch) -> None:
    launch()
    region = client.get("/tasks", headers={"HX-Request": "true"}).text
    assert 'id="task-list"' in region
    assert "<form" not in region


def test_the_progress_counts_what_is_done(client: FlaskClient, launch: Launch, engine: Any) -> None:
    task_id = launch()
    engine.complete(task_id, "validate", "reserve")
    assert '2<span class="of">/4' in client.get("/tasks").text
    engine.complete(task_id, "charge", "ship")
    assert '4<span class="of">/4' in client.get("/tasks").text
