"""The fixture `tasker`, as the author of a workflow uses it: whole tasks, stubs, failure scripts, and a clock that only the test moves."""

from __future__ import annotations

import bdb
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

from engine import (
    HandlerRegistry,
    PermanentError,
    RequestError,
    RetryableError,
    StepHandler,
    TaskHandler,
    TaskRequest,
    Workflow,
    queries,
    submit,
    submit_many,
)
from engine.handlers import Sequence, Step, StepTemplates, Task
from engine.testing import SaidLine, SaidProgress, TimedOut, Workbench

orders = Workflow("process_order", namespace="kit", version="1.0.0", schema={"type": "object", "required": ["order_id"]})


@orders.step
def validate(task: Task) -> dict[str, Any]:
    return {"order_id": task.context["order_id"], "total": 40}


@orders.step(depends_on_step="validate", retry_limit=3, backoff={"base": 3600, "cap": 36_000, "jitter": 0}, timeout=5_000)
def charge(task: Task, step: Step, validate: dict[str, Any]) -> dict[str, Any]:
    if task.context.get("busy", 0) >= step.attempt:
        raise RetryableError("the card service is busy")
    return {"charged": validate["total"], "attempt": step.attempt}


@orders.step(depends_on_step="charge")
def receipt(charge: dict[str, Any]) -> str:
    return f"receipt over {charge['charged']}"


class Count(StepHandler):
    def process(self, task: Task, sequence: Sequence, step: Step) -> int:
        return len(task.context)


class Counting(TaskHandler):
    TASK_NAME, NAMESPACE, VERSION = "count", "kit", "1.0.0"

    def define_step_templates(self, templates: StepTemplates) -> None:
        templates.define(name="count", handler_class=Count)


def test_a_task_runs_to_its_end(tasker: Workbench) -> None:
    done = tasker.run(orders, {"order_id": 7})
    done.assert_completed()
    assert done.context == {"order_id": 7}
    assert {name: step.state for name, step in done.steps.items()} == dict.fromkeys(("validate", "charge", "receipt"), "completed")
    assert done.result("receipt") == "receipt over 40"


def test_a_workflow_may_be_named_or_be_a_class(tasker: Workbench) -> None:
    assert tasker.run("kit/process_order", {"order_id": 1}).state == "completed"
    assert tasker.run("kit/process_order@1.0.0", {"order_id": 1}).state == "completed"
    assert tasker.run(Counting, {"a": 1, "b": 2}).result("count") == 2


def test_an_hour_of_back_off_takes_no_time(tasker: Workbench) -> None:
    begun = tasker.now
    done = tasker.run(orders, {"order_id": 7, "busy": 2})
    assert done.steps["charge"].attempts == 3
    assert tasker.now - begun >= timedelta(hours=3), "one hour, then two"
    assert done.result("charge") == {"charged": 40, "attempt": 3}


def test_a_later_start_is_waited_for_by_the_clock(tasker: Workbench) -> None:
    begun = tasker.now
    assert tasker.run(orders, {"order_id": 7}, run_at=begun + timedelta(days=30)).state == "completed"
    assert tasker.now >= begun + timedelta(days=30)


def test_a_stub_answers_in_place_of_the_handler(tasker: Workbench) -> None:
    stub = tasker.stub("charge", {"charged": 1})
    assert tasker.run(orders, {"order_id": 7}).result("receipt") == "receipt over 1"
    assert stub.calls == 1


def test_a_script_answers_attempt_by_attempt(tasker: Workbench) -> None:
    stub = tasker.stub("charge", RetryableError("busy"), TimedOut, {"charged": 5})
    done = tasker.run(orders, {"order_id": 7})
    assert (done.steps["charge"].attempts, stub.calls, done.result("receipt")) == (3, 3, "receipt over 5")
    failures = [event["error"]["type"] for event in tasker.events(done.task_id) if event["type"] == "step.failed"]
    assert failures == ["RetryableError", "timeout"]


def test_a_function_as_a_stub_is_called_as_the_handler_would_be(tasker: Workbench) -> None:
    tasker.stub("kit/process_order:charge", lambda task, validate: {"charged": validate["total"] + task.context["order_id"]})
    assert tasker.run(orders, {"order_id": 2}).result("charge") == {"charged": 42}


def test_a_stub_that_no_step_would_use_is_refused(tasker: Workbench) -> None:
    tasker.stub("charg", 1)
    with pytest.raises(LookupError, match="did you mean 'charge'"):
        tasker.run(orders, {"order_id": 7})


