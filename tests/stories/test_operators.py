"""What an operator does to tasks while an engine works on them: cancel, retry, skip, resolve."""

from __future__ import annotations

import pytest
from story import Story, is_alive, until

from engine import steps, tasks
from engine.errors import WrongState

FLOWS = """
polite = Workflow("polite")

@polite.step()
def work(task, step):
    note("polite", task.task_id)
    while not step.cancel_requested:
        time.sleep(0.005)
    return "half done"

@polite.step(depends_on_step="work")
def after():
    note("after")


stubborn = Workflow("stubborn")

@stubborn.step()
def work(task):
    note("stubborn", task.task_id)
    time.sleep(60)


repaired = Workflow("repaired")

@repaired.step(retryable=False)
def charge(task):
    if not (HERE / "repaired").exists():
        raise PermanentError("gateway is down")
    return "charged"

@repaired.step(depends_on_step="charge")
def ship(charge):
    return f"{charge}, shipped"
"""


@pytest.fixture(params=["processes", "threads"])
def stage(story: Story, request: pytest.FixtureRequest) -> Story:
    story.write(FLOWS)
    story.start("--grace", "1", runner=request.param)
    return story


def test_a_cancelled_task_ends_when_its_running_step_heeds_the_request(stage: Story) -> None:
    task = stage.launch("polite")
    stage.noted("polite", task)
    assert tasks.cancel_task(stage.db, task, actor="ann", reason="ordered twice") == "running"
    outcome = stage.ended(task, 3)
    assert outcome["state"] == "cancelled"
    assert outcome["steps"]["after"]["state"] == "cancelled"
    assert outcome["steps"]["work"] == {"state": "completed", "attempts": 1, "result": "half done", "error": None}
    assert not stage.ledger("after")


def test_a_step_that_heeds_no_request_is_ended_after_the_grace_time(stage: Story) -> None:
    task = stage.launch("stubborn")
    (line,) = stage.noted("stubborn", task)
    tasks.cancel_task(stage.db, task, actor="ann")
    outcome = stage.ended(task, 5)
    assert outcome["state"] == "cancelled"
    child = int(line[-2])
    if child != stage.engines[0].pid:
        until(lambda: not is_alive(child), "the process of the cancelled step to be gone")


def test_a_cancelled_task_can_not_be_retried(stage: Story) -> None:
    task = stage.launch("stubborn", run_at=None)
    tasks.cancel_task(stage.db, task, actor="ann")
    stage.ended(task)
    with pytest.raises(WrongState):
        tasks.retry_task(stage.db, task, actor="ann")


def test_a_failed_task_that_is_retried_runs_to_its_end(stage: Story) -> None:
    task = stage.launch("repaired")
    assert stage.ended(task)["state"] == "failed"
    stage.open("repaired")
    assert tasks.retry_task(stage.db, task, actor="ann", reason="gateway is back") == "running"
    outcome = stage.ended(task)
    assert outcome["state"] == "completed"
    assert outcome["steps"]["ship"]["result"] == "charged, shipped"
    assert outcome["steps"]["charge"] == {"state": "completed", "attempts": 2, "result": "charged", "error": None}


def test_a_failed_step_that_is_skipped_lets_its_children_go_on(stage: Story) -> None:
    task = stage.launch("repaired")
    stage.ended(task)
    steps.skip_step(stage.db, task, "charge", actor="ann")
    outcome = stage.ended(task)
    assert outcome["state"] == "completed"
    assert outcome["steps"]["charge"]["state"] == "skipped"
    assert outcome["steps"]["ship"]["result"] == "None, shipped"


def test_a_failed_step_that_is_resolved_hands_the_given_result_to_its_children(stage: Story) -> None:
    task = stage.launch("repaired")
    stage.ended(task)
    steps.resolve_step(stage.db, task, "charge", result="paid in cash", actor="ann")
    outcome = stage.ended(task)
    assert outcome["state"] == "completed"
    assert outcome["steps"]["charge"]["state"] == "resolved"
    assert outcome["steps"]["ship"]["result"] == "paid in cash, shipped"
