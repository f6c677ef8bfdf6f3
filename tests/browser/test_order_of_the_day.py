"""An operator's day: launch from the form, watch the graph fill, retry what failed with one click, cancel another."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

LAUNCH = "/workflows/shop/process_order/1.0.0/launch"

pytestmark = pytest.mark.usefixtures("running_engine")


def launch(page: Any, order_id: str = "12") -> None:
    page.goto(LAUNCH)
    page.get_by_label("order_id").fill(order_id)
    page.get_by_role("button", name="Launch", exact=True).click()
    expect(page).to_have_url(re.compile(r"/tasks/[0-9a-f-]{36}$"))


def node(page: Any, step: str) -> Any:
    return page.locator(f'svg a.node[data-step="{step}"]')


def row(page: Any, step: str) -> Any:
    return page.locator(f'table.steps tr[data-step="{step}"]')


def test_a_task_is_launched_watched_retried_and_done(page: Any, handlers: Any) -> None:
    launch(page)
    expect(node(page, "validate")).to_contain_text("Completed")
    expect(node(page, "charge")).to_contain_text("Failed")
    expect(node(page, "pack")).to_contain_text("Running")
    expect(row(page, "charge")).to_contain_text("the gateway is down")

    handlers.gateway_is_up.set()
    page.get_by_label("Reason").fill("The gateway is back")
    row(page, "charge").get_by_role("button", name="Retry").click()
    expect(node(page, "charge")).to_contain_text("Completed")
    expect(page.locator("#task-activity")).to_contain_text("“The gateway is back”")
    expect(page.get_by_label("Reason")).to_have_value("")

    handlers.parcel_is_packed.set()
    expect(node(page, "ship")).to_contain_text("Completed")
    expect(page.locator("#task-state .state-big")).to_have_text("Completed")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


def test_another_task_is_cancelled(page: Any, handlers: Any) -> None:
    launch(page)
    expect(node(page, "pack")).to_contain_text("Running")
    page.get_by_label("Reason").fill("Ordered twice")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#effect-stopping")).to_have_text("Will be asked to stop")
    expect(page.get_by_label("Reason")).to_have_value("Ordered twice")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#notices")).to_contain_text("told to stop")
    handlers.parcel_is_packed.set()
    expect(page.locator("#task-state .state-big")).to_have_text("Cancelled")


def test_a_step_is_resolved_on_its_own_page(page: Any, handlers: Any) -> None:
    handlers.parcel_is_packed.set()
    launch(page)
    expect(node(page, "charge")).to_contain_text("Failed")
    node(page, "charge").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("charge")
    page.get_by_role("button", name="Resolve").click()
    expect(node(page, "charge")).to_contain_text("Failed → Resolved")
    page.get_by_label("Result").fill('{"payment_id": "by hand"}')
    page.get_by_role("button", name="Resolve").click()
    expect(page.locator("#step-state .state-big")).to_have_text("Resolved")
    expect(page.locator("#step-outcome")).to_contain_text("by hand")


def test_what_is_being_typed_survives_a_live_update(page: Any, handlers: Any) -> None:
    launch(page)
    expect(node(page, "pack")).to_contain_text("Running")
    page.get_by_label("Reason").fill("half a sent")
    handlers.parcel_is_packed.set()
    expect(node(page, "pack")).to_contain_text("Completed")
    expect(page.get_by_label("Reason")).to_have_value("half a sent")


def test_the_list_and_the_overview_follow(page: Any, handlers: Any) -> None:
    handlers.parcel_is_packed.set()
    launch(page)
    expect(page.locator("#task-state .state-big")).to_have_text("Failed")
    page.goto("/")
    expect(page.locator("#now")).to_contain_text("Failed, needs somebody")
    page.goto("/tasks?state=failed")
    expect(page.locator("table.tasks tbody tr")).to_have_count(1)


def test_rows_and_variants_of_the_form_come_without_a_new_page(page: Any) -> None:
    page.goto(LAUNCH)
    page.evaluate("window.sameDocument = true")
    page.get_by_label("order_id").fill("12")
    page.get_by_role("button", name="Add").click()
    page.get_by_label("sku").fill("ABC-1")
    page.get_by_label("payment").select_option("Card")
    page.get_by_label("token").fill("tok_1")
    assert page.evaluate("window.sameDocument")
    page.get_by_role("button", name="Launch", exact=True).click()
    expect(page.locator("#task-context")).to_contain_text('token "***"')  # the name of a secret
    expect(page.locator("#task-context")).to_contain_text("ABC-1")


def test_enter_in_a_field_launches(page: Any) -> None:
    page.goto(LAUNCH)
    page.get_by_label("order_id").fill("12")
    page.get_by_label("order_id").press("Enter")
    expect(page).to_have_url(re.compile(r"/tasks/"))


def test_everything_works_without_a_script(scriptless: Any, handlers: Any) -> None:
    page = scriptless
    handlers.parcel_is_packed.set()
    launch(page)
    for _ in range(50):
        if node(page, "charge").get_by_text("Failed").count():
            break
        page.wait_for_timeout(100)
        page.reload()
    handlers.gateway_is_up.set()
    row(page, "charge").get_by_role("button", name="Retry").click()
    expect(page.locator("#notices")).to_contain_text("charge runs again.")
    page.get_by_role("link", name="charge").first.click()
    page.get_by_role("link", name="Run it again with everything downstream").click()
    expect(node(page, "ship")).to_contain_text("Completed → Pending")
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
