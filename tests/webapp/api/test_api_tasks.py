"""`GET /api/v1/tasks...`: lists and details say what is on record, in pages, and with a tag that changes with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from calls import Caller, codes
from flask import Flask
from flask.testing import FlaskClient
from signed_in import token_for

from engine import queries
from engine.db import Database


def test_a_task_is_shown_as_the_command_line_prints_it(api: Caller, db: Database, failed_task: str) -> None:
    shown = api.get(f"/tasks/{failed_task}").json
    told = queries.outcome(db, failed_task)
    assert {key: shown[key] for key in told if key != "steps"} == {key: value for key, value in told.items() if key != "steps"}
    assert {name: {key: step[key] for key in ("state", "attempts", "result", "error")} for name, step in shown["steps"].items()} == told["steps"]
    assert shown["steps"]["ship"]["waiting_for"]


def test_a_task_is_shown_with_the_results_that_its_steps_show_alone(api: Caller, engine: Any, launch: Callable[..., str]) -> None:
    task = launch()
    engine.complete(task, "validate", result={"total": 40, "password": "hunter2"})
    shown = {name: step["result"] for name, step in api.get(f"/tasks/{task}").json["steps"].items()}
    assert shown == {name: api.get(f"/tasks/{task}/steps/{name}").json["result"] for name in shown}
    assert shown["validate"]["total"] == 40
    assert shown["validate"]["password"] != "hunter2"


def test_a_step_is_shown_with_its_attempts_and_no_traceback(api: Caller, failed_task: str) -> None:
    answer = api.get(f"/tasks/{failed_task}/steps/charge")
    assert answer.json["state"] == "failed"
    assert answer.json["executions"][0]["error"] == {"type": "GatewayTimeout", "message": "no answer <b>in</b> time", "code": "slow"}
    assert answer.json["template"]["timeout_ms"] == 30_000
    assert "gateway.py" not in answer.text


def test_a_list_is_narrowed_by_its_filters(api: Caller, failed_task: str) -> None:
    vip = api.create(tags=["vip"])
    assert [one["task_id"] for one in api.get("/tasks?tag=vip").json["tasks"]] == [vip]
    assert [one["task_id"] for one in api.get("/tasks?state=failed&namespace=shop").json["tasks"]] == [failed_task]
    assert api.get("/tasks?namespace=elsewhere").json == {"tasks": [], "next_cursor": None, "looked_at": None}
    assert [one["task_id"] for one in api.get("/tasks?context=order_id=7&name=process_order&tag=vip").json["tasks"]] == [vip]
    assert api.get("/tasks?created_from=2000-01-01T00:00:00Z&created_to=2001-01-01T00:00:00Z").json["tasks"] == []


def test_pages_together_hold_every_task_once(api: Caller) -> None:
    made = [api.create() for _ in range(5)]
    found: list[str] = []
    cursor = ""
    while True:
        page = api.get(f"/tasks?limit=2{cursor}").json
        found += [one["task_id"] for one in page["tasks"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == made[::-1]


UNREADABLE = [
    ("limit=0", "limit"),
    ("limit=201", "limit"),
    ("limit=1_0", "limit"),
    ("limit=%D9%A3", "limit"),
    ("cursor=;drop", "cursor"),
    ("cursor=-1", "cursor"),
    ("state=FAILED", "state"),
    ("created_from=0000-00-00", "created_from"),
    ("context=nothing", "context"),
    ("sort=name", "sort"),
    ("tag=a&tag=b", "tag"),
    ("tag=%00", "tag"),
    (f"q={'a' * 201}", "q"),
]


def test_a_filter_that_cannot_be_read_is_refused_by_name(api: Caller) -> None:
    for query, path in UNREADABLE:
        answer = api.get(f"/tasks?{query}")
        assert (answer.status_code, [where for where, _ in codes(answer)]) == (422, [path]), query


def test_what_is_no_task_is_not_found(api: Caller) -> None:
    for id_ in ("nope", "00000000-0000-0000-0000-000000000000", "9" * 400, "..%2f..%2fetc", "%00"):
        for path in (f"/tasks/{id_}", f"/tasks/{id_}/steps", f"/tasks/{id_}/steps/charge", f"/tasks/{id_}/log", f"/tasks/{id_}/steps/charge/log"):
            answer = api.get(path)
            assert (answer.status_code, codes(answer)) == (404, [("", "not_found")]), path


def test_a_step_that_the_task_has_not_is_not_found(api: Caller) -> None:
    task_id = api.create()
    for name in ("unheard_of", "%20", "%F0%9F%98%80", "charge[0]"):
        assert api.get(f"/tasks/{task_id}/steps/{name}").status_code == 404


def test_steps_are_listed_in_their_order_and_in_pages(api: Caller) -> None:
    task_id = api.create()
    first = api.get(f"/tasks/{task_id}/steps?limit=3").json
    rest = api.get(f"/tasks/{task_id}/steps?limit=3&cursor={first['next_cursor']}").json
    assert [step["name"] for step in first["steps"] + rest["steps"]] == ["validate", "charge", "reserve", "ship"]
    assert rest["next_cursor"] is None


def test_the_log_of_a_task_is_read_in_pages(api: Caller, engine: Any, conn: Any) -> None:
    task_id = api.create()
    engine.complete(task_id, "validate")
    for at in range(3):
        conn.execute(
            "insert into tasker_log (task_no, step_no, attempt, at, level, message) select t.task_no, s.step_no, 1, now(), 20, %s from tasker_tasks t"
            " join tasker_steps s using (task_id) where t.task_id = %s and s.name = 'validate'",
            [f"line {at}", task_id],
        )
    first = api.get(f"/tasks/{task_id}/log?limit=2").json
    rest = api.get(f"/tasks/{task_id}/steps/validate/log?cursor={first['next_cursor']}&level=info").json
    assert [line["message"] for line in first["lines"] + rest["lines"]] == ["line 0", "line 1", "line 2"]
    assert rest["next_cursor"] is None


def test_the_tag_of_a_task_changes_with_its_steps(api: Caller, engine: Any) -> None:
    task_id = api.create()
    before = api.get(f"/tasks/{task_id}").headers["ETag"]
    assert api.get(f"/tasks/{task_id}").headers["ETag"] == before
    engine.complete(task_id, "validate")
    assert api.get(f"/tasks/{task_id}").headers["ETag"] != before


def test_who_is_elsewhere_sees_nothing(from_elsewhere: Any, launch: Callable[..., str]) -> None:
    task_id = launch()
    for path in ("/tasks", f"/tasks/{task_id}", f"/tasks/{uuid4()}", f"/tasks/{task_id}/steps/charge", "/workflows", "/engines", "/schedules", "/schedules/1"):
        assert from_elsewhere.get(f"/api/v1{path}").status_code == 401


def test_what_may_not_be_seen_is_answered_like_what_is_not_there(api: Caller, app: Flask, database_url: str, launch: Callable[..., str]) -> None:
    hidden, missing = launch(), str(uuid4())
    stranger = FlaskClient(app)
    stranger.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token_for(database_url, 'stranger', 'operator', 'elsewhere')}"
    for path in ("/tasks/{}", "/tasks/{}/steps", "/tasks/{}/steps/charge", "/tasks/{}/log"):
        one, other = (stranger.get(f"/api/v1{path.format(task)}") for task in (hidden, missing))
        assert (one.status_code, one.text.replace(hidden, missing)) == (404, other.text)
    assert stranger.post(f"/api/v1/tasks/{hidden}/cancellation", json={}).status_code == 404
    assert api.get(f"/tasks/{hidden}").status_code == 200
