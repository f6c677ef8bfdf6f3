"""The largest things that are allowed: a definition of 5,000 steps, and a list of 10,000 that a map step works on: `python -m engine.bench.large`."""

from __future__ import annotations

import statistics
import time
from typing import Any

from engine import StepHandler, TaskDefinition, Workflow, tasks
from engine.bench import flows
from engine.bench.document import publish, say
from engine.bench.place import bulk_database
from engine.bench.workloads import until_done
from engine.db import Database
from engine.errors import TaskerError
from engine.handlers import Sequence, Step, Task
from engine.registry import HandlerRegistry
from engine.requests import TaskRequest
from engine.scheduler import Engine

ITEMS, STEPS, PARENTS, ROUNDS = 10_000, 5_000, 3, 5
SOURCE = "engine.bench.large"


class GiveNumbers(StepHandler):
    """Returns the list that the map step works on."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> list[int]:
        return list(range(ITEMS))


class Double(StepHandler):
    """Returns twice its item."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> int:
        return 2 * int(step.item)


class AddUp(StepHandler):
    """Returns how many results have come, and their sum."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> list[int]:
        results = sequence.result("double")
        return [len(results), sum(results)]


wide = Workflow("map_of_10000", namespace=flows.NAMESPACE, version="1.0.0")
wide.define("numbers", handler_class=GiveNumbers)
wide.define("double", handler_class=Double, depends_on_step="numbers", for_each="numbers")
wide.define("sum", handler_class=AddUp, depends_on_step="double")


def main() -> None:
    """Prints what was measured: medians of five."""
    publish(_measured)


def _measured() -> dict[str, Any]:
    with bulk_database() as db:
        return {"definition": _definitions(db), "map": _maps(db)}


def _definitions(db: Database) -> dict[str, Any]:
    rounds = [_accept(db, number) for number in range(ROUNDS)]
    checked, stored, made = (statistics.median(values) for values in zip(*rounds, strict=True))
    say(f"definition of {STEPS:,} steps, each with up to {PARENTS} parents: checked in {checked:.2f} s, stored in {stored:.2f} s; a task of it made in {made:.2f} s")
    return {"steps": STEPS, "parents": PARENTS, "checked_s": checked, "stored_s": stored, "task_made_s": made}


def _accept(db: Database, number: int) -> tuple[float, float, float]:
    begun = time.perf_counter()
    definition = _long(f"steps_{number}")
    checked = time.perf_counter()
    tasks.register_definition(db, definition)
    stored = time.perf_counter()
    tasks.submit(db, TaskRequest(definition.name, flows.NAMESPACE))
    return checked - begun, stored - checked, time.perf_counter() - stored


def _long(name: str) -> TaskDefinition:
    flow = Workflow(name, namespace=flows.NAMESPACE, version="1.0.0")
    for number in range(STEPS):
        parents = {number - 1, number // 2, number - 7} - {number}
        flow.define(f"step_{number}", handler_class=Double, depends_on_step=[f"step_{parent}" for parent in sorted(parents) if parent >= 0])
    return flow.definition


def _maps(db: Database) -> dict[str, Any]:
    registry = HandlerRegistry()
    registry.register(wide)
    engine = Engine(db.url, registry, runner="threads", sources=[SOURCE])
    engine.start()
    try:
        rounds = [_map(db) for _ in range(ROUNDS)]
    finally:
        engine.drain()
    made, ended = (statistics.median(values) for values in zip(*rounds, strict=True))
    say(f"list of {ITEMS:,}: its items are there {made:.2f} s after the list, and joined after {ended:.2f} s, by one engine with threads")
    return {"items": ITEMS, "made_s": made, "joined_s": ended}


def _map(db: Database) -> tuple[float, float]:
    """Seconds from the end of the step that gives the list to the items' being there, and to the end of the task."""
    newest = db.value("select coalesce(max(task_no), 0) from tasker_task")
    task_id = tasks.submit(db, TaskRequest(wide.name, flows.NAMESPACE))
    given = _seen(db, "exists (select from tasker_steps where task_id = %(id)s and name = 'numbers' and state = 'completed')", task_id)
    made = _seen(db, "exists (select from tasker_step s join tasker_task t using (task_no) where t.task_id = %(id)s and s.first_item is not null)", task_id)
    until_done(db, newest)
    ended = time.monotonic()
    result = db.value("select result from tasker_steps where task_id = %(id)s and name = 'sum'", {"id": task_id})
    if result != [ITEMS, ITEMS * (ITEMS - 1)]:
        raise TaskerError(f"the join got {result}")
    return made - given, ended - given


def _seen(db: Database, what: str, task_id: str) -> float:
    while not db.value(f"select {what}", {"id": task_id}):
        time.sleep(0.002)
    return time.monotonic()


if __name__ == "__main__":
    main()
