"""`/tasks/<id>/compare/<other>`: where two tasks first part, and what differs of inputs, steps, results and times."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from test_access import Twins, client_of

from engine import queries, tasks
from engine.db import Database
from engine.handlers import Workflow
from engine.measures.comparison import last_good
from engine.requests import TaskRequest
from webapp.comparison import Comparison, Side, comparison, differences
from webapp.version_diff import Change

Launch = Callable[..., str]


def compared(db: Database, here: str, there: str) -> Comparison:
    return comparison(*(Side(queries.task(db, each), queries.results(db, each)) for each in (here, there)))


def kinds(found: Comparison) -> dict[str, str]:
    return {step.name: step.kind for step in found.steps}


def test_the_first_divergence_is_told_in_one_sentence(db: Database, conn: Any, launch: Launch, engine: Any, client: FlaskClient) -> None:
    good, bad = launch(7), launch(7)
    engine.complete(good, "validate", result={"sum": 3})
    engine.complete(good, "charge", "reserve", "ship")
    engine.complete(bad, "validate", result={"sum": 4})
    engine.complete(bad, "reserve")
    assert compared(db, bad, bad).sentence == "With the same input, every step went the same way."
    engine.fail(bad, "charge")
    conn.execute("update tasker_step s set started_at = s.finished_at - interval '1 minute' from tasker_task t where t.task_no = s.task_no and t.task_id = %s and step_no = 2", [bad])
    found = compared(db, bad, good)
    assert found.sentence.startswith("With the same input, the two part at charge: here it failed with “GatewayTimeout: no answer")
    assert found.sentence.endswith("there it completed. Before it, the result of validate differs.")
    assert kinds(found) == {"validate": "changed", "charge": "changed", "reserve": "same", "ship": "changed"}
    validate, _, reserve, _ = found.steps
    assert validate.changes == (Change("result.sum", "3", "4"),)
    assert reserve.pace.endswith("× as long")

    assert client.get(f"/tasks/{bad}/compare").headers["Location"] == f"/tasks/{bad}/compare/{good}"
    assert f'href="/tasks/{bad}/compare"' in client.get(f"/tasks/{bad}").text
    assert f'href="/tasks/{bad}/compare"' in client.get(f"/tasks/{bad}/steps/charge").text
    page = client.get(f"/tasks/{bad}/compare/{good}").text
    assert "the two part at charge" in page
    drawn = re.findall(r'class="node state-(\w+)[^"]*" data-step="(\w+)"', page)
    assert {name: kind for kind, name in drawn} == kinds(found)
    took = db.rows("select name, extract(epoch from finished_at - started_at)::float8 from tasker_steps where task_id = %(id)s and finished_at is not null", {"id": bad})
    assert {step.name: step.here.duration_seconds for step in found.steps if step.here and step.here.finished_at} == dict(took)


def test_the_last_good_one_ended_well_before_if_any_did(db: Database, launch: Launch, engine: Any, client: FlaskClient) -> None:
    first, bad, later = launch(1), launch(2), launch(3)
    assert last_good(db, bad) is None
    assert "has ended well lately" in client.get(f"/tasks/{bad}/compare").text
    engine.complete(later, "validate", "charge", "reserve", "ship")
    assert last_good(db, bad) == later
    assert last_good(db, later) is None
    engine.complete(first, "validate", "charge", "reserve", "ship")
    assert last_good(db, bad) == first
    asked = client.get(f"/tasks/{bad}/compare?with={later}")
    assert asked.headers["Location"] == f"/tasks/{bad}/compare/{later}"
    wrong = client.get(f"/tasks/{bad}/compare?with=<b>")
    assert (wrong.status_code, "This is no id of a task" in wrong.text, "<b>" in wrong.text) == (422, True, False)


def test_tasks_of_two_versions_are_compared_by_the_names_of_their_steps(db: Database, launch: Launch, client: FlaskClient) -> None:
    _with_screening(db)
    task_id, other = tasks.submit(db, TaskRequest("process_order", "shop", version="2.0.0", context={"speed": "high"})), launch(7, version="1.0.0")
    found = compared(db, task_id, other)
    assert kinds(found) == {"validate": "same", "screen": "added", "charge": "removed", "reserve": "removed", "ship": "changed"}
    assert found.inputs == (Change("speed", "normal", "high"), Change("order_id", "7", "nothing"))
    assert found.sentence.startswith("With another input (speed and 1 more), the two part at ")
    page = client.get(f"/tasks/{task_id}/compare/{other}").text
    assert "What changed from 1.0.0 to 2.0.0" in page
    assert "2 only there, 1 only here, 1 different, 1 same" in page


def _with_screening(db: Database) -> int:
    flow = Workflow("process_order", namespace="shop", version="2.0.0")

    @flow.step
    def validate(task: Any) -> None: ...

    @flow.step(depends_on_step="validate")
    def screen(task: Any) -> None: ...

    @flow.step(depends_on_step="screen")
    def ship(task: Any) -> None: ...

    return tasks.register_definition(db, flow.definition)


def test_secrets_are_compared_as_they_are_shown(db: Database, client: FlaskClient) -> None:
    flow = Workflow("guarded", namespace="shop", version="1.0.0", schema={"type": "object", "properties": {"card": {"type": "string", "writeOnly": True}, "n": {"type": "integer"}}})

    @flow.step
    def only(task: Any) -> None: ...

    tasks.register_definition(db, flow.definition)
    one, two = (tasks.submit(db, TaskRequest("guarded", "shop", context={"card": f"canary-{number}", "n": number})) for number in (1, 2))
    page = client.get(f"/tasks/{one}/compare/{two}").text
    assert "canary" not in page
    assert [change.what for change in compared(db, one, two).inputs] == ["n"]


def test_a_foreign_task_is_compared_with_nothing(app: Flask, db: Database) -> None:
    twins = Twins(db)
    reader = client_of(app, "reader", "developer", "open")
    own, foreign = twins.task_ids["open"], twins.task_ids["elsewhere"]
    assert reader.get(f"/tasks/{own}/compare/{own}").status_code == 200
    for path in (f"/tasks/{own}/compare/{foreign}", f"/tasks/{foreign}/compare/{own}", f"/tasks/{foreign}/compare"):
        answer = reader.get(path)
        assert (answer.status_code, "canary" in answer.text) == (404, False)


def test_every_place_where_two_values_differ_has_its_path() -> None:
    old = {"a": 1, "b": [1, {"c": 2}], "d": True, "gone": None}
    new = {"a": 1, "b": [1, {"c": 3}, 4], "d": 1, "come": "x"}
    assert [(each.what, each.old, each.new) for each in differences(old, new)] == [
        ("b[1].c", "2", "3"), ("b[2]", "nothing", "4"), ("d", "true", "1"), ("gone", "none", "nothing"), ("come", "nothing", "x"),
    ]  # fmt: skip
