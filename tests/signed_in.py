"""How tests sign in: by a session that is made in the database, as nothing in the application would let them in without one."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from engine.access import accounts, tokens
from engine.db import Database
from engine.errors import DatabaseUnavailable, NoAnswerInTime
from webapp.access import COOKIE


def session_of(url: str | None, name: str = "dashboard", role: str = "admin", namespace: str | None = None) -> str:
    """The secret of a new session of that account, which is made if need be; of no worth where there is no database."""
    if not url:
        return "nobody"
    db = Database(url, max_size=1)
    try:
        known = next((each.account_id for each in accounts.accounts(db) if each.name == name), None)
        account_id = known or accounts.create_account(db, name, role=role, namespace=namespace, actor="tests")
        return accounts.begin_session(db, account_id, method="tests")
    except NoAnswerInTime:  # it is there, and the test would look for another reason why nobody is let in
        raise
    except (DatabaseUnavailable, psycopg.Error):
        return "nobody"
    finally:
        db.close()


def cookie_of(url: str | None, name: str = "dashboard", role: str = "admin", namespace: str | None = None) -> dict[str, str]:
    """The header that a signed-in browser sends."""
    return {"Cookie": f"{COOKIE}={session_of(url, name, role, namespace)}"}


def token_for(url: str, name: str = "dashboard", role: str = "admin", namespace: str | None = None, **limits: Any) -> str:
    """A new API token of that account, which is made if need be."""
    session_of(url, name, role, namespace)
    db = Database(url, max_size=1)
    try:
        return tokens.make_token(db, name, "tests", actor="tests", **limits)
    finally:
        db.close()


class Reader(FlaskClient):
    """A browser in which the administrator `dashboard` is signed in. `FlaskClient(app)` is one in which nobody is."""

    has_signed_in = False

    def open(self, *arguments: Any, **options: Any) -> TestResponse:
        if not self.has_signed_in:
            self.has_signed_in = True
            self.set_cookie(COOKIE, session_of(self.application.config["DATABASE_URL"]))
        return super().open(*arguments, **options)


def token_of(page: str) -> str:
    """The form token on a page."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found, "the page has no form token"
    return found[1]
