"""What a schema or a key calls secret is nowhere to be read: a canary in every such place, and every page, list, stream, export, message and log searched for it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import token_for, token_of
from werkzeug.routing import Rule

from engine import PermanentError, TaskRequest, Workflow, batches, events, presets, queries, schedules, steps, tasks
from engine.access import audit
from engine.db import Database
from engine.errors import NotFound, RequestError
from engine.finding import failures
from engine.handlers import Step, Task
from engine.log_lines import LineFormatter
from engine.registry import HandlerRegistry
from engine.revelations import SecretPlace, reveal, secret_places
from engine.testing.workbench import FinishedTask, Workbench
from engine.timing import every
from webapp.routes import ROUTES

CANARY = "canary-7f3d"


def secret(place: str) -> str:
    """A value of its own for each place, so that a leak names where it came from."""
    return f"{CANARY}-{place}"


SCHEMA = {
    "type": "object",
    "$defs": {"card": {"type": "string", "x-sensitive": True}},
    "properties": {
        "pin": {"type": "string", "writeOnly": True, "default": secret("default")},
        "phrase": {"type": "string", "format": "password"},
        "cards": {"type": "array", "items": {"$ref": "#/$defs/card"}},
        "either": {"anyOf": [{"type": "string", "writeOnly": True}, {"type": "integer"}]},
        "plain": {"type": "string"},
    },
    "patternProperties": {"^hidden_": {"x-sensitive": True}},
}
CONTEXT = {
    "pin": secret("pin"),
    "phrase": secret("phrase"),
    "cards": [secret("card-0"), secret("card-1")],
    "either": secret("either"),
    "hidden_one": {"deep": secret("pattern-properties")},
    "nested": {"api_key": secret("key-name")},
    "plain": "open to all",
}
OUTPUT = {"type": "object", "properties": {"session": {"type": "string", "x-sensitive": True}, "rows": {"type": "array", "items": {"properties": {"code": {"writeOnly": True}}}}}}


def workflow_of() -> Workflow:
    flow = Workflow("guarded", namespace="vault", version="1.0.0", schema=SCHEMA)

    @flow.step(output_schema=OUTPUT, handler_config={"password": secret("handler-config")})
    def open_up(task: Task, step: Step) -> Any:
        step.log(f"using {task.context['pin']}", level="warning", card=task.context["cards"][0])
        step.progress(1, 2, note=f"with {task.context['phrase']}")
        logging.getLogger("bank").warning("logged in with %s", task.context["either"])
        return {"session": secret("session"), "rows": [{"code": secret("row"), "no": 1}], "copied": f"<{task.context['pin']}>", "token": secret("result-key")}

    @flow.step(for_each="open_up.rows", depends_on_step="open_up", output_schema={"properties": {"receipt": {"writeOnly": True}}})
    def work(task: Task, item: Any, step: Step) -> Any:
        step.log(f"item {item['code']}")
        return {"receipt": secret("receipt"), "again": item["no"]}

    @flow.step(depends_on_step="open_up", output_schema={"type": "object", "properties": {"n": {"type": "integer", "writeOnly": True}}})
    def misfit(task: Task) -> Any:
        return {"n": secret("not-a-number")}

    @flow.step(depends_on_step="open_up")
    def fall(task: Task, open_up: Any) -> None:
        try:
            raise ValueError(f"session {open_up['session']} is over")
        except ValueError as error:
            raise PermanentError(f"refused {task.context['cards'][1]}", error_code=f"E-{task.context['phrase']}") from error

    return flow


@pytest.fixture
def bench(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    registry = HandlerRegistry()
    monkeypatch.setattr(HandlerRegistry, "_instance", registry, raising=False)
    made = Workbench(database_url, registry)
    yield made
    made.close()


@pytest.fixture
def process_log() -> Iterator[io.StringIO]:
    """What the process that runs the handlers writes to its log."""
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(LineFormatter("json"))
    logging.getLogger().addHandler(handler)
    yield handler.stream
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def guarded(bench: Workbench, db: Database, process_log: io.StringIO) -> FinishedTask:
    """A task that went through everything, with a schedule and a preset that hold its secrets too."""
    flow = workflow_of()
    done = bench.run(flow, CONTEXT)
    events.publish_event(db, "vault.opened", {"password": secret("event-key"), "said": f"it is {CONTEXT['pin']}"}, task=done.task_id)
    schedules.add_schedule(db, every("1h"), name="guarded", namespace="vault", context=CONTEXT)
    steps.retry_downstream(db, done.task_id, "fall", context={**CONTEXT, "plain": "another"}, actor="tests")
    return bench.finish(done.task_id)


def paths(app: Flask, db: Database, task_id: str) -> list[str]:
    """Every address that can be got, for every step, and with what would bring the task's context back."""
    found: list[str] = []
    groups = failures.failure_groups(db)
    batch = batches.make_batch(db, "retry", [(task_id, None)], about=groups[0].signature, actor="tests")
    arguments = {
        "namespace": "vault", "name": "guarded", "version": "1.0.0", "task_id": task_id, "schedule_id": 1, "filename": "page.css", "secret": "x",
        "session_id": 1, "token_id": "x", "role": "viewer", "method": "oidc", "key": groups[0].key, "batch_id": batch, "view_id": 1, "follower_id": 1, "tag": "rows-0123456789ab", "other_id": task_id,
    }  # fmt: skip
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and rule.endpoint not in ("static", "live.live"):
            found += _paths(app, rule, arguments)
    launch = "/workflows/vault/guarded/1.0.0/launch"
    found += [address for group in groups for address in (f"/failures/{group.key}", f"/batches/new/step-retry?failure={group.key}")]
    return [*found, f"{launch}?from_task={task_id}", f"{launch}?from_task={task_id}&mode=json", f"{launch}?preset=kept", f"/tasks/{task_id}/report?format=markdown", "/tasks?context=plain%3Danother"]


