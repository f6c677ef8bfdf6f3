"""Signing in elsewhere: OpenID Connect at a provider that the tests start, and a method of one's own."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import RSAKey
from werkzeug.test import TestResponse

from engine.access import accounts, audit
from engine.db import Database
from engine.settings import OidcSettings, Settings
from webapp import create_app, database
from webapp.methods import Person

KEY, OTHER_KEY = RSAKey.generate_key(2048, {"kid": "1"}), RSAKey.generate_key(2048, {"kid": "1"})


class Provider(ThreadingHTTPServer):
    """A provider at which one person is always signed in; `lies` replace what its token says, or what signs it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.issuer = f"http://127.0.0.1:{self.server_port}"
        self.lies: dict[str, Any] = {}
        self.asked: dict[str, dict[str, str]] = {}

    def token(self, nonce: str) -> str:
        claims = {"iss": self.issuer, "aud": "tasker", "sub": "u-1", "nonce": nonce, "exp": int(time.time()) + 600, "preferred_username": "ada"}
        key = OTHER_KEY if self.lies.get("key") else KEY
        return jwt.encode({"alg": "RS256", "kid": "1"}, claims | {name: lie for name, lie in self.lies.items() if name != "key"}, key)


class Answers(BaseHTTPRequestHandler):
    server: Provider

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if address.path == "/authorize":
            self.server.asked["code-1"] = query
            self._answer(303, b"", Location=f"{query['redirect_uri']}?{urlencode({'code': 'code-1', 'state': query['state']})}")
        elif address.path == "/keys":
            self._answer(200, json.dumps({"keys": [KEY.as_dict(private=False)]}).encode())
        else:
            issuer = self.server.issuer
            facts = {"issuer": issuer, "authorization_endpoint": f"{issuer}/authorize", "token_endpoint": f"{issuer}/token", "jwks_uri": f"{issuer}/keys"}
            self._answer(200, json.dumps(facts).encode())

    def do_POST(self) -> None:
        form = {name: values[0] for name, values in parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).items()}
        asked = self.server.asked.pop(form["code"], {})
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode().rstrip("=")
        secret = self.headers["Authorization"] == f"Basic {base64.b64encode(b'tasker:its secret').decode()}"
        if not secret or challenge != asked.get("code_challenge") or form["redirect_uri"] != asked["redirect_uri"]:
            self._answer(400, b'{"error": "invalid_grant"}')
        else:
            token = {"access_token": "x", "token_type": "Bearer", "id_token": self.server.token(asked["nonce"])}
            self._answer(200, json.dumps(token).encode())

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def provider() -> Iterator[Provider]:
    running = Provider()
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def visitor(provider: Provider, settings: Settings, database_url: str) -> Iterator[FlaskClient]:
    """A browser in front of a dashboard that knows the provider."""
    oidc = OidcSettings(provider.issuer, "tasker", "its secret", title="Example", role="viewer")
    app = create_app(Settings(secret_key="a key for tests", data_dir=settings.data_dir, oidc=oidc), database_url=database_url)
    yield FlaskClient(app)
    database.close(app)


def sign_in(visitor: FlaskClient) -> TestResponse:
    """Through the provider and back."""
    there = visitor.get("/login/with/oidc?next=/tasks").headers["Location"]
    back = urlsplit(httpx.get(there, follow_redirects=False).headers["Location"])
    return visitor.get(f"{back.path}?{back.query}")


def test_who_is_signed_in_at_the_provider_is_let_in(visitor: FlaskClient, db: Database) -> None:
    assert "Sign in with Example" in visitor.get("/login").text
    answer = sign_in(visitor)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/tasks")
    assert "ada" in visitor.get("/tasks").text
    assert [(row.name, row.grants) for row in accounts.accounts(db)] == [("ada", (("viewer", None),))]
    sign_in(visitor)
    assert len(accounts.accounts(db)) == 1
    assert [row.action for row in audit.entries(db)].count("sign_in") == 2


@pytest.mark.parametrize(
    "lie", [{"key": True}, {"nonce": "another"}, {"aud": "another"}, {"iss": "http://another.example"}, {"exp": 1}, {"sub": None}], ids=str
)
def test_a_token_that_is_not_for_this_very_try_lets_nobody_in(visitor: FlaskClient, provider: Provider, lie: dict[str, Any]) -> None:
    provider.lies = lie
    assert sign_in(visitor).status_code == 403
    assert visitor.get("/tasks").status_code == 303


def test_an_answer_that_was_not_asked_for_or_comes_twice_lets_nobody_in(visitor: FlaskClient) -> None:
    assert visitor.get("/login/with/oidc/done?code=code-1&state=x").status_code == 303
    there = visitor.get("/login/with/oidc").headers["Location"]
    back = urlsplit(httpx.get(there).headers["Location"])
    other = FlaskClient(visitor.application)
    assert other.get(f"{back.path}?{back.query}").headers["Location"].startswith("/login")
    assert visitor.get(f"{back.path}?{back.query}").status_code == 303
    assert visitor.get(f"{back.path}?{back.query}").headers["Location"].startswith("/login")


def test_without_a_role_for_newcomers_only_known_people_come_in(visitor: FlaskClient, provider: Provider, db: Database) -> None:
    visitor.application.extensions["tasker_sign_in_methods"]["oidc"].role = None
    assert sign_in(visitor).status_code == 403
    accounts.create_account(db, "ada l.", role="operator", actor="tests", outside_id=f"{provider.issuer} u-1")
    assert sign_in(visitor).status_code == 303
    accounts.create_account(db, "root", role="admin", actor="tests")
    accounts.disable_account(db, "ada l.", actor="tests")
    assert sign_in(visitor).status_code == 403


def test_a_provider_that_is_away_is_told_and_the_password_still_counts(visitor: FlaskClient, provider: Provider) -> None:
    visitor.application.extensions["tasker_sign_in_methods"]["oidc"].issuer = "http://127.0.0.1:1"
    answer = visitor.get("/login/with/oidc")
    assert answer.status_code == 502
    assert "does not answer" in answer.text
    assert 'name="password"' in answer.text


class Badge:
    """A method of somebody's own."""

    key, title, role = "badge", "your badge", "operator"

    def begin(self, callback: str) -> tuple[str, dict[str, str]]:
        return f"{callback}?badge=7", {"reader": "door 3"}

    def finish(self, callback: str, address: str, remembered: Mapping[str, str]) -> Person:
        if not address.endswith("?badge=7") or remembered["reader"] != "door 3":
            raise accounts.Denied("no badge")
        return Person("badge 7", "grace")


def test_a_method_of_ones_own_is_three_members(settings: Settings, database_url: str) -> None:
    app: Flask = create_app(settings, database_url=database_url, sign_in_methods=[Badge()])
    visitor = FlaskClient(app)
    back = urlsplit(visitor.get("/login/with/badge").headers["Location"])
    assert visitor.get(f"{back.path}?{back.query}").status_code == 303
    assert "grace" in visitor.get("/tasks").text
    database.close(app)
