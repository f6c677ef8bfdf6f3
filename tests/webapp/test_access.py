"""Every route for everybody: the matrix is made from the URL map, so that a new route without an entry in the table fails here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import session_of, token_for, token_of
from werkzeug.routing import Rule

from engine import batches, schedules, tasks
from engine.access import accounts, audit, tokens
from engine.access.permissions import PERMISSIONS, ROLES, Rights
from engine.db import Database
from engine.definition import TaskDefinition
from engine.finding import failures, views
from engine.handlers import Workflow
from engine.requests import TaskRequest
from engine.timing import every
from webapp.access import COOKIE
from webapp.live import Reader, Stream
from webapp.routes import LOOPBACK, PUBLIC, ROUTES, SIGNED_IN, rule_of

FOREIGN, CANARY = "elsewhere", "canary"
WORDS = {"open": "open", FOREIGN: CANARY}


def workflow_of(namespace: str) -> TaskDefinition:
    """One step, and the word of the namespace wherever a text may stand."""
    word = WORDS[namespace]
    flow = Workflow(f"{word}_flow", namespace=namespace, version="1.0.0", description=f"{word} description")

    @flow.step
    def only(task: Any) -> None: ...

    return flow.definition


class Twins:
    """Two namespaces with the same in each; whatever is of the second holds the word `canary`."""

    def __init__(self, db: Database) -> None:
        self.task_ids: dict[str, str] = {}
        self.schedule_ids: dict[str, int] = {}
        self.failures: dict[str, str] = {}
        self.batch_ids: dict[str, int] = {}
        self.view_ids: dict[str, int] = {}
        for namespace, word in WORDS.items():
            definition = tasks.register_definition(db, workflow_of(namespace))
            fields: dict[str, Any] = {"tags": (f"{word}-tag",), "initiator": f"{word}-person", "correlation_id": f"{word}-correlation"}
            request = TaskRequest(f"{word}_flow", namespace, context={"note": f"{word}-context"}, reason=f"{word}-reason", **fields)
            self._fail(db, definition, tasks.submit(db, request), word)
            # of a step that there is not: it holds nothing up
            db.value("insert into tasker_limit (namespace, name, step_name, key_path, at_once, declared, changed_by) values (%(namespace)s, %(name)s, 'none', '{}', 1, '{}', %(by)s) returning 1", {"namespace": namespace, "name": f"{word}_flow", "by": f"{word}-person"})
            self.failures[namespace] = failures.failure_groups(db, namespace=namespace)[0].key
            self.task_ids[namespace] = tasks.submit(db, request)
            self.batch_ids[namespace] = batches.make_batch(db, "retry", [(self.task_ids[namespace], None)], about=f"{word}-about", actor=f"{word}-person")
            owner = accounts.create_account(db, f"{word}-person", role="viewer", namespace=namespace, actor="tests")
            self.view_ids[namespace] = views.keep_view(db, f"{word}-view", {"tag": f"{word}-tag"}, namespace=namespace, owner_id=owner)
            self.schedule_ids[namespace] = schedules.add_schedule(db, every("1h"), name=f"{word}_flow", namespace=namespace).schedule_id

    def _fail(self, db: Database, definition: int, task_id: str, word: str) -> None:
        known = {"definition": definition, "task": task_id, "message": f"{word}-message"}
        worker = db.value("select tasker_register_worker('hand', 'threads', 1, array[%(definition)s::int], interval '1 hour', true)", known)
        db.rows("select * from tasker_claim_steps(%(worker)s, 1, 1, array[%(definition)s::int])", {**known, "worker": worker})
        db.rows(
            """
            select tasker_fail_steps(%(worker)s, array[t.task_no], array[0], array[1]::smallint[],
                                     jsonb_build_array(jsonb_build_object('type', 'Error', 'message', %(message)s::text, 'retryable', false)))
              from tasker_task t where t.task_id = %(task)s
            """,
            {**known, "worker": worker},
        )

    def arguments(self, namespace: str) -> dict[str, Any]:
        return {
            "namespace": namespace, "name": f"{WORDS[namespace]}_flow", "version": "1.0.0", "task_id": self.task_ids[namespace], "other_id": self.task_ids[namespace], "step_name": "only",
            "schedule_id": self.schedule_ids[namespace], "filename": "page.css", "secret": "x", "session_id": 1, "token_id": "x", "role": "x", "noun": "retry", "method": "oidc",
            "key": self.failures[namespace], "batch_id": self.batch_ids[namespace], "view_id": self.view_ids[namespace], "follower_id": 1, "tag": "rows-0123456789ab",
        }  # fmt: skip


@pytest.fixture
def twins(db: Database) -> Twins:
    return Twins(db)


def client_of(app: Flask, name: str, role: str, namespace: str | None = None) -> FlaskClient:
    client = FlaskClient(app)
    client.set_cookie(COOKIE, session_of(app.config["DATABASE_URL"], name, role, namespace))
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token_for(app.config['DATABASE_URL'], name, role, namespace)}"  # under /api it counts alone
    return client


def routes(app: Flask) -> Iterator[tuple[Rule, str]]:
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule, method


def path_of(app: Flask, rule: Rule, arguments: dict[str, Any]) -> str:
    with app.test_request_context():
        chosen = {name: arguments[name] for name in rule.arguments}
        return app.url_map.bind("localhost").build(rule.endpoint, chosen)


def asked(client: FlaskClient, method: str, path: str, form: str) -> int:
    answer = client.open(path, method=method, data={"csrf_token": form} if method == "POST" else None)
    status = answer.status_code
    answer.close()
    return status


def test_every_route_has_its_entry_and_every_entry_a_route(app: Flask) -> None:
    assert {rule.endpoint for rule in app.url_map.iter_rules()} == set(ROUTES)
    known = PERMISSIONS | {PUBLIC, SIGNED_IN, LOOPBACK}
    assert {each for rule in ROUTES.values() for each in ([rule] if isinstance(rule, str) else rule.values())} <= known


def test_nobody_gets_in_by_any_route_without_signing_in(app: Flask, twins: Twins) -> None:
    visitor = FlaskClient(app)
    form = token_of(visitor.get("/login").text)
    let_in = []
    for rule, method in routes(app):
        path = path_of(app, rule, twins.arguments("open"))
        answer = visitor.open(path, method=method, data={"csrf_token": form} if method == "POST" else None)
        closed = answer.status_code in (401, 403) or answer.headers.get("Location", "").startswith("/login")
        let_in += [] if closed else [(rule.endpoint, method)]
        answer.close()
    public = {(rule.endpoint, method) for rule, method in routes(app) if ROUTES[rule.endpoint] in (PUBLIC, LOOPBACK)}
    # what is open but says no to a wrong password, code or link
    assert set(let_in) <= public
    assert {("static", "GET"), ("health.live", "GET"), ("health.ready", "GET"), ("signing_in.form", "GET")} <= set(let_in)


@pytest.mark.parametrize("role", [*ROLES, "auditor"])
def test_each_role_may_do_exactly_what_the_table_says(app: Flask, db: Database, twins: Twins, role: str) -> None:
    """Whoever has the right gets past the door, whatever the page behind it says; whoever only sees gets 403, whoever does not 404."""
    accounts.keep_role(db, "auditor", ["tasker.audit:index", "tasker.task:index"], actor="tests")
    client = client_of(app, "reader", role)
    rights = Rights.of([(role, None, ["tasker.audit:index", "tasker.task:index"])])
    form = token_of(client.get("/settings").text)
    wrong = []
    for rule, method in routes(app):
        arguments = twins.arguments("open")
        permission = rule_of(rule.endpoint, arguments)
        if permission in (PUBLIC, SIGNED_IN, LOOPBACK, None) or rule.endpoint == "live.live":
            continue
        status = asked(client, method, path_of(app, rule, arguments), form)
        right = rights.has(str(permission), "open")
        sees = rights.has(f"{str(permission).rpartition(':')[0]}:show", "open")
        expected = status not in (401, 403) if right else status == (403 if sees else 404)
        wrong += [] if expected else [(rule.endpoint, method, permission, status)]
    assert wrong == []


@pytest.mark.parametrize("scopes", [["viewer"], ["tasker.task:*"], ["tasker.task:show", "tasker.step:show"], ["tasker.event:index"], ["developer"]])
def test_a_token_opens_exactly_what_its_scopes_say(app: Flask, twins: Twins, scopes: list[str]) -> None:
    """Its owner may do everything; the token may do what it was made for, and no page is opened by it."""
    client = FlaskClient(app)
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token_for(app.config['DATABASE_URL'], scopes=scopes)}"
    rights = Rights.of([("admin", None, [])]).within(scopes, None)
    wrong = []
    for rule, method in routes(app):
        permission = rule_of(rule.endpoint, twins.arguments("open"))
        if permission in (PUBLIC, SIGNED_IN, LOOPBACK, None) or not rule.rule.startswith("/api/"):
            continue
        status = asked(client, method, path_of(app, rule, twins.arguments("open")), "")
        sees = rights.has(f"{str(permission).rpartition(':')[0]}:show", "open")
        expected = status not in (401, 403) if rights.has(str(permission), "open") else status == (403 if sees else 404)
        wrong += [] if expected else [(rule.endpoint, method, permission, status)]
    assert wrong == []
    assert client.get("/tasks").headers["Location"].startswith("/login")


def test_no_byte_of_a_foreign_namespace_is_seen_by_any_route(app: Flask, twins: Twins) -> None:
    """A reader of one namespace asks every route for the other's things, by its path and by queries; what it sent itself may come back."""
    client = client_of(app, "reader", "developer", "open")
    form = token_of(client.get("/settings").text)
    foreign_id = twins.task_ids[FOREIGN]
    queries = ["", f"?namespace={FOREIGN}", f"?q={foreign_id[:8]}", f"?from_task={foreign_id}", "?context=note%3D1&state=pending", "?queue=ready", "?format=ndjson", f"?next=/tasks/{foreign_id}"]
    wrong = []
    for rule, method in routes(app):
        if rule.endpoint in ("live.live", "static", "signing_in.sign_out") or rule.endpoint.startswith("settings."):
            continue
        names_one = bool({"task_id", "namespace", "schedule_id", "view_id"} & rule.arguments)
        paths = [path_of(app, rule, twins.arguments(FOREIGN))] if names_one else []
        paths += [path_of(app, rule, twins.arguments("open")) + query for query in queries] if method == "GET" else []
        for number, path in enumerate(paths):
            far = {"REMOTE_ADDR": "192.0.2.7"} if rule_of(rule.endpoint, {}) == LOOPBACK else {}  # who is on this machine may see it all
            answer = client.open(path, method=method, data={"csrf_token": form} if method == "POST" else None, environ_base=far)
            text = answer.get_data(as_text=True).replace(paths[0] if names_one else "\0", "")
            if CANARY in text.replace(f"{CANARY}_flow</code>", "") or (names_one and number == 0 and answer.status_code != 404):
                wrong.append((method, path, answer.status_code, text[max(0, text.find(CANARY) - 90) :][:200]))
            answer.close()
    assert wrong == []