def _paths(app: Flask, rule: Rule, arguments: dict[str, Any]) -> list[str]:
    names = ("open_up", "work", "work[0]", "misfit", "fall") if "step_name" in rule.arguments else ("",)
    nouns = ("retry", "downstream-retry", "resolution") if "noun" in rule.arguments else ("",)
    bound = app.url_map.bind("localhost")
    made = [(name, noun) for name in names for noun in nouns if noun != "downstream-retry" or name]
    made = [each for each in made if each[1] != "resolution" or each[0]]
    return [bound.build(rule.endpoint, {key: {"step_name": name, "noun": noun, **arguments}[key] for key in rule.arguments}) for name, noun in made]


def test_the_canary_is_in_no_answer_and_no_log(
    app: Flask, db: Database, guarded: FinishedTask, process_log: io.StringIO, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    url = app.config["DATABASE_URL"]
    client = FlaskClient(app)
    reader = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token_for(url)}"
    keep = {"csrf_token": token_of(reader.get("/settings").text), "preset": "kept", "_keep": "1", "context": json.dumps(CONTEXT)}
    assert reader.post("/workflows/vault/guarded/1.0.0/launch", data=keep).status_code == 200
    assert presets.preset_context(db, "vault", "guarded", "kept") == {"cards": ["***", "***"], "nested": {}, "plain": "open to all"}
    told, statuses = [], {}
    for path in paths(app, db, guarded.task_id):
        asking = client if path.startswith("/api/") else reader
        for headers in ({}, {"HX-Request": "true"}):
            answer = asking.get(path, headers=headers)
            text = answer.get_data(as_text=True)
            statuses[path] = answer.status_code
            told += [(path, text[max(0, text.find(CANARY) - 80) :][:160])] if CANARY in text else []
            answer.close()
    assert told == []
    seen = [path for path in (f"/tasks/{guarded.task_id}", f"/api/v1/tasks/{guarded.task_id}/steps/fall", f"/tasks/{guarded.task_id}/steps/work%5B0%5D") if statuses[path] != 200]
    assert seen == []
    stream = client.get("/api/v1/events?cursor=0", headers={"Accept": "text/event-stream"})
    assert CANARY.encode() not in next(iter(stream.response))
    stream.close()
    everything = [queries.outcome(db, guarded.task_id), *read_all(db)]
    assert CANARY not in json.dumps(everything, default=str)
    assert CANARY not in "".join(record.getMessage() for record in caplog.records)
    assert CANARY not in "".join(capfd.readouterr())
    assert "logged in with ***" in process_log.getvalue()
    assert CANARY not in process_log.getvalue()
    handlers_got_everything(guarded)
    searches_tell_nothing(reader, guarded)


