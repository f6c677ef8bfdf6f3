"""`run_step`, as the author of a workflow uses it."""

from contextvars import ContextVar
from typing import Any

import pytest

from engine import DefinitionError, PermanentError, RequestError, RetryableError, StepHandler
from engine.handlers import Sequence, Step, Task
from engine.testing import Said, SaidLine, SaidProgress, run_step


class Reserve(StepHandler):
    def process(self, task: Task, sequence: Sequence, step: Step) -> Any:
        payment = self.step_results(sequence, "validate_payment")
        if step.attempt < 2:
            raise RetryableError("busy", delay=3)
        return {"order": task.context["order_id"], "payment": payment["id"], "url": step.handler_config.get("url")}


def test_a_class_gets_context_results_and_attempt() -> None:
    found = run_step(Reserve, context={"order_id": 7}, results={"validate_payment": {"id": "p"}}, attempt=2, handler_config={"url": "x"})
    assert found == {"order": 7, "payment": "p", "url": "x"}


def test_what_the_handler_raises_is_raised() -> None:
    with pytest.raises(RetryableError, match="busy") as raised:
        run_step(Reserve, context={"order_id": 7}, results={"validate_payment": {}})
    assert raised.value.delay == 3.0


def test_a_function_gets_results_by_parameter_name() -> None:
    assert run_step(lambda task, charge_card: [task.context, charge_card], context={"a": 1}, results={"charge-card": 5}) == [{"a": 1}, 5]


def test_async_handlers_and_dotted_paths_are_run() -> None:
    async def handler() -> int:
        return 3

    assert run_step(handler) == 3
    assert run_step(f"{__name__}.Reserve", {"order_id": 1}, {"validate_payment": {"id": 2}}, attempt=2)["payment"] == 2


def test_the_result_is_what_would_be_stored() -> None:
    assert run_step(lambda: {"pair": (1, 2)}) == {"pair": [1, 2]}
    assert run_step(None) is None


def test_a_result_that_could_not_be_stored_is_an_error_with_the_engines_word_for_it() -> None:
    with pytest.raises(PermanentError, match="object is not JSON") as raised:
        run_step(lambda: object())
    assert raised.value.error_code == "result_not_json"
    with pytest.raises(PermanentError) as raised:
        run_step(lambda: 5, output_schema={"type": "string"})
    assert raised.value.error_code == "output_schema"


def test_what_the_handler_sets_in_its_context_is_gone_afterwards() -> None:
    customer = ContextVar("customer", default="nobody")
    run_step(lambda: customer.set("ann") and None)
    assert customer.get() == "nobody"


def test_a_request_to_stop_can_be_given() -> None:
    assert run_step(lambda step: step.cancel_requested, cancel_requested=True) is True
    assert run_step(lambda step: step.cancel_requested) is False


def test_a_handler_or_context_that_the_engine_would_refuse_is_refused() -> None:
    with pytest.raises(DefinitionError, match="neither task, sequence, step"):
        run_step(lambda unknown: None)
    with pytest.raises(RequestError):
        run_step(lambda: None, context={"a": object()})


def test_a_handler_runs_as_an_item_of_a_map_step() -> None:
    assert run_step(lambda item, index, step: [item, index, step.name], item={"sku": 1}, index=3, name="pack") == [{"sku": 1}, 3, "pack[3]"]
    assert run_step(lambda item, prices: prices[item], item="a", results={"prices": {"a": 5}}) == 5


def test_what_a_handler_says_can_be_looked_at() -> None:
    def handler(step: Step) -> None:
        for page in range(1, 4):
            step.progress(page, 3, f"page {page}")
        step.log("done, token=abc", pages=3)

    said = Said()
    run_step(handler, said=said)
    assert said.progress == SaidProgress(3.0, 3.0, "page 3")
    assert said.lines == [SaidLine("info", "done, token=***", {"pages": 3})]
    run_step(handler)


def test_what_it_said_is_there_though_it_failed() -> None:
    def handler(step: Step) -> None:
        step.log("about to fail", "error")
        raise PermanentError("no")

    said = Said()
    with pytest.raises(PermanentError):
        run_step(handler, said=said)
    assert said.messages == ["about to fail"]