def test_a_foreign_task_and_none_are_answered_alike(app: Flask, twins: Twins) -> None:
    client = client_of(app, "reader", "developer", "open")
    foreign, none = twins.task_ids[FOREIGN], str(uuid4())
    answers = [client.get(f"/tasks/{task_id}") for task_id in (foreign, none)]
    texts = [answer.text.replace(task_id, "ID") for answer, task_id in zip(answers, (foreign, none), strict=True)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert re.sub(r'value="[^"]{40,}"', "", texts[0]) == re.sub(r'value="[^"]{40,}"', "", texts[1])


def test_lists_show_what_is_of_ones_namespace(app: Flask, twins: Twins) -> None:
    client = client_of(app, "reader", "viewer", "open")
    for path in ("/", "/tasks", "/workflows", "/schedules", "/steps?queue=ready"):
        page = client.get(path).text
        assert "open_flow" in page, path
        assert CANARY not in page, path
        assert FOREIGN not in page, path
    everything = client_of(app, "dashboard", "admin").get("/tasks").text
    assert f"{CANARY}_flow" in everything


def test_a_stream_is_of_ones_namespaces_and_of_no_foreign_task(app: Flask, twins: Twins) -> None:
    client = client_of(app, "reader", "viewer", "open")
    assert client.get(f"/live?task={twins.task_ids[FOREIGN]}").status_code == 404
    stream = Stream(None, reader=Reader(namespaces=frozenset({"open"})))
    stream._stale.clear()
    stream.tell({"1": FOREIGN})
    assert not stream._stale.is_set()
    stream.tell({"2": "open"})
    assert stream._stale.is_set()


def test_buttons_that_one_may_not_use_are_not_shown(app: Flask, launch: Callable[..., str], failed_task: str) -> None:
    viewer, operator = client_of(app, "viewer", "viewer"), client_of(app, "operator", "operator")
    seen, offered = (each.get(f"/tasks/{failed_task}").text for each in (viewer, operator))
    for word in (">Retry<", ">Skip<", "Add note", "Launch again"):
        assert word in offered
        assert word not in seen
    assert "Launch" not in viewer.get("/workflows/shop/process_order").text
    assert "/settings/accounts" not in operator.get("/settings").text


def test_a_denial_is_on_record_once(app: Flask, db: Database, failed_task: str) -> None:
    client = client_of(app, "viewer", "viewer")
    form = token_of(client.get("/settings").text)
    assert client.post(f"/tasks/{failed_task}/retry", data={"csrf_token": form}).status_code == 403
    denied = [row for row in audit.entries(db) if row.outcome == "denied"]
    assert [(row.actor, row.action, row.namespace) for row in denied] == [("viewer", "tasker.task:retry", "shop")]


@pytest.mark.parametrize(
    ("scopes", "namespace", "expected"),
    [
        (None, None, {"tasker.task:show": None, "tasker.task:retry": None}),
        (["tasker.task:show"], None, {"tasker.task:show": None}),
        (["viewer"], "shop", {"tasker.task:show": frozenset({"shop"})}),
        (["tasker.account:create"], None, {}),
    ],
)
def test_a_token_may_what_its_owner_may_within_its_scopes(db: Database, scopes: list[str] | None, namespace: str | None, expected: dict[str, Any]) -> None:
    accounts.keep_role(db, "retrier", ["tasker.task:show", "tasker.task:retry"], actor="tests")
    accounts.create_account(db, "ada", role="retrier", actor="tests")
    held = tokens.bearer(db, tokens.make_token(db, "ada", "ci", actor="tests", scopes=scopes, namespace=namespace))
    assert held is not None
    assert held.rights.held == expected
    accounts.revoke_role(db, "ada", "retrier", actor="tests") if accounts.create_account(db, "root", role="admin", actor="tests") else None
    again = tokens.bearer(db, tokens.make_token(db, "ada", "ci", actor="tests", scopes=scopes, namespace=namespace))
    assert again is not None
    assert again.rights.held == {}


def test_an_altered_token_counts_for_nothing(db: Database) -> None:
    accounts.create_account(db, "ada", role="admin", actor="tests")
    token = tokens.make_token(db, "ada", "ci", actor="tests")
    assert tokens.bearer(db, token) is not None
    for wrong in ("", token[:-1], token[:-1] + ("A" if token[-1] != "A" else "B"), token.upper(), f"tasker_{'0' * 16}_{token.rpartition('_')[2]}", "\0"):
        assert tokens.bearer(db, wrong) is None
