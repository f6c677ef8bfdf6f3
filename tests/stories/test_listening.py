"""Two engines at full speed and one subscriber: it hears everything, once, and nothing before what led to it."""

from __future__ import annotations

from collections import defaultdict

from story import Story, until

FLOWS = """
from engine import EventSubscriber

diamond = Workflow("diamond")

@diamond.step()
def top(task): pass

@diamond.step(depends_on_step="top", backoff={"base": 0.001})
def left(task, step):
    if step.attempt == 1:
        raise RetryableError("once")

@diamond.step(depends_on_step="top")
def right(task): pass

@diamond.step(depends_on_step=["left", "right"])
def bottom(task): pass

class Listener(EventSubscriber):
    subscribe_to = ["task.started", "task.completed", "step.started", "step.completed", "step.failed", "step.retried"]

    def handle_event(self, event):
        note("heard", event["event_id"], event["task_id"], event["type"], event["step_name"])
"""
EVENTS_PER_TASK = 2 + 2 * 4 + 3


def test_a_subscriber_of_two_busy_engines_hears_each_event_once_and_in_order(story: Story) -> None:
    story.write(FLOWS)
    story.start(runner="threads")
    story.start(runner="threads")
    tasks = story.launch_many("diamond", 200)
    story.all_ended(tasks)
    until(lambda: len(story.ledger("heard")) >= len(tasks) * EVENTS_PER_TASK, "every event")
    heard = story.ledger("heard")
    assert len(heard) == len(tasks) * EVENTS_PER_TASK
    ids = [int(line[1]) for line in heard]
    assert ids == sorted(set(ids))
    by_task: dict[str, list[str]] = defaultdict(list)
    for line in heard:
        by_task[line[2]].append(f"{line[3]} {line[4]}")
    assert set(by_task) == set(tasks)
    for told in by_task.values():
        check_order(told)


def check_order(told: list[str]) -> None:
    """One diamond's events, cause before effect."""
    place = told.index
    assert (told[0], told[-1]) == ("task.started None", "task.completed None")
    for name in ("left", "right"):
        assert place("step.completed top") < place(f"step.started {name}") < place(f"step.completed {name}") < place("step.started bottom")
    assert told[place("step.failed left") + 1] == "step.retried left"
    assert told.count("step.started left") == 2
