"""One attempt: what a handler sees, and what becomes of everything it can do."""

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

from engine import HandlerRegistry, PermanentError, RetryableError, StepHandler, StepTemplate, TaskDefinition, Workflow
from engine.handlers import ATTEMPT, Sequence, Step, Task
from engine.json_text import REPLACED_KEY
from engine.runners import COMPLETED, DECIDED, FAILED, Item
from engine.runners.invoke import invoke

TASK_ID = "0190b5a0-0000-7000-8000-000000000001"


def nothing_more(names: list[str]) -> Mapping[str, str]:
    raise AssertionError(f"{names} should be known")


def run(
    handler: Any,
    *,
    parents: Mapping[str, Any] | None = None,
    context: str = "{}",
    attempt: int = 1,
    lookup: Callable[[list[str]], Mapping[str, str]] = nothing_more,
    flag: Any = None,
    **options: Any,
) -> tuple[int, Any]:
    inputs = {name: json.dumps(value) for name, value in (parents or {}).items()}
    own = StepTemplate("own", handler_class=handler, depends_on_steps=list(inputs), **options)
    definition = TaskDefinition("shop", "order", "1.2.0", steps=(*map(StepTemplate, inputs), own))
    kind, payload = invoke(definition, len(inputs), attempt, own.retry_limit, TASK_ID, context, "req-1", inputs, lookup, flag)
    return kind, json.loads(payload)


def failed(handler: Any, **options: Any) -> dict[str, Any]:
    kind, error = run(handler, **options)
    assert kind == FAILED
    assert set(error) == {"type", "message", "code", "retryable", "delay", "traceback"}
    return dict(error)


def raising(error: BaseException) -> Callable[[], None]:
    def handler() -> None:
        raise error

    return handler


# What a handler sees


def test_a_handler_sees_its_task_its_step_and_its_parents() -> None:
    def handler(task: Task, sequence: Sequence, step: Step) -> Any:
        return [
            task.task_id, task.namespace, task.name, task.version, task.correlation_id, task.context["order_id"],
            step.name, step.attempt, step.retry_limit, step.handler_config, step.cancel_requested,
            sequence.find_step_by_name("parent").results,
        ]  # fmt: skip

    found = run(handler, parents={"parent": {"a": 1}}, context='{"order_id": 7}', attempt=2, retry_limit=4, handler_config={"url": "x"})
    assert found == (COMPLETED, [TASK_ID, "shop", "order", "1.2.0", "req-1", 7, "own", 2, 4, {"url": "x"}, False, {"a": 1}])


def test_a_step_handler_reads_a_parents_result() -> None:
    class Ship(StepHandler):
        def process(self, task: Task, sequence: Sequence, step: Step) -> Any:
            return {"shipped": self.step_results(sequence, "reserve")["id"]}

    assert run(Ship, parents={"reserve": {"id": "r1"}}) == (COMPLETED, {"shipped": "r1"})


def test_every_attempt_has_an_instance_of_its_own() -> None:
    class Counts(StepHandler):
        def __init__(self) -> None:
            self.seen = 0

        def process(self, task: Task, sequence: Sequence, step: Step) -> Any:
            self.seen += 1
            return self.seen

    definition = TaskDefinition("shop", "order", "1.0.0", steps=(StepTemplate("own", handler_class=Counts),))
    results = [invoke(definition, 0, no, 3, TASK_ID, "{}", None, {}, nothing_more)[1] for no in (1, 2)]
    assert results == ["1", "1"]


@pytest.mark.parametrize(
    ("handler", "result"),
    [
        (lambda: 1, 1),
        (lambda task: task.name, "order"),
        (lambda step: step.name, "own"),
        (lambda reserve: reserve, [5]),
        (lambda task, reserve, step: [reserve, step.attempt], [[5], 1]),
        (lambda reserve, *, charge_card, task: [reserve, charge_card], [[5], "c"]),
        (lambda limit=3, *, reserve: [limit, reserve], [3, [5]]),
        (lambda *args, **options: [list(args), options], [[], {}]),
    ],
)
def test_parameters_are_filled_by_name(handler: Any, result: Any) -> None:
    assert run(handler, parents={"reserve": [5], "charge-card": "c"}) == (COMPLETED, result)


