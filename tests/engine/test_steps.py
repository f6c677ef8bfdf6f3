"""What an operator does to a step, on a real database and without an engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from engine import StepHandler, TaskRequest, Workflow, batches, queries, steps, tasks
from engine.db import Database
from engine.errors import ChangedSince, DefinitionConflict, NotFound, RequestError, WrongState

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


def test_a_changed_definition_is_told_by_what_differs_alone(db: Database, task_id: str) -> None:
    flow = Workflow("order", namespace="shop", version="1.0.0")
    flow.define("charge", handler_class=Charge, output_schema=PAYMENT)
    flow.define("send", handler_class=Charge, depends_on_step="charge")
    with pytest.raises(DefinitionConflict) as refused:
        tasks.register_definition(db, flow.definition)
    assert str(refused.value).splitlines()[1:] == ["  step added: send", "  step removed: ship"]


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


@pytest.fixture
def press_id(db: Database) -> str:
    """A task with the map steps `print` (each result a page, by a reference of its schema) and `bind` (without a schema)."""
    page = {"$ref": "#/$defs/Page", "$defs": {"Page": {"type": "string", "minLength": 1}}}
    flow = Workflow("press", namespace="shop", version="1.0.0")
    flow.define("list_books", handler_class=Charge)
    flow.define("print", handler_class=Charge, depends_on_step="list_books", for_each="list_books", output_schema=page)
    flow.define("bind", handler_class=Charge, depends_on_step="list_books", for_each="list_books")
    tasks.register_definition(db, flow.definition)
    return tasks.submit(db, TaskRequest("press", "shop"))


def test_a_map_step_is_resolved_with_a_list_whose_elements_fit_its_output_schema(db: Database, press_id: str) -> None:
    with pytest.raises(RequestError, match="map step") as refused:
        steps.resolve_step(db, press_id, "print", result="a", actor="ada")
    assert [(problem.path, problem.code) for problem in refused.value.problems] == [("$", "not_a_list")]
    with pytest.raises(RequestError, match="output schema") as refused:
        steps.resolve_step(db, press_id, "print", result=["a", "", 7], actor="ada")
    assert [problem.path for problem in refused.value.problems] == ["$[1]", "$[2]"]
    assert steps.resolve_step(db, press_id, "print", result=["a", "b"], actor="ada") == "resolved"


def test_a_map_step_without_an_output_schema_is_resolved_with_a_list_all_the_same(db: Database, press_id: str) -> None:
    with pytest.raises(RequestError, match="map step"):
        steps.resolve_step(db, press_id, "bind", result={"a": 1}, actor="ada")
    assert steps.resolve_step(db, press_id, "bind", result=[], actor="ada") == "resolved"


def test_the_result_of_one_item_fits_the_output_schema_itself(db: Database, press_id: str) -> None:
    assert steps.result_text(db, press_id, "print[1]", "b") == '"b"'
    with pytest.raises(RequestError):
        steps.result_text(db, press_id, "print[1]", ["b"])


def test_a_list_that_takes_too_long_to_check_is_refused(db: Database, press_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.steps.LIST_SECONDS", 0)
    with pytest.raises(RequestError, match="takes longer"):
        steps.resolve_step(db, press_id, "print", result=["a", "b"], actor="ada")


def test_no_more_misfits_of_a_list_are_told_than_anybody_reads(db: Database, press_id: str) -> None:
    with pytest.raises(RequestError) as refused:
        steps.resolve_step(db, press_id, "print", result=[7] * 200, actor="ada")
    assert len(refused.value.problems) == steps.MOST_TOLD


def test_actions_on_many_resolve_a_map_step_with_a_list_too(db: Database, press_id: str) -> None:
    with pytest.raises(RequestError, match="map step"):
        batches.make_batch(db, "resolve", [(press_id, "print")], about="these", actor="ada", given="a")
    assert batches.make_batch(db, "resolve", [(press_id, "print")], about="these", actor="ada", given=["a"])


def test_what_json_cannot_hold_is_refused(db: Database, task_id: str) -> None:
    with pytest.raises(RequestError):
        steps.resolve_step(db, task_id, "ship", result={"at": float("nan")}, actor="ada")


def test_a_step_is_resolved_once(db: Database, task_id: str) -> None:
    steps.resolve_step(db, task_id, "charge", result={"payment_id": "p1"}, actor="ada")
    with pytest.raises(WrongState, match="resolved"):
        steps.resolve_step(db, task_id, "charge", result={"payment_id": "p2"}, actor="ada")


@pytest.mark.parametrize("end", [steps.skip_step, lambda db, *which, actor: steps.resolve_step(db, *which, result={"payment_id": "p1"}, actor=actor)], ids=["skip", "resolve"])
def test_the_time_until_a_person_came_is_not_what_a_step_took(db: Database, conn: psycopg.Connection[Any], task_id: str, end: Callable[..., str]) -> None:
    for before, after in (("ready", "running"), ("running", "failed")):
        conn.execute("select tasker_update_step_status(step_id, %s, %s) from tasker_steps where name = 'charge'", [before, after])
    assert queries.step(db, task_id, "charge").row.duration_seconds is not None
    end(db, task_id, "charge", actor="ada")
    ended = queries.step(db, task_id, "charge")
    assert (ended.row.duration_seconds, len(ended.attempts)) == (None, 1)
    assert ended.attempts[0].duration_seconds is not None


def test_a_step_runs_again_with_everything_downstream(db: Database, task_id: str) -> None:
    steps.resolve_step(db, task_id, "charge", result={"payment_id": "p1"}, actor="ada")
    steps.skip_step(db, task_id, "ship", actor="ada")
    assert steps.retry_downstream(db, task_id, "charge", context={"order_id": 2}, actor="ada", reason="wrong order") == "ready"
    assert (state(db, task_id, "charge"), state(db, task_id, "ship")) == ("ready", "pending")
    assert queries.task(db, task_id).context == {"order_id": 2}
    assert [move.actor for move in queries.activity(db, task_id) if move.from_state == "resolved"] == ["ada"]


def test_a_context_that_does_not_fit_is_refused_and_nothing_happens(db: Database) -> None:
    flow = Workflow("strict", namespace="shop", version="1.0.0", schema={"type": "object", "required": ["order_id"]})
    flow.define("only", handler_class=Charge)
    tasks.register_definition(db, flow.definition)
    task_id = tasks.submit(db, TaskRequest("strict", "shop", context={"order_id": 1}))
    steps.resolve_step(db, task_id, "only", result=1, actor="ada")
    with pytest.raises(RequestError, match="order_id"):
        steps.retry_downstream(db, task_id, "only", context={}, actor="ada")
    assert state(db, task_id, "only") == "resolved"


def test_a_task_is_paused_and_resumed(db: Database, task_id: str) -> None:
    assert tasks.pause_task(db, task_id, actor="ada", reason="stocktaking") == "pending"
    assert queries.task_row(db, task_id).paused
    with pytest.raises(WrongState, match="paused already"):
        tasks.pause_task(db, task_id, actor="ada")
    assert tasks.resume_task(db, task_id, actor="ada") == "pending"
    assert not queries.task_row(db, task_id).paused
    with pytest.raises(NotFound):
        tasks.pause_task(db, "nonsense", actor="ada")


def test_a_preview_tells_what_an_action_would_do_and_its_token_lets_it_happen(db: Database, task_id: str) -> None:
    shown = steps.preview(db, "skip", task_id, "charge")
    assert [(row.name, row.from_state, row.to_state, row.effect) for row in shown.steps] == [
        ("charge", "ready", "skipped", "skipped"),
        ("ship", "pending", "ready", "unblocked"),
    ]
    assert (shown.task.from_state, shown.task.to_state) == ("pending", "pending")
    assert state(db, task_id, "charge") == "ready"
    assert steps.skip_step(db, task_id, "charge", actor="ada", seen=shown.seen) == "skipped"


def test_what_has_changed_since_it_was_seen_is_not_done(db: Database, task_id: str) -> None:
    seen = tasks.preview(db, "cancel", task_id).seen
    steps.skip_step(db, task_id, "charge", actor="ada")
    with pytest.raises(ChangedSince, match="changed since you looked"):
        tasks.cancel_task(db, task_id, actor="ada", seen=seen)
    assert (state(db, task_id, "charge"), state(db, task_id, "ship")) == ("skipped", "ready")


def test_the_preview_of_a_result_or_context_that_does_not_fit_is_refused(db: Database, task_id: str) -> None:
    with pytest.raises(RequestError, match="payment_id"):
        steps.preview(db, "resolve", task_id, "charge", result={"payment_id": 7})
    assert steps.preview(db, "resolve", task_id, "charge").steps[0].effect == "resolved"


def test_an_unknown_task_or_step_is_not_found(db: Database, task_id: str) -> None:
    for task, name in ((task_id, "nothing"), ("00000000-0000-4000-8000-000000000000", "charge"), ("nonsense", "charge")):
        with pytest.raises(NotFound):
            steps.skip_step(db, task, name, actor="ada")
        with pytest.raises(NotFound):
            steps.resolve_step(db, task, name, result=None, actor="ada")
