"""The dashboard inside another application: that application's people, forms, errors and addresses stay its own, and so do ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import flask_login
import psycopg
import pytest
from flask import Flask, Response, g, redirect, request
from flask.testing import FlaskClient
from flask_wtf.csrf import CSRFProtect
from signed_in import cookie_of, token_of
from sqlalchemy import create_engine

from engine.access import accounts, audit, tokens
from engine.db import Database
from engine.settings import Settings
from webapp import Tasker, Visitor, database, health, live
from webapp.access import COOKIE
from webapp.live import Stream

ROLES: dict[str, Any] = {}
"""What the shop's people may do in Tasker: the tests write it."""


class Person(flask_login.UserMixin):  # type: ignore[misc,unused-ignore]
    """Somebody whom the shop knows."""

    def __init__(self, name: str) -> None:
        self.id = name


def who() -> Visitor | None:
    """What an application has to write: who is signed in, and what they may do."""
    person = flask_login.current_user
    return Visitor(person.id, roles=ROLES[person.id]) if person.is_authenticated else None


def make_shop() -> Flask:
    """A shop with a sign-in, protected forms, an error page and headers of its own, and names that the dashboard has too."""
    shop = Flask("shop")
    shop.secret_key, shop.testing = "the shop's own key", True
    people = flask_login.LoginManager(shop)
    people.user_loader(lambda name: Person(name) if name in ROLES else None)
    CSRFProtect(shop)
    shop.register_error_handler(404, lambda error: ("the shop has no such page", 404))

    @shop.before_request
    def look_at_forms() -> None:
        request.form.get("voucher")

    @shop.get("/login")
    def login() -> Any:
        if name := request.args.get("name"):
            flask_login.login_user(Person(name))
            return redirect(request.args.get("next") or "/tasks")
        return "the shop's sign-in"

    @shop.get("/tasks", endpoint="overview")
    def tasks() -> str:
        return "the shop's own tasks"

    @shop.post("/orders")
    def orders() -> str:
        return "ordered"

    @shop.after_request
    def mark(response: Response) -> Response:
        response.headers["X-Shop"] = "yes"
        return response

    return shop


@pytest.fixture
def tasker(database_url: str) -> Tasker:
    return Tasker(who=who, login="login", database=database_url, streams=5)


