"""`/`: what runs, what is stuck and why, and what failed; every figure leads to the list it counts."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from engine.measures import standing
from webapp import overview
from webapp.filters import seconds

Launch = Callable[..., str]
Conn = psycopg.Connection[Any]


def figures(client: FlaskClient) -> dict[str, tuple[int, str]]:
    """The number and the address of each figure by its words."""
    found = re.findall(r'<dt>([^<]+)</dt>\s*<dd><a href="([^"]+)">(\d+)</a>', client.get("/").text)
    return {words: (int(number), url) for words, url, number in found}


def listed(client: FlaskClient, url: str) -> int:
    """How many tasks or steps the list at this address has."""
    page = client.get(url).text
    return len(re.findall(r'<th scope="row"><a (?:class="id" )?href="/tasks/', page))


def stuck(client: FlaskClient) -> dict[str, str]:
    """What the page says of each stuck task, by the task's id."""
    page = client.get("/").text.partition('id="stuck-title"')[2].partition("</table>")[0]
    found = re.findall(r'href="/tasks/([^"]+)">\w+</a></th>\s*<td class="stretch"><strong>(.+?)</strong> (.+?)</td>', page)
    return {task_id: f"{words} {why}" for task_id, words, why in found}


def test_an_empty_installation_says_how_to_begin(client: FlaskClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "There is no task yet" in page.text
    assert "No engine is running" in page.text


def test_a_failed_task_is_shown_as_needing_somebody(client: FlaskClient, failed_task: str) -> None:
    page = client.get("/").text
    assert "Failed, needs somebody" in page
    assert f'href="/tasks/{failed_task}"' in page


def test_a_living_engine_needs_no_warning(client: FlaskClient, engine: Any) -> None:
    assert "No engine is running" not in client.get("/").text


def test_htmx_gets_the_live_region_alone(client: FlaskClient, failed_task: str) -> None:
    region = client.get("/", headers={"HX-Request": "true"}).text
    assert '<div id="now" hx-swap-oob="morph">' in region
    assert "<html" not in region


def test_every_figure_equals_the_tables_and_the_list_it_leads_to(
    client: FlaskClient, launch: Launch, failed_task: str, engine: Any, conn: Conn
) -> None:
    done, retried = launch(), launch()
    engine.complete(done, "validate", "charge", "reserve", "ship")
    engine.fail(retried, "validate", retryable=True, delay=600)
    engine.complete(launch(), "validate")
    launch()
    engine.claim()
    launch(run_at="2999-01-01T00:00:00Z")
    launch()
    counted = {
        "Failed tasks": "select count(*) from tasker_task where state = 5",
        "Running tasks": "select count(*) from tasker_task where state = 2",
        "Pending tasks": "select count(*) from tasker_task where state = 0",
        "Completed tasks": "select count(*) from tasker_task where state = 4",
        "Running steps": "select count(*) from tasker_step where state = 2",
        "Ready steps": "select count(*) from tasker_step where state = 1",
        "Waiting for their time": "select count(*) from tasker_delayed",
        "Stuck tasks": "select count(*) from tasker_task where task_id = %s",
    }
    conn.execute("update tasker_ready set rank = rank - interval '2 hours'")
    conn.execute("""insert into tasker_worker (name, runner, concurrency, definitions, started_at, seen_at, lease_until)
                    values ('other', 'threads', 1, '{}', now(), now(), now() + interval '1 hour'), ('gone', 'threads', 1, '{}', now(), now(), now() - interval '1 hour')""")  # fmt: skip
    shown = figures(client)
    [(engines, waits)] = conn.execute("select (select count(*) from tasker_worker where lease_until > now()), extract(epoch from now() - min(rank))::float8 from tasker_ready").fetchall()
    assert (shown["Engines"], engines) == ((engines, "/engines"), 2)
    assert f"first for {seconds(waits)}<" in client.get("/").text
    for words, query in counted.items():
        expected = conn.execute(query.encode(), [retried] if "%s" in query else None).fetchone()
        assert expected
        assert shown[words][0] == expected[0] > 0, words
        assert listed(client, shown[words][1].replace("&amp;", "&")) == expected[0], words


def test_a_failure_that_holds_a_branch_is_stuck(client: FlaskClient, launch: Launch, engine: Any) -> None:
    task_id = launch()
    engine.complete(task_id, "validate")
    engine.claim()
    engine.fail(task_id, "charge")
    assert stuck(client) == {task_id: "Held by a failure. reserve is running. charge failed and holds its branch."}


def test_a_stuck_task_of_very_many_steps_is_not_looked_into(client: FlaskClient, launch: Launch, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbids: a page that asks of each of thousands of steps what it waits for."""
    task_id = launch()
    engine.complete(task_id, "validate")
    engine.claim()
    engine.fail(task_id, "charge")
    monkeypatch.setattr(overview, "STEPS_LOOKED_AT", 3)
    monkeypatch.setattr(overview.queries, "task", None)
    assert stuck(client) == {task_id: "Held by a failure. 1 of 4 steps done; its own page says what it waits for."}


def test_a_step_without_an_engine_is_stuck(client: FlaskClient, launch: Launch, engine: Any, conn: Conn) -> None:
    task_id = launch()
    assert stuck(client) == {}
    conn.execute("update tasker_worker set lease_until = now() - interval '1 minute'")
    assert stuck(client) == {
        task_id: "No engine for it. validate is ready. It waits for an engine that has its handler; none is running now."
    }


def test_an_engine_that_drains_takes_nothing_new(client: FlaskClient, launch: Launch, engine: Any, conn: Conn) -> None:
    task_id = launch()
    conn.execute("update tasker_worker set draining = true")
    assert set(stuck(client)) == {task_id}


def test_a_task_that_waits_for_a_retry_alone_is_stuck(client: FlaskClient, launch: Launch, engine: Any) -> None:
    task_id = launch()
    engine.fail(task_id, "validate", retryable=True, delay=600)
    assert stuck(client)[task_id].startswith("Before a retry. validate waits for attempt 2 of 2, in ")


def test_a_retry_beside_a_running_step_is_not_stuck(client: FlaskClient, launch: Launch, engine: Any) -> None:
    task_id = launch()
    engine.complete(task_id, "validate")
    engine.claim()
    engine.fail(task_id, "charge", retryable=True, delay=600)
    assert stuck(client) == {}


def test_a_paused_task_is_stuck(client: FlaskClient, launch: Launch, engine: Any, conn: Conn) -> None:
    task_id = launch()
    conn.execute("select tasker_pause_task(%s, 'ana', null)", [task_id])
    assert stuck(client) == {task_id: "Paused. It is paused: running steps finish, nothing new starts."}


def test_a_task_is_late_when_95_of_100_took_less(client: FlaskClient, launch: Launch, engine: Any, conn: Conn) -> None:
    for _ in range(5):
        engine.complete(launch(), "validate", "charge", "reserve", "ship")
    conn.execute("update tasker_task set started_at = finished_at - interval '60 seconds' where state = 4")
    task_id = launch()
    engine.claim()
    assert stuck(client) == {}
    conn.execute("update tasker_task set started_at = now() - interval '3 minutes' where task_id = %s", [task_id])
    assert stuck(client) == {task_id: "Longer than usual. validate is running."}
    assert "3× the usual" in client.get("/").text


def test_every_reason_is_shown_before_one_fills_the_page(
    client: FlaskClient, launch: Launch, engine: Any, conn: Conn
) -> None:
    blocked = launch()
    engine.complete(blocked, "validate")
    engine.claim()
    engine.fail(blocked, "charge")
    waiting = [launch() for _ in range(12)]
    conn.execute("update tasker_worker set lease_until = now() - interval '1 minute'")
    assert list(stuck(client)) == [blocked, *waiting[:7]]
    assert figures(client)["Stuck tasks"][0] == 13


def test_a_transaction_that_is_open_for_long_is_named_with_the_remedy(client: FlaskClient, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "LONG_SECONDS", 0.0)
    assert "has had a transaction open" not in client.get("/").text
    with psycopg.connect(database_url, application_name="report <of> the month") as conn:
        conn.execute("set transaction isolation level repeatable read")
        conn.execute("select 1 from tasker_task")
        page = client.get("/").text
        assert "<strong>report &lt;of&gt; the month</strong> has had a transaction open" in page
        assert f"select pg_terminate_backend({conn.info.backend_pid})" in page
    assert "has had a transaction open" not in client.get("/").text


def test_a_transaction_is_named_before_it_has_been_open_for_a_minute() -> None:
    """The page is made anew every three seconds where anything moves."""
    assert 30 < standing.LONG_SECONDS + 3 < 60


def clean(cleaner: Conn) -> None:
    with suppress(psycopg.errors.QueryCanceled):
        cleaner.execute("vacuum large")


def test_a_vacuum_is_no_transaction_to_warn_of(client: FlaskClient, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbids: the advice to end what cleans away; it takes its time on a large table."""
    monkeypatch.setattr(standing, "LONG_SECONDS", 0.0)
    with psycopg.connect(database_url, autocommit=True, application_name="the cleaner") as cleaner:
        cleaner.execute("create table large as select from generate_series(1, 20000)")
        cleaner.execute("set vacuum_cost_limit = 1")
        cleaner.execute("set vacuum_cost_delay = 20")
        working = threading.Thread(target=clean, args=[cleaner])
        working.start()
        with psycopg.connect(database_url, autocommit=True) as conn:
            while not conn.execute("select 1 from pg_stat_activity a join pg_stat_progress_vacuum v using (pid) where a.backend_xmin is not null and a.pid = %s", [cleaner.info.backend_pid]).fetchone():
                assert working.is_alive()
        page = client.get("/").text
        assert working.is_alive()
        cleaner.cancel()
        working.join()
    assert "has had a transaction open" not in page
