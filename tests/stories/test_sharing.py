"""Several engines on one database: each step once, each engine only what it has."""

from __future__ import annotations

from collections import Counter

from story import Story

DIAMONDS = """
diamond = Workflow("diamond")

@diamond.step()
def top(task):
    note(task.task_id, "top")

@diamond.step(depends_on_step="top")
def left(task):
    note(task.task_id, "left")

@diamond.step(depends_on_step="top")
def right(task):
    note(task.task_id, "right")

@diamond.step(depends_on_step=["left", "right"])
def bottom(task):
    note(task.task_id, "bottom")
"""

ORDERS = """
orders = Workflow("orders")

@orders.step()
def work():
    note("orders")
"""


def check_ledger(stage: Story, tasks: list[str]) -> None:
    """Every step of every diamond ran exactly once, and none before its parents."""
    visits = [(line[0], line[1]) for line in stage.ledger()]
    assert Counter(visits) == Counter((task, name) for task in tasks for name in ("top", "left", "right", "bottom"))
    place = {visit: number for number, visit in enumerate(visits)}
    for task in tasks:
        assert place[task, "top"] < min(place[task, "left"], place[task, "right"])
        assert place[task, "bottom"] > max(place[task, "left"], place[task, "right"])


def test_two_engines_run_each_step_of_many_diamonds_exactly_once(story: Story) -> None:
    story.write(DIAMONDS)
    engines = [story.start(runner="processes"), story.start(runner="threads")]
    tasks = story.launch_many("diamond", 1_000)
    assert set(story.all_ended(tasks)) == {"completed"}
    check_ledger(story, tasks)
    assert story.db.value("select count(distinct worker_id) from tasker_history where worker_id is not null") == len(engines)
    assert story.db.value("select count(*) from tasker_step where state <> 4 or attempts <> 1") == 0


def test_each_engine_runs_only_what_it_has_handlers_for(story: Story) -> None:
    story.write(DIAMONDS)
    story.write(ORDERS, folder="others")
    story.start(folder="others")
    diamonds = story.start()
    ids = [story.launch("orders"), story.launch("diamond")]
    assert story.all_ended(ids) == ["completed"] * 2
    diamonds.drained()
    ids = [story.launch("orders"), story.launch("diamond")]
    assert story.ended(ids[0])["state"] == "completed"
    assert story.step(ids[1], "top")["state"] == "ready"
    query = "select waiting_for from tasker_step_readiness(%(task)s::uuid) where step_name = 'top'"
    assert story.db.value(query, {"task": ids[1]}) == "an engine that has its handler; none is running now"
    story.start()
    assert story.ended(ids[1])["state"] == "completed"


def test_a_second_engine_with_other_content_under_a_used_version_is_refused(story: Story) -> None:
    story.write(ORDERS, folder="others")
    story.start(folder="others")
    assert story.run("orders")["state"] == "completed"
    story.write(ORDERS + "\n@orders.step()\ndef more(): ...\n")
    late = story.start(wait=False)
    assert late.process.wait(10) == 2
    assert "default/orders@" in late.said()
    assert "more" in late.said()
    assert "Traceback" not in late.said()
