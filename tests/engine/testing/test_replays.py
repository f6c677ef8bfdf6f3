"""A recorded run of a task is replayed as a test, and the first step that does otherwise is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine import PermanentError, RequestError, RetryableError, Workflow, queries, steps
from engine.handlers import Task
from engine.recording import recording
from engine.testing import Diverged, Workbench, replay

RATE = {"tax": 2, "charged_at": "monday"}
orders = Workflow("replayed", namespace="kit", version="1.0.0")


@orders.step
def price(task: Task) -> dict[str, Any]:
    return {"total": task.context["amount"] * RATE["tax"], "at": RATE["charged_at"]}


@orders.step(depends_on_step="price")
def charge(price: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError("the card service is not called in a test")


@orders.step(depends_on_step="charge", for_each="charge.parcels")
def pack(item: str, task: Task) -> str:
    return f"{item} for {task.context['api_token'][:4]}"


@orders.step(depends_on_step="price")
def refuse(price: dict[str, Any]) -> None:
    if price["total"] > 10:
        raise PermanentError("too dear")


def recorded(tasker: Workbench, tmp_path: Path) -> Path:
    """What was recorded in production, where the card service was busy at first."""
    tasker.stub("charge", RetryableError("busy"), {"parcels": ["a", "b"], "card_token": "tok-12345"})
    done = tasker.run(orders, {"amount": 21, "api_token": "key-12345"})
    assert done.state == "failed"
    place = tmp_path / "run.json"
    place.write_text(json.dumps(recording(queries.outcome(tasker.db, done.task_id))))
    assert "12345" not in place.read_text()
    return place


def test_a_recorded_run_is_replayed_with_the_answers_that_it_recorded(tasker: Workbench, tmp_path: Path) -> None:
    place = recorded(tasker, tmp_path)
    done = replay(tasker, place, stubs=["charge"], context={"api_token": "key-99999"})
    assert (done.steps["charge"].attempts, done.steps["pack[1]"].result) == (2, "b for key-")
    assert done.steps["refuse"].state == "failed"


def test_of_a_map_step_that_was_run_again_only_the_last_items_are_recorded(tasker: Workbench) -> None:
    tasker.stub("charge", {"parcels": ["a", "b"]}, {"parcels": ["c"]})
    tasker.stub("pack", "first", PermanentError("lost"), "second")
    task_id = tasker.run(orders, {"amount": 2}).task_id
    steps.retry_downstream(tasker.db, task_id, "charge", actor="ada")
    tasker.run_ready()
    again = tasker.task(task_id)
    again.assert_completed()
    assert again.result("pack[0]") == "second"
    assert [step.name for step in queries.task(tasker.db, task_id).steps] == ["price", "charge", "pack", "pack[0]", "refuse"]
    recorded = recording(queries.outcome(tasker.db, task_id))["steps"]
    assert (recorded["pack[0]"]["result"], "pack[1]" in recorded) == ("second", False)


def test_the_first_step_that_does_otherwise_is_named(tasker: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = recorded(tasker, tmp_path)
    answers: dict[str, Any] = {"stubs": ["charge"], "context": {"api_token": "key-99999"}}
    monkeypatch.setitem(RATE, "charged_at", "tuesday")
    with pytest.raises(Diverged, match=r'price.at was "monday" when it was recorded and is "tuesday"'):
        replay(tasker, place, **answers)
    replay(tasker, place, **answers, ignore=["price.at"])
    monkeypatch.setitem(RATE, "tax", 0)
    with pytest.raises(Diverged, match="refuse was failed with PermanentError: too dear when it was recorded and is completed") as found:
        replay(tasker, place, **answers, ignore=["price"])
    assert found.value.step == "refuse"


def test_what_is_no_recording_or_no_step_of_it_is_refused(tasker: Workbench, tmp_path: Path) -> None:
    place = recorded(tasker, tmp_path)
    with pytest.raises(LookupError, match="did you mean 'charge'"):
        replay(tasker, place, stubs=["chrage"])
    with pytest.raises(RequestError, match="tasker export"):
        replay(tasker, {"steps": {}})
