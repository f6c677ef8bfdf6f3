"""What handlers say reaches the database while they run, from engines of either kind, and outlives them."""

from __future__ import annotations

from typing import Any

import pytest
from story import Story, until

from engine import queries, tasks

FLOWS = """
import logging

log = logging.getLogger("flows.imports")
importing = Workflow("importing")

@importing.step()
def load(task, step):
    log.info("begins", extra={"pages": 5})
    step.progress(1, 5, "page 1")
    wait_for("gate")
    for page in range(2, 6):
        step.progress(page, 5, f"page {page}")
    step.log("done", pages=5)

doomed = Workflow("doomed")

@doomed.step(retry_limit=2)
def work(step):
    step.log(f"attempt {step.attempt} begins")
    if step.attempt == 1:
        note("doomed")
        wait_for("never")
    step.log("goes well this time")

crashing = Workflow("crashing")

@crashing.step(retryable=False)
def work(step):
    step.log("calls the library")
    step.progress(1, 2)
    os._exit(3)

handed_back = Workflow("handed_back")

@handed_back.step()
def work(step):
    step.log(f"attempt {step.attempt} on {os.getppid()}")
    note("handed_back")
    wait_for("gate")

silent = Workflow("silent")

@silent.step()
def work():
    return 1
"""


@pytest.fixture(params=["processes", "threads"])
def stage(story: Story, request: pytest.FixtureRequest) -> Story:
    story.write(FLOWS)
    story.start("--grace", "0.2", runner=request.param)
    return story


def messages(story: Story, task: str) -> list[tuple[int, str]]:
    return [(line.attempt, line.message) for line in queries.lines(story.db, task).items]


def progress(story: Story, task: str, step: str) -> Any:
    row = queries.step(story.db, task, step).row
    return row.progress and (row.progress.words, row.progress.note)


def test_progress_and_lines_are_there_while_the_step_runs(stage: Story) -> None:
    task = stage.launch("importing")
    until(lambda: messages(stage, task) and progress(stage, task, "load"), "the step to say something")
    assert progress(stage, task, "load") == ("1 of 5", "page 1")
    assert stage.step(task, "load")["state"] == "running"
    [line] = queries.lines(stage.db, task).items
    assert (line.level, line.message, line.fields) == ("info", "begins", {"logger": "flows.imports", "pages": 5})
    stage.open("gate")
    stage.ended(task)
    until(lambda: len(messages(stage, task)) == 2, "its last words")
    assert messages(stage, task) == [(1, "begins"), (1, "done")]
    assert progress(stage, task, "load") == ("5 of 5", "page 5")


def test_a_step_that_says_nothing_leaves_no_trace(stage: Story) -> None:
    assert stage.run("silent")["state"] == "completed"
    stage.engines[0].drained()
    assert stage.db.value("select count(*) from tasker_log") == 0
    assert stage.db.value("select count(*) from tasker_progress") == 0
    assert stage.engines[0].process.returncode == 0


def test_lines_of_a_killed_engine_are_kept_and_the_next_attempts_follow(stage: Story) -> None:
    task = stage.launch("doomed")
    stage.noted("doomed")
    until(lambda: messages(stage, task), "its first line")
    stage.engines[0].kill()
    stage.start(runner="threads")
    stage.ended(task)
    until(lambda: len(messages(stage, task)) == 3, "the second attempt's lines")
    assert messages(stage, task) == [(1, "attempt 1 begins"), (2, "attempt 2 begins"), (2, "goes well this time")]


def test_lines_of_an_attempt_that_is_handed_back_are_followed_by_those_of_its_next_go(stage: Story) -> None:
    task = stage.launch("handed_back")
    stage.noted("handed_back")
    assert stage.engines[0].drained() == 0
    assert len(messages(stage, task)) == 1
    stage.open("gate")
    stage.start(runner="processes")
    stage.ended(task)
    until(lambda: len(messages(stage, task)) == 2, "the second go's line")
    assert [attempt for attempt, _ in messages(stage, task)] == [1, 1]


def test_the_last_words_of_a_process_that_dies_are_kept(story: Story) -> None:
    story.write(FLOWS)
    story.start(runner="processes")
    task = story.launch("crashing")
    assert story.ended(task)["state"] == "failed"
    until(lambda: messages(story, task), "its last words")
    assert messages(story, task) == [(1, "calls the library")]
    assert progress(story, task, "work") == ("1 of 2", None)


def test_a_request_to_cancel_does_not_silence_what_still_runs(stage: Story) -> None:
    task = stage.launch("importing")
    until(lambda: messages(stage, task), "its first line")
    tasks.cancel_task(stage.db, task, actor="ann")
    stage.open("gate")
    stage.ended(task)
    until(lambda: len(messages(stage, task)) == 2, "its last line")
