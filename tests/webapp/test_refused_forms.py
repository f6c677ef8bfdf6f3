"""A form that is refused stands there as it was filled in; a password alone is typed again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from engine.access import accounts
from engine.db import Database

Post = Callable[..., TestResponse]


@pytest.mark.parametrize(("name", "password", "status"), [("grace", "f0ur-ho", 422), ("dashboard", "f0ur grey horses at noon", 409)])
def test_a_new_account_that_is_refused_keeps_all_but_its_password(post: Post, db: Database, name: str, password: str, status: int) -> None:
    answer = post("/settings/accounts", name=name, role="operator", namespace="shop", password=password)
    assert answer.status_code == status
    form = answer.text[answer.text.index('id="new-title"') :]
    for kept in (f'name="name" value="{name}"', "<option selected>operator</option>", 'name="namespace" value="shop"'):
        assert kept in form
    assert "f0ur" not in answer.text
    assert len(accounts.accounts(db)) == 1


def test_a_new_token_that_is_refused_keeps_what_was_typed(client: FlaskClient, post: Post) -> None:
    answer = post("/settings/tokens", label="<ci>", scopes="tasker.task:show tasker.nothing:ever", namespace="shop", days="7")
    assert answer.status_code == 422
    for kept in ('value="&lt;ci&gt;"', 'value="tasker.task:show tasker.nothing:ever"', 'name="namespace" value="shop"', 'value="7"'):
        assert kept in answer.text
    made = post("/settings/tokens", label="ci", scopes="tasker.task:show", days="7")
    for page in (made.text, client.get("/settings").text):
        assert 'name="label" value=""' in page
        assert 'value="90"' in page


def test_an_address_that_cannot_be_told_stays_in_its_open_form(client: FlaskClient, post: Post, launch: Callable[..., str]) -> None:
    task_id = launch()
    answer = post(f"/tasks/{task_id}/followers", channel="webhook", target='no"where')
    assert answer.status_code == 422
    for kept in ('<details class="tell" open>', '<option value="webhook" selected>', 'name="target" value="no&#34;where"'):
        assert kept in answer.text
        assert kept not in client.get(f"/tasks/{task_id}").text


def test_no_role_is_chosen_beforehand(client: FlaskClient) -> None:
    page = client.get("/settings/accounts").text
    assert page.count('name="role" required><option value="">') == page.count('name="role"') == 2
    assert "selected" not in page
