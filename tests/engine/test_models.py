"""Pydantic models as contexts and results: schemas come from them, handlers receive objects, and what they return is dumped."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from engine import DefinitionError, PermanentError, RequestError, StepHandler, TaskHandler, Workflow
from engine.handlers import Sequence, Step, StepTemplates, Task
from engine.requests import TaskRequest, checked_context
from engine.runners import COMPLETED, FAILED
from engine.runners.invoke import invoke
from engine.testing import Workbench, run_step

SAMPLES = Path(__file__).parents[1] / "samples"


class Line(BaseModel):
    item: str
    price: Decimal


class Order(BaseModel):
    order_id: int
    on: datetime.date
    lines: list[Line] = []

    @field_validator("order_id")
    @classmethod
    def is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value


class Sum(BaseModel):
    total: Decimal
    on: datetime.date


def add(task: Task[Order]) -> Sum:
    return Sum(total=sum((line.price for line in task.context.lines), Decimal()), on=task.context.on)


def tell(add: Sum, others: Sum | None = None) -> str:
    return f"{add.total + 1} on {add.on:%d}"


def every(add: Sum) -> list[Sum]:
    return [add, add]


def one(item: Sum) -> Sum:
    return item


class Add(StepHandler):
    def process(self, task: Task[Order], sequence: Sequence, step: Step) -> Sum:
        return add(task)


class Tell(StepHandler):
    def process(self, task: Task[Order], sequence: Sequence, step: Step) -> str:
        return tell(self.step_results(sequence, "add", Sum))


class AsClasses(TaskHandler):
    TASK_NAME, NAMESPACE = "models", "kit"

    def define_step_templates(self, templates: StepTemplates) -> None:
        templates.define("add", handler_class=Add)
        templates.define("tell", handler_class=Tell, depends_on_step="add")

    def schema(self) -> type[Order]:
        return Order


def as_functions() -> Workflow:
    flow = Workflow("models", namespace="kit", schema=Order)
    flow.step()(add)
    flow.step(depends_on_step="add")(tell)
    flow.step(depends_on_step="add")(every)
    flow.step(depends_on_step="every", for_each="every")(one)
    return flow


ORDER = {"order_id": 2, "on": "2026-02-03", "lines": [{"item": "pen", "price": "1.50"}, {"item": "ink", "price": 3}]}


def run(flow: Any, name: str, inputs: dict[str, Any] | None = None, context: Any = ORDER) -> tuple[int, Any]:
    definition = flow.definition
    texts = {step: json.dumps(result) for step, result in (inputs or {}).items()}
    kind, text = invoke(definition, definition.numbers[name], 1, 3, "t", json.dumps(context), None, texts, lambda names: {})
    return kind, json.loads(text)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("make", [as_functions, AsClasses])
def test_handlers_receive_and_return_objects_and_the_database_json(make: Any) -> None:
    flow = make()
    kind, added = run(flow, "add")
    assert (kind, added) == (COMPLETED, {"total": "4.50", "on": "2026-02-03"})
    assert run(flow, "tell", {"add": added}) == (COMPLETED, "5.50 on 03")
    assert flow.definition.step("add").output_schema["required"] == ["total", "on"]
    with pytest.raises(RequestError, match=r"\$\.on: is required"):
        checked_context(TaskRequest("models", context={"order_id": 2}), flow.definition.schema)


@pytest.mark.usefixtures("registry")
def test_a_test_may_give_a_whole_task_a_model(tasker: Workbench) -> None:
    assert tasker.run(as_functions(), Order.model_validate(ORDER)).result("add") == {"total": "4.50", "on": "2026-02-03"}


@pytest.mark.usefixtures("registry")
def test_what_a_model_refuses_is_told_with_its_path_and_without_its_value() -> None:
    kind, error = run(as_functions(), "add", context={**ORDER, "order_id": 77777})
    assert (kind, error["code"], error["message"]) == (FAILED, "bad_model", "the context does not fit Order:\n  $.order_id: Value error, must be even")
    kind, error = run(as_functions(), "tell", {"add": {"total": "1"}})
    assert (kind, error["message"]) == (FAILED, "the result of add does not fit Sum:\n  $.on: Field required")
    with pytest.raises(DefinitionError, match="schema"):
        Workflow("wrong", namespace="kit", schema=int)


def test_one_step_under_test_has_the_models_that_its_annotations_name() -> None:
    assert run_step(add, context=ORDER) == {"total": "4.50", "on": "2026-02-03"}
    assert run_step(Tell, context=ORDER, results={"add": {"total": 1, "on": "2026-02-03"}}) == "2 on 03"
    assert run_step(one, item={"total": "1", "on": "2026-02-03"}) == {"total": "1", "on": "2026-02-03"}
    with pytest.raises(PermanentError, match=r"\$\.order_id"):
        run_step(add, context={**ORDER, "order_id": 1})


def test_who_defines_a_workflow_waits_for_no_import_that_it_does_not_use() -> None:
    slow = {"pydantic", "psycopg", "jsonschema_rs", "jsonschema", "yaml", "httpx", "hashlib", "uuid", "engine.objects", "engine.settings"}
    program = f"import sys; from engine import TaskHandler, TaskRequest, Workflow, submit; w = Workflow('w'); w.define('a'); w.definition; print(sorted({slow!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True).stdout == "[]\n"


@pytest.mark.nightly
def test_a_users_project_is_checked_all_the_way() -> None:
    ended = subprocess.run([sys.executable, "-m", "mypy", "--strict", str(SAMPLES / "typed_shop")], capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout
