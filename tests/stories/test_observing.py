"""Whose a line of a handler and a span is, of an engine with its usual processes, from the request that made the task to the child that a step submits."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from story import Story, until

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "webapp"))

from signed_in import token_for
from test_tracing import Collector, facts

from engine.settings import Settings
from webapp import create_app, database

FLOWS = """
import logging

from engine import TaskRequest, submit

log = logging.getLogger("shop")
order, parcel = Workflow("order"), Workflow("parcel")

@order.step
def charge(task):
    log.info("charged")

@order.step(depends_on_step="charge")
def ship(task):
    log.info("shipped")
    submit(TaskRequest("parcel"))

@parcel.step
def send(task):
    log.info("sent")
"""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    made = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    monkeypatch.setenv("TASKER_TRACES", "on")
    yield made
    made.close()


def given_order(story: Story, correlation_id: str) -> str:
    """The id of a task that was asked for over the API."""
    app = create_app(Settings(secret_key="a key for tests", data_dir=story.folder), database_url=story.url)
    headers = {"Authorization": f"Bearer {token_for(story.url)}", "X-Correlation-ID": correlation_id}
    made: Any = app.test_client().post("/api/v1/tasks", json={"name": "order"}, headers=headers).json
    database.close(app)
    return str(made["task_id"])


def test_lines_and_spans_of_handlers_tell_whose_they_are(story: Story, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKER_LOG_FORMAT", "json")
    story.write(FLOWS)
    engine = story.start()
    order = given_order(story, "c-4711")
    assert story.ended(order)["state"] == "completed"
    parcel = story.db.value("select task_id::text from tasker_task where parent_task_id = %(order)s", {"order": order})
    story.ended(parcel)
    until(lambda: (len(collector.of(order)), len(collector.of(parcel))) == (3, 2), f"five spans; the engine said:\n{engine.said()}")
    lines = {line["event"]: line for line in map(json.loads, engine.said().splitlines()) if line["logger"] == "shop"}
    (name,) = {row[0] for row in story.db.rows("select name from tasker_worker", {})}
    assert {event: {key: line.get(key) for key in ("correlation_id", "task_id", "step", "attempt", "engine")} for event, line in lines.items()} == {
        event: {"correlation_id": "c-4711", "task_id": task_id, "step": step, "attempt": 1, "engine": name}
        for event, task_id, step in (("charged", order, "charge"), ("shipped", order, "ship"), ("sent", parcel, "send"))
    }
    spans, of_child = collector.of(order), collector.of(parcel)
    assert len({span.trace_id for span in (*spans.values(), *of_child.values())}) == 1
    assert {spans[attempt].parent_span_id for attempt in ("charge 1", "ship 1")} == {spans[order].span_id}
    assert (of_child[parcel].parent_span_id, of_child["send 1"].parent_span_id) == (spans["ship 1"].span_id, of_child[parcel].span_id)
    assert {facts(span)["tasker.engine"] for span in (spans["charge 1"], spans["ship 1"], of_child["send 1"])} == {name}
    assert engine.drained() == 0
