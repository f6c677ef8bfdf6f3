"""The palette and single keys, and a tab that tells how its task stands and when it has ended."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

from engine import tasks
from engine.db import Database
from engine.registry import HandlerRegistry
from engine.requests import TaskRequest

TOLD = """
  const Browser = window.Notification;
  window.told = [];
  window.Notification = class extends Browser { constructor(title, options) { super(title, options); window.told.push([title, options.body]); } };
"""


@pytest.fixture
def task_id(db: Database, registry: HandlerRegistry) -> str:
    for definition in registry.definitions():
        tasks.register_definition(db, definition)
    return tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": 1}))


def test_everything_is_reached_by_keys_and_a_field_keeps_its_letters(page: Any, task_id: str) -> None:
    page.goto("/")
    page.keyboard.press("Control+k")
    box = page.get_by_role("combobox", name="A page, view, workflow or task")
    expect(box).to_be_focused()
    expect(page.locator("#palette-lines [aria-selected=true]")).to_contain_text("Overview")
    box.fill(task_id[:13])
    expect(page.locator("#palette-lines [aria-selected=true]")).to_contain_text(f"process_order {task_id[:8]}")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#palette-lines [aria-selected=true]")).to_contain_text("Everything that bears")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/tasks/{task_id}")

    page.keyboard.press("c")
    expect(page.locator("#task-cancel")).to_be_focused()
    page.locator("#find").focus()
    page.keyboard.type("gw?jk/")
    expect(page.locator("#find")).to_have_value("gw?jk/")
    page.locator("#find").blur()

    page.keyboard.press("g")
    page.keyboard.press("t")
    page.wait_for_url("**/tasks")
    page.keyboard.press("j")
    expect(page.locator(f'a[href="/tasks/{task_id}"]')).to_be_focused()

    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keys")
    expect(sheet).to_be_visible()
    sheet.get_by_label("Single keys are on").uncheck()
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("#palette")).to_be_hidden()
    page.keyboard.press("Control+k")
    expect(page.locator("#palette")).to_be_visible()


TYPE_AND_ENTER = """text => {
  const box = document.querySelector("#palette input");
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
}"""


def test_enter_waits_for_the_lines_that_answer_what_was_typed(page: Any, task_id: str) -> None:
    page.goto("/engines")
    page.keyboard.press("Control+k")
    expect(page.locator("#palette-lines [aria-selected=true]")).to_contain_text("Overview")
    page.evaluate(TYPE_AND_ENTER, task_id[:13])
    page.wait_for_url(f"**/tasks/{task_id}")


def test_a_palette_that_was_closed_before_its_answer_came_leads_nowhere(page: Any, task_id: str) -> None:
    held: list[Any] = []
    page.goto("/engines")
    page.keyboard.press("Control+k")
    expect(page.locator("#palette-lines [aria-selected=true]")).to_contain_text("Overview")
    page.route(re.compile(r"/palette\?q=."), lambda route: held.append(route))
    page.evaluate(TYPE_AND_ENTER, task_id[:13])
    while not held:
        page.wait_for_timeout(10)
    page.mouse.click(2, 2)
    expect(page.locator("#palette")).to_be_hidden()
    for route in held:
        route.continue_()
    expect(page.locator("#palette-lines [aria-selected=true]")).to_contain_text("process_order")
    assert page.url.endswith("/engines")


def test_a_tab_tells_how_its_task_stands_and_that_it_has_ended(page: Any, site: str, task_id: str, db: Database) -> None:
    page.context.grant_permissions(["notifications"], origin=site)
    page.add_init_script(TOLD)
    page.goto(f"/tasks/{task_id}")
    expect(page).to_have_title(re.compile("^Pending"))
    page.get_by_text("Tell me when it ends").click()
    page.get_by_role("button", name="In this browser").click()
    expect(page.get_by_role("button", name="This browser will tell you")).to_be_visible()
    tasks.cancel_task(db, task_id, actor="ana")
    expect(page).to_have_title(re.compile("^Cancelled"))
    expect(page.locator("#tab-icon")).to_have_attribute("href", re.compile(r"/icons/cancelled\.svg$"))
    page.wait_for_function("window.told.length === 1")
    assert page.evaluate("window.told[0][0]").startswith("Cancelled · process_order")

    another = tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": 2}))
    page.goto(f"/tasks/{another}/steps/validate")
    expect(page).to_have_title(re.compile("^Ready · validate of process_order"))
    tasks.cancel_task(db, another, actor="ana")
    expect(page).to_have_title(re.compile("^Cancelled · validate of process_order"))
    expect(page.locator("#tab-icon")).to_have_attribute("href", re.compile(r"/icons/cancelled\.svg$"))
