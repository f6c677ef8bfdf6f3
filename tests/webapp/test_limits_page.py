"""`/limits`, and the same of the API: what a limit holds up is seen, and its numbers change only after a look at what that does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import session_of, token_for
from werkzeug.test import TestResponse

from engine import limits, tasks
from engine.access import audit
from engine.db import Database
from engine.handlers import Workflow
from engine.requests import TaskRequest
from webapp.access import COOKIE

PATH = "/limits/payments/charge"
STEP = "?step=call_bank"


@pytest.fixture
def charged(db: Database, conn: psycopg.Connection[Any], engine: Any) -> list[str]:
    """Three tasks whose one step may run twice at once: two of them run, the third waits."""
    flow = Workflow("charge", namespace="payments", version="1.0.0")
    flow.define("call_bank", limit={"at_once": 2, "per_minute": 60})
    definition = tasks.register_definition(db, flow.definition)
    made = [tasks.submit(db, TaskRequest("charge", "payments")) for _ in range(3)]
    hand = type(engine)(conn, [definition])
    hand.claim()
    hand.claim()
    return made


def seen_in(page: str) -> str:
    found = re.search(r'name="seen" value="(\w+)"', page)
    assert found
    return found[1]


def test_a_limit_shows_what_holds_its_places_and_what_waits(client: FlaskClient, charged: list[str], conn: psycopg.Connection[Any]) -> None:
    listed = client.get("/limits").text
    counts = conn.execute("select count(*) filter (where state = 2)::text, count(*) filter (where state = 1)::text from tasker_step").fetchone()
    assert counts == tuple(re.findall(r'<td class="number">(\d+)</td>', listed)) == ("2", "1")
    assert "2 at once, 60 per minute" in listed
    assert "its definition" in listed
    shown = client.get(PATH + STEP).text
    assert tuple(re.findall(r"<dt>(?:Taken|Waiting)</dt><dd>(\d+)</dd>", shown)) == counts
    assert max(shown.index(task_id[:8]) for task_id in charged[:2]) < shown.index(">Waiting</h2>") < shown.index(charged[2][:8])
    assert client.get(PATH).status_code == 404
    for path in ("/engines", "/steps?queue=ready"):
        assert re.search(r">1 (more )?step waits before a limit", client.get(path).text), path


def test_a_limit_is_changed_after_a_look_and_reset(client: FlaskClient, post: Callable[..., TestResponse], db: Database, charged: list[str]) -> None:
    look = client.get(f"{PATH}/change{STEP}&at_once=1&per_period=60").text
    assert "The next of the 1 that wait begins when 2 of them have ended." in look
    seen = seen_in(look)
    assert limits.limit_of(db, "payments", "charge", "call_bank").limit.at_once == 2
    assert post(f"{PATH}/change{STEP}", at_once="1", per_period="60", seen=seen, reason="the bank is slow").status_code == 303
    row = limits.limit_of(db, "payments", "charge", "call_bank")
    assert (row.limit.at_once, row.changed_by, row.change_reason) == (1, "dashboard", "the bank is slow")
    stale = post(f"{PATH}/change{STEP}", at_once="5", per_period="60", seen=seen)
    assert (stale.status_code, "Somebody has changed this limit" in stale.text) == (409, True)
    assert "the bank is slow" in client.get(PATH + STEP).text
    assert post(f"{PATH}/change{STEP}", reset="1", seen=seen_in(stale.text)).status_code == 303
    assert limits.limit_of(db, "payments", "charge", "call_bank").changed_by is None
    kept = [(one.action, one.namespace, one.object, one.reason) for one in audit.entries(db)][:2]
    assert kept == [("tasker.workflow:update", "payments", "limit of payments/charge, step call_bank", reason) for reason in (None, "the bank is slow")]


def test_the_key_of_a_limit_is_masked_as_its_field_of_the_context_is(app: Flask, client: FlaskClient, database_url: str, db: Database, conn: psycopg.Connection[Any], engine: Any) -> None:
    flow = Workflow("charge", namespace="payments", version="1.0.0", schema={"type": "object", "properties": {"card": {"type": "string", "x-sensitive": True}}})
    flow.define("call_bank", limit={"at_once": 1, "key": "card"})
    hand = type(engine)(conn, [tasks.register_definition(db, flow.definition)])
    held, waiting = (tasks.submit(db, TaskRequest("charge", "payments", context={"card": "4111-0000"})) for _ in range(2))
    hand.claim()
    shown = client.get(PATH + STEP).text, client.get(f"/tasks/{waiting}").text, client.get(f"/tasks/{waiting}/steps/call_bank").text
    assert ["4111" in page for page in shown] == [False] * 3
    assert "for card ***" in shown[1]
    told = client.get(f"/api/v1{PATH}{STEP}", headers={"Authorization": f"Bearer {token_for(database_url)}"}).json
    assert [(one["key"], one["task_id"]) for one in told["holders"] + told["waiters"]] == [("***", held), ("***", waiting)]


@pytest.mark.parametrize("typed", ["-1", "many", "1.5", "100001", "9" * 40])
def test_a_number_that_is_none_is_told_beside_its_field(client: FlaskClient, charged: list[str], typed: str) -> None:
    refused = client.get(f"{PATH}/change{STEP}&at_once={typed}")
    assert refused.status_code == 422
    assert "Must be a whole number from 0 to 100,000" in refused.text


def test_who_may_see_but_not_change_a_limit_has_no_form(app: Flask, charged: list[str]) -> None:
    viewer = FlaskClient(app)
    viewer.set_cookie(COOKIE, session_of(app.config["DATABASE_URL"], "looker", "operator"))
    assert "Show what it does" not in viewer.get(PATH + STEP).text
    assert viewer.get(f"{PATH}/change{STEP}&at_once=1").status_code == 403


def test_the_api_shows_foresees_changes_and_resets_a_limit(app: Flask, database_url: str, db: Database, charged: list[str]) -> None:
    api = FlaskClient(app)
    api.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token_for(database_url)}"
    path = f"/api/v1{PATH}"
    shown = api.get(path + STEP).json
    assert [one["limits"][0]["step"] for one in [api.get("/api/v1/limits?namespace=payments").json]] == ["call_bank"]
    assert ([one["task_id"] for one in shown["holders"]], [one["task_id"] for one in shown["waiters"]]) == (charged[:2], charged[2:])
    dry = api.post(f"{path}/change{STEP}&dry_run=true", json={"at_once": 0}).json
    assert (dry["dry_run"], dry["at_once"], dry["per_period"], dry["foreseen"][:20]) == (True, 0, 60, "Nothing more begins ")
    assert api.post(f"{path}/change{STEP}", json={"at_once": None, "reason": "let them", "seen": dry["seen"]}).json["at_once"] is None
    assert api.post(f"{path}/change{STEP}", json={"at_once": 9, "seen": dry["seen"]}).status_code == 412
    assert limits.limit_of(db, "payments", "charge", "call_bank").change_reason == "let them"
    assert api.post(f"{path}/reset{STEP}", json={}).json["at_once"] == 2
    for wrong in ({"at_once": -1}, {"at_once": "2"}, {"per_hour": 3}):
        assert api.post(f"{path}/change{STEP}", json=wrong).status_code == 422
