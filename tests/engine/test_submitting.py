"""What an idempotency key promises: the same request, whoever sends it and whatever the workflow has become meanwhile, is the first task."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from engine import queries, tasks
from engine.db import Database
from engine.definition import HINTS, StepTemplate, TaskDefinition
from engine.errors import DefinitionConflict, KeyReused, RequestError
from engine.requests import TaskRequest

ORDER = {"order_id": {"type": "integer"}}


@pytest.fixture(autouse=True)
def _latest_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LATEST_SECONDS", 0.0)


def given_version(db: Database, version: str, *, required: tuple[str, ...] = (), steps: tuple[str, ...] = ("pack", "send"), **properties: Any) -> None:
    schema = {"type": "object", "required": list(required), "properties": {**ORDER, **properties}}
    templates = tuple(StepTemplate(name) for name in steps)
    tasks.register_definition(db, TaskDefinition("tests", "parcel", version=version, schema=schema, steps=templates))


def parcel(key: str = "order-7", **fields: Any) -> TaskRequest:
    return TaskRequest(**{"name": "parcel", "namespace": "tests", "context": {"order_id": 7}, "idempotency_key": key, **fields})


def contexts(db: Database) -> list[Any]:
    return [context for (context,) in db.rows("select context from tasker_task order by task_no")]


def test_a_request_that_anybody_sends_again_is_the_first_task(db: Database) -> None:
    given_version(db, "1.0.0")
    first = tasks.submit(db, parcel(initiator="ann", source_system="shop"))
    assert tasks.create_tasks(db, [parcel(initiator="bob", source_system="support"), parcel()]) == [(first, False)] * 2


@pytest.mark.parametrize("other", [{"context": {"order_id": 8}}, {"reason": "lost"}, {"tags": ("a",)}, {"priority": 1}, {"bypass_steps": ("pack",)}, {"version": "1.0.0"}])
def test_a_key_is_not_lent_to_a_request_that_wants_something_else(db: Database, other: dict[str, Any]) -> None:
    given_version(db, "1.0.0")
    tasks.submit(db, parcel())
    with pytest.raises(KeyReused):
        tasks.submit(db, parcel(**other))


def test_a_default_of_a_newer_version_does_not_make_it_another_request(db: Database) -> None:
    given_version(db, "1.0.0")
    first = tasks.submit(db, parcel())
    given_version(db, "1.1.0", speed={"type": "string", "default": "normal"})
    assert tasks.create_tasks(db, [parcel(), parcel("order-8")])[0] == (first, False)
    assert contexts(db) == [{"order_id": 7}, {"order_id": 7, "speed": "normal"}]


NEWER: list[Callable[[Database], None]] = [
    lambda db: given_version(db, "2.0.0", required=("address",), address={"type": "string"}),
    lambda db: given_version(db, "2.0.0", steps=("send",)),
]


@pytest.mark.parametrize("newer", NEWER)
def test_a_newer_version_that_would_refuse_it_answers_the_first_task_all_the_same(db: Database, newer: Callable[[Database], None]) -> None:
    given_version(db, "1.0.0")
    fields = {"bypass_steps": ("pack",)}
    first = tasks.submit(db, parcel(**fields))
    newer(db)
    assert tasks.create_tasks(db, [parcel(**fields), parcel(**fields)]) == [(first, False)] * 2
    assert tasks.request_problems(db, parcel(**fields)) == []
    assert len(contexts(db)) == 1


def test_what_no_task_was_made_of_is_refused_beside_what_was_made_before(db: Database) -> None:
    given_version(db, "1.0.0")
    first = tasks.submit(db, parcel())
    NEWER[0](db)
    with pytest.raises(RequestError, match="address"):
        tasks.create_tasks(db, [parcel(), parcel("order-8")])
    with pytest.raises(RequestError, match="address"):
        tasks.submit(db, parcel(reason="something else under its key"))
    fits = parcel("order-9", context={"order_id": 9, "address": "here"})
    made = tasks.create_tasks(db, [fits, parcel(), fits])
    assert [(made[0][0] != first, is_new) for _, is_new in made] == [(True, True), (True, False), (True, False)]
    assert (made[1][0], made[2][0]) == (first, made[0][0])


def test_a_step_that_is_to_be_bypassed_and_is_none_is_told_with_the_nearest_name(db: Database) -> None:
    given_version(db, "1.0.0")
    with pytest.raises(RequestError) as refused:
        tasks.submit(db, parcel(bypass_steps=("pack", "sned")))
    assert [(problem.path, problem.message) for problem in refused.value.problems] == [("bypass_steps[1]", "tests/parcel@1.0.0 has no step \"sned\"; did you mean 'send'?")]
    assert contexts(db) == []


def test_of_many_unknown_steps_the_first_have_the_nearest_name(db: Database) -> None:
    given_version(db, "1.0.0")
    with pytest.raises(RequestError) as refused:
        tasks.submit(db, parcel(bypass_steps=tuple(f"send{number}" for number in range(HINTS + 2))))
    assert ["did you mean" in problem.message for problem in refused.value.problems] == [True] * HINTS + [False] * 2


# --- a definition that is replaced while a request looks at it


def test_a_request_that_meets_content_replaced_since_is_judged_and_made_by_the_new_one(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LATEST_SECONDS", 60.0)
    given_version(db, "1.0.0")
    assert tasks.request_problems(db, parcel()) == []  # which remembers the content
    given_version(db, "1.0.0", steps=("weigh", "pack", "send"), speed={"type": "string", "default": "normal"})
    task_id = tasks.submit(db, parcel())
    assert contexts(db) == [{"order_id": 7, "speed": "normal"}]
    assert [step.name for step in queries.task(db, task_id).steps] == ["weigh", "pack", "send"]


def test_a_request_that_the_new_content_does_not_take_is_refused_by_it(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LATEST_SECONDS", 60.0)
    given_version(db, "1.0.0")
    assert tasks.request_problems(db, parcel()) == []
    given_version(db, "1.0.0", required=("address",), address={"type": "string"})
    with pytest.raises(RequestError) as caught:
        tasks.submit(db, parcel())
    assert [problem.path for problem in caught.value.problems] == ["$.address"]
    assert contexts(db) == []


def test_tasks_submitted_while_their_version_changes_again_and_again_have_all_steps_of_one_content(db: Database) -> None:
    # Forbids: a task judged by one content and made of another, or one that fails as the content it has looked at is gone.
    def submitted(number: int) -> str:
        gate.wait(timeout=30)
        return tasks.submit(db, parcel(f"order-{number}"))

    for turn in range(8):
        gate, name = threading.Barrier(3), f"1.{turn}.0"
        given_version(db, name, steps=("pack",))
        with ThreadPoolExecutor(2) as pool:
            found = [pool.submit(submitted, turn * 2 + number) for number in range(2)]
            gate.wait(timeout=30)
            with suppress(DefinitionConflict):
                given_version(db, name, steps=("pack", "send"), speed={"type": "string", "default": "normal"})
            made = [queries.task(db, each.result(timeout=60)) for each in found]
        assert {len(task.steps) for task in made} in ({1}, {2})
        assert all(("speed" in task.context) == (len(task.steps) == 2) for task in made)
