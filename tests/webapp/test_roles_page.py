"""Roles of one's own are made, changed and removed on a page, and one signs out everywhere else on another."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import session_of, token_of

from engine.access import accounts, audit
from engine.access.permissions import Rights
from engine.db import Database


def test_a_role_of_ones_own_is_made_changed_given_in_a_namespace_and_removed(app: Flask, client: FlaskClient, db: Database) -> None:
    form = {"csrf_token": token_of(client.get("/settings/roles").text)}
    assert client.post("/settings/roles", data={**form, "role": "caller"}).status_code == 422
    assert client.post("/settings/roles", data={**form, "role": "admin", "permission": "tasker.task:show"}).status_code == 422
    assert client.post("/settings/roles", data={**form, "role": "caller", "permission": ["tasker.task:index", "tasker.task:show"]}).status_code == 303
    filled = client.get("/settings/roles?role=caller").text
    assert 'value="tasker.task:show" checked' in filled
    assert "Change caller" in filled
    client.post("/settings/roles", data={**form, "role": "caller", "permission": ["tasker.task:show"]})
    accounts.create_account(db, "ada", role="viewer", namespace="elsewhere", actor="tests")
    assert client.post("/settings/accounts/ada/roles", data={**form, "role": "caller", "namespace": "shop"}).status_code == 303
    assert accounts.account_rights(db, "ada").namespaces("tasker.task:show") == frozenset({"elsewhere", "shop"})
    assert client.post("/settings/roles/caller/removal", data=form).status_code == 409
    client.post("/settings/accounts/ada/roles/removal", data={**form, "role": "caller", "namespace": "shop"})
    assert client.post("/settings/roles/caller/removal", data=form).status_code == 303
    assert client.post("/settings/roles/caller/removal", data=form).status_code == 404
    assert "caller" not in accounts.role_names(db)
    acts = [row.detail for row in audit.entries(db, object="role caller")]
    assert acts == [{"removed": True}, {"permissions": ["tasker.task:show"]}, {"permissions": ["tasker.task:index", "tasker.task:show"]}]


KEEPER = ["tasker.account:create", "tasker.account:index", "tasker.account:show", "tasker.account:update", "tasker.task:show"]


@pytest.fixture
def keeper(app: Flask, db: Database) -> FlaskClient:
    """A browser of somebody who keeps accounts and may little else."""
    accounts.keep_role(db, "doorkeeper", KEEPER, actor="tests")
    accounts.keep_role(db, "mighty", ["tasker.task:show", "tasker.task:reveal"], actor="tests")
    page = FlaskClient(app)
    page.set_cookie("tasker_sign_in", session_of(app.config["DATABASE_URL"], "keeper", "doorkeeper"))
    return page


def permissions_of(db: Database, role: str) -> tuple[str, ...]:
    return next((row.permissions for row in accounts.roles(db) if row.role == role), ())


def test_a_role_that_may_more_is_neither_changed_nor_removed(keeper: FlaskClient, db: Database) -> None:
    """Whoever could empty it would take from all who have it what they cannot give back."""
    form = {"csrf_token": token_of(keeper.get("/settings").text)}
    changed = keeper.post("/settings/roles", data={**form, "role": "mighty", "permission": ["tasker.task:show"]})
    assert (changed.status_code, "This role may more than you may" in changed.text) == (403, True)
    assert keeper.post("/settings/roles", data={**form, "role": "mighty"}).status_code == 403
    assert keeper.post("/settings/roles/mighty/removal", data=form).status_code == 403
    assert permissions_of(db, "mighty") == ("tasker.task:reveal", "tasker.task:show")
    assert next(row.object for row in audit.entries(db, outcome="denied")) == "role mighty"


def test_a_role_is_offered_for_change_only_to_who_may_all_that_it_holds(keeper: FlaskClient, client: FlaskClient) -> None:
    seen, of_admin = keeper.get("/settings/roles").text, client.get("/settings/roles").text
    offered = {role: [f"{word} {role}" in page for page in (seen, of_admin) for word in ("Change", "Remove")] for role in ("mighty", "admin")}
    assert offered == {"mighty": [False, False, True, True], "admin": [False, False, False, False]}
    assert "Change doorkeeper" in seen
    filled = keeper.get("/settings/roles?role=mighty").text
    assert "Change mighty" not in filled
    assert " checked" not in filled


def test_a_role_that_holds_no_more_than_ones_own_is_changed_and_removed(keeper: FlaskClient, db: Database) -> None:
    form = {"csrf_token": token_of(keeper.get("/settings").text), "role": "looker"}
    for permissions in (["tasker.task:show", "tasker.account:index"], ["tasker.task:show"]):
        assert keeper.post("/settings/roles", data={**form, "permission": permissions}).status_code == 303
        assert permissions_of(db, "looker") == tuple(sorted(permissions))
    assert not [each for each in re.findall("<input[^>]*>", keeper.get("/settings/roles?role=looker").text) if " checked" in each and " disabled" in each]
    assert keeper.post("/settings/roles/looker/removal", data=form).status_code == 303
    assert permissions_of(db, "looker") == ()


def test_signing_out_everywhere_else_leaves_this_browser_alone(app: Flask, client: FlaskClient, db: Database) -> None:
    other = FlaskClient(app)
    other.set_cookie("tasker_sign_in", session_of(app.config["DATABASE_URL"]))
    page = client.get("/settings").text
    assert "Sign out everywhere else" in page
    assert other.get("/settings").status_code == 200
    assert client.post("/settings/sessions/end", data={"csrf_token": token_of(page)}).status_code == 303
    assert "1 other session of yours is over" in client.get("/settings").text
    assert other.get("/settings").headers["Location"].startswith("/login")
    [entry] = [row for row in audit.entries(db) if row.action == "sign_out"]
    assert (entry.object, entry.detail) == ("account dashboard", {"sessions": 1})


def test_rights_cover_others_only_where_they_hold_as_far() -> None:
    viewer, in_shop, admin = Rights.of([("viewer", None, None)]), Rights.of([("viewer", "shop", None)]), Rights.of([("admin", None, None)])
    pairs = {"more": (admin, viewer), "everywhere": (viewer, in_shop), "the same": (viewer, viewer)}
    assert {name: (mighty.covers(weak), weak.covers(mighty)) for name, (mighty, weak) in pairs.items()} == {"more": (True, False), "everywhere": (True, False), "the same": (True, True)}
    assert not in_shop.covers(Rights.of([("viewer", "elsewhere", None)]))
