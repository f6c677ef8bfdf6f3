"""The task page, its timeline and the launch form as people use them: by keyboard, without scripts, while things change."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import expect

from engine import tasks
from engine.db import Database
from engine.registry import HandlerRegistry
from engine.requests import TaskRequest

LAUNCH = "/workflows/shop/process_order/1.0.0/launch"


@pytest.fixture
def task_id(db: Database, registry: HandlerRegistry) -> str:
    """A task that no engine has taken."""
    for definition in registry.definitions():
        tasks.register_definition(db, definition)
    return tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": 1}, idempotency_key="once"))


def test_a_note_is_written_by_keyboard_and_the_field_is_empty_again(page: Any, task_id: str) -> None:
    page.goto(f"/tasks/{task_id}")
    page.get_by_label("Note").focus()
    page.keyboard.type("Asked the warehouse.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#task-activity .remark")).to_contain_text("Asked the warehouse.")
    expect(page.get_by_label("Note")).to_have_value("")


def test_nothing_moves_while_a_note_is_written_and_it_says_so(page: Any, db: Database, task_id: str) -> None:
    page.goto(f"/tasks/{task_id}")
    expect(page.locator("#live-status")).to_contain_text("Updated")
    page.get_by_label("Note").focus()
    page.keyboard.type("half a sent")
    tasks.cancel_task(db, task_id, actor="ana")
    expect(page.locator("#live-status")).to_contain_text("you are writing")
    expect(page.locator("#task-state .state-big")).to_have_text("Pending")
    page.get_by_label("Reason").focus()
    expect(page.locator("#task-state .state-big")).to_have_text("Cancelled")
    expect(page.get_by_label("Note")).to_have_value("half a sent")


def test_the_timeline_follows_what_happens(page: Any, db: Database, task_id: str) -> None:
    page.goto(f"/tasks/{task_id}/timeline")
    expect(page.locator("#lane-validate")).to_contain_text("Ready")
    tasks.cancel_task(db, task_id, actor="ana")
    expect(page.locator("#lane-validate")).to_contain_text("Cancelled")


def test_notes_and_the_timeline_work_without_scripts(scriptless: Any, task_id: str) -> None:
    scriptless.goto(f"/tasks/{task_id}")
    scriptless.get_by_label("Note").fill("Seen.")
    scriptless.get_by_role("button", name="Add note").click()
    expect(scriptless.locator("#task-activity .remark")).to_contain_text("Seen.")
    scriptless.get_by_role("link", name="Timeline").click()
    expect(scriptless.locator("#lane-validate")).to_contain_text("Ready")


def test_presets_keys_and_commands_work_without_scripts(scriptless: Any, task_id: str) -> None:
    scriptless.goto(LAUNCH)
    scriptless.get_by_label("order_id").fill("12")
    scriptless.get_by_text("Keep or copy").click()
    scriptless.get_by_label("Preset").fill("Usual")
    scriptless.get_by_role("button", name="Keep as preset").click()
    scriptless.get_by_role("link", name="Usual").click()
    expect(scriptless.get_by_label("order_id")).to_have_value("12")
    scriptless.get_by_text("Options", exact=True).click()
    scriptless.get_by_label("Idempotency key").fill("once")
    scriptless.get_by_role("button", name="Check the key").click()
    expect(scriptless.locator(".field-note")).to_contain_text("This key was used")
    scriptless.get_by_label("Idempotency key").fill("")
    scriptless.get_by_text("Keep or copy").click()
    scriptless.get_by_role("button", name="Show as commands").click()
    expect(scriptless.locator(".command").first).to_contain_text("tasker launch shop/process_order@1.0.0")