def test_a_stub_of_one_test_is_gone_in_the_next(tasker: Workbench) -> None:
    assert tasker.run(orders, {"order_id": 7}).result("charge")["charged"] == 40


def test_a_failure_tells_how_every_step_ended(tasker: Workbench) -> None:
    tasker.stub("charge", PermanentError("card refused"))
    done = tasker.run(orders, {"order_id": 7})
    assert done.state == "failed"
    done.assert_failed("charge", message="card refused")
    with pytest.raises(AssertionError, match=r"charge: failed, 1 attempt  PermanentError: card refused\n  receipt: pending, 0 attempts"):
        done.assert_completed()
    with pytest.raises(AssertionError, match="expected validate to fail"):
        done.assert_failed("validate")
    with pytest.raises(AssertionError, match="charge is failed"):
        done.result("charge")
    with pytest.raises(AssertionError, match="the task has no step 'recept'; did you mean 'receipt'"):
        done.result("recept")
    with pytest.raises(AssertionError, match="no step 'chrage'"):
        done.assert_failed("chrage")


def test_an_operator_can_help_the_task_on(tasker: Workbench) -> None:
    tasker.stub("charge", PermanentError("card refused"), PermanentError("again"), PermanentError("again"), {"charged": 3})
    failed = tasker.run(orders, {"order_id": 7})
    assert tasker.retry(failed.task_id, "charge").state == "failed"
    assert tasker.retry(failed.task_id).state == "failed"
    assert tasker.resolve(failed.task_id, "charge", {"charged": 9}).result("receipt") == "receipt over 9"
    other = tasker.run(orders, {"order_id": 8})
    assert other.state == "completed"


def test_skip_and_cancel_are_there_too(tasker: Workbench) -> None:
    tasker.stub("receipt", PermanentError("no address"))
    failed = tasker.run(orders, {"order_id": 7})
    assert tasker.skip(failed.task_id, "receipt").state == "completed"
    waiting = tasker.submit(orders, {"order_id": 7}, run_at=tasker.now + timedelta(days=1))
    assert tasker.cancel(waiting).state == "cancelled"


def test_bad_input_is_refused_as_in_production(tasker: Workbench) -> None:
    with pytest.raises(RequestError, match="order_id"):
        tasker.run(orders, {})


def test_a_task_that_a_handler_submits_runs_too(tasker: Workbench) -> None:
    tasker.stub("charge", lambda: {"charged": submit(TaskRequest("count", "kit", context={"x": 1}))})
    HandlerRegistry.instance().register(Counting())
    parent = tasker.run(orders, {"order_id": 7}, correlation_id="req-7")
    child = parent.result("charge")["charged"]
    assert tasker.task(child).state == "completed"
    detail = queries.task(tasker.db, child)
    assert (detail.parent_task_id, detail.parent_step, detail.task.correlation_id) == (parent.task_id, "charge", "req-7")
    assert [row.task_id for row in queries.children(tasker.db, parent.task_id)] == [child]


def test_without_a_correlation_id_the_parents_own_id_serves(tasker: Workbench) -> None:
    tasker.stub("charge", lambda: {"charged": submit(TaskRequest("count", "kit"))})
    HandlerRegistry.instance().register(Counting())
    parent = tasker.run(orders, {"order_id": 7})
    assert queries.task(tasker.db, parent.result("charge")["charged"]).task.correlation_id == parent.task_id


def test_what_no_handler_submits_has_no_parent(tasker: Workbench) -> None:
    assert queries.task(tasker.db, tasker.run(Counting).task_id).parent_task_id is None


def test_a_task_that_a_handler_submits_detached_has_no_parent(tasker: Workbench) -> None:
    def answers(step: Step) -> dict[str, str]:
        requests = [TaskRequest("count", "kit"), TaskRequest("count", "kit", correlation_id="own")]
        first, second = submit_many(requests, detached=True)
        return {"one": submit(TaskRequest("count", "kit"), detached=True), "two": first, "three": second, "four": Counting().run_task({}, detached=True)}

    tasker.stub("charge", answers)
    HandlerRegistry.instance().register(Counting())
    submitted = tasker.run(orders, {"order_id": 7}, correlation_id="req-7").result("charge")
    for name, correlation_id in (("one", None), ("two", None), ("three", "own"), ("four", None)):
        detail = queries.task(tasker.db, submitted[name])
        assert (detail.parent_task_id, detail.parent_step, detail.task.correlation_id) == (None, None, correlation_id)


