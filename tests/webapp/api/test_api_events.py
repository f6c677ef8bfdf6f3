"""`GET /api/v1/events`: every event once and in order, from any point on, as pages and as a stream."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from calls import Caller, codes
from flask import Flask
from flask.testing import FlaskClient
from signed_in import token_for

from engine.access import tokens
from engine.db import Database
from webapp import live
from webapp.api import events

STREAM = {"Accept": "text/event-stream"}
MESSAGES = 60


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests beside this one have transactions of their own, which hold the horizon for a while."""
    monkeypatch.setattr(events, "HORIZON_LOOKS", 300)


def all_pages(api: Caller, query: str = "") -> list[dict[str, Any]]:
    """The events of every page until one has none."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = api.get(f"/events?limit=3{query}{cursor}").json
        if not page["events"]:
            return found
        found += page["events"]
        cursor = f"&cursor={page['next_cursor']}"


def test_pages_together_hold_every_event_once_and_in_order(api: Caller, failed_task: str) -> None:
    found = all_pages(api)
    ids = [event["event_id"] for event in found]
    assert ids == sorted(set(ids))
    assert [event["type"] for event in found].count("step.completed") == 2
    assert found[-1]["type"] == "task.failed"
    assert found[-1]["error"] == {"type": "GatewayTimeout", "message": "no answer <b>in</b> time", "code": "slow"}


def test_a_cursor_leads_on_from_any_event(api: Caller, failed_task: str) -> None:
    found = all_pages(api)
    for at, event in enumerate(found):
        page = api.get(f"/events?cursor={event['event_id']}").json
        assert [one["event_id"] for one in page["events"]] == [one["event_id"] for one in found[at + 1 :]]


def test_the_last_cursor_leads_to_what_is_still_to_come(api: Caller, failed_task: str) -> None:
    cursor = api.get("/events?limit=200").json["next_cursor"]
    assert api.get(f"/events?cursor={cursor}").json["events"] == []
    api.post(f"/tasks/{failed_task}/steps/charge/resolution", {"result": 1})
    assert [event["type"] for event in api.get(f"/events?cursor={cursor}").json["events"]] == ["step.resolved"]


def test_events_are_chosen_by_type_and_namespace(api: Caller, failed_task: str) -> None:
    assert {event["type"] for event in all_pages(api, "&type=task.started,task.failed")} == {"task.started", "task.failed"}
    assert all_pages(api, "&namespace=elsewhere") == []
    assert all_pages(api, "&namespace=shop")


def test_a_wrong_question_is_refused_by_name(api: Caller) -> None:
    for query in ("type=step.compelted", "type=,", "cursor=-1", "cursor=99999999999999999999", "limit=201"):
        answer = api.get(f"/events?{query}")
        assert (answer.status_code, {where for where, _ in codes(answer)}) == (422, {query.partition("=")[0]}), query


def stream(client: FlaskClient, query: str = "", **headers: str) -> Iterator[dict[str, Any]]:
    """The messages of a stream, as they come: their fields by name, the data read."""
    with client.get(f"/api/v1/events{query}", headers={**STREAM, **headers}, buffered=False) as answer:
        assert answer.mimetype == "text/event-stream", answer.text
        for chunk in answer.response:
            text = chunk.decode() if isinstance(chunk, bytes) else chunk
            for message in text.strip().split("\n\n"):
                fields = dict(line.split(": ", 1) for line in message.splitlines() if not line.startswith(":"))
                if "data" in fields:
                    yield {**fields, "data": json.loads(fields["data"])}


def taken(messages: Iterator[dict[str, Any]], last: str) -> list[dict[str, Any]]:
    """The messages up to the first of type `last`."""
    found: list[dict[str, Any]] = []
    for message in messages:
        found.append(message)
        if message["data"].get("type") == last or len(found) > MESSAGES:
            break
    messages.close()  # type: ignore[attr-defined]
    return found


def test_a_stream_tells_what_the_pages_tell(api: Caller, client: FlaskClient, failed_task: str) -> None:
    told = taken(stream(client, "?cursor=0"), "task.failed")
    assert [one["data"] for one in told] == [{name: event[name] for name in ("event_id", "type", "task_id", "namespace")} for event in all_pages(api)]
    assert [one["id"] for one in told] == [str(one["data"]["event_id"]) for one in told]


def test_a_stream_goes_on_behind_the_last_event_its_reader_had(api: Caller, client: FlaskClient, failed_task: str) -> None:
    found = all_pages(api)
    told = taken(stream(client, **{"Last-Event-ID": str(found[2]["event_id"])}), "task.failed")
    assert [one["data"]["event_id"] for one in told] == [event["event_id"] for event in found[3:]]


def test_a_reader_that_names_no_event_is_told_to_look_anew(api: Caller, client: FlaskClient, failed_task: str) -> None:
    for last in ("-1", "9" * 20, "nonsense", ""):
        messages = stream(client, **{"Last-Event-ID": last})
        assert next(messages)["event"] == "refresh", last
        messages.close()  # type: ignore[attr-defined]


def test_a_stream_tells_of_what_happens_while_it_is_open(app: Flask, api: Caller, failed_task: str) -> None:
    messages = stream(app.test_client(), "?cursor=0")
    while next(messages)["data"]["type"] != "task.failed":
        pass
    api.post(f"/tasks/{failed_task}/steps/charge/resolution", {"result": 1})
    assert next(messages)["data"]["type"] == "step.resolved"
    messages.close()  # type: ignore[attr-defined]


def pieces(client: FlaskClient, query: str = "?cursor=0") -> Iterator[list[int]]:
    """The ids of the events that a stream tells, by the pieces in which they come."""
    with client.get(f"/api/v1/events{query}", headers=STREAM, buffered=False) as answer:
        for chunk in answer.response:
            text = chunk.decode() if isinstance(chunk, bytes) else chunk
            if found := [int(line.removeprefix("id: ")) for line in text.splitlines() if line.startswith("id: ")]:
                yield found


def test_a_stream_that_is_far_behind_tells_piece_by_piece(api: Caller, client: FlaskClient, failed_task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [event["event_id"] for event in all_pages(api)]
    monkeypatch.setattr(events, "WINDOW", 2)
    monkeypatch.setattr(events, "LOOK_SECONDS", 60.0)
    came: list[list[int]] = []
    for piece in pieces(client):
        came.append(piece)
        if piece[-1] == expected[-1]:
            break
    assert [event_id for piece in came for event_id in piece] == expected
    assert {len(piece) for piece in came} <= {1, 2}


def test_a_stream_that_is_far_behind_ends_with_its_server(app: Flask, client: FlaskClient, failed_task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "WINDOW", 2)
    told = pieces(client)
    assert len(next(told)) <= 2
    live.close(app)
    assert list(told) == []


def test_a_stream_that_is_far_behind_ends_when_its_token_is_revoked(client: FlaskClient, db: Database, token: str, failed_task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "WINDOW", 2)
    monkeypatch.setattr(events, "LOOK_SECONDS", 0.0)
    told = pieces(client)
    assert len(next(told)) <= 2
    tokens.revoke_token(db, token.split("_")[1], actor="tests")
    assert list(told) == []


def test_a_stream_that_is_far_behind_ends_when_its_time_is_over(app: Flask, client: FlaskClient, failed_task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "WINDOW", 2)
    app.config["LIVE_STREAM_SECONDS"] = 0.5
    told = pieces(client)
    assert len(next(told)) <= 2
    time.sleep(0.5)
    assert list(told) == []


def test_a_caller_has_a_few_streams_and_gets_their_places_back(app: Flask, api: Caller) -> None:
    app.config["LIVE_STREAMS_PER_ACCOUNT"] = 1
    for _ in range(2):
        with app.test_client().get("/api/v1/events", headers=STREAM) as first:
            assert first.status_code == 200
            refused = app.test_client().get("/api/v1/events", headers=STREAM)
            assert (refused.status_code, codes(refused)) == (429, [("", "too_many_streams")])
            assert refused.headers["Retry-After"]


def test_a_full_server_refuses_a_stream(app: Flask, api: Caller) -> None:
    app.config["LIVE_STREAM_LIMIT"] = 0
    answer = app.test_client().get("/api/v1/events", headers=STREAM)
    assert (answer.status_code, codes(answer)) == (503, [("", "unavailable")])


def test_who_is_elsewhere_gets_no_stream(from_elsewhere: FlaskClient, api: Caller) -> None:
    assert from_elsewhere.get("/api/v1/events", headers=STREAM).status_code == 401


def test_events_of_other_namespaces_are_not_told(api: Caller, app: Flask, database_url: str, failed_task: str) -> None:
    stranger = Caller(FlaskClient(app))
    token = token_for(database_url, "stranger", "viewer", "elsewhere")
    assert stranger.get("/events", Authorization=f"Bearer {token}").json["events"] == []
    assert stranger.get("/tasks", Authorization=f"Bearer {token}").json["tasks"] == []
    assert api.get("/events").json["events"]
