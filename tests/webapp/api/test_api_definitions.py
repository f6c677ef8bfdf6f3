"""Workflows, schedules and engines over the API: what tasks are made of, when, and by whom."""

from __future__ import annotations

from typing import Any

from calls import Caller, codes

from engine import queries
from engine.db import Database

NIGHTLY = {"namespace": "shop", "name": "process_order", "cron": "30 2 * * *", "time_zone": "Europe/Berlin", "context": {"order_id": 7}}


def test_workflows_are_listed_by_namespace(api: Caller) -> None:
    assert [one["name"] for one in api.get("/namespaces").json["namespaces"]] == ["shop"]
    every, of_shop, by_path = (api.get(path).json["workflows"] for path in ("/workflows", "/workflows?namespace=shop", "/workflows/shop"))
    assert [(one["name"], one["versions"]) for one in every] == [("process_order", ["1.0.0"])]
    assert every == of_shop == by_path


def test_a_version_is_shown_with_its_graph_and_schema(api: Caller) -> None:
    shown = api.get("/workflows/shop/process_order/1.0.0").json
    assert api.get("/workflows/shop/process_order").json == shown
    assert shown["schema"]["required"] == ["order_id"]
    assert {step["name"]: step["parents"] for step in shown["steps"]} == {"validate": [], "charge": ["validate"], "reserve": ["validate"], "ship": ["charge", "reserve"]}


def test_a_workflow_nobody_knows_is_not_found(api: Caller) -> None:
    for path in ("/nope", "?namespace=nope", "/shop/nope", "/shop/process_order/2.0.0", "/shop/process_order/latest"):
        assert api.get(f"/workflows{path}").status_code == 404, path


def test_a_schedule_is_made_paused_resumed_run_and_removed(api: Caller, db: Database) -> None:
    made = api.post("/schedules", NIGHTLY)
    assert made.status_code == 201
    path = f"/schedules/{made.json['schedule_id']}"
    assert made.headers["Location"].endswith(f"/api/v1{path}")
    assert made.json["timing"] == {"kind": "cron", "expression": "30 2 * * *", "time_zone": "Europe/Berlin", "words": "At 02:30 every day, Europe/Berlin time"}
    assert api.post(f"{path}/pause", {"reason": "bank holiday"}).json["change_reason"] == "bank holiday"
    assert api.post(f"{path}/pause").status_code == 409
    assert api.post(f"{path}/resumption").json["paused"] is False
    run = api.post(f"{path}/run")
    assert queries.task(db, run.json["task_id"]).context["order_id"] == 7
    assert api.get(path).json["recent"][0]["task_id"] == run.json["task_id"]
    assert [one["schedule_id"] for one in api.get("/schedules?namespace=shop").json["schedules"]] == [made.json["schedule_id"]]
    assert api.client.delete(f"/api/v1{path}").status_code == 204
    assert api.get(path).status_code == api.client.delete(f"/api/v1{path}").status_code == 404


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"cron": "99 * * * *"}, "cron"),
    ({"time_zone": "Mars/Olympus"}, "time_zone"),
    ({"every": "15m"}, "cron"),
    ({"cron": None}, "cron"),
    ({"cron": None, "every": "0s"}, "every"),
    ({"policy": "never"}, "policy"),
    ({"context": {}}, "context.order_id"),
    ({"zone": "UTC"}, "zone"),
]


def test_a_schedule_that_is_wrong_is_told_by_its_place(api: Caller) -> None:
    for change, path in WRONG:
        answer = api.post("/schedules", {**NIGHTLY, **change})
        assert (answer.status_code, [where for where, _ in codes(answer)]) == (422, [path]), change
    assert api.get("/schedules").json["schedules"] == []


def test_a_schedule_of_a_workflow_nobody_knows_is_not_found(api: Caller) -> None:
    assert api.post("/schedules", {**NIGHTLY, "name": "nope"}).status_code == 404


def test_engines_are_listed_with_what_they_serve(api: Caller, engine: Any) -> None:
    [one] = api.get("/engines").json["engines"]
    assert (one["name"], one["alive"], one["definitions"]) == ("test engine", True, ["shop/process_order@1.0.0"])