def test_a_finished_step_has_what_it_said(tasker: Workbench) -> None:
    def talks(step: Step) -> dict[str, int]:
        step.progress(step.attempt, 2, "calls the card service")
        step.log(f"attempt {step.attempt}", amount=40)
        if step.attempt == 1:
            raise RetryableError("busy")
        return {"charged": 40}

    tasker.stub("charge", talks)
    charge = tasker.run(orders, {"order_id": 7}).steps["charge"]
    assert charge.messages == ["attempt 1", "attempt 2"]
    assert charge.lines[0] == SaidLine("info", "attempt 1", {"amount": 40})
    assert charge.progress == SaidProgress(2.0, 2.0, "calls the card service")


returns = Workflow("take_back", namespace="kit", version="1.0.0")


@returns.step(decision=True)
def judge(task: Task) -> str:
    return "refund" if task.context["items"] else "reject"


@returns.step(depends_on_step="judge")
def refund(task: Task) -> list[int]:
    return list(task.context["items"])


@returns.step(depends_on_step="judge")
def reject() -> None:
    return None


@returns.step(depends_on_step="refund", for_each="refund", retry_limit=2)
def pay(item: int, step: Step) -> int:
    return item * 2


def test_decisions_and_map_steps_run_too(tasker: Workbench) -> None:
    tasker.stub("pay", RetryableError("busy"), lambda item: item * 2)
    done = tasker.run(returns, {"items": [1, 2, 3]})
    done.assert_completed()
    assert done.steps["reject"].state == "skipped"
    assert done.result("pay") == [2, 4, 6]
    assert done.steps["pay[0]"].attempts == 2


paced = Workflow("paced", namespace="kit", version="1.0.0")


@paced.step
def parcels() -> list[int]:
    return [1, 2, 3]


@paced.step(depends_on_step="parcels", for_each="parcels", limit={"per_minute": 1})
def post(item: int) -> int:
    return item


def test_the_period_of_a_limit_is_waited_for_by_the_clock(tasker: Workbench) -> None:
    begun = tasker.now
    assert tasker.run(paced).result("post") == [1, 2, 3]
    assert timedelta(minutes=2) <= tasker.now - begun < timedelta(minutes=4)


queued = Workflow("queued", namespace="kit", version="1.0.0", limit={"at_once": 1})


@queued.step(retry_limit=2, backoff={"base": 3600, "cap": 3600, "jitter": 0})
def hold(task: Task) -> None:
    if task.context["busy"]:
        raise RetryableError("busy")


def test_a_place_that_another_task_holds_is_not_waited_for(tasker: Workbench) -> None:
    tasker.submit(queued, {"busy": True})
    tasker.run_ready()
    begun = tasker.now
    assert tasker.run(queued, {"busy": False}).steps["hold"].state == "ready"
    assert tasker.now - begun < timedelta(minutes=1)


@pytest.mark.parametrize("outcome", [KeyboardInterrupt, bdb.BdbQuit, lambda: pytest.skip("no card service here"), lambda: pytest.fail("not to be called")])
def test_what_ends_the_test_ends_the_run(tasker: Workbench, outcome: Any) -> None:
    tasker.stub("charge", outcome)
    with pytest.raises((KeyboardInterrupt, bdb.BdbQuit, pytest.skip.Exception, pytest.fail.Exception)):
        tasker.run(orders, {"order_id": 7})
    tasker.stub("charge", {"charged": 1})
    assert tasker.run(orders, {"order_id": 8}).state == "completed"


def test_a_handler_may_end_its_step_as_in_production(tasker: Workbench) -> None:
    tasker.stub("charge", SystemExit(3))
    tasker.run(orders, {"order_id": 7}).assert_failed("charge", message="SystemExit")


CUSTOMER: ContextVar[str] = ContextVar("customer", default="nobody")


def test_what_a_handler_sets_in_its_context_is_not_there_for_the_next(tasker: Workbench) -> None:
    tasker.stub("charge", lambda: CUSTOMER.set("ann") and {"charged": 1})
    tasker.stub("receipt", lambda: CUSTOMER.get())
    assert tasker.run(orders, {"order_id": 7}).result("receipt") == "nobody"


def test_the_clock_can_be_moved_by_hand(tasker: Workbench) -> None:
    task_id = tasker.submit(orders, {"order_id": 7, "busy": 1})
    tasker.run_ready()
    assert tasker.task(task_id).steps["charge"].state == "retrying"
    tasker.move_clock(minutes=59)
    tasker.run_ready()
    assert tasker.task(task_id).steps["charge"].state == "retrying"
    tasker.move_clock(minutes=2)
    tasker.run_ready()
    assert tasker.task(task_id).state == "completed"
