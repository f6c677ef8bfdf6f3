"""The dashboard as a part of another application, in a real browser: live, acted on and without complaint below its prefix."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, redirect, session
from flask_wtf.csrf import CSRFProtect

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect
from waitress.server import create_server

from engine import tasks
from engine.db import Database
from engine.registry import HandlerRegistry
from engine.requests import TaskRequest
from engine.scheduler import Engine
from webapp import Tasker, Visitor, database, live


@pytest.fixture
def shop(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a shop whose one person signs in by opening `/login`."""
    monkeypatch.setenv("TASKER_DATA_DIR", str(tmp_path))
    app = Flask("shop")
    app.secret_key = "the shop's own key"
    CSRFProtect(app)
    app.add_url_rule("/login", "login", lambda: (session.update(name="ada"), redirect("/tasker/"))[1])
    tasker = Tasker(app, who=lambda: Visitor(session["name"], roles="admin") if "name" in session else None, login="login", database=database_url, streams=4)
    server = create_server(app, host="127.0.0.1", port=0, threads=8)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    live.close(tasker.dashboard(app))
    server.close()
    thread.join(10)
    database.close(tasker.dashboard(app))


def test_a_failed_step_is_retried_live_inside_another_application(
    chromium_browser: Any, shop: str, running_engine: Engine, handlers: Any, registry: HandlerRegistry, db: Database
) -> None:
    task_id = tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": 1}))
    context = chromium_browser.new_context(base_url=shop, viewport={"width": 390, "height": 844})
    context.set_default_timeout(20_000)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto("/tasker/tasks")  # by way of the shop's sign-in
    expect(page.locator("h1")).to_be_visible()
    page.goto(f"/tasker/tasks/{task_id}")
    expect(page.locator("[sse-connect]")).to_have_count(1)
    expect(page.locator("#task-retry")).to_be_visible(timeout=20_000)
    handlers.gateway_is_up.set()
    page.get_by_label("Reason").first.fill("the gateway is up again")
    page.locator("#task-retry").click()
    handlers.parcel_is_packed.set()
    expect(page.locator("#task-state .state-big")).to_have_text("Completed", timeout=20_000)
    assert page.url == f"{shop}/tasker/tasks/{task_id}"
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert complaints == []
    context.close()
