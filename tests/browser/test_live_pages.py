"""Live pages when there is no stream: one that was refused asks by itself, one that nobody looks at rests."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest
from flask import Flask

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

from engine import tasks
from engine.db import Database
from engine.registry import HandlerRegistry
from engine.requests import TaskRequest


@pytest.fixture
def task_id(db: Database, registry: HandlerRegistry) -> str:
    for definition in registry.definitions():
        tasks.register_definition(db, definition)
    return tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": 1}))


@pytest.mark.parametrize(("limit", "status"), [("LIVE_STREAM_LIMIT", 503), ("LIVE_STREAMS_PER_ACCOUNT", 429)])
def test_a_page_that_was_refused_a_stream_asks_by_itself(
    browser: Any, app: Flask, site: str, task_id: str, db: Database, limit: str, status: int
) -> None:
    app.config[limit] = 0
    context = browser.new_context(base_url=site)
    page = context.new_page()
    page.clock.install()
    page.goto(f"/tasks/{task_id}")
    with page.expect_response(lambda answer: "/live" in answer.url and answer.status == status):
        pass
    tasks.cancel_task(db, task_id, actor="ana", reason=None)
    page.clock.run_for(6_000)
    expect(page.locator("#task-state .state-big")).to_have_text("Cancelled")
    context.close()


def test_more_pages_than_a_browser_has_connections_all_go_on(browser: Any, site: str, task_id: str, db: Database) -> None:
    context = browser.new_context(base_url=site)
    pages = [context.new_page() for _ in range(8)]
    for page in pages:
        page.goto(f"/tasks/{task_id}")
    tasks.cancel_task(db, task_id, actor="ana", reason=None)
    for page in pages:
        expect(page.locator("#task-state .state-big")).to_have_text("Cancelled", timeout=20_000)
    context.close()


def test_a_page_whose_task_has_ended_lets_its_stream_go(page: Any, task_id: str, db: Database) -> None:
    page.goto(f"/tasks/{task_id}")
    expect(page.locator("[sse-connect]")).to_have_count(1)
    tasks.cancel_task(db, task_id, actor="ana", reason=None)
    expect(page.locator("#task-state .state-big")).to_have_text("Cancelled")
    expect(page.locator("[sse-connect]")).to_have_count(0)


def test_a_live_update_never_turns_one_button_into_another(
    page: Any, task_id: str, conn: psycopg.Connection[Any]
) -> None:
    page.goto(f"/tasks/{task_id}")
    page.evaluate("window.cancel = document.querySelector('#task-cancel')")
    conn.execute(
        "select tasker_update_step_status(step_id, 'ready', 'running') from tasker_steps where state = 'ready'"
    )
    conn.execute(
        "select tasker_update_step_status(step_id, 'running', 'failed') from tasker_steps where state = 'running'"
    )
    conn.execute("select tasker_resolve_dependencies(%s)", [task_id])
    expect(page.locator("#step-0-retry")).to_be_visible()
    assert page.evaluate("window.cancel.isConnected ? window.cancel.textContent : 'gone'") in ("Cancel", "gone")


def test_a_page_that_nobody_looks_at_gives_its_stream_back(
    page: Any, task_id: str, conn: psycopg.Connection[Any]
) -> None:
    page.goto(f"/tasks/{task_id}")
    look = "hidden => {Object.defineProperty(document, 'hidden', {value: hidden, configurable: true}); document.dispatchEvent(new Event('visibilitychange'))}"
    page.evaluate(look, True)
    expect(page.locator("[sse-connect]")).to_have_count(0)
    conn.execute("select tasker_cancel_task(%s, 'ana', null)", [task_id])
    with page.expect_request(lambda request: "/live" in request.url):
        page.evaluate(look, False)
    expect(page.locator("#task-state .state-big")).to_have_text("Cancelled")


def test_new_tasks_are_offered_and_move_no_row(page: Any, task_id: str, db: Database) -> None:
    page.goto("/tasks")
    rows = page.locator("table.tasks tbody tr")
    expect(rows).to_have_count(1)
    newer = tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": 2}))
    expect(page.get_by_role("link", name="1 new, show")).to_be_visible()
    expect(rows).to_have_count(1)
    page.get_by_role("link", name="1 new, show").click()
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text(newer[:8])


LISTEN = """
  window.heard = [];
  for (const each of document.querySelectorAll("[role=status], [aria-live]")) {
    new MutationObserver(() => window.heard.push(each.textContent.trim())).observe(each, { childList: true, characterData: true, subtree: true });
  }
"""


def test_who_listens_hears_only_that_a_page_is_renewed_no_more_and_that_it_is_again(page: Any, task_id: str, db: Database) -> None:
    page.goto(f"/tasks/{task_id}")
    expect(page.locator("#live-status")).to_contain_text("Updated")
    page.evaluate(LISTEN)
    page.evaluate("document.getElementById('live-status').textContent = 'earlier'; window.heard = []")
    tasks.pause_task(db, task_id, actor="ana")
    expect(page.locator("#live-status")).to_contain_text("Updated")
    assert page.evaluate("window.heard") == []

    # a second renewal of the pause may still come, and end it before it can be looked at
    page.evaluate("window.dispatchEvent(new Event('offline'))")
    tasks.resume_task(db, task_id, actor="ana")
    expect(page.locator("#live-turn")).to_have_text("The page is up to date again.")
    heard = page.evaluate("window.heard")
    assert [each.split(" since")[0] for each in heard] == ["Offline", "The page is up to date again."]


def test_who_listens_hears_that_a_page_that_could_not_be_renewed_is_well_again(browser: Any, site: str, task_id: str, db: Database) -> None:
    context = browser.new_context(base_url=site)
    page = context.new_page()
    page.goto(f"/tasks/{task_id}")
    expect(page.locator("#live-status")).to_contain_text("Updated")
    page.route(re.compile(f"/tasks/{task_id}"), lambda route: route.abort())
    tasks.pause_task(db, task_id, actor="ana")
    expect(page.locator("#notices")).to_contain_text("does not answer")
    expect(page.locator("#live-turn")).to_be_empty()
    page.unroute_all()
    tasks.resume_task(db, task_id, actor="ana")
    expect(page.locator("#live-turn")).to_have_text("The page is up to date again.")
    expect(page.locator("#notices")).not_to_contain_text("does not answer")
    context.close()