def test_a_farther_ancestors_result_is_fetched_when_it_is_asked_for(registry: HandlerRegistry) -> None:
    orders = Workflow("order")
    orders.step(name="first")(lambda: 1)
    orders.step(name="second", depends_on_step="first")(lambda: 2)
    orders.step(name="third", depends_on_step="second")(lambda second, sequence, first: [first, sequence.find_step_by_name("first").results])
    asked: list[list[str]] = []

    def lookup(names: list[str]) -> dict[str, str]:
        asked.append(names)
        return {"first": '{"a": 1}'}

    found = invoke(orders.definition, 2, 1, 3, TASK_ID, "{}", None, {"second": "2"}, lookup)
    assert found == (COMPLETED, '[{"a":1},{"a":1}]')
    assert asked == [["first"]]


def test_a_parent_without_a_result_gives_none() -> None:
    assert run(lambda parent: parent is None, parents={"parent": None}) == (COMPLETED, True)


def test_an_unknown_ancestor_fails_the_step_with_the_nearest_name() -> None:
    error = failed(lambda sequence: sequence.find_step_by_name("reserv"), parents={"reserve": 1})
    assert (error["type"], "did you mean 'reserve'?" in error["message"]) == ("NotFound", True)


def test_changing_the_configuration_changes_nothing_for_the_next_attempt() -> None:
    def handler(step: Step) -> Any:
        step.handler_config["seen"].append(1)
        return step.handler_config

    assert run(handler, handler_config={"seen": []}) == (COMPLETED, {"seen": []})


def test_a_handler_learns_that_it_should_stop() -> None:
    flag = threading.Event()

    def handler(step: Step) -> Any:
        before = step.cancel_requested
        flag.set()
        return [before, step.cancel_requested]

    assert run(handler, flag=flag) == (COMPLETED, [False, True])


def test_a_step_without_a_handler_completes_with_null() -> None:
    assert run(None) == (COMPLETED, None)


def test_an_async_handler_runs_where_a_loop_is_running_already() -> None:
    async def function() -> int:
        await asyncio.sleep(0)
        return 7

    async def caller() -> Any:
        return run(function)

    with ThreadPoolExecutor(1) as thread:  # this one may have a loop of the browser tests
        assert thread.submit(asyncio.run, caller()).result() == (COMPLETED, 7)


def test_handlers_may_be_async() -> None:
    async def function(parent: int) -> int:
        await asyncio.sleep(0)
        return parent + 1

    class Method(StepHandler):
        async def process(self, task: Task, sequence: Sequence, step: Step) -> Any:
            await asyncio.sleep(0)
            raise RetryableError("later", delay=5)

    assert run(function, parents={"parent": 1}) == (COMPLETED, 2)
    error = failed(Method)
    assert (error["retryable"], error["delay"], "asyncio" in error["traceback"]) == (True, 5.0, False)


# What becomes of errors


def test_a_retryable_error_is_retryable_with_its_delay() -> None:
    error = failed(raising(RetryableError("rate limited", delay=60)))
    assert (error["type"], error["message"], error["retryable"], error["delay"]) == ("RetryableError", "rate limited", True, 60.0)


def test_a_permanent_error_carries_its_code() -> None:
    error = failed(raising(PermanentError("card refused", error_code="card_refused")))
    assert (error["type"], error["code"], error["retryable"]) == ("PermanentError", "card_refused", False)


