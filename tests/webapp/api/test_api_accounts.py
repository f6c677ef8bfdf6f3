"""Accounts, roles, tokens and the audit by the API: what an administrator does there is what the pages do, and nobody gives what they do not have."""

from __future__ import annotations

import csv
import io

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import session_of, token_for, token_of

from engine.access import accounts, tokens
from engine.client import Client, NotAllowed
from engine.db import Database
from engine.errors import NotFound, RequestError, WrongState

KEEPER = ["tasker.account:create", "tasker.account:index", "tasker.account:show", "tasker.account:update", "tasker.task:show"]


@pytest.fixture
def client_of_admin(app: Flask, token: str) -> Client:
    return by(app, token)


def by(app: Flask, token: str) -> Client:
    return Client("http://localhost", token, transport=httpx.WSGITransport(app=app))


def test_an_administrator_keeps_accounts_roles_and_tokens_by_the_api(app: Flask, db: Database, client_of_admin: Client) -> None:
    admin = client_of_admin
    made = admin.create_account("ada", role="operator", namespace="shop")
    assert made["sign_in_path"].startswith("/login/link/")
    assert made["grants"] == [{"role": "operator", "namespace": "shop"}]
    assert admin.create_account("grace", role="viewer", password="a password of some length")["sign_in_path"] is None
    with pytest.raises(WrongState):
        admin.create_account("ada", role="viewer")
    with pytest.raises(RequestError):
        admin.create_account("alan", role="no such role")
    assert admin.keep_role("auditor", ["tasker.audit:index"])["permissions"] == ["tasker.audit:index"]
    assert admin.grant_role("grace", "auditor", reason="the yearly look")["grants"][0]["role"] == "auditor"
    with pytest.raises(WrongState):
        admin.remove_role("auditor")
    admin.revoke_role("grace", "auditor")
    admin.remove_role("auditor")
    assert [each["role"] for each in admin.roles()] == ["viewer", "operator", "developer", "admin"]
    accounts.begin_session(db, accounts.account(db, "grace").account_id, method="tests")
    assert admin.sign_out("grace") == 1
    assert admin.disable_account("grace")["disabled"] is True
    assert admin.enable_account("grace")["disabled"] is False
    own = admin.make_token("ci", account="ada", scopes=["tasker.task:show"], days=7)
    held = tokens.bearer(db, own)
    assert held is not None
    assert held.rights.held == {"tasker.task:show": frozenset({"shop"})}
    [listed] = [each for each in admin.tokens() if each["label"] == "ci"]
    assert own not in str(admin.tokens())
    admin.revoke_token(listed["token_id"])
    assert tokens.bearer(db, own) is None
    with pytest.raises(NotFound):
        admin.disable_account("nobody")


def test_every_act_is_in_the_audit_which_is_read_page_by_page_and_as_csv(app: Flask, client_of_admin: Client) -> None:
    admin = client_of_admin
    for number in range(3):
        admin.create_account(f"person {number}", role="viewer")
    first, cursor = admin.audit(action="tasker.account:create", object="account person", limit=2)
    second, end = admin.audit(action="tasker.account:create", object="account person", limit=2, cursor=cursor)
    assert [each["object"] for each in first + second] == [f"account person {number}" for number in (2, 1, 0)]
    assert end is None
    assert {(each["actor"], each["outcome"]) for each in first} == {("dashboard", "done")}
    answer = app.test_client().get("/api/v1/audit.csv?object=account+person&action=tasker.account:create")
    assert answer.mimetype == "text/csv"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert [row["object"] for row in csv.DictReader(io.StringIO(answer.text))] == [f"account person {number}" for number in (2, 1, 0)]
    assert app.test_client().get("/api/v1/audit?at_from=yesterday").status_code == 422


