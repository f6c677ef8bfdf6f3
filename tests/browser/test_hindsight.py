"""Looking back at a task: its replay under the hand, the comparison with the last good one, what it usually takes, and lists as files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")

from flask import Flask
from playwright.sync_api import expect

from engine import queries, rollups, tasks
from engine.db import Database
from engine.measures.usual import usual_steps
from engine.requests import TaskRequest

Tasks = tuple[str, str]


@pytest.fixture
def good_and_bad(page: Any, db: Database, running_engine: Any, handlers: Any) -> Tasks:
    """A task that completed, and then one whose charge failed and whose others went well."""
    handlers.parcel_is_packed.set()
    made = []
    for is_up, state in ((True, "Completed"), (False, "Failed")):
        handlers.gateway_is_up.set() if is_up else handlers.gateway_is_up.clear()
        made.append(tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": 7})))
        page.goto(f"/tasks/{made[-1]}")
        expect(page.locator("#task-state .state-big")).to_have_text(state)
    return made[0], made[1]


def test_one_looks_back_at_a_failure_and_at_what_went_otherwise(page: Any, scriptless: Any, db: Database, good_and_bad: Tasks) -> None:
    good, bad = good_and_bad
    page.get_by_role("link", name="Replay").click()
    expect(page.locator("#moment .state-big")).to_have_text("Failed")
    slider = page.get_by_label("Move", exact=True)
    last = int(slider.input_value())
    assert last == len([each for each in queries.activity(db, bad, limit=1_000) if each.from_state not in (None, each.to_state)])
    slider.focus()
    page.keyboard.press("Home")
    expect(page.locator("#moment")).to_contain_text("Before the first of its")
    expect(page.locator('#moment .node[data-step="validate"]')).to_contain_text("Ready")
    for _ in range(last):
        page.keyboard.press("ArrowRight")
    expect(page).to_have_url(f"{page.url.partition('/tasks')[0]}/tasks/{bad}/replay?at={last}")
    expect(page.locator('#moment .node[data-step="charge"]')).to_contain_text("Failed")
    expect(slider).to_be_focused()
    page.get_by_role("link", name="Move before").click()
    expect(page.locator("#moment")).to_contain_text(f"After move {last - 1} of {last}")
    slider.press("Home")
    expect(page.locator("#moment")).to_contain_text("Before the first of its")
    time = page.get_by_label("At the time (Europe/Berlin)")
    time.fill("2020-02-29T12:00:05")
    page.get_by_role("button", name="Go to this time").click()
    expect(page).to_have_url(re.compile(r"replay\?zone=Europe%2FBerlin&time=2020-02-29T12%3A00%3A05$"))
    expect(page.locator("#moment")).to_contain_text("Before the first of its")
    slider.press("End")
    expect(page.locator("#moment")).to_contain_text(f"After move {last} of {last}")
    assert not time.input_value().startswith("2020")

    page.get_by_role("link", name="Compare", exact=True).click()
    expect(page.locator("#divergence")).to_contain_text("With the same input, the two part at charge: here it failed with “PermanentError: the gateway is down”, there it completed.")
    expect(page.locator('.node[data-step="validate"]')).to_contain_text("Same")
    expect(page.locator('.node[data-step="charge"]')).to_contain_text("Different")
    page.locator('.node[data-step="charge"]').press("Enter")
    expect(page).to_have_url(f"{page.url.partition('/tasks')[0]}/tasks/{bad}/compare/{good}#diff-1")

    page.goto("/tasks")
    with page.expect_download() as saved:
        page.get_by_role("link", name="CSV", exact=True).click()
    assert [line.split(",")[0] for line in Path(saved.value.path()).read_text().splitlines()] == ["task_id", bad, good]

    scriptless.goto(f"/tasks/{bad}/replay")
    scriptless.get_by_label("Move", exact=True).press("Home")
    scriptless.get_by_role("button", name="Show").click()
    expect(scriptless.locator("#moment")).to_contain_text("Before the first of its")


@pytest.fixture
def usual_orders(app: Flask, page: Any, db: Database, running_engine: Any, handlers: Any) -> None:
    """Six orders that went well, and are counted; what is usual is asked for anew by each page."""
    app.config["GLANCE_SECONDS"] = 0
    handlers.parcel_is_packed.set()
    handlers.gateway_is_up.set()
    made = tasks.submit_many(db, [TaskRequest("process_order", "shop", context={"order_id": 7})] * 6)
    for task_id in made:
        page.goto(f"/tasks/{task_id}")
        expect(page.locator("#task-state .state-big")).to_have_text("Completed")
    rollups.catch_up(db)
    assert all(step.count == 6 for step in usual_steps(db, queries.task(db, made[0]).definition_id).values())


def test_what_takes_longer_than_usual_is_found_looked_into_and_no_longer_told_when_it_is_done(page: Any, conn: Any, db: Database, usual_orders: None, handlers: Any) -> None:
    handlers.parcel_is_packed.clear()
    slow = tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": 8}))
    page.goto(f"/tasks/{slow}")
    expect(page.locator('#task-graph .node[data-step="pack"]')).to_contain_text("Running")
    conn.execute("update tasker_step set started_at = started_at - interval '9 minutes' where state = 2")
    conn.execute("update tasker_task set started_at = started_at - interval '9 minutes' where state = 2")

    page.goto("/tasks")
    page.get_by_label("State", exact=True).select_option("Running")
    page.get_by_text("More filters").press("Enter")
    page.get_by_label("Time", exact=True).select_option("Slower than usual")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(page.locator("#task-list tbody tr")).to_have_count(1)
    expect(page.locator("#task-list tbody tr")).to_contain_text("the usual")
    page.locator("#task-list tbody tr a").first.press("Enter")
    expect(page.locator("#task-state")).to_contain_text("Slower than usual")
    page.locator("#task-steps").get_by_role("link", name="Slower than usual").click()
    expect(page.locator("#task-steps tbody tr[data-step]")).to_have_count(1)
    expect(page.locator("#task-steps tbody tr[data-step]")).to_contain_text("pack")

    handlers.parcel_is_packed.set()
    expect(page.locator("#task-state .state-big")).to_have_text("Completed")
    page.goto("/tasks?slower=yes&state=running")
    expect(page.locator("#task-list tbody tr")).to_have_count(0)
