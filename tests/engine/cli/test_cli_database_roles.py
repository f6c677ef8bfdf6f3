"""Engine and dashboard each under a database role of its own: a whole workflow goes through, and neither may do the other's work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from signed_in import session_of, token_for
from terminal import Terminal, until
from terminal import refused as told_in_a_line

from engine import database_roles, migrate
from engine.access import accounts, audit
from engine.db import Database
from engine.settings import Settings

GIVEN = "a password for tests"
PAGES = ("/", "/workflows", "/workflows/shop/process_order/1.1.0", "/tasks", "/failures", "/schedules", "/engines", "/limits", "/audit", "/settings", "/settings/accounts", "/steps?queue=ready")


@pytest.fixture
def names(admin: psycopg.Connection[Any]) -> Iterator[dict[str, str]]:
    """Two roles of this test alone, as an administrator of the server makes them; they go after the database in which they have rights."""
    made = {part: f"tasker_{part}_{os.getpid()}" for part in database_roles.PARTS}
    for name in made.values():
        admin.execute(f"create role {name} login password '{GIVEN}'".encode())
    yield made
    for name in made.values():
        admin.execute(f"drop role {name}".encode())


@pytest.fixture
def urls(names: dict[str, str], terminal: Terminal) -> dict[str, str]:
    """The addresses by which engine and dashboard connect, once the owner has granted what they need."""
    owner = terminal.environment["TASKER_DATABASE_URL"]
    ended = terminal.run("db", "roles", "--engine", names["engine"], "--web", names["web"])
    assert (ended.status, ended.err) == (0, "")
    return {part: psycopg.conninfo.make_conninfo(owner, user=name, password=GIVEN) for part, name in names.items()}


def refused(url: str, *statements: str) -> list[str]:
    """Those of the statements that the server lets this role do."""
    let = []
    with psycopg.connect(url) as connection:
        for statement in statements:
            with suppress(psycopg.errors.InsufficientPrivilege):
                with connection.transaction(force_rollback=True):
                    connection.execute(statement.encode())
                let.append(statement)
    return let


def test_a_workflow_goes_through_under_two_roles_that_may_do_no_more_than_they_need(names: dict[str, str], urls: dict[str, str], shop: Terminal) -> None:
    from webapp import create_app

    owner = shop.environment["TASKER_DATABASE_URL"]
    shop.start("engine", TASKER_DATABASE_URL=urls["engine"])
    app = create_app(Settings(secret_key="a key for tests of roles"), database_url=urls["web"])
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token_for(owner)}"
    client.set_cookie("tasker_sign_in", session_of(owner))
    until(lambda: client.get("/api/v1/workflows/shop/process_order").status_code == 200, "the engine's workflow")
    task_id = client.post("/api/v1/tasks", json={"name": "process_order", "namespace": "shop", "context": {"order_id": -1}}).json["task_id"]
    place = f"/api/v1/tasks/{task_id}"
    until(lambda: client.get(place).json["state"] == "failed", "the failure")
    assert client.post(f"{place}/steps/charge/resolution?dry_run=true", json={"result": {"paid": 4}}).status_code == 200
    assert client.post(f"{place}/steps/charge/resolution", json={"result": {"paid": 4}, "reason": "paid in cash"}).status_code == 200
    until(lambda: client.get(place).json["state"] == "completed", "the end")
    assert client.get(f"{place}/steps/ship").json["result"] == 5
    assert client.post("/api/v1/schedules", json={"name": "process_order", "namespace": "shop", "cron": "0 4 * * *", "context": {"order_id": 1}}).status_code == 201
    what_is_done_to_many_is_done(client, owner)
    assert [path for path in PAGES if client.get(path).status_code not in (200, 404)] == []
    assert client.get(f"/tasks/{task_id}").status_code == 200
    assert client.get("/tasks").status_code == 200
    what_is_forbidden_is_refused(urls)
    what_an_upgrade_brings_is_granted(owner, urls)
    what_was_done_is_on_record(owner)


def what_is_done_to_many_is_done(client: Any, owner: str) -> None:
    """Batches, views and limits, which the dashboard reaches by functions of the owner or by tables of its own."""
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("insert into tasker_limit (namespace, name, step_name, key_path, at_once, declared) values ('shop', 'process_order', 'none', '{}', 1, '{\"at_once\": 1}')")
    limit = "/api/v1/limits/shop/process_order"
    assert client.post(f"{limit}/change?step=none", json={"at_once": 2}).json["at_once"] == 2
    assert client.post(f"{limit}/reset?step=none").status_code == 200
    assert client.get(f"{limit}?step=none").json["waiters"] == []
    later = {"name": "process_order", "namespace": "shop", "context": {"order_id": 1}, "run_at": "2099-01-01T00:00:00Z"}
    assert client.post("/api/v1/tasks", json=later).status_code == 201
    assert client.post("/api/v1/batches/new/pause", json={"filter": {"state": "pending"}, "count": 1}).status_code == 201
    view = client.post("/api/v1/views", json={"name": "All"}).json["view_id"]
    assert client.delete(f"/api/v1/views/{view}").status_code == 204


def what_is_forbidden_is_refused(urls: dict[str, str]) -> None:
    theirs = {
        "web": (
            "update tasker_step set state = 4", "delete from tasker_history", "insert into tasker_worker default values", "select tasker_retire_worker(1)",
            "update tasker_task set context = '{}'", "update tasker_audit set reason = ''", "delete from tasker_audit", "truncate tasker_audit", "drop table tasker_preset",
            "create table public.own (no int)", "update tasker_database_role set role_name = 'x'", "update tasker_schema_version set version_num = 'x'",
        ),
        "engine": (
            "select * from tasker_account", "select * from tasker_session", "select * from tasker_token", "update tasker_account set password_hash = 'x'",
            "insert into tasker_grant default values", "update tasker_audit set reason = ''", "delete from tasker_audit", "truncate tasker_audit", "drop table tasker_task",
            "alter table tasker_audit disable trigger all", "create table public.own (no int)",
        ),
    }  # fmt: skip
    assert {part: refused(urls[part], *statements) for part, statements in theirs.items()} == {"web": [], "engine": []}
    assert refused(urls["web"], "select 1 from tasker_task") == ["select 1 from tasker_task"]


def what_an_upgrade_brings_is_granted(owner: str, urls: dict[str, str]) -> None:
    with psycopg.connect(owner) as connection:
        connection.execute("create table tasker_brought (no int)")
    assert refused(urls["engine"], "select * from tasker_brought") == []
    migrate.upgrade(owner)
    assert refused(urls["engine"], "delete from tasker_brought") == ["delete from tasker_brought"]
    assert refused(urls["web"], "delete from tasker_brought", "select * from tasker_brought") == ["select * from tasker_brought"]


def what_was_done_is_on_record(owner: str) -> None:
    db = Database(owner, max_size=1)
    try:
        assert [row.reason for row in audit.entries(db) if row.action == "tasker.step:update"] == ["paid in cash"]
        assert accounts.accounts(db)
    finally:
        db.close()


def test_what_a_role_has_no_right_to_is_told_in_one_line(names: dict[str, str], terminal: Terminal) -> None:
    owner = terminal.environment["TASKER_DATABASE_URL"]
    as_engine = psycopg.conninfo.make_conninfo(owner, user=names["engine"], password=GIVEN)

    def told(*command: str) -> str:
        terminal.environment["TASKER_DATABASE_URL"] = as_engine
        return told_in_a_line(terminal.run(*command))

    assert "permission denied for table tasker_schema_version; connect as the owner" in told("tasks")
    assert "permission denied" in told("db", "upgrade")
    terminal.environment["TASKER_DATABASE_URL"] = owner
    terminal.run("db", "roles", "--engine", names["engine"], "--web", names["web"])
    assert "permission denied for table tasker_account; connect as the owner" in told("user", "list")


def test_an_account_that_may_make_no_roles_says_what_an_administrator_has_to_run(terminal: Terminal) -> None:
    ended = terminal.run("db", "roles", "--engine", "nobody_engine", "--web", "nobody_web")
    assert ended.status == 2
    assert 'create role "nobody_engine" login' in ended.err
    printed = terminal.run("db", "roles", "--print").out
    assert 'revoke all on public."tasker_audit" from "tasker_engine", "tasker_web";' in printed
