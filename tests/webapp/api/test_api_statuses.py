"""Every status that the description promises is one that the API can answer, and each operation answers it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from calls import ORDER, Caller
from flask import abort
from flask.testing import FlaskClient
from signed_in import token_for
from werkzeug.test import TestResponse

from engine.errors import DatabaseUnavailable
from engine.json_text import MAX_BYTES
from webapp.api import errors

BODIES: dict[str, Any] = {"/tasks": {**ORDER}, "/tasks/batch": {"tasks": [ORDER]}, "/schedules": {**ORDER, "every": "15m"}, "/batches/new/{noun}": {"filter": {}, "count": 9_999}, "/views": {"name": "kept"}}
MISSING = {"task_id": "00000000-0000-0000-0000-000000000000", "step_name": "nope", "namespace": "nope", "name": "nope", "version": "9.9.9", "schedule_id": "999", "role": "nope", "token_id": "nope", "noun": "pause", "batch_id": "999", "view_id": "999"}
JSON = "application/json"


class Asker:
    """Asks every operation of the description in many ways, and notes which statuses came back."""

    def __init__(self, client: FlaskClient, document: dict[str, Any]) -> None:
        self.client = client
        self.documented = {(method, path): operation for path, item in document["paths"].items() for method, operation in item.items() if method != "parameters"}
        self.answered: dict[tuple[str, str], set[int]] = defaultdict(set)

    def all(self, known: dict[str, Any], client: FlaskClient | None = None, *, query: str = "", headers: dict[str, str] | None = None, body: bytes | None = None) -> None:
        """One request to each operation, at what `known` names; with `body` in place of a sound one."""
        for (method, path), operation in sorted(self.documented.items(), key=lambda one: one[0][0] == "delete"):
            sent: dict[str, Any] = {}
            if "requestBody" in operation:
                sent = {"json": self._sound(path)} if body is None else {"data": body, "content_type": JSON}
            self.send(method, path, known, client or self.client, f"?{query}" if query else "", headers={**(headers or {})}, **sent)

    def send(self, method: str, path: str, known: dict[str, Any], client: FlaskClient, query: str = "", **sent: Any) -> TestResponse:
        answer = client.open(path.format(**known) + query, method=method.upper(), **sent)
        self.answered[method, path].add(answer.status_code)
        return answer

    def unreached(self) -> Iterator[str]:
        for key, operation in self.documented.items():
            for status in sorted({int(status) for status in operation["responses"]} - self.answered[key]):
                yield f"{key[0].upper()} {key[1]}: {status}"

    def _sound(self, path: str) -> Any:
        if path.endswith("/resolution"):
            return {"result": 1}
        return BODIES.get(path.removeprefix("/api/v1"), {})


@pytest.fixture
def asker(client: FlaskClient, definition_id: int) -> Asker:
    return Asker(client, client.get("/api/v1/openapi.json").json)


@pytest.fixture
def tasks(api: Caller, engine: Any, launch: Callable[..., str], failed_task: str) -> dict[str, str]:
    """A task in each standing that matters to actions, by its name."""
    made = {name: launch(number) for number, name in enumerate(("cancelled", "running", "paused", "waiting"), 2)}
    api.post(f"/tasks/{made['cancelled']}/cancellation")
    api.post(f"/tasks/{made['paused']}/pause")
    engine.complete(made["running"], "validate")
    engine.claim()
    return {**made, "failed": failed_task}


@pytest.fixture
def a_viewer(from_elsewhere: FlaskClient, database_url: str) -> FlaskClient:
    client = FlaskClient(from_elsewhere.application)
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token_for(database_url, 'looker', 'viewer')}"
    return client


def new_schedule(api: Caller) -> dict[str, int]:
    return {"schedule_id": api.post("/schedules", {**ORDER, "every": "15m"}).json["schedule_id"]}


def ask_about_accounts(asker: Asker, api: Caller, task_id: str) -> None:
    """What is made, given and taken away, with what there is not, and with the last administrator."""
    guarded = api.post("/tasks", {**ORDER, "context": {"order_id": 1, "password": "x"}}).json["task_id"]
    for known, place in (({"task_id": guarded}, ["password"]), ({"task_id": task_id}, ["order_id"])):
        asker.send("post", "/api/v1/tasks/{task_id}/revelation", known, asker.client, json={"place": place, "reason": "to see"})
    accounts, role = "/api/v1/accounts", {"role": "looker", "permissions": ["tasker.task:show"]}
    for name in ("ada", "ada"):
        asker.send("post", accounts, {}, asker.client, json={"name": name, "role": "viewer"})
    asker.send("put", "/api/v1/roles/{role}", role, asker.client, json={"permissions": role["permissions"]})
    for name, given in (("ada", "looker"), ("nope", "looker"), ("dashboard", "admin")):
        for act in ("roles", "disabling", "enabling", "sign-out") if name != "dashboard" else ("disabling",):
            asker.send("post", f"{accounts}/{{name}}/{act}", {"name": name}, asker.client, json={"role": given} if act == "roles" else {})
        if name == "ada":
            asker.send("get", f"{accounts}/{{name}}", {"name": name}, asker.client)
            asker.send("delete", "/api/v1/roles/{role}", role, asker.client)
        asker.send("post", f"{accounts}/{{name}}/roles/removal", {"name": name}, asker.client, json={"role": given})
    asker.send("delete", "/api/v1/roles/{role}", role, asker.client)
    made = [asker.send("post", "/api/v1/tokens", {}, asker.client, json={"label": "ci", "account": name}) for name in ("ada", "nope")]
    asker.send("delete", "/api/v1/tokens/{token_id}", made[0].json, asker.client)
    for path in ("/api/v1/audit", "/api/v1/audit.csv"):
        asker.send("get", path, {}, asker.client, "?at_from=yesterday")


def ask_about_limits(asker: Asker, conn: Any) -> None:
    """A limit of a step that there is not, so that it holds nothing up: it is seen, changed and reset, also as it was not looked at."""
    conn.execute("insert into tasker_limit (namespace, name, step_name, key_path, at_once, declared) values ('shop', 'process_order', 'none', '{}', 1, '{\"at_once\": 1}')")
    place, path = {"namespace": "shop", "name": "process_order"}, "/api/v1/limits/{namespace}/{name}"
    asker.send("get", path, place, asker.client, "?step=none")
    for noun in ("change", "reset"):
        for body in ({"seen": "other"}, {"reason": "to see"}):
            asker.send("post", f"{path}/{noun}", place, asker.client, "?step=none", json=body)


def ask_about_many(asker: Asker, viewer: FlaskClient) -> None:
    """Batches begun and stopped, and views kept and removed, also of what there is not."""
    path = "/api/v1/batches"
    for query, body in (("?dry_run=true", {"filter": {}}), ("", {"failure": "nope", "count": 1})):
        asker.send("post", f"{path}/new/{{noun}}", {"noun": "pause"}, asker.client, query, json=body)
    count = asker.client.post(f"{path}/new/pause?dry_run=true", json={"filter": {}}).json["count"]
    made = asker.send("post", f"{path}/new/{{noun}}", {"noun": "pause"}, asker.client, json={"filter": {}, "count": count}).json
    for _ in range(2):
        asker.send("post", f"{path}/{{batch_id}}/stop", made, asker.client)
    asker.send("get", f"{path}/{{batch_id}}", made, asker.client)
    views = "/api/v1/views"
    asker.send("post", views, {}, asker.client, json={"name": "theirs", "namespace": "nope"})
    kept = asker.send("post", views, {}, asker.client, json={"name": "removed"}).json
    asker.send("get", f"{views}/{{view_id}}", kept, asker.client)
    for method, body in (("put", {"threshold": 1, "email": "ops@shop.example"}), ("delete", None)):
        asker.send(method, f"{views}/{{view_id}}/alert", kept, asker.client, json=body)
    asker.send("delete", f"{views}/{{view_id}}", kept, asker.client)
    shared = asker.send("post", views, {}, asker.client, json={"name": "shared", "namespace": "shop"}).json
    for method, place in (("delete", ""), ("put", "/alert"), ("delete", "/alert")):
        asker.send(method, f"{views}/{{view_id}}{place}", shared, viewer, json={"threshold": 1, "email": "ops@shop.example"} if method == "put" else None)


def ask_in_every_standing(asker: Asker, known: dict[str, Any], tasks: dict[str, str]) -> None:
    """404, 409 and 412: nothing is there, it cannot be done, or it is not what the caller looked at."""
    asker.all(MISSING)
    for path in ("tasks", "schedules"):
        asker.send("post", f"/api/v1/{path}", {}, asker.client, json={**BODIES[f"/{path}"], "name": "nope"})
    for path in ("workflows", "analytics/performance", "analytics/bottlenecks"):
        asker.send("get", f"/api/v1/{path}", {}, asker.client, "?namespace=nope")
    for task_id in tasks.values():
        asker.all({**known, "task_id": task_id}, headers={"If-Match": '"other"'})


def ask_what_is_unsound(asker: Asker, known: Callable[[], dict[str, Any]]) -> None:
    """400, 413, 415 and 422; each time of a schedule that the time before has not removed."""
    for body in (b"{", b" " * (MAX_BYTES + 1), b'["no object"]', b'{"unheard_of": 1}'):
        asker.all(known(), body=body)
    asker.all(known(), query="unheard_of=1")
    asker.all(known(), headers={"Content-Encoding": "gzip"})


def ask_what_can_be_done(asker: Asker, known: dict[str, Any], tasks: dict[str, str], schedule: dict[str, int]) -> None:
    """200 and 201 of what changes something, and 409 where it is asked for twice."""
    for noun in ("pause", "pause", "resumption", "resumption", "run"):
        asker.send("post", f"/api/v1/schedules/{{schedule_id}}/{noun}", schedule, asker.client)
    keyed = {**ORDER, "idempotency_key": "k"}
    for path, body in (("/api/v1/tasks", keyed), ("/api/v1/tasks/batch", {"tasks": [{**keyed, "idempotency_key": "b"}]})):
        for _ in range(2):
            asker.send("post", path, {}, asker.client, json=body)
    asker.send("get", "/api/v1/search", {}, asker.client, "?q=7")
    for method, path in asker.documented:
        noun = path.rpartition("/")[2]
        task_id = {"resumption": tasks["paused"], "cancellation": tasks["waiting"], "pause": tasks["waiting"]}.get(noun, tasks["failed"])
        if method == "post" and path.startswith("/api/v1/tasks/{task_id}/"):
            asker.send(method, path, {**known, "task_id": task_id}, asker.client, "?dry_run=true", json={"result": 1} if noun == "resolution" else {})


def ask_while(asker: Asker, known: dict[str, Any], patched: dict[str, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        for name, stand_in in patched.items():
            patch.setattr(name, stand_in)
        asker.all(known)


def away(*_: object, **__: object) -> None:
    raise DatabaseUnavailable("cannot reach PostgreSQL")


def test_every_status_that_is_described_is_answered(
    api: Caller, asker: Asker, conn: Any, tasks: dict[str, str], from_elsewhere: FlaskClient, a_viewer: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"step_name": "charge", "namespace": "shop", "name": "process_order", "version": "1.0.0", "task_id": tasks["failed"], "role": "admin", "token_id": "nope", "noun": "pause", "batch_id": 1, "view_id": 1, **new_schedule(api)}
    ask_about_accounts(asker, api, tasks["failed"])
    ask_about_limits(asker, conn)
    ask_about_many(asker, a_viewer)
    ask_what_can_be_done(asker, known, tasks, new_schedule(api))
    ask_in_every_standing(asker, known, tasks)
    ask_what_is_unsound(asker, lambda: known | new_schedule(api))
    asker.all(known, from_elsewhere)
    known |= new_schedule(api)
    ask_while(asker, known, {"webapp.access._require_of_address": lambda *_: abort(403)}, monkeypatch)
    ask_while(asker, known, {"webapp.api.limits.Buckets.take": lambda *_: 3.0}, monkeypatch)
    ask_while(asker, known, dict.fromkeys(("engine.db.Database._rows", "webapp.api.tasks.list_tasks"), away), monkeypatch)
    assert list(asker.unreached()) == []


def test_words_are_there_for_every_status_that_is_described(asker: Asker) -> None:
    told = {int(status) for operation in asker.documented.values() for status in operation["responses"] if int(status) >= 400}
    assert told - {409, 412, 422} <= set(errors.WORDS)