@pytest.mark.parametrize("raised", [ValueError("x"), KeyError("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError(), RecursionError()])
def test_any_other_exception_ends_the_step_and_nothing_else(raised: BaseException) -> None:
    error = failed(raising(raised))
    assert (error["type"], error["retryable"], error["delay"]) == (type(raised).__name__, False, None)


def test_what_retry_on_lists_is_retryable() -> None:
    assert failed(raising(ConnectionResetError("gone")), retry_on=(ConnectionError,))["retryable"] is True
    assert failed(raising(ValueError("bad")), retry_on=(ConnectionError,))["retryable"] is False


def test_a_lookup_that_fails_is_what_it_says() -> None:
    def lookup(names: list[str]) -> dict[str, str]:
        raise RetryableError("the results could not be read")

    definition = TaskDefinition(
        "shop", "order", "1.0.0",
        steps=(StepTemplate("a"), StepTemplate("b", depends_on_step="a"), StepTemplate("c", depends_on_step="b", handler_class=lambda a: a)),
    )  # fmt: skip
    kind, payload = invoke(definition, 2, 1, 3, TASK_ID, "{}", None, {"b": "null"}, lookup)
    assert (kind, json.loads(payload)["retryable"]) == (FAILED, True)


def test_a_message_is_cleaned_and_cut() -> None:
    error = failed(raising(ValueError("\x1b[31mred\x1b[0m \0 \ud800 <b> " + "é" * 100_000)))
    assert error["message"].startswith("red \ufffd \ufffd <b> é")
    assert len(error["message"].encode()) <= 8 << 10
    assert "\0" not in json.dumps(error, ensure_ascii=False)


@pytest.mark.parametrize(
    "text",
    [
        "password=canary99",
        "DB_PASSWORD: 'canary99'",
        '{"api_key": "canary99"}',
        "Authorization: Bearer canary99canary99",
        "postgresql://user:canary99@host/db",
        "token=canary99&x=1",
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    error = failed(raising(ValueError(f"call failed with {text}")))
    assert "canary99" not in json.dumps(error)
    assert "***" in error["message"]


def test_an_exception_that_cannot_be_printed_is_still_a_failure() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    error = failed(raising(Odd()))
    assert (error["type"], error["message"]) == ("Odd", "(no message: its str() raised RuntimeError)")


class WithoutSuper(RetryableError, PermanentError):
    def __init__(self) -> None:
        pass


class Unreadable(PermanentError):
    @property
    def error_code(self) -> str:  # type: ignore[override]
        raise KeyError("no such code")

    @error_code.setter
    def error_code(self, code: str) -> None: ...


def test_an_error_whose_class_does_not_call_ours_has_no_code_and_no_delay() -> None:
    error = failed(raising(WithoutSuper()))
    assert (error["type"], error["code"], error["retryable"], error["delay"]) == ("WithoutSuper", None, True, None)


@pytest.mark.parametrize(("delay", "seconds"), [(timedelta(minutes=2), 120.0), ("soon", None), (float("nan"), None), (-5, 0.0)])
def test_a_delay_that_was_set_afterwards_counts_if_it_is_one(delay: Any, seconds: float | None) -> None:
    late = RetryableError("busy")
    late.delay = delay
    error = failed(raising(late))
    assert (error["message"], error["retryable"], error["delay"]) == ("busy", True, seconds)


def test_an_error_that_cannot_be_explained_is_still_a_failure() -> None:
    error = failed(raising(Unreadable("card refused")))
    assert (error["type"], error["message"], error["retryable"]) == ("Unreadable", "(no details: telling them raised KeyError)", False)


def test_only_what_may_escape_escapes() -> None:
    definition = TaskDefinition("shop", "order", "1.0.0", steps=(StepTemplate("own", handler_class=raising(KeyboardInterrupt())),))
    arguments = (definition, 0, 1, 3, TASK_ID, "{}", None, {}, nothing_more)
    assert invoke(*arguments, escapes=(EOFError,))[0] == FAILED
    with pytest.raises(KeyboardInterrupt):
        invoke(*arguments, escapes=(EOFError, KeyboardInterrupt))
    assert ATTEMPT.get() is None


CUSTOMER: ContextVar[str] = ContextVar("customer", default="nobody")


def test_what_a_handler_sets_in_its_context_is_gone_in_the_next_attempt() -> None:
    def handler() -> str:
        before = CUSTOMER.get()
        CUSTOMER.set("ann")
        return before

    assert [run(handler) for _ in range(2)] == [(COMPLETED, "nobody")] * 2
    assert CUSTOMER.get() == "nobody"


def test_a_handler_finds_its_attempt_and_what_its_caller_has_set_in_its_context() -> None:
    def handler() -> Any:
        task, step = ATTEMPT.get() or pytest.fail("no attempt")
        return [task.task_id, step.name, CUSTOMER.get()]

    token = CUSTOMER.set("bob")
    try:
        assert run(handler) == (COMPLETED, [TASK_ID, "own", "bob"])
    finally:
        CUSTOMER.reset(token)


def test_a_traceback_shows_the_handlers_frames_and_its_causes_not_the_engines() -> None:
    def inner() -> None:
        raise KeyError("deep")

    def handler() -> None:
        try:
            inner()
        except KeyError as error:
            raise ValueError("outer") from error

    trace = failed(handler)["traceback"]
    assert "in inner" in trace
    assert "in handler" in trace
    assert trace.index("ValueError: outer") < trace.index("which came from") < trace.index("KeyError: 'deep'")
    assert "runners/invoke.py" not in trace
    assert "binding.py" not in trace


def test_an_endless_recursion_has_a_short_traceback() -> None:
    def handler() -> Any:
        return handler()

    error = failed(handler)
    assert error["type"] == "RecursionError"
    assert "more ..." in error["traceback"]
    assert len(error["traceback"].encode()) <= 16 << 10


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert failed(raising(first))["traceback"].count("ValueError") == 2


# What becomes of results


def test_a_result_that_is_no_json_fails_permanently_with_its_path() -> None:
    error = failed(lambda: {"a": [1, 2, 3, object()]})
    assert (error["type"], error["message"], error["retryable"]) == ("result_not_json", "$.a[3]: object is not JSON", False)


def test_a_result_that_is_too_large_fails_permanently_with_its_size() -> None:
    error = failed(lambda: "x" * (1 << 20))
    assert (error["type"], error["retryable"]) == ("result_too_large", False)
    assert "1,048,578 bytes" in error["message"]


def test_nul_and_lone_surrogates_in_a_result_are_replaced_and_marked() -> None:
    assert run(lambda: {"a": "x\0"}) == (COMPLETED, {"a": "x\ufffd", REPLACED_KEY: ["$.a"]})


def test_a_result_that_lists_itself_through_a_strange_class_is_a_failure() -> None:
    class Strange(dict):  # type: ignore[type-arg]
        def values(self) -> Any:
            raise RuntimeError("no values today")

    assert failed(lambda: Strange(a=1))["type"] == "RuntimeError"


def test_a_result_against_its_schema_fails_permanently() -> None:
    schema = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}
    assert run(lambda: {"id": "x"}, output_schema=schema) == (COMPLETED, {"id": "x"})
    error = failed(lambda: {"id": 5}, output_schema=schema)
    assert (error["type"], error["retryable"]) == ("output_schema", False)
    assert "$.id" in error["message"]
    assert failed(lambda: None, output_schema=schema)["type"] == "output_schema"


# Definitions that cannot run


def test_a_handler_that_cannot_be_loaded_fails_its_step_only() -> None:
    error = failed("no_such_module.Charge")
    assert (error["type"], error["retryable"]) == ("handler_missing", False)
    assert "no_such_module.Charge" in error["message"]


def test_an_empty_handler_costs_few_calls() -> None:
    """Counted, not timed: each call costs some 50 ns, and an engine makes ten thousand of these rounds in a second."""
    definition = TaskDefinition("shop", "order", "1.0.0", steps=(StepTemplate("own", handler_class=lambda task: None),))
    arguments = (definition, 0, 1, 3, TASK_ID, "{}", None, {}, nothing_more)
    invoke(*arguments)
    calls: list[str] = []
    sys.setprofile(lambda frame, event, _: calls.append(event))
    invoke(*arguments)
    sys.setprofile(None)
    assert len([event for event in calls if event in ("call", "c_call")]) <= 15


# Decisions and items


def decided(handler: Any, **options: Any) -> tuple[int, Any]:
    own = StepTemplate("own", handler_class=handler, decision=True, **options)
    children = [StepTemplate(name, depends_on_step="own") for name in ("charge", "ship")]
    definition = TaskDefinition("shop", "order", "1.2.0", steps=(own, *children, StepTemplate("later", depends_on_step="ship")))
    kind, payload = invoke(definition, 0, 1, 3, TASK_ID, "{}", None, {}, nothing_more)
    return kind, json.loads(payload)


@pytest.mark.parametrize(("result", "names"), [("ship", ["ship"]), (["charge", "ship"], ["charge", "ship"]), ([], []), (None, []), (("ship",), ["ship"])])
def test_a_decision_ends_with_the_names_of_the_children_that_go_on(result: Any, names: list[str]) -> None:
    assert decided(lambda: result) == (DECIDED, names)


@pytest.mark.parametrize("result", ["shp", "later", "own", 5, {"ship": 1}])
def test_a_choice_that_is_no_child_fails_the_decision_for_good(result: Any) -> None:
    kind, error = decided(lambda: result)
    assert (kind, error["type"], error["retryable"]) == (FAILED, "not_a_branch", False)


def test_a_decisions_result_must_fit_its_output_schema_too() -> None:
    kind, error = decided(lambda: "ship", output_schema={"type": "array"})
    assert (kind, error["type"]) == (FAILED, "output_schema")


def run_item(handler: Any, value: Any, place: int = 2, parents: Mapping[str, Any] | None = None) -> tuple[int, Any]:
    known = {"list": [], **(parents or {})}
    own = StepTemplate("own", handler_class=handler, depends_on_steps=list(known), for_each="list")
    definition = TaskDefinition("shop", "order", "1.2.0", steps=(*map(StepTemplate, known), own))
    no = definition.numbers["own"]
    inputs = {name: json.dumps(found) for name, found in (parents or {}).items()}
    lookup = lambda names: {name: json.dumps(known[name]) for name in names}  # noqa: E731
    kind, payload = invoke(definition, no, 1, 3, TASK_ID, "{}", None, inputs, lookup, None, Item(no, place, json.dumps(value)))
    return kind, json.loads(payload)


def test_a_function_receives_its_item_and_its_place() -> None:
    assert run_item(lambda item, index: [item, index], {"sku": 7}) == (COMPLETED, [{"sku": 7}, 2])
    assert run_item(lambda task, *, index, item: [item, index], None) == (COMPLETED, [None, 2])


def test_an_item_reads_the_steps_before_its_map_step() -> None:
    assert run_item(lambda item, prices, list: [item, prices, list], "a", parents={"prices": {"a": 3}}) == (COMPLETED, ["a", {"a": 3}, []])


def test_a_class_finds_its_item_on_the_step() -> None:
    class Work(StepHandler):
        def process(self, task: Task, sequence: Sequence, step: Step) -> Any:
            return [step.name, step.item, step.index]

    assert run_item(Work, "x") == (COMPLETED, ["own[2]", "x", 2])


def test_a_step_that_is_no_item_has_none() -> None:
    assert run(lambda step: [step.name, step.item, step.index]) == (COMPLETED, ["own", None, None])


def test_an_ancestor_called_item_is_that_step_where_no_items_are() -> None:
    assert run(lambda item: item, parents={"item": 5}) == (COMPLETED, 5)


def test_a_parameter_for_an_item_is_refused_where_no_items_are() -> None:
    error = failed(lambda item: item)
    assert error["type"] == "handler_missing"
    assert "is for the items of a step with for_each" in error["message"]
