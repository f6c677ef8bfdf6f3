"""An engine that lost its lease while the database is away goes on asking, and says so once in a while."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from engine import Workflow, scheduler
from engine.errors import DatabaseUnavailable
from engine.registry import HandlerRegistry
from engine.scheduler import Engine
from engine.worker import Worker


@pytest.fixture
def engine(registry: HandlerRegistry, database_url: str) -> Iterator[Engine]:
    """One engine at work."""
    workflow = Workflow("one_step", namespace="tests", version="1.0.0")
    workflow.define("work")
    started = Engine(database_url, registry, runner="threads", concurrency=1, grace=0)
    started.start()
    yield started
    started.drain()


def test_it_tries_until_there_is_a_database_and_warns_once(engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    refusals, new_worker, lost = [DatabaseUnavailable("refused")] * 3, engine._new_worker, engine.worker
    tries = threading.Event()

    def worker_once_there_is_a_database() -> Worker:
        if refusals:
            raise refusals.pop()
        tries.set()
        return new_worker()

    monkeypatch.setattr(engine, "_new_worker", worker_once_there_is_a_database)
    monkeypatch.setattr(scheduler, "ANEW_SECONDS", 0.01)
    caplog.set_level(logging.INFO, "tasker.engine")
    lost.lease_lost.set()
    engine._begin_anew()
    assert tries.is_set()
    assert engine.worker is not lost
    told = [record.getMessage() for record in caplog.records]
    assert [line for line in told if "refused" in line] == ["the engine cannot start anew yet and tries again: refused"]
    assert sum("answers again" in line for line in told) == 1
