"""What the tests of the dashboard share: the real application on a real database, a workflow, and an engine moved by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import Reader, cookie_of, token_of
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from engine import tasks
from engine.db import Database
from engine.definition import TaskDefinition
from engine.handlers import Workflow
from engine.requests import TaskRequest
from engine.settings import Settings
from webapp import create_app, database, health, live

SCHEMA = {
    "type": "object",
    "required": ["order_id"],
    "properties": {
        "order_id": {"type": "integer", "minimum": 1, "description": "The shop's own number"},
        "speed": {"type": "string", "enum": ["normal", "high"], "default": "normal"},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}}}},
    },
}
ERROR = {
    "type": "GatewayTimeout",
    "message": "no answer <b>in</b> time",
    "code": "slow",
    "traceback": 'File "gateway.py", line 7',
}


def process_order(version: str = "1.0.0") -> TaskDefinition:
    """validate -> charge -> ship, and validate -> reserve -> ship."""
    flow = Workflow(
        "process_order", namespace="shop", version=version, schema=SCHEMA, description="From payment to courier."
    )

    @flow.step(retry_limit=2)
    def validate(task: Any) -> None: ...

    @flow.step(depends_on_step="validate", timeout=30_000)
    def charge(task: Any) -> None: ...

    @flow.step(depends_on_step="validate")
    def reserve(task: Any) -> None: ...

    @flow.step(depends_on_step=["charge", "reserve"])
    def ship(task: Any) -> None: ...

    return flow.definition


class HandEngine:
    """An engine that claims when told to and whose steps end as the test says; every move is the engine's own SQL."""

    def __init__(self, conn: psycopg.Connection[Any], definitions: list[int]) -> None:
        self.conn, self.definitions, self.claims = conn, definitions, 0
        query = "select tasker_register_worker('test engine', 'threads', 4, %s, interval '1 hour', true)"
        self.worker = self._one(query, [definitions])

    def claim(self) -> None:
        """Every ready step is running now."""
        self.claims += 1
        self.conn.execute(
            "select * from tasker_claim_steps(%s, %s, 100, %s)", [self.worker, self.claims, self.definitions]
        )

    def complete(self, task_id: str, *names: str, result: Any = None) -> None:
        """The named steps, running or ready, have completed, one after the other."""
        for name in names:
            self.claim()
            key = self._running(task_id, name)
            query = "select * from tasker_complete_batch(%s, %s, %s, %s, %s::smallint[], %s::jsonb, 0)"
            self.conn.execute(query, [self.worker, self.claims, *key, json.dumps([result])])

    def decide(self, task_id: str, name: str, *chosen: str) -> None:
        """The named decision, running or ready, has chosen."""
        self.claim()
        query = "select tasker_decide_steps(%s, %s, %s, %s::smallint[], %s::jsonb)"
        self.conn.execute(query, [self.worker, *self._running(task_id, name), json.dumps([list(chosen)])])

    def expand(self, task_id: str, name: str) -> None:
        """The named map step, running or ready, has made its items, or ended with their results."""
        self.claim()
        keys = [key[0] for key in self._running(task_id, name)]
        self.conn.execute("select tasker_expand_step(%s, %s, %s, %s::smallint)", [self.worker, *keys])

    def fail(self, task_id: str, name: str, *, retryable: bool = False, delay: float | None = None) -> None:
        """The named step, running or ready, has ended with ERROR."""
        self.claim()
        error = json.dumps([{**ERROR, "retryable": retryable, "delay": delay}])
        query = "select tasker_fail_steps(%s, %s, %s, %s::smallint[], %s::jsonb)"
        self.conn.execute(query, [self.worker, *self._running(task_id, name), error])

    def state(self, task_id: str, name: str | None = None) -> str:
        """The state of a step, or of the task."""
        if name is None:
            return str(self._one("select state from tasker_tasks where task_id = %s", [task_id]))
        return str(self._one("select state from tasker_steps where task_id = %s and name = %s", [task_id, name]))

    def _running(self, task_id: str, name: str) -> list[list[int]]:
        query = (
            "select task_no, step_no, attempts from tasker_steps where task_id = %s and name = %s and state = 'running'"
        )
        found = self.conn.execute(query, [task_id, name]).fetchone()
        assert found, f"{name} is {self.state(task_id, name)}, not running"
        return [[number] for number in found]

    def _one(self, query: Any, parameters: list[Any]) -> Any:
        found = self.conn.execute(query, parameters).fetchone()
        return found[0] if found else None


