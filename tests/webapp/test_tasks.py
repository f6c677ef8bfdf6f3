"""`/tasks`: the list, its filters and its pages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import psycopg
import pytest
from flask.testing import FlaskClient

from engine import tasks
from engine.db import Database
from engine.definition import TaskDefinition
from engine.requests import TaskRequest
from webapp import listing
from webapp.listing import PAGE_SIZE
from webapp.task_filter import TaskFilter, read_filter

Launch = Callable[..., str]
Conn = psycopg.Connection[Any]


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


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize("path", ["/tasks?created_{0}={1}", "/audit?at_{0}={1}", "/analytics?{0}={1}", "/analytics/bottlenecks?{0}={1}"])
@pytest.mark.parametrize("typed", ["9999-12-31T23:59Z", "9999-12-31T23:59", "0001-01-01T00:00Z", "0001-01-01T00:00"])
def test_the_ends_of_the_calendar_are_times_in_every_zone(client: FlaskClient, zone: str, path: str, typed: str) -> None:
    client.set_cookie("zone", zone)
    for end in ("from", "to"):
        assert client.get(path.format(end, typed)).status_code in (200, 422), path


def test_links_of_analytics_and_audit_name_the_moment_and_fields_the_readers_time(client: FlaskClient) -> None:
    client.set_cookie("zone", "Asia/Kolkata")
    for path, field in (("/audit", "at_from"), ("/analytics", "from")):
        page = client.get(f"{path}?{field}=2026-01-31T08:30").text
        assert f"{field}=2026-01-31T03:00Z" in page.replace("%3A", ":")
        assert 'value="2026-01-31T08:30"' in page
        assert 'value="2026-01-31T08:30"' in client.get(f"{path}?{field}=2026-01-31T03:00Z").text


def test_times_are_typed_in_the_zone_that_the_pages_show_and_links_name_theirs(client: FlaskClient, failed_task: str) -> None:
    client.set_cookie("zone", "Asia/Kolkata")
    page = client.get("/tasks?created_from=2001-01-01T05:30").text
    assert "Created from (Asia/Kolkata)" in page
    assert 'value="2001-01-01T05:30"' in page
    assert "created_from=2001-01-01T00:00Z" in unquote(page)
    assert 'value="2001-01-01T05:30"' in client.get("/tasks?created_from=2001-01-01T00:00Z").text
    soon = datetime.now(ZoneInfo("Asia/Kolkata")) + timedelta(minutes=5)
    for zone, found in (("Asia/Kolkata", [failed_task]), ("UTC", []), ("America/New_York", [])):
        client.set_cookie("zone", zone)
        typed = f"{soon - timedelta(hours=1):%Y-%m-%dT%H:%M}"
        assert shown(client, created_from=typed) == found, zone
    for path, label in (("/analytics", "From (America/New_York)"), ("/audit", "From (America/New_York)")):
        assert label in client.get(path).text


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


def test_a_value_that_cannot_be_read_is_kept_and_told_beside_its_field(client: FlaskClient, launch: Launch) -> None:
    asked = read_filter({"state": "sleeping", "created_from": "soon", "context": "abc", "cursor": "abc", "tag": "vip"})
    assert asked.chosen == TaskFilter(tag="vip")
    assert set(asked.problems) == {"state", "created_from", "context", "cursor"}

    launch()
    page = client.get("/tasks", query_string={"created_from": "soon", "context": "abc", "initiator": "ana"}).text
    for name, value in (("created_from", "soon"), ("context", "abc"), ("initiator", "ana")):
        assert f'name="{name}" type="text" value="{value}"' in page
    assert 'aria-describedby="f-context-error"' in page
    assert 'id="f-context-error">It reads like customer.id=42' in page
    assert "f-initiator-error" not in page
    assert "More filters (1 in force)" in page


def test_a_value_that_cannot_be_read_is_no_filter_in_force_and_its_field_is_in_sight(client: FlaskClient) -> None:
    page = client.get("/tasks", query_string={"created_from": "soon", "context": "abc"}).text
    assert '<details class="more" open><summary>More filters</summary>' in page
    assert '<details class="more"><summary>More filters</summary>' in client.get("/tasks").text
    assert shown(client, state="sleeping", tag="none") == []


def test_a_name_that_nothing_bears_is_told_beside_its_field(client: FlaskClient, launch: Launch) -> None:
    launch()
    page = client.get("/tasks", query_string={"namespace": "bank", "name": "process_order"}).text
    assert "No namespace is called “bank”." in page
    assert "f-name-error" not in page


def test_a_value_of_the_context_narrows_the_list(client: FlaskClient, db: Database, definition_id: int) -> None:
    def launch(**context: Any) -> str:
        return tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": 1, **context}))

    one = launch(customer={"id": 42, "name": "Ana = B."})
    two = launch(customer={"id": "42"}, lines=[{"sku": "A1"}, {"sku": "B2"}])
    three = launch(customer={"id": 421}, express=True)
    assert shown(client, context="customer.id=42") == [two, one]
    assert shown(client, context='customer.id="42"') == [two]
    assert shown(client, context="customer.name=Ana = B.") == [one]
    assert shown(client, context="lines[].sku=B2") == [two]
    assert shown(client, context="express=true") == [three]
    assert shown(client, context="order_id=1") == [three, two, one]
    assert shown(client, context="id=42") == shown(client, context="customer=") == []
    for nobody_has in ("order_id=1e400", r'customer.name="\u0000"', r'customer.name="\ud800"', "order_id=NaN", f"order_id={'9' * 150}", "a=" + "[" * 150):
        assert shown(client, context=nobody_has) == [], nobody_has


def test_a_text_is_found_in_names_and_reasons(client: FlaskClient, launch: Launch) -> None:
    task_id = launch(initiator="ana.b@shop", reason="the courier 100%_lost it", correlation_id="ORD-77")
    launch()
    for text in ("ana.b", "COURIER", "100%_", "ord-7"):
        assert shown(client, q=text) == [task_id], text
    assert shown(client, initiator="ana.b@shop") == [task_id]
    assert shown(client, initiator="ana.b") == shown(client, q="100_") == []


def test_a_time_range_finds_what_the_tables_say(client: FlaskClient, launch: Launch, conn: Conn, monkeypatch: Any) -> None:
    monkeypatch.setattr(listing, "NUMBER_SLACK", 0)
    made = [launch() for _ in range(9)]
    for hour, task_id in enumerate(made):
        conn.execute("update tasker_task set created_at = '2026-01-01T00:00Z'::timestamptz + %s * interval '1 hour' where task_id = %s", [hour, task_id])
    conn.execute("delete from tasker_task where task_id = any(%s)", [[made[3], made[5]]])
    for begin in (-1, 0, 2, 3, 6, 9):
        for end in (0, 4, 6, 10):
            query = "select task_id from tasker_task where created_at >= %s and created_at < %s order by task_no desc"
            at = [f"2026-01-01T{hour:02}:00" if hour >= 0 else "2025-12-31T23:00" for hour in (begin, end)]
            expected = [str(row[0]) for row in conn.execute(query, [f"{each}Z" for each in at]).fetchall()]
            assert shown(client, created_from=at[0], created_to=at[1]) == expected


def test_a_search_that_stops_somewhere_says_so_and_goes_on(client: FlaskClient, launch: Launch, monkeypatch: Any) -> None:
    monkeypatch.setattr(listing, "LOOKED_AT", 3)
    old = launch(initiator="ana")
    for _ in range(4):
        launch(initiator="ben")
    page = client.get("/tasks", query_string={"initiator": "ana"}).text
    assert "Looked through 3 tasks, back to" in page
    assert "None of the tasks that were looked at matches." in page
    further = re.search(r'rel="next" href="([^"]+)">Look further back', page)
    assert further
    assert old in client.get(unescape(further[1])).text
    assert shown(client, q=old) == [old]


def pages(client: FlaskClient, **parameters: str) -> list[list[str]]:
    """The ids on each page of the list, followed to its end."""
    found, cursor = [], {}
    while cursor is not None:
        page = client.get("/tasks", query_string={**parameters, **cursor}).text
        found.append(re.findall(r'<th scope="row"><a class="id" href="/tasks/([^"]+)">', page))
        older = re.search(r'rel="next" href="[^"]*cursor=(\d+)', page)
        cursor = {"cursor": older[1]} if older else None
    return found


def test_a_task_that_a_text_names_is_on_the_first_page_and_once_more_where_its_turn_comes(client: FlaskClient, launch: Launch, monkeypatch: Any) -> None:
    monkeypatch.setattr(listing, "LOOKED_AT", 3)
    old = launch()
    for _ in range(8):
        launch()
    assert pages(client, q=old) == [[old], [], [old], []]
    assert client.get("/tasks", query_string={"q": old, "format": "ndjson"}).text.count(old) == 1


def test_what_lies_between_the_newest_and_what_a_text_names_is_looked_at(client: FlaskClient, launch: Launch, monkeypatch: Any) -> None:
    monkeypatch.setattr(listing, "LOOKED_AT", 10)
    named = [launch(correlation_id="ord-1") for _ in range(PAGE_SIZE)]
    between = launch(reason="after ord-1")
    newest = [launch(reason="about ord-1") for _ in range(10)]
    found = pages(client, q="ord-1")
    assert found[0] == [*newest[::-1], *named[::-1][: PAGE_SIZE - 10]]
    assert {task_id for page in found for task_id in page} == {*named, between, *newest}
    later = [task_id for page in found[1:] for task_id in page]
    assert later == [between, *named[::-1]]
    lines = client.get("/tasks", query_string={"q": "ord-1", "format": "ndjson"}).text.splitlines()
    assert sorted(json.loads(line)["task_id"] for line in lines) == sorted([*named, between, *newest])


def test_a_search_through_everything_claims_no_end(client: FlaskClient, launch: Launch) -> None:
    launch()
    assert "Looked through" not in client.get("/tasks", query_string={"initiator": "nobody"}).text


def test_each_reason_to_be_stuck_narrows_the_list(client: FlaskClient, launch: Launch, engine: Any, conn: Conn) -> None:
    blocked, paused, unserved = launch(), launch(), launch()
    engine.complete(blocked, "validate")
    engine.claim()
    engine.fail(blocked, "charge")
    conn.execute("select tasker_pause_task(%s, 'ana', null)", [paused])
    engine.fail(unserved, "validate", retryable=True, delay=0)
    conn.execute("select tasker_wake_due(9)")
    conn.execute("update tasker_worker set lease_until = now() - interval '1 minute'")
    assert shown(client, stuck="blocked") == [blocked]
    assert shown(client, stuck="paused") == [paused]
    assert shown(client, stuck="unserved") == [unserved]
    assert shown(client, stuck="late") == []
    assert shown(client, stuck="any", namespace="shop") == [unserved, paused, blocked]


def test_the_tasks_of_all_versions_of_a_workflow_are_in_one_order(
    client: FlaskClient, db: Database, launch: Launch, order_workflow: Callable[[str], TaskDefinition]
) -> None:
    tasks.register_definition(db, order_workflow("2.0.0"))
    made = [launch(version=version) for version in ("1.0.0", "2.0.0", "1.0.0", "2.0.0")]
    assert shown(client, name="process_order") == shown(client, namespace="shop") == made[::-1]
    assert shown(client, version="2.0.0") == [made[3], made[1]]


def test_a_text_from_outside_stays_a_text(client: FlaskClient, launch: Launch) -> None:
    launch(initiator="<script>alert(1)</script>")
    assert "<script>alert" not in client.get("/tasks").text


def test_htmx_gets_the_rows_alone(client: FlaskClient, launch: Launch) -> None:
    launch()
    region = client.get("/tasks", headers={"HX-Request": "true"}).text
    assert 'id="task-list"' in region
    assert "<form" not in region


def live(client: FlaskClient, page: str) -> str:
    """What the live element of a list page gets when something has changed."""
    address = re.search(r'hx-get="([^"]+)"', page)
    assert address
    return client.get(unescape(address[1]), headers={"HX-Request": "true"}).text


def test_new_tasks_are_counted_and_move_nothing(client: FlaskClient, launch: Launch, engine: Any) -> None:
    first = launch()
    page = client.get("/tasks").text
    assert "new, show" not in live(client, page)
    others = [launch(), launch()]
    engine.complete(first, "validate")
    region = live(client, page)
    assert '<a href="/tasks">2 new, show</a>' in region
    assert first in region
    assert '1<span class="of">/4' in region
    assert not any(other in region for other in others)
    assert shown(client) == [*others[::-1], first]


def test_a_row_that_no_longer_matches_stays_in_its_place(client: FlaskClient, launch: Launch, engine: Any) -> None:
    task_id = launch()
    engine.claim()
    page = client.get("/tasks?state=running").text
    engine.complete(task_id, "validate", "charge", "reserve", "ship")
    region = live(client, page)
    assert '<a href="/tasks?state=running">1 no longer matches, renew</a>' in region
    assert task_id in region
    assert "Completed" in region


def test_an_older_task_that_comes_to_match_counts_as_new(client: FlaskClient, launch: Launch, engine: Any) -> None:
    older, newer = launch(), launch()
    engine.complete(older, "validate", "reserve")
    engine.complete(newer, "validate", "reserve")
    engine.fail(newer, "charge")
    page = client.get("/tasks?state=failed").text
    engine.fail(older, "charge")
    assert "1 new, show" in live(client, page)


def test_a_long_list_counts_only_what_belongs_on_its_first_page(client: FlaskClient, launch: Launch) -> None:
    for _ in range(PAGE_SIZE + 3):
        launch()
    page = client.get("/tasks").text
    assert "new, show" not in live(client, page)
    launch()
    assert "1 new, show" in live(client, page)


def test_an_empty_list_fills_by_itself(client: FlaskClient, launch: Launch) -> None:
    page = client.get("/tasks").text
    task_id = launch()
    assert task_id in live(client, page)


def test_a_long_run_is_told_against_the_usual(client: FlaskClient, launch: Launch, engine: Any, conn: Conn) -> None:
    for _ in range(5):
        engine.complete(launch(), "validate", "charge", "reserve", "ship")
    conn.execute("update tasker_task set started_at = finished_at - interval '20 seconds'")
    usual, late = launch(), launch()
    engine.claim()
    conn.execute("update tasker_task set started_at = now() - interval '10 seconds' where task_id = %s", [usual])
    conn.execute("update tasker_task set started_at = now() - interval '61 seconds' where task_id = %s", [late])
    rows = dict(re.findall(r'href="/tasks/([^"]+)">.*?<td class="number middling pace">(.*?)</td>', client.get("/tasks").text, re.DOTALL))
    assert "the usual" not in rows[usual]
    assert re.search(r'<span class="late">3(\.\d)?× the usual</span>', rows[late])


def test_the_progress_counts_what_is_done(client: FlaskClient, launch: Launch, engine: Any) -> None:
    task_id = launch()
    engine.complete(task_id, "validate", "reserve")
    assert '2<span class="of">/4' in client.get("/tasks").text
    engine.complete(task_id, "charge", "ship")
    assert '4<span class="of">/4' in client.get("/tasks").text
