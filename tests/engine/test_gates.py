"""Labels and limits as authors write them: the three forms mean the same, and every slip is told."""

from __future__ import annotations

from typing import Any

import pytest

from engine import StepTemplate, TaskHandler, Workflow, register_handler
from engine.definition import TaskDefinition
from engine.errors import DefinitionError
from engine.gates import Limit
from engine.registry import HandlerRegistry
from engine.yaml_config import load_text


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HandlerRegistry, "_instance", HandlerRegistry())


def by_functions() -> TaskDefinition:
    flow = Workflow("charge", namespace="payments", limit={"at_once": 1, "key": "customer.id"})
    flow.define("call_bank", limit={"at_once": 3, "per_minute": 60}, needs=["eu", "bank", "eu"])
    return flow.definition


def by_class() -> TaskDefinition:
    @register_handler("charge", namespace_name="payments")
    class Charge(TaskHandler):
        limit = {"at_once": 1, "key": "customer.id"}

        def define_step_templates(self, templates: Any) -> None:
            templates.define(name="call_bank", limit=Limit(3, 60, 60), needs=("bank", "eu"))

    return HandlerRegistry.instance().get("charge", namespace_name="payments").definition


def by_yaml() -> TaskDefinition:
    return load_text("""
name: charge
namespace_name: payments
limit: {at_once: 1, key: customer.id}
step_templates:
  - name: call_bank
    limit: {at_once: 3, per_minute: 60}
    needs: [bank, eu]
""").definition


@pytest.mark.parametrize("make", [by_functions, by_class, by_yaml])
def test_every_form_of_authoring_says_labels_and_limits(make: Any) -> None:
    definition = make()
    given = definition.to_json()
    assert given["limit"] == {"at_once": 1, "key": ["customer", "id"]}
    assert (given["steps"][0]["limit"], given["steps"][0]["needs"]) == ({"at_once": 3, "per_period": 60, "period": 60}, ["bank", "eu"])
    assert definition.is_limited
    assert definition == by_functions()


def test_a_limit_decides_how_a_task_runs_so_it_is_part_of_the_fingerprint() -> None:
    plain, limited = (TaskDefinition("n", "flow", steps=(StepTemplate("a", limit=limit),)) for limit in (None, {"at_once": 2}))
    assert plain.fingerprint != limited.fingerprint
    assert plain.difference(limited) == ["steps.a.limit: (absent) -> {\"at_once\":2}"]
    assert not plain.is_limited


def test_a_key_that_is_secret_is_marked_and_the_fingerprint_stays() -> None:
    schema = {"type": "object", "properties": {"card": {"writeOnly": True}}}
    plain, secret = (TaskDefinition("n", "flow", schema=schema, limit={"at_once": 2, "key": key}, steps=(StepTemplate("a"),)) for key in ("customer", "card"))
    assert [each.to_json()["limit"].get("secret") for each in (plain, secret)] == [None, True]
    assert not any("secret" in line for line in plain.difference(secret))


@pytest.mark.parametrize(
    ("option", "value", "code", "words"),
    [
        ("limit", 3, "bad_type", "must be a mapping such as"),
        ("limit", {}, "no_limit", "neither at_once nor one of per_second, per_minute"),
        ("limit", {"key": "customer"}, "no_limit", "neither at_once"),
        ("limit", {"at_one": 3, "at_once": 1}, "unknown_key", "there are at_once, per_second"),
        ("limit", {"at_once": 0}, "out_of_range", "between 1 and 100,000"),
        ("limit", {"at_once": True}, "bad_type", "a whole number"),
        ("limit", {"per_second": 1.5}, "bad_type", "a whole number"),
        ("limit", {"per_second": 1, "per_minute": 1}, "two_rates", "choose one"),
        ("limit", {"at_once": 1, "key": "a..b"}, "bad_key", "customer.id"),
        ("limit", {"at_once": 1, "key": "a" * 501}, "bad_key", "customer.id"),
        ("needs", "GPU please", "bad_label", "such as 'gpu'"),
        ("needs", ["gpu", 3], "bad_label", "such as 'gpu'"),
        ("needs", [f"l{no}" for no in range(17)], "too_many", "the limit is 16"),
    ],
)
def test_a_slip_is_told_with_what_would_be_right(option: str, value: Any, code: str, words: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        StepTemplate("a", **{option: value})
    [problem] = refused.value.problems
    assert problem.code == code
    assert words in problem.message


def test_a_limit_says_itself_in_words() -> None:
    assert str(Limit(2, 60, 60, "customer.id")) == "2 at once, 60 per minute, for each customer.id"
    assert str(Limit()) == ""
