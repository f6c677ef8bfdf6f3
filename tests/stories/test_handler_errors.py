"""How steps fail, and what becomes of them: tried again, ended at once, ended by the clock."""

from __future__ import annotations

from itertools import pairwise

import psycopg
import pytest
from story import Story, is_alive, until

from engine import tasks
from engine.borrowed import Borrowed
from engine.requests import TaskRequest

FLOWS = {
    "failing.py": '''
        QUICK = {"base": 0.1, "multiplier": 3.0, "cap": 5.0, "jitter": 0.0}


        flaky = Workflow("flaky")

        @flaky.step(retry_limit=3, backoff=QUICK)
        def call(task, step):
            note("flaky", task.task_id, step.attempt)
            if step.attempt < 3:
                raise RetryableError(f"busy {step.attempt}")
            return step.attempt


        delayed = Workflow("delayed")

        @delayed.step(backoff={"base": 60.0})
        def call(task, step):
            note("delayed", task.task_id, step.attempt)
            if step.attempt == 1:
                raise RetryableError("rate limited", delay=0.4)


        used_up = Workflow("used_up")

        @used_up.step(retry_limit=2, backoff=QUICK)
        def call(step):
            raise RetryableError(f"busy {step.attempt}")

        @used_up.step()
        def independent():
            return "ran"

        @used_up.step(depends_on_step="call")
        def after(call):
            return "never"


        permanent = Workflow("permanent")

        @permanent.step()
        def call():
            raise PermanentError("card refused", error_code="card_declined")


        unhandled = Workflow("unhandled")

        @unhandled.step()
        def call():
            return {}["missing"]


        listed = Workflow("listed")

        @listed.step(retry_on=(ConnectionError,), backoff=QUICK)
        def call(task, step):
            if step.attempt < 2:
                raise ConnectionRefusedError("nobody listens")
            return "connected"


        once = Workflow("once")

        @once.step(retryable=False)
        def call():
            raise RetryableError("busy")


        no_json = Workflow("no_json")

        @no_json.step()
        def call():
            return {"handle": object()}


        reads = Workflow("reads")

        @reads.step()
        def call(task):
            return task.context["number"]


        slow = Workflow("slow")

        @slow.step(timeout=250, retry_limit=2, backoff=QUICK)
        def call(task, step):
            note("slow", task.task_id, step.attempt)
            if step.attempt == 1:
                time.sleep(60)
            return step.attempt
    '''
}


def gaps(lines: list[list[str]]) -> list[float]:
    """Seconds between notes."""
    return [(int(later[-1]) - int(earlier[-1])) / 1e9 for earlier, later in pairwise(lines)]


def test_a_retryable_error_is_tried_again_after_a_growing_wait(running: Story) -> None:
    task = running.launch("flaky")
    outcome = running.ended(task)
    assert outcome["state"] == "completed"
    assert outcome["steps"]["call"] == {"state": "completed", "attempts": 3, "result": 3, "error": None}
    first, second = gaps(running.ledger("flaky", task))
    assert first >= 0.1
    assert second >= 0.3


def test_a_delay_takes_the_place_of_the_back_off(running: Story) -> None:
    task = running.launch("delayed")
    assert running.ended(task)["state"] == "completed"
    (waited,) = gaps(running.ledger("delayed", task))
    assert 0.4 <= waited < 5


def test_when_attempts_are_used_up_the_step_fails_and_independent_branches_do_not(running: Story) -> None:
    outcome = running.run("used_up")
    assert outcome["state"] == "failed"
    assert outcome["steps"]["call"] == {
        "state": "failed", "attempts": 2, "result": None, "error": {"type": "RetryableError", "message": "busy 2", "code": None},
    }  # fmt: skip
    assert outcome["steps"]["independent"]["result"] == "ran"
    assert outcome["steps"]["after"]["state"] == "pending"


def test_a_permanent_error_ends_the_step_after_one_attempt(running: Story) -> None:
    step = running.run("permanent")["steps"]["call"]
    assert (step["state"], step["attempts"]) == ("failed", 1)
    assert step["error"] == {"type": "PermanentError", "message": "card refused", "code": "card_declined"}


def test_an_exception_that_nobody_announced_is_permanent(running: Story) -> None:
    step = running.run("unhandled")["steps"]["call"]
    assert (step["state"], step["attempts"], step["error"]["type"]) == ("failed", 1, "KeyError")


def test_an_exception_listed_in_retry_on_is_tried_again(running: Story) -> None:
    step = running.run("listed")["steps"]["call"]
    assert (step["state"], step["attempts"], step["result"]) == ("completed", 2, "connected")


def test_a_step_that_is_not_retryable_has_one_attempt(running: Story) -> None:
    step = running.run("once")["steps"]["call"]
    assert (step["state"], step["attempts"]) == ("failed", 1)


def test_a_result_that_is_no_json_fails_the_step_for_good(running: Story) -> None:
    step = running.run("no_json")["steps"]["call"]
    assert (step["state"], step["attempts"], step["error"]["type"]) == ("failed", 1, "result_not_json")


def test_a_timeout_ends_the_attempt_and_is_tried_again(running: Story) -> None:
    task = running.launch("slow")
    outcome = running.ended(task)
    assert (outcome["state"], outcome["steps"]["call"]["attempts"]) == ("completed", 2)
    first, second = running.ledger("slow", task)
    assert 0.35 <= gaps([first, second])[0] < 5  # the limit, and the back-off


def test_a_timeout_kills_the_process_that_ran_the_attempt(story: Story) -> None:
    story.write(FLOWS["failing.py"])
    story.start(runner="processes", concurrency=2)
    task = story.launch("slow")
    assert story.ended(task)["state"] == "completed"
    child = int(story.ledger("slow", task)[0][-2])
    until(lambda: not is_alive(child), "the child that ran the slow attempt to be gone")


@pytest.mark.parametrize("number", ["[" * 5_000 + "]" * 5_000, "9" * 5_000], ids=["deep", "digits"])
def test_a_context_that_only_another_program_can_have_written_fails_its_step_and_nothing_else(running: Story, number: str) -> None:
    with psycopg.connect(running.url) as conn:
        foreign = tasks.submit(Borrowed(conn), TaskRequest("reads", context={"number": 1}))
        conn.execute("update tasker_task set context = %s::jsonb where task_id = %s", [f'{{"number": {number}}}', foreign])
    own = running.launch("reads", {"number": 2})
    assert running.ended(own)["steps"]["call"]["result"] == 2
    step = running.ended(foreign)["steps"]["call"]
    assert (step["state"], step["attempts"]) == ("failed", 1)
    assert "cannot be read" in step["error"]["message"]
