"""What an engine does about reports that the database will not take, or that go wrong in the engine itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from story import until

from engine import handlers, leases, queries, tasks, worker
from engine.db import Database
from engine.handlers import Workflow
from engine.registry import HandlerRegistry
from engine.requests import TaskRequest
from engine.runners import COMPLETED, FAILED, threads
from engine.scheduler import Engine

Start = Callable[[], Engine]


@pytest.fixture
def start(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """An engine in this process whose handlers are given here."""
    registry = HandlerRegistry()
    monkeypatch.setattr(HandlerRegistry, "_instance", registry)
    flow = Workflow("flow")

    @flow.step()
    def work(task: handlers.Task) -> Any:
        return task.context.get("result")

    engines: list[Engine] = []

    def started() -> Engine:
        engine = Engine(database_url, registry, runner="threads", grace=1)
        engine.start()
        engines.append(engine)
        return engine

    yield started
    for engine in engines:
        engine.drain()


def refuse(patch: pytest.MonkeyPatch, call: str, applies: Callable[[dict[str, Any]], Any] = lambda _: True) -> list[float]:
    """From now on the database refuses that call; the list tells when it did."""
    real, refusals = getattr(leases, call), []

    def refused(*arguments: Any, **named: Any) -> Any:
        if not applies(named):
            return real(*arguments, **named)
        refusals.append(time.monotonic())
        raise psycopg.errors.NumericValueOutOfRange("a number too large")

    patch.setattr(leases, call, refused)
    return refusals


def finished(db: Database) -> list[Any]:
    return db.rows("select task_no from tasker_task where finished_at is not null")


def ended(db: Database, ids: list[str]) -> list[dict[str, Any]]:
    query = "select count(*) = 0 from tasker_task where finished_at is null"
    until(lambda: db.value(query), "the tasks to end")
    return [queries.outcome(db, task)["steps"]["work"] for task in ids]


@pytest.mark.parametrize(
    "poison",
    [(COMPLETED, "{no json"), (COMPLETED, '"\\ud800"'), (FAILED, "{no json"), (COMPLETED, "1e999999")],
    ids=["no json", "half a character", "error that is no json", "number out of range"],
)
def test_one_report_that_the_database_refuses_fails_its_step_and_stops_no_other(
    start: Start, db: Database, monkeypatch: pytest.MonkeyPatch, poison: tuple[int, str]
) -> None:
    real = threads.invoke

    def poisoned(*arguments: Any) -> tuple[int, str]:
        return poison if '"poison"' in arguments[5] else real(*arguments)

    monkeypatch.setattr(threads, "invoke", poisoned)
    start()
    ids = tasks.submit_many(db, [TaskRequest("flow", context={"result": "poison" if n == 13 else n}) for n in range(40)])
    steps = ended(db, ids)
    bad = steps.pop(13)
    assert (bad["state"], bad["error"]["type"]) == ("failed", "result_refused")
    assert {(step["state"], step["attempts"]) for step in steps} == {("completed", 1)}


def test_a_claim_that_the_database_refuses_is_told_and_tried_again_after_a_pause(
    start: Start, db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = refuse(monkeypatch, "complete_and_claim")
    start()
    (task,) = tasks.submit_many(db, [TaskRequest("flow")])
    until(lambda: refusals, "a claim")
    begun = time.monotonic()
    time.sleep(1)
    assert len(refusals) < 20 * (time.monotonic() - begun)
    assert "a number too large" in caplog.text
    monkeypatch.undo()
    assert ended(db, [task])[0]["state"] == "completed"


def test_a_claim_that_the_database_refuses_is_blamed_on_no_step(start: Start, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    real, begun, may_end = threads.invoke, threading.Event(), threading.Event()

    def held(*arguments: Any) -> tuple[int, str]:
        begun.set()
        may_end.wait(60)
        return real(*arguments)

    monkeypatch.setattr(threads, "invoke", held)
    start()
    (task,) = tasks.submit_many(db, [TaskRequest("flow")])
    assert begun.wait(60)
    refuse(monkeypatch, "complete_and_claim", lambda asked: asked["want"])
    may_end.set()
    assert ended(db, [task])[0]["state"] == "completed"


def test_a_report_that_is_refused_again_and_again_is_told_and_stops_no_other(
    start: Start, db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = threads.invoke
    monkeypatch.setattr(worker, "ASIDE_SECONDS", 1.0)
    monkeypatch.setattr(threads, "invoke", lambda *arguments: (COMPLETED, "{no json") if '"poison"' in arguments[5] else real(*arguments))
    with monkeypatch.context() as refusing:
        refusals = refuse(refusing, "fail_steps")
        start()
        (bad,) = tasks.submit_many(db, [TaskRequest("flow", context={"result": "poison"})])
        until(lambda: len(refusals) >= 2, "it to be refused twice", 30)
        begun, before = time.monotonic(), len(refusals)
        others = tasks.submit_many(db, [TaskRequest("flow", context={"result": n}) for n in range(20)])
        until(lambda: len(finished(db)) == len(others), "all others to end", 30)
        assert len(refusals) - before <= 1 + (time.monotonic() - begun) / worker.ASIDE_SECONDS
        assert "a number too large" in caplog.text
    assert ended(db, [bad])[0]["error"]["type"] == "result_refused"


@pytest.mark.parametrize("method", ["_take", "_report_others", "_keep_results", "_begin", "_next_claim"])
def test_an_error_of_the_engine_itself_loses_no_step(start: Start, db: Database, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    real, failures = getattr(worker.Worker, method), iter(range(4))

    def failing(self: worker.Worker, *arguments: Any) -> Any:
        if next(failures, None) is not None:
            raise RuntimeError("a mistake of ours")
        return real(self, *arguments)

    engine = start()
    monkeypatch.setattr(worker.Worker, method, failing)
    ids = tasks.submit_many(db, [TaskRequest("flow", context={"result": n}) for n in range(20)])
    assert [(step["state"], step["attempts"], step["result"]) for step in ended(db, ids)] == [("completed", 1, n) for n in range(20)]
    until(lambda: engine.worker.running_count == 0, "nothing to be held any more")


def test_an_engine_that_comes_back_after_its_lease_begins_nothing_that_is_being_taken_from_it(
    database_url: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forbids: a claim's reply is lost and the lease runs out; connected again, the engine finds the step and begins it, while others rescue it."""
    flow = Workflow("flow", namespace="late")
    flow.define("work")
    number = tasks.register_definition(db, flow.definition)
    one = worker.Worker(database_url, threads.ThreadsRunner(1), {number: flow.definition}, name="late", runner_name="threads", concurrency=1)
    one._registered().close()
    tasks.submit(db, TaskRequest("flow", "late"))
    claim = "select count(*) from tasker_claim_steps(%(worker)s, 1000, 1, %(definitions)s::int[])"
    assert db.value(claim, {"worker": one.who.worker_id, "definitions": one._served}) == 1
    db.rows("update tasker_worker set lease_until = tasker_clock() - interval '1 second' returning 1")
    begun: list[object] = []
    monkeypatch.setattr(one.runner, "submit", begun.extend)
    one._unsure = True
    one._flush_forever(0, None)
    assert one.lease_lost.is_set()
    assert begun == []
