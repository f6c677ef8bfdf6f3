"""What an operator does to a step, on a real database and without an engine."""

from __future__ import annotations

import pytest

from engine import StepHandler, TaskRequest, Workflow, queries, steps, tasks
from engine.db import Database
from engine.errors import NotFound, RequestError, WrongState

PAYMENT = {"type": "object", "required": ["payment_id"], "properties": {"payment_id": {"type": "string"}}}


class Charge(StepHandler):
    """Never called here."""


@pytest.fixture
def task_id(db: Database) -> str:
    flow = Workflow("order", namespace="shop", version="1.0.0")
    flow.define("charge", handler_class=Charge, output_schema=PAYMENT)
    flow.define("ship", handler_class=Charge, depends_on_step="charge")
    tasks.register_definition(db, flow.definition)
    return tasks.submit(db, TaskRequest("order", "shop"))


def state(db: Database, task_id: str, name: str) -> str:
    return queries.step(db, task_id, name).row.state


def test_a_supplied_result_must_fit_the_output_schema(db: Database, task_id: str) -> None:
    with pytest.raises(RequestError, match="payment_id") as refused:
        steps.resolve_step(db, task_id, "charge", result={"payment_id": 7}, actor="ada")
    assert [problem.path for problem in refused.value.problems] == ["$.payment_id"]
    assert state(db, task_id, "charge") == "ready"


def test_a_supplied_result_reaches_the_children(db: Database, task_id: str) -> None:
    assert steps.resolve_step(db, task_id, "charge", result={"payment_id": "p1"}, actor="ada", reason="paid by phone") == "resolved"
    assert state(db, task_id, "ship") == "ready"
    assert queries.step(db, task_id, "ship").parent_results == {"charge": {"payment_id": "p1"}}


def test_a_step_without_an_output_schema_takes_any_json(db: Database, task_id: str) -> None:
    assert steps.resolve_step(db, task_id, "ship", result=[1, None], actor="ada") == "resolved"


def test_what_json_cannot_hold_is_refused(db: Database, task_id: str) -> None:
    with pytest.raises(RequestError):
        steps.resolve_step(db, task_id, "ship", result={"at": float("nan")}, actor="ada")


def test_a_step_is_resolved_once(db: Database, task_id: str) -> None:
    steps.resolve_step(db, task_id, "charge", result={"payment_id": "p1"}, actor="ada")
    with pytest.raises(WrongState, match="resolved"):
        steps.resolve_step(db, task_id, "charge", result={"payment_id": "p2"}, actor="ada")


def test_an_unknown_task_or_step_is_not_found(db: Database, task_id: str) -> None:
    for task, name in ((task_id, "nothing"), ("00000000-0000-4000-8000-000000000000", "charge"), ("nonsense", "charge")):
        with pytest.raises(NotFound):
            steps.skip_step(db, task, name, actor="ada")
        with pytest.raises(NotFound):
            steps.resolve_step(db, task, name, result=None, actor="ada")
