"""The duties of an engine's loop."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from engine import TaskRequest, Workflow, tasks
from engine.db import Database
from engine.registry import HandlerRegistry
from engine.scheduler import Engine


def test_a_duty_that_meets_what_nobody_foresaw_is_told_once_and_goes_on(
    db: Database, registry: HandlerRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, eventually: Callable[..., bool]
) -> None:
    monkeypatch.setattr("engine.scheduler.VIEWS_SECONDS", 0.02)
    rounds: list[bool] = []

    def break_down(*_: object) -> None:
        rounds.append(True)
        raise ValueError("nobody foresaw this")

    monkeypatch.setattr("engine.finding.views.watch", break_down)
    Workflow("other", namespace="tests", version="1.0.0").define("only", handler_class=lambda task: 1)
    engine = Engine(db.url, registry, runner="threads", concurrency=1, grace=1)
    engine.start()
    try:
        assert eventually(lambda: len(rounds) > 3)
        tasks.submit(db, TaskRequest("other", "tests"))
        assert eventually(lambda: db.value("select count(*) from tasker_task where state = 4") == 1)
    finally:
        engine.drain()
    told = [record for record in caplog.records if record.name == "tasker.engine" and record.levelno == logging.ERROR]
    assert [(record.getMessage(), str(record.exc_info[1])) for record in told if record.exc_info] == [("the duty views failed and is tried again", "nobody foresaw this")]