def test_nobody_gives_what_they_do_not_have(app: Flask, db: Database, client_of_admin: Client) -> None:
    """Whoever keeps accounts without being an administrator could make one, or become one, by a link, a token or a role."""
    url = app.config["DATABASE_URL"]
    accounts.keep_role(db, "doorkeeper", KEEPER, actor="tests")
    keeper = by(app, token_for(url, "keeper", "doorkeeper"))
    narrow = by(app, token_for(url, "dashboard", scopes=["tasker.account:*"]))
    for weaker in (keeper, narrow):
        attempts = {
            weaker.create_account: {"name": "mallory", "role": "admin"},
            weaker.grant_role: {"name": "keeper", "role": "admin"},
            weaker.keep_role: {"role": "doorkeeper", "permissions": ["tasker.task:reveal"]},
            weaker.make_token: {"label": "all", "account": "dashboard"},
            weaker.disable_account: {"name": "dashboard"},
            weaker.sign_out: {"name": "dashboard"},
        }
        for attempt, given in attempts.items():
            with pytest.raises(NotAllowed):
                attempt(**given)  # type: ignore[operator]
    assert keeper.create_account("helper", role="doorkeeper", namespace="shop")["name"] == "helper"
    page = FlaskClient(app)
    page.set_cookie("tasker_sign_in", session_of(url, "keeper"))
    form = token_of(page.get("/settings").text)
    assert page.post("/settings/accounts/dashboard/link", data={"csrf_token": form}).status_code == 403
    assert page.post("/settings/accounts/keeper/roles", data={"csrf_token": form, "role": "admin"}).status_code == 403
    assert page.post("/settings/roles", data={"csrf_token": form, "role": "more", "permission": ["tasker.task:reveal"]}).status_code == 403
    denied = [each for each in client_of_admin.audit(outcome="denied")[0] if each["actor"] == "keeper"]
    assert len(denied) == 9


def test_a_role_that_may_more_is_not_emptied(app: Flask, db: Database, client_of_admin: Client) -> None:
    accounts.keep_role(db, "doorkeeper", KEEPER, actor="tests")
    accounts.keep_role(db, "mighty", ["tasker.task:show", "tasker.task:reveal"], actor="tests")
    keeper = by(app, token_for(app.config["DATABASE_URL"], "keeper", "doorkeeper"))
    with pytest.raises(NotAllowed, match="This role may more than you may"):
        keeper.keep_role("mighty", ["tasker.task:show"])
    with pytest.raises(NotAllowed):
        keeper.remove_role("mighty")
    assert next(row.permissions for row in accounts.roles(db) if row.role == "mighty") == ("tasker.task:reveal", "tasker.task:show")
    assert keeper.keep_role("looker", ["tasker.task:show"])["permissions"] == ["tasker.task:show"]
    keeper.remove_role("looker")
    client_of_admin.remove_role("mighty")


def test_a_token_of_who_may_more_is_not_revoked(app: Flask, db: Database, client_of_admin: Client) -> None:
    accounts.keep_role(db, "doorkeeper", KEEPER, actor="tests")
    keeper = by(app, token_for(app.config["DATABASE_URL"], "keeper", "doorkeeper"))
    accounts.create_account(db, "looker", role="doorkeeper", actor="tests")
    made = {name: tokens.make_token(db, name, "robot", actor="tests") for name in ("dashboard", "looker", "keeper")}
    with pytest.raises(NotAllowed):
        keeper.revoke_token(made["dashboard"].split("_")[1])
    for weaker in ("looker", "keeper"):
        keeper.revoke_token(made[weaker].split("_")[1])
    assert {name for name, token in made.items() if tokens.bearer(db, token)} == {"dashboard"}
    with pytest.raises(NotFound):
        keeper.revoke_token("nothing")


def test_ones_own_token_is_revoked_by_a_narrower_one(app: Flask, db: Database, client_of_admin: Client) -> None:
    narrow = by(app, token_for(app.config["DATABASE_URL"], "dashboard", scopes=["tasker.account:*"]))
    own = tokens.make_token(db, "dashboard", "robot", actor="tests")
    narrow.revoke_token(own.split("_")[1])
    assert tokens.bearer(db, own) is None


def test_the_link_of_a_new_account_is_on_record(client_of_admin: Client) -> None:
    link = client_of_admin.create_account("ada", role="viewer")["sign_in_path"]
    made, created = client_of_admin.audit(object="account ada")[0]
    assert [(each["actor"], each["action"]) for each in (created, made)] == [("dashboard", "tasker.account:create"), ("dashboard", "tasker.account:update")]
    assert made["detail"] == {"changed": "sign-in link"}
    assert link.rpartition("/")[2] not in str(made)