@pytest.fixture
def shop(tasker: Tasker, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    monkeypatch.setenv("TASKER_DATA_DIR", str(settings.data_dir))
    ROLES.clear()
    ROLES.update(ada="admin", ben={"shop": "operator"}, cleo={"elsewhere": ["viewer", "operator"]}, dora={})
    made = make_shop()
    tasker.init_app(made)
    inner = tasker.dashboard(made)
    inner.config["GLANCE_SECONDS"] = inner.config["HEALTH_SECONDS"] = 0
    yield made
    live.close(inner)
    health.close(inner)
    database.close(inner)
    with inner.app_context():
        from webapp.models import db as read_side

        read_side.engine.dispose()


@pytest.fixture
def visit(shop: Flask) -> Callable[[str], FlaskClient]:
    """A browser in which that person has signed in at the shop."""

    def made(name: str) -> FlaskClient:
        client = FlaskClient(shop)
        client.get(f"/login?name={name}")
        return client

    return made


Visit = Callable[[str], FlaskClient]


def test_who_has_signed_in_at_the_application_is_known_and_nobody_else(shop: Flask, visit: Visit, database_url: str) -> None:
    stranger = FlaskClient(shop)
    sent = stranger.get("/tasker/tasks?state=failed")
    assert (sent.status_code, sent.headers["Location"]) == (303, "/login?next=/tasker/tasks?state%3Dfailed")
    assert stranger.get(sent.headers["Location"] + "&name=ada", follow_redirects=True).request.path == "/tasker/tasks"
    assert ">ada</a>" in visit("ada").get("/tasker/").text
    # a session of the dashboard alone opens nothing here
    forged = FlaskClient(shop).get("/tasker/", headers=cookie_of(database_url), environ_overrides={"HTTP_TASKER_DOOR": "ada"})
    assert forged.status_code == 303


def test_every_address_on_a_page_lies_below_the_prefix(tasker: Tasker, shop: Flask, visit: Visit, failed_task: str) -> None:
    client = visit("ada")
    pages = ["", "tasks", f"tasks/{failed_task}", f"tasks/{failed_task}/steps/charge", "workflows/shop/process_order/1.0.0/launch", "failures", "settings", "api/docs"]
    outside = []
    for page in pages:
        answer = client.get(f"/tasker/{page}")
        assert answer.status_code == 200, page
        addresses = re.findall(r'(?:href|src|action|formaction|hx-get|hx-post|sse-connect|value)="(/[^"]*)"', answer.text)
        assert len(addresses) > 10, page
        outside += [(page, address) for address in addresses if not address.startswith("/tasker/")]
    assert outside == []
    assert 'sse-connect="/tasker/live' in client.get("/tasker/").text
    # a server that can keep no thread for a stream is asked for none
    tasker.dashboard(shop).config["LIVE_STREAMS_OFFERED"] = False
    assert "sse-connect" not in client.get("/tasker/").text
    [style] = re.findall(r'href="(/tasker/static/page\.css\?v=\w+)"', client.get("/tasker/").text)
    css = client.get(style)
    assert (css.status_code, css.mimetype) == (200, "text/css")


def test_forms_work_below_the_prefix_and_the_actor_is_on_record(visit: Visit, failed_task: str, db: Database) -> None:
    client = visit("ben")
    form = token_of(client.get(f"/tasker/tasks/{failed_task}").text)
    assert client.post(f"/tasker/tasks/{failed_task}/retry", data={"reason": "again"}).status_code == 403
    done = client.post(f"/tasker/tasks/{failed_task}/retry", data={"csrf_token": form, "reason": "again"})
    assert (done.status_code, done.headers["Location"]) == (303, f"/tasker/tasks/{failed_task}")
    [entry] = audit.entries(db, action="tasker.task:retry")
    assert (entry.actor, entry.reason) == ("ben", "again")
    dark = client.post("/tasker/appearance", data={"csrf_token": form, "theme": "dark", "back": "/tasker/tasks"})
    assert dark.headers["Location"] == "/tasker/tasks"
    assert "Path=/tasker" in dark.headers["Set-Cookie"]


def test_roles_hold_where_the_application_gives_them_and_as_long(visit: Visit, launch: Callable[..., str], db: Database) -> None:
    task_id = launch()
    assert visit("ben").get(f"/tasker/tasks/{task_id}").status_code == 200
    assert visit("ben").get("/tasker/settings/accounts").status_code == 404
    assert visit("cleo").get(f"/tasker/tasks/{task_id}").status_code == 404
    refused = visit("dora").get("/tasker/")
    assert (refused.status_code, "no role here" in refused.text) == (403, True)
    assert {each.name for each in accounts.accounts(db)} == {"ben", "cleo"}
    token = tokens.make_token(db, "ben", "a program", actor="ben")
    ROLES["ben"] = {"elsewhere": "viewer"}
    ben = visit("ben")
    assert ben.get(f"/tasker/tasks/{task_id}").status_code == 404
    # by which the token of the same person may no more either
    assert ben.get(f"/tasker/api/v1/tasks/{task_id}", headers={"Authorization": f"Bearer {token}"}).status_code == 404


def test_the_api_below_the_prefix_takes_tokens_and_no_cookies(visit: Visit, launch: Callable[..., str], db: Database) -> None:
    task_id, client = launch(), visit("ada")
    client.get("/tasker/")
    token = {"Authorization": f"Bearer {tokens.make_token(db, 'ada', 'a program', actor='ada')}"}
    assert client.get(f"/tasker/api/v1/tasks/{task_id}").status_code == 401
    assert client.get(f"/tasker/api/v1/tasks/{task_id}", headers=token).json["task_id"] == task_id
    made = client.post("/tasker/api/v1/tasks", json={"name": "process_order", "namespace": "shop", "context": {"order_id": 8}}, headers=token)
    assert made.status_code == 201
    assert client.get("/tasker/api/v1/openapi.json").json["servers"] == [{"url": "/tasker"}]
    assert client.get("/tasker/metrics").status_code == 401  # the application's proxy may be on this machine


def test_the_application_keeps_its_pages_forms_errors_and_headers(visit: Visit) -> None:
    client = visit("ada")
    assert client.get("/tasks").text == "the shop's own tasks"
    assert "Content-Security-Policy" not in client.get("/tasks").headers
    assert client.get("/nothing").text == "the shop has no such page"
    assert client.post("/orders").status_code == 400  # for want of the shop's own form token
    missing = client.get("/tasker/nothing")
    assert (missing.status_code, "There is nothing here" in missing.text) == (404, True)
    assert "default-src 'self'" in missing.headers["Content-Security-Policy"]
    assert missing.headers["X-Shop"] == "yes"
    assert client.get("/tasker").headers["Location"].endswith("/tasker/")


def test_nobody_signs_in_at_the_dashboard_itself(visit: Visit, shop: Flask, db: Database) -> None:
    accounts.create_account(db, "eve", role="admin", actor="tests", password="four grey horses")
    client = visit("ada")
    form = token_of(client.get("/tasker/tasks").text)
    tried = client.post("/tasker/login", data={"name": "eve", "password": "four grey horses", "csrf_token": form})
    assert tried.status_code == 404
    assert client.get_cookie(COOKIE) is None
    settings, others = client.get("/tasker/settings").text, client.get("/tasker/settings/accounts").text
    assert "API tokens" in settings
    assert not [words for words in ("Present password", "Second factor", "Sessions", "Sign out") if words in settings]
    assert not [words for words in ("New account", "Sign-in link", "Give the role") if words in others]


def test_nobodys_roles_are_changed_by_the_api_of_the_dashboard_either(visit: Visit, db: Database) -> None:
    ada, ben = visit("ada"), visit("ben")
    for client in (ada, ben):
        client.get("/tasker/")
    token = {"Authorization": f"Bearer {tokens.make_token(db, 'ada', 'a program', actor='ada')}"}
    acts = {"/accounts": {"name": "eve", "role": "viewer"}, "/accounts/ben/roles": {"role": "admin"}, "/accounts/ben/roles/removal": {"role": "operator", "namespace": "shop"}, "/accounts/ben/sign-out": {}}
    for path, body in acts.items():
        answer = ada.post(f"/tasker/api/v1{path}", json=body, headers=token)
        assert (answer.status_code, answer.json["errors"][0]["code"]) == (404, "not_found"), path
    assert {each.name for each in accounts.accounts(db)} == {"ada", "ben"}
    assert ada.post("/tasker/api/v1/accounts/ben/disabling", headers=token).status_code == 200
    assert ben.get("/tasker/tasks").status_code == 403


def test_a_name_of_another_account_is_not_taken_over(visit: Visit, db: Database) -> None:
    accounts.create_account(db, "ada", role="viewer", actor="tests", password="four grey horses")
    refused = visit("ada").get("/tasker/")
    assert (refused.status_code, "another account" in refused.text) == (409, True)


def test_a_disabled_account_stays_out_whatever_the_application_says(visit: Visit, db: Database) -> None:
    client = visit("ben")
    client.get("/tasker/")
    visit("ada").get("/tasker/")
    accounts.disable_account(db, "ben", actor="tests")
    assert client.get("/tasker/tasks").status_code == 403


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], bool]]:
    """What the streams that are opened ask about their readers."""
    found: list[Callable[[], bool]] = []
    opened = Stream.__init__

    def watched(self: Stream, *given: Any) -> None:
        opened(self, *given)
        found.append(given[-1].may_follow)

    monkeypatch.setattr(Stream, "__init__", watched)
    return found


