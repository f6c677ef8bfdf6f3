"""A progress bar moves and lines appear while the reader looks on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

from engine import tasks
from engine.db import Database
from engine.handlers import Step, Workflow
from engine.registry import HandlerRegistry
from engine.requests import TaskRequest
from engine.scheduler import Engine


class Import:
    """A step that goes on by a page whenever the test says so."""

    def __init__(self) -> None:
        self.turn = threading.Semaphore(0)

    def workflow(self) -> Workflow:
        flow = Workflow("import", namespace="shop", version="1.0.0")

        @flow.step
        def load(step: Step) -> None:
            for page in (1, 2, 3):
                step.progress(1000 * page, 3000, f"page {page}")
                step.log(f"loaded page {page}")
                self.turn.acquire(timeout=20)

        return flow


@pytest.fixture
def work() -> Iterator[Import]:
    made = Import()
    yield made
    made.turn.release(3)


@pytest.fixture
def engine(database_url: str, work: Import) -> Iterator[Engine]:
    registry = HandlerRegistry()
    registry.register(work.workflow())
    made = Engine(database_url, registry, runner="threads", concurrency=2, grace=1.0)
    made.start()
    yield made
    work.turn.release(3)
    made.drain()


def test_a_progress_bar_moves_and_lines_appear_without_reloading(page: Any, engine: Engine, db: Database, work: Import) -> None:
    task_id = tasks.submit(db, TaskRequest("import", "shop"))
    page.goto(f"/tasks/{task_id}/steps/load")
    page.evaluate("window.unbroken = true")
    bar = page.locator("#step-state progress")
    expect(bar).to_have_js_property("value", 1000)
    work.turn.release()
    expect(bar).to_have_js_property("value", 2000)
    expect(page.locator("#step-state .step-progress")).to_contain_text("2,000 of 3,000 · page 2")
    expect(page.locator("#step-log .message")).to_have_text(["loaded page 1", "loaded page 2"])
    work.turn.release(2)
    expect(page.locator("#step-state .state-big")).to_have_text("Completed")
    expect(page.locator("#step-log .message")).to_have_count(3)
    assert page.evaluate("window.unbroken")
