"""What is told when other content is registered under a version in use: all of what differs, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from engine import TaskRequest, Workflow, tasks
from engine.db import Database
from engine.definition import StepTemplate, TaskDefinition
from engine.differences import MOST_LINES, MOST_OF_A_VALUE
from engine.errors import DefinitionConflict
from engine.hiding.masking import MASK
from engine.registry import HandlerRegistry
from engine.scheduler import MOST_CONFLICTS, register_definitions

HEADLINE = "shop/order@1.0.0 is in use with other content; give the changed workflow a new version"
PAYMENT = {"type": "object", "properties": {"amount": {"type": "integer", "minimum": 0}, "odd key": {"type": "string"}}}


def charge(task: Any) -> None:
    """Never called here."""


def refund(task: Any) -> None:
    """Never called here."""


def order(options: dict[str, Any] | None = None, steps: str = "list pack charge", parents: tuple[str, ...] = ("list",), name: str = "order", **head: Any) -> TaskDefinition:
    """A workflow whose step `charge` comes after those and has these options."""
    of_charge = {"depends_on_steps": parents, "handler_class": charge, **(options or {})}
    templates = [StepTemplate(step, **(of_charge if step == "charge" else {})) for step in steps.split()]
    return TaskDefinition("shop", name, "1.0.0", steps=(*templates, StepTemplate("told", depends_on_step="charge")), **head)


def told(db: Database, there: TaskDefinition, here: TaskDefinition) -> list[str]:
    tasks.register_definition(db, there)
    tasks.submit(db, TaskRequest(there.name, "shop"))
    with pytest.raises(DefinitionConflict) as refused:
        tasks.register_definition(db, here)
    headline, *lines = str(refused.value).splitlines()
    assert headline == HEADLINE.replace("order", there.name)
    assert all(line.startswith("  ") for line in lines)
    return [line.strip() for line in lines]


def with_schema(change: dict[str, Any]) -> dict[str, Any]:
    return PAYMENT | {"properties": {**PAYMENT["properties"], **change}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ({}, {"handler_class": refund}, f'handler_class: "{__name__}.charge" -> "{__name__}.refund"'),
        ({"retry_limit": 1}, {"retryable": False}, "retryable: true -> false"),
        ({}, {"retry_limit": 5}, "retry_limit: 3 -> 5"),
        ({}, {"timeout": 1500}, "timeout: (absent) -> 1500"),
        ({"timeout": 1500}, {"timeout": 2500}, "timeout: 1500 -> 2500"),
        ({}, {"backoff": {"base": 2.0}}, "backoff.base: 1.0 -> 2.0"),
        ({}, {"retry_on": (ConnectionError,)}, 'retry_on: (absent) -> ["ConnectionError"]'),
        ({"decision": True}, {"decision": False}, "decision: true -> false"),
        ({"for_each": "list.rows"}, {"for_each": "list.items"}, 'for_each: "list.rows" -> "list.items"'),
        ({"needs": ["gpu"]}, {"needs": ["gpu", "eu"]}, 'needs: ["gpu"] -> ["eu","gpu"]'),
        ({"limit": {"per_minute": 60}}, {}, 'limit: {"per_minute":60} -> (absent)'),
        ({"limit": {"at_once": 2}}, {"limit": {"at_once": 3}}, "limit.at_once: 2 -> 3"),
        ({"limit": {"at_once": 2}}, {"limit": {"at_once": 2, "key": "customer.id"}}, 'limit.key: (absent) -> "customer.id"'),
        ({}, {"resources": {"GPU": 1}}, "resources.GPU: (absent) -> 1"),
        ({}, {"handler_config": {"slow": False}}, "handler_config.slow: (absent) -> false"),
        ({"handler_config": {"slow": False}}, {"handler_config": {"slow": None}}, "handler_config.slow: false -> null"),
        ({"handler_config": {"rows": [{"a": 1}]}}, {"handler_config": {"rows": [{"a": 1.0}]}}, "handler_config.rows[0].a: 1 -> 1.0"),
        ({}, {"output_schema": {}}, "output_schema: (absent) -> {}"),
        ({"output_schema": PAYMENT}, {"output_schema": with_schema({"amount": {"type": "integer", "minimum": 1}})}, "output_schema.properties.amount.minimum: 0 -> 1"),
        ({"output_schema": PAYMENT}, {"output_schema": with_schema({"odd key": {"type": "null"}})}, 'output_schema.properties["odd key"].type: "string" -> "null"'),
    ],
    ids=lambda given: given.partition(":")[0] if isinstance(given, str) else "",
)
def test_every_option_of_a_step_that_differs_is_told_by_its_name_in_yaml(db: Database, before: dict[str, Any], after: dict[str, Any], line: str) -> None:
    assert told(db, order(before), order(after)) == [f"steps.charge.{line}"]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ({}, {"limit": {"at_once": 2}}, 'limit: (absent) -> {"at_once":2}'),
        ({"schema": PAYMENT}, {"schema": with_schema({"amount": {"type": "number", "minimum": 0}})}, 'schema.properties.amount.type: "integer" -> "number"'),
        ({"schema": {"type": "object"}}, {"schema": {"type": "object", "required": ["a"]}}, 'schema.required: (absent) -> ["a"]'),
    ],
)
def test_every_option_of_a_workflow_that_differs_is_told(db: Database, before: dict[str, Any], after: dict[str, Any], line: str) -> None:
    assert told(db, order(**before), order(**after)) == [line]


def test_parents_are_told_by_name(db: Database) -> None:
    assert told(db, order(parents=("list", "pack")), order(parents=("list",))) == ['steps.charge.depends_on_steps: ["list","pack"] -> ["list"]']


def test_steps_are_told_by_name_and_move_none_of_the_others(db: Database) -> None:
    assert told(db, order(steps="list pack charge"), order(steps="list weigh charge")) == ["step added: weigh", "step removed: pack"]


def test_another_order_of_independent_steps_is_told_as_that(db: Database) -> None:
    assert told(db, order(steps="first list pack charge"), order(steps="first pack list charge")) == ["order of the steps: list, pack -> pack, list"]


def test_secrets_that_differ_are_told_without_their_values(db: Database) -> None:
    there = order({"handler_config": {"api_key": "s3cr3t-one", "url": "https://ada:s3cr3t-one@bank.example"}})
    here = order({"handler_config": {"api_key": "s3cr3t-two", "url": "https://ada:s3cr3t-two@shop.example"}})
    assert told(db, there, here) == [
        f'steps.charge.handler_config.url: "https://ada:{MASK}@bank.example" -> "https://ada:{MASK}@shop.example"',
        "steps.charge.handler_config.api_key: another value, which is secret",
    ]


def test_values_that_a_schema_names_for_secret_fields_are_not_told(db: Database) -> None:
    there, here = (order(schema={"properties": {"pin": {"type": "string", "writeOnly": True, "default": value}}}) for value in ("4711-a", "4711-b"))
    assert told(db, there, here) == ["schema.properties.pin.default: another value, which is secret"]


def test_long_values_are_told_from_where_they_differ(db: Database) -> None:
    there, here = (order({"handler_config": {"text": "x" * 1000 + end}}) for end in ("one", "two"))
    assert told(db, there, here) == [f'steps.charge.handler_config.text: …{"x" * 20}one" -> …{"x" * 20}two"']


def test_what_is_told_is_bounded(db: Database) -> None:
    here = order({"handler_config": {f"key{no}": "y" * 1000 for no in range(MOST_LINES + 7)}})
    lines = told(db, order(), here)
    assert (len(lines), lines[-1]) == (MOST_LINES + 1, "... and 7 more")
    assert max(map(len, lines)) < 2 * MOST_OF_A_VALUE + 50


def test_numbers_that_are_only_written_otherwise_are_told_as_that(db: Database) -> None:
    there, here = (order({"handler_config": {"most": most}}) for most in (10**16, 1e16))
    [line] = told(db, there, here)
    assert line.startswith("nothing but the way in which numbers are written")


def test_whoever_made_a_definition_known_without_its_content_leaves_the_headline(db: Database) -> None:
    tasks.register_definition(db, order())
    db.rows("update tasker_definition set content = '{}' returning 1")
    assert told(db, order(), order({"retry_limit": 5})) == []


def test_all_workflows_that_conflict_at_an_engines_start_are_told_in_one_error(db: Database, registry: HandlerRegistry) -> None:
    names = [f"order{no:02}" for no in range(MOST_CONFLICTS + 2)]
    for name in names:
        tasks.register_definition(db, order(name=name))
        tasks.submit(db, TaskRequest(name, "shop"))
        Workflow(name, namespace="shop", version="1.0.0").define("list", retry_limit=5)
    with pytest.raises(DefinitionConflict) as refused:
        register_definitions(db, registry)
    lines = str(refused.value).splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [HEADLINE.replace("order", name) for name in names]
    assert lines.count("  steps.list.retry_limit: 3 -> 5") == MOST_CONFLICTS
