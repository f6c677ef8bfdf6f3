"""The morning after: what failed is looked after and done again as a whole, a list is kept, and what was lost is launched from a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import expect

from engine import tasks
from engine.db import Database
from engine.requests import TaskRequest

LAUNCH = "/workflows/shop/process_order/1.0.0/launch/rows"


@pytest.fixture
def failed(db: Database, running_engine: Any, handlers: Any, page: Any) -> list[str]:
    """Three orders whose charge failed for one cause."""
    handlers.parcel_is_packed.set()
    made = [tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": number})) for number in (1, 2, 3)]
    for task_id in made:
        page.goto(f"/tasks/{task_id}")
        expect(page.locator("#task-state .state-big")).to_have_text("Failed")
    return made


def test_failures_of_one_cause_are_looked_after_and_done_again_together(page: Any, scriptless: Any, db: Database, handlers: Any, failed: list[str]) -> None:
    page.goto("/failures")
    page.get_by_role("link", name="PermanentError: the gateway is down").click()
    page.get_by_label("Who looks after it").fill("payments")
    page.get_by_label("Acknowledged until").fill("2099-01-01T09:00")
    page.get_by_label("Note").fill("The bank changes its certificate.")
    page.get_by_role("button", name="Keep").click()

    page.goto("/failures")
    expect(page.locator("#failure-list")).to_contain_text("Every failure that is left is looked after")
    page.get_by_text("1 group acknowledged").press("Enter")
    expect(page.locator("#failure-list")).to_contain_text("payments: The bank changes its certificate.")

    handlers.gateway_is_up.set()
    page.get_by_role("link", name="PermanentError: the gateway is down").click()
    page.get_by_role("link", name="Retry 3 steps").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry 3 steps")
    page.get_by_label("Reason").fill("the bank is back")
    page.get_by_role("button", name="Retry 3 steps").click()
    expect(page.locator("#batch-state")).to_contain_text("3 done")
    page.goto(f"/tasks/{failed[0]}")
    expect(page.locator("#task-state .state-big")).to_have_text("Completed")
    expect(page.locator("body")).to_contain_text("the bank is back")

    scriptless.goto("/failures")
    expect(scriptless.locator("#failure-list")).to_contain_text("Nothing is failed.")


def test_what_a_filter_holds_is_kept_counted_and_acted_on(page: Any, db: Database, handlers: Any, failed: list[str]) -> None:
    page.goto("/tasks?state=failed&namespace=shop")
    page.get_by_role("link", name="Keep as a view …").click()
    page.get_by_role("textbox", name="Name", exact=True).fill("Orders that failed")
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Orders that failed")

    page.goto("/tasks?state=failed&namespace=shop")
    expect(page.locator("#kept-views")).to_contain_text("Orders that failed 3")
    handlers.gateway_is_up.set()
    page.get_by_role("link", name="Retry their failed steps …").press("Enter")
    expect(page.locator("#batch-lead")).to_contain_text("3 failed steps: ")
    page.get_by_role("button", name="Retry 3 steps").click()
    expect(page.locator("#batch-state")).to_contain_text("3 done")
    page.goto("/tasks?state=failed&namespace=shop")
    expect(page.locator("#kept-views")).to_contain_text("Orders that failed 0")


@pytest.fixture
def refused_page(browser: Any, site: str) -> Iterator[Any]:
    """A page that may be answered with 422, which Chromium complains of."""
    context = browser.new_context(base_url=site)
    yield context.new_page()
    context.close()


def test_many_are_launched_from_a_file_when_each_of_its_rows_is_right(refused_page: Any, handlers: Any, running_engine: Any, tmp_path: Path) -> None:
    handlers.parcel_is_packed.set()
    handlers.gateway_is_up.set()
    refused_page.goto(LAUNCH)
    orders = tmp_path / "orders.csv"
    orders.write_text("order_id,speed\n11,high\nmany,normal\n")
    refused_page.get_by_label("CSV file").set_input_files(orders)
    refused_page.get_by_role("button", name="Check").click()
    expect(refused_page.get_by_role("alert")).to_contain_text("Nothing was launched: 1 thing to correct.")
    expect(refused_page.get_by_role("region", name="Table of what is to be corrected")).to_contain_text("order_id")

    refused_page.get_by_label("or its rows").fill("order_id,speed\n11,high\n12,normal\n")
    refused_page.get_by_role("button", name="Check again").click()
    refused_page.get_by_role("button", name="Launch 2 tasks").click()
    expect(refused_page.locator("#rows-progress")).to_contain_text("2 of 2 tasks ended")
    refused_page.get_by_role("link", name="All of them").click()
    expect(refused_page.locator("#task-list tbody tr")).to_have_count(2)