def handlers_got_everything(guarded: FinishedTask) -> None:
    assert guarded.context["pin"] == CONTEXT["pin"]
    assert guarded.result("open_up")["session"] == secret("session")
    assert guarded.steps["work[0]"].result == {"receipt": secret("receipt"), "again": 1}
    error = guarded.steps["fall"].error
    assert error is not None
    assert (error["message"], error["code"]) == ("refused ***", "E-***")
    assert guarded.steps["open_up"].messages == ["using ***", "logged in with ***"]


def searches_tell_nothing(client: FlaskClient, guarded: FinishedTask) -> None:
    for wanted in (f"pin={CONTEXT['pin']}", f"cards[]={CONTEXT['cards'][0]}"):
        assert guarded.task_id not in client.get("/tasks", query_string={"context": wanted}).text
    for wanted in ("nested.api_key=x", 'nested={"api_key": "x"}'):
        assert "That field is secret" in client.get("/tasks", query_string={"context": wanted}).text
    assert guarded.task_id in client.get("/tasks", query_string={"context": "plain=another"}).text


def read_all(db: Database) -> list[events.Event]:
    """All events, as subscribers and webhooks receive them."""
    found, _ = events.read_events(db, 0, 10_000, until=events.newest_event(db))
    assert {"step.completed", "step.failed", "vault.opened"} <= {event["type"] for event in found}
    return found


def test_what_is_refused_is_not_repeated(db: Database) -> None:
    schema = {"properties": {"pin": {"type": "string", "minLength": 30, "writeOnly": True}, "secret": {"type": "integer"}}, "additionalProperties": {"enum": [1]}}
    flow = Workflow("strict", namespace="vault", schema=schema)
    flow.define("only")
    tasks.register_definition(db, flow.definition)
    with pytest.raises(RequestError) as refused:
        tasks.submit(db, TaskRequest("strict", "vault", context={"pin": "canary", "secret": "canary", "other": {"password": "canary"}}))
    assert {problem.path for problem in refused.value.problems} == {"$.pin", "$.secret", "$.other"}
    assert "canary" not in str(refused.value)


def test_one_value_is_revealed_with_a_reason_and_the_others_stay(app: Flask, db: Database, guarded: FinishedTask) -> None:
    reader = app.test_client()
    path = f"/tasks/{guarded.task_id}/revelation"
    page = reader.get(path).text
    assert "context cards.1" in page
    sent = {"csrf_token": token_of(page), "value": json.dumps([None, ["cards", "1"]])}
    assert reader.post(path, data=sent).status_code == 422
    answer = reader.post(path, data={**sent, "reason": "the bank asks"})
    assert secret("card-1") in answer.text
    assert "no-store" in answer.headers["Cache-Control"]
    assert [text for text in (secret("card-0"), secret("pin")) if text in answer.text] == []
    api = FlaskClient(app)
    api.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token_for(app.config['DATABASE_URL'])}"
    told = api.post(f"/api/v1{path}", json={"step_name": "open_up", "place": ["session"], "reason": "again"})
    assert told.json["value"] == secret("session")
    entries = [(row.actor, row.action, row.object, row.reason) for row in audit.entries(db) if row.action == "tasker.task:reveal"]
    assert entries == [
        ("dashboard", "tasker.task:reveal", f"task {guarded.task_id} result of open_up: session", "again"),
        ("dashboard", "tasker.task:reveal", f"task {guarded.task_id} context cards.1", "the bank asks"),
    ]
    with pytest.raises(NotFound):
        reveal(db, guarded.task_id, SecretPlace(None, ("plain",)), namespace="vault", actor="ada", reason="curious")
    assert len(secret_places(db, guarded.task_id)) >= 9
    assert ROUTES["revelations.revelation"] == ROUTES["api_revelations.reveal"] == "tasker.task:reveal"
    what_was_left_masked_stays(app.test_client(), db, guarded)


def what_was_left_masked_stays(reader: FlaskClient, db: Database, guarded: FinishedTask) -> None:
    place = f"/tasks/{guarded.task_id}/steps/fall/downstream-retry"
    page = reader.get(place).text
    seen = page.partition('name="seen" value="')[2].partition('"')[0]
    shown = queries.task(db, guarded.task_id).context
    assert shown["pin"] == "***"
    sent = {"csrf_token": token_of(page), "seen": seen, "context": json.dumps(shown | {"plain": "a third"})}
    assert reader.post(place, data=sent).status_code == 303
    assert queries.stored_context(db, guarded.task_id) == {**CONTEXT, "plain": "a third"}