def test_a_stream_ends_when_its_reader_is_nobody_any_more(visit: Visit, looks: list[Callable[[], bool]]) -> None:
    with visit("ben").get("/tasker/live") as answer:
        assert answer.mimetype == "text/event-stream"
        [look] = looks
        assert look()
        ROLES["ben"] = {"shop": "viewer"}
        assert not look()
        del ROLES["ben"]
        assert not look()


def test_who_follows_a_live_page_is_asked_as_in_a_request_with_the_hooks_of_the_application(database_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, looks: list[Callable[[], bool]]) -> None:
    monkeypatch.setenv("TASKER_DATA_DIR", str(settings.data_dir))
    shop = Flask("shop")
    shop.secret_key, people = "the shop's own key", {"ada": True}

    @shop.before_request
    def find() -> Any:
        if not people:
            return "closed for today", 503
        g.person = people["ada"] and "ada"
        return None

    tasker = Tasker(shop, who=lambda: Visitor(g.person, roles="admin"), database=database_url, streams=5)
    inner = tasker.dashboard(shop)
    with FlaskClient(shop).get("/tasker/live") as answer:
        assert answer.mimetype == "text/event-stream"
        [look] = looks
        assert look()
        people.clear()
        assert not look()
    live.close(inner)
    database.close(inner)


def test_a_stream_ends_when_the_application_cannot_say_who_its_reader_is(visit: Visit, looks: list[Callable[[], bool]]) -> None:
    with visit("ben").get("/tasker/live") as answer:
        assert answer.mimetype == "text/event-stream"
        [look] = looks
        ROLES["ben"] = 7
        assert not look()


def test_the_database_may_be_named_in_any_way_that_sqlalchemy_knows(database_url: str) -> None:
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    for given in (engine, engine.url):
        shop = make_shop()
        assert Tasker(shop, who=who, database=given).dashboard(shop).config["DATABASE_URL"].startswith("postgresql://")
    with engine.connect() as connection:
        assert connection.connection.driver_connection.info.dbname == psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    with pytest.raises(ValueError, match='as "/tasker" does'):
        Tasker(who=who, prefix="tasker/")