@pytest.fixture(autouse=True)
def _signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one place where the tests of pages sign in: every client of every application is a Reader."""
    monkeypatch.setattr(Flask, "test_client_class", Reader)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(secret_key="a key for tests", data_dir=tmp_path)


@pytest.fixture(scope="session", autouse=True)
def rules_compiled_once() -> Iterator[None]:
    """Each URL rule is compiled for the first app of this process and serves every later one: most of what an app costs."""
    compiled: dict[str, tuple[Any, ...]] = {}
    compile_rule = Rule.compile

    def once(rule: Any) -> None:
        key = repr((rule.rule, rule.defaults, rule.subdomain))
        if key not in compiled:
            compile_rule(rule)
            compiled[key] = (rule._parts, rule._trace, rule._converters, rule._build.__func__, rule._build_unknown.__func__)
        rule._parts, rule._trace, rule._converters, build, build_unknown = compiled[key]
        rule.arguments.update(rule._converters)
        rule._build, rule._build_unknown = build.__get__(rule), build_unknown.__get__(rule)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rule, "compile", once)
        yield


@pytest.fixture
def app(database_url: str, settings: Settings) -> Iterator[Flask]:
    """The dashboard on the test's database, with its form tokens in force as in production."""
    made = create_app(settings, database_url=database_url)
    made.config["TESTING"] = True
    made.config["GLANCE_SECONDS"] = made.config["HEALTH_SECONDS"] = 0  # tests change the database behind the dashboard's back
    yield made
    live.close(made)
    health.close(made)
    database.close(made)
    with made.app_context():
        from webapp.models import db as read_side

        read_side.engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def cookie(app: Flask) -> dict[str, str]:
    """What a browser sends in which `dashboard` is signed in, for requests by hand."""
    return cookie_of(app.config["DATABASE_URL"])


@pytest.fixture
def order_workflow() -> Callable[[str], TaskDefinition]:
    """Makes the order workflow in the version that is asked for."""
    return process_order


@pytest.fixture
def definition_id(db: Database) -> int:
    """The order workflow is known to the database."""
    return tasks.register_definition(db, process_order())


@pytest.fixture
def engine(conn: psycopg.Connection[Any], definition_id: int) -> HandEngine:
    return HandEngine(conn, [definition_id])


@pytest.fixture
def launch(db: Database, definition_id: int) -> Callable[..., str]:
    """Makes a task of the order workflow and gives its id."""

    def make(order_id: int = 7, **fields: Any) -> str:
        return tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": order_id}, **fields))

    return make


@pytest.fixture
def failed_task(launch: Callable[..., str], engine: HandEngine) -> str:
    """A task whose charge failed for good while everything else that could run has completed."""
    task_id = launch()
    engine.complete(task_id, "validate", "reserve")
    engine.fail(task_id, "charge")
    return task_id


Post = Callable[..., TestResponse]


@pytest.fixture
def post(client: FlaskClient) -> Post:
    """Sends a form with its token as a browser would; `htmx=True` as htmx would."""

    def send(path: str, *, htmx: bool = False, **fields: str) -> TestResponse:
        token = token_of(client.get("/tasks").text)
        headers = {"HX-Request": "true"} if htmx else {}
        return client.post(path, data={"csrf_token": token, **fields}, headers=headers)

    return send
