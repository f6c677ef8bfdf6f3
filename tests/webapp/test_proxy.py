"""Behind a proxy: its forwarded headers are believed as far as was said, and nobody else's."""

from __future__ import annotations

import threading
import urllib.request
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from signed_in import token_of

from engine.access import accounts, audit
from engine.db import Database
from engine.settings import Settings
from webapp import create_app
from webapp.server import Server, bind

FORWARDED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "tasks.example.com"}


def sign_in(settings: Settings, database_url: str, headers: dict[str, str]) -> list[str]:
    """The cookies of an answer to the right password."""
    app = create_app(settings, database_url=database_url)
    app.config["ALLOWED_HOSTS"] = (*app.config["ALLOWED_HOSTS"], "tasks.example.com")
    visitor = FlaskClient(app)
    base_url = "https://tasks.example.com" if settings.proxy_hops and headers.get("X-Forwarded-Proto") == "https" else "http://localhost"
    form = token_of(visitor.get("/login", headers=headers).text)
    cookies = {"session": visitor.get_cookie("tasker_session", domain=base_url.rpartition("/")[2])}
    sent = {"name": "ada", "password": "four grey horses", "csrf_token": form}
    kept = f"tasker_session={cookies['session'].value}" if cookies["session"] else ""
    answer = visitor.post("/login", data=sent, headers={**headers, "Cookie": kept, "Referer": f"{base_url}/login"})
    assert answer.status_code == 303, answer.text
    return answer.headers.getlist("Set-Cookie")


@pytest.fixture
def ada(db: Database) -> None:
    accounts.create_account(db, "ada", role="viewer", actor="tests", password="four grey horses")


def seen_from(db: Database) -> set[str | None]:
    return {entry.address for entry in audit.entries(db, action="sign_in")}


@pytest.mark.usefixtures("ada")
def test_a_proxy_tells_who_asks_and_that_it_was_asked_by_https(settings: Settings, database_url: str, db: Database) -> None:
    cookies = sign_in(replace(settings, proxy_hops=1), database_url, FORWARDED)
    assert any(cookie.startswith("__Host-tasker_sign_in=") and "Secure" in cookie for cookie in cookies)
    assert seen_from(db) == {"203.0.113.9"}


@pytest.mark.usefixtures("ada")
def test_without_a_proxy_nobody_is_believed(settings: Settings, database_url: str, db: Database) -> None:
    cookies = sign_in(settings, database_url, FORWARDED)
    assert any(cookie.startswith("tasker_sign_in=") for cookie in cookies)
    assert seen_from(db) == {"127.0.0.1"}


@pytest.mark.usefixtures("ada")
def test_what_the_visitor_forged_before_the_proxy_is_not_believed(settings: Settings, database_url: str, db: Database) -> None:
    sign_in(replace(settings, proxy_hops=1), database_url, FORWARDED | {"X-Forwarded-For": "127.0.0.1, 203.0.113.9"})
    assert seen_from(db) == {"203.0.113.9"}


@pytest.mark.parametrize(("hops", "status"), [(0, 200), (1, 401)])
def test_who_comes_through_a_proxy_is_not_on_this_machine(settings: Settings, database_url: str, hops: int, status: int) -> None:
    app = create_app(replace(settings, proxy_hops=hops), database_url=database_url)
    running = Server(app, "127.0.0.1", bind("127.0.0.1", 0))
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        request = urllib.request.Request(f"{running.url}/health/status", headers={"X-Forwarded-For": "203.0.113.9"})
        with urllib.request.build_opener(_Lenient).open(request, timeout=10) as answer:
            assert answer.status == status
    finally:
        running.stop()
        thread.join(10)


class _Lenient(urllib.request.HTTPErrorProcessor):
    def http_response(self, request: urllib.request.Request, response: object) -> object:  # type: ignore[override]
        return response


@pytest.mark.parametrize(("text", "hops"), [("", 0), ("2", 2), ("-1", 0), ("many", 0), ("10", 0), ("\u0662", 0)])
def test_what_is_no_number_of_proxies_believes_nobody(text: str, hops: int) -> None:
    assert Settings.from_environ({"TASKER_PROXY_HOPS": text}).proxy_hops == hops
