"""The two versions of `process_order`: their graphs, limits and schemas, and that 2.0.0 differs where it should."""

from pathlib import Path
from typing import Any

import pytest

from engine import HandlerRegistry, TaskRequest
from engine.binding import bindings
from engine.definition import TaskDefinition
from engine.errors import RequestError
from engine.examples import demo_requests
from engine.examples.ecommerce import process_order
from engine.requests import checked_context
from engine.yaml_config import load_file

CONTEXT: dict[str, Any] = dict(demo_requests()[0].request.context)
FIRST = HandlerRegistry.instance().get("process_order", "ecommerce", "1.0.0").definition
SECOND = load_file(Path(process_order.__file__).parent / "process_order_2.yaml").definition


def edges(definition: TaskDefinition) -> dict[str, set[str]]:
    return {step.name: set(step.depends_on) for step in definition.steps}


def test_1_0_0_runs_one_step_after_the_other() -> None:
    assert [(step.name, step.retry_limit, step.timeout) for step in FIRST.steps] == [
        ("validate_cart", 3, 15.0),
        ("process_payment", 3, 30.0),
        ("update_inventory", 2, 20.0),
        ("create_order", 3, 15.0),
        ("send_confirmation", 5, 10.0),
    ]
    assert all(FIRST.parents(no) == ((no - 1,) if no else ()) for no in range(5))


def test_2_0_0_runs_side_by_side_and_joins() -> None:
    assert edges(SECOND) == {
        "validate_cart": set(),
        "check_fraud": {"validate_cart"},
        "reserve_inventory": {"validate_cart"},
        "authorize_payment": {"validate_cart"},
        "capture_payment": {"check_fraud", "reserve_inventory", "authorize_payment"},
        "create_order": {"capture_payment"},
        "create_shipping_label": {"create_order"},
        "award_loyalty_points": {"create_order"},
        "send_confirmation": {"create_shipping_label", "award_loyalty_points"},
    }


@pytest.mark.parametrize(("definition", "version"), [(FIRST, "1.0.0"), (SECOND, "2.0.0")])
def test_every_step_is_described_and_bound_to_its_code(definition: TaskDefinition, version: str) -> None:
    assert definition.key == f"ecommerce/process_order@{version}"
    assert definition.description
    assert all(binding.run and binding.template.description for binding in bindings(definition))


@pytest.mark.parametrize("definition", [FIRST, SECOND])
def test_the_sample_order_is_accepted(definition: TaskDefinition) -> None:
    checked_context(TaskRequest("process_order", context=CONTEXT), definition.schema)


def test_left_out_choices_have_defaults() -> None:
    order = {part: value for part, value in CONTEXT.items() if part != "priority"}
    order["payment_info"] = {"method": "paypal", "token": "t"}
    stored = checked_context(TaskRequest("process_order", context=order), FIRST.schema)
    assert (stored["priority"], stored["payment_info"]["currency"]) == ("standard", "USD")


@pytest.mark.parametrize(
    "change",
    [
        {"customer_info": {"name": "John"}},
        {"priority": "yesterday"},
        {"cart_items": [{"product_id": 1, "quantity": 0}]},
        {"payment_info": {"method": "barter"}},
        {"payment_info": {"currency": "XTS"}},
    ],
)
@pytest.mark.parametrize("definition", [FIRST, SECOND])
def test_an_order_that_does_not_fit_is_refused_at_the_door(definition: TaskDefinition, change: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        checked_context(TaskRequest("process_order", context={**CONTEXT, **change}), definition.schema)


def test_only_2_0_0_insists_on_a_shipping_address() -> None:
    order = {part: value for part, value in CONTEXT.items() if part != "shipping_info"}
    checked_context(TaskRequest("process_order", context=order), FIRST.schema)
    with pytest.raises(RequestError, match="shipping_info"):
        checked_context(TaskRequest("process_order", context=order), SECOND.schema)
