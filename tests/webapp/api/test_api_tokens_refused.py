"""Who sends no token that counts learns so, and nothing else: 401 with how to do it, in JSON, whatever was sent instead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import cookie_of
from werkzeug.test import TestResponse

from engine.access import accounts, tokens
from engine.db import Database
from webapp import database

PATH = "/api/v1/tasks"
WELL_FORMED = "tasker_0123456789abcdef_" + "a" * 43


@pytest.fixture
def program(app: Flask) -> FlaskClient:
    """A program that sends nothing of its own."""
    return FlaskClient(app)


def asked(program: FlaskClient, authorization: str | None, path: str = PATH, **headers: str) -> TestResponse:
    return program.get(path, headers={**({} if authorization is None else {"Authorization": authorization}), **headers})


def assert_refused(answer: TestResponse) -> None:
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].lower().startswith("bearer")
    assert [problem["code"] for problem in answer.json["errors"]] == ["unauthorized"]


@pytest.mark.parametrize(
    "authorization",
    [
        None, "", " ", "Bearer", "Bearer ", "Bearer nothing", "bearer nothing", "Basic ZGFzaGJvYXJkOg==", "Digest username=dashboard", "Bearer " + WELL_FORMED,
        "Bearer " + WELL_FORMED[:-1], "Bearer tasker__", "Bearer tasker_0123456789abcdef_", "Bearer \xff\xfe", "Bearer " + "a" * 9000, "Bearer null", "Bearer undefined",
    ],
)  # fmt: skip
def test_what_is_no_token_opens_nothing(program: FlaskClient, definition_id: int, authorization: str | None) -> None:
    assert_refused(asked(program, authorization))


@pytest.mark.parametrize("form", ["{token}", "Token {token}", "Bearer {token}x", "Bearer x{token}", "Bearer {token},{token}", "Bearer Bearer {token}", "Basic {token}"])
def test_a_token_that_counts_counts_in_no_other_form(program: FlaskClient, token: str, form: str) -> None:
    assert_refused(asked(program, form.format(token=token)))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(program: FlaskClient, token: str, scheme: str) -> None:
    assert asked(program, f"{scheme} {token}").status_code == 200


@pytest.mark.parametrize("name", ["access_token", "token", "authorization", "api_key"])
def test_a_token_in_an_address_counts_for_nothing(program: FlaskClient, token: str, name: str) -> None:
    answer = asked(program, None, f"{PATH}?{name}={token}")
    assert_refused(answer)
    assert token not in answer.text


def test_a_session_counts_for_nothing_beside_a_token_that_does_not(program: FlaskClient, database_url: str) -> None:
    assert_refused(asked(program, "Bearer nothing", **cookie_of(database_url)))
    assert_refused(asked(program, None, **cookie_of(database_url)))


@pytest.fixture
def made(db: Database) -> Callable[[], str]:
    """Makes a token of one day for a viewer."""
    accounts.create_account(db, "lena", role="viewer", actor="tests")
    return lambda: tokens.make_token(db, "lena", "reports", actor="lena", life=timedelta(days=1))


def test_a_token_counts_until_it_is_revoked_too_old_or_its_owner_disabled(
    app: Flask, program: FlaskClient, db: Database, made: Callable[[], str], set_clock: Callable[[timedelta], None]
) -> None:
    revoked, old, last = made(), made(), made()
    assert [asked(program, f"Bearer {each}").status_code for each in (revoked, old, last)] == [200] * 3

    tokens.revoke_token(db, revoked.split("_")[1], actor="lena")
    assert [asked(program, f"Bearer {each}").status_code for each in (revoked, old, last)] == [401, 200, 200]

    set_clock(timedelta(days=2))
    database.close(app)
    assert_refused(asked(program, f"Bearer {old}"))

    set_clock(timedelta())
    database.close(app)
    accounts.disable_account(db, "lena", actor="tests")
    assert_refused(asked(program, f"Bearer {last}"))
