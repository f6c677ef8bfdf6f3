"""Signing in and out, and what ends a session; accounts, second factors and tokens on their pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import psycopg
import pyotp
import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import token_of
from werkzeug.test import TestResponse

from engine.access import accounts, audit, passwords, tokens
from engine.db import Database
from webapp import database
from webapp.access import COOKIE, SECURE_COOKIE, own_page

PASSWORD = "four grey horses at noon"


@pytest.fixture
def ada(db: Database) -> int:
    """An administrator with a password."""
    return accounts.create_account(db, "ada", role="admin", actor="tests", password=PASSWORD)


@pytest.fixture
def visitor(app: Flask) -> FlaskClient:
    """A browser in which nobody is signed in."""
    return FlaskClient(app)


def send(client: FlaskClient, path: str, page: str = "/login", **fields: Any) -> TestResponse:
    return client.post(path, data={"csrf_token": token_of(client.get(page, follow_redirects=True).text), **fields})


def sign_in(client: FlaskClient, name: str = "ada", password: str = PASSWORD, **fields: str) -> TestResponse:
    return send(client, "/login", name=name, password=password, **fields)


def secret_of(client: FlaskClient) -> str:
    cookie = client.get_cookie(COOKIE)
    return cookie.value if cookie else ""


@pytest.fixture
def ahead(set_clock: Callable[[timedelta], None], app: Flask) -> Callable[..., None]:
    """Moves the clock of the test's database; sessions of before are not asked any more."""

    def move(**by: float) -> None:
        set_clock(timedelta(**by))
        database.close(app)

    return move


# ---- the way in


@pytest.mark.parametrize("path", ["/", "/tasks", "/workflows/shop", "/settings", "/audit", "/nothing-here", "/tasks?state=failed"])
def test_whoever_is_not_signed_in_is_led_to_the_way_in_and_back(visitor: FlaskClient, ada: int, path: str) -> None:
    answer = visitor.get(path)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/login")
    assert "Sign in" in visitor.get(answer.headers["Location"]).text


def test_a_password_opens_the_page_that_was_asked_for(visitor: FlaskClient, ada: int) -> None:
    answer = sign_in(visitor, name="ADA", next="/tasks?state=failed")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/tasks?state=failed")
    assert "ada" in visitor.get("/tasks").text


@pytest.mark.parametrize("wanted", ["//evil.example", "https://evil.example/", "/\\evil.example", "/\t/evil.example", "javascript:alert(1)", "/no-page", "tasks", "/login", "///evil.example", " //evil.example", "////evil.example", "\u3000//evil.example"])
def test_the_way_back_is_one_of_our_pages(app: Flask, wanted: str) -> None:
    with app.test_request_context("/"):
        assert own_page(wanted) == "/"


def test_a_wrong_password_and_an_unknown_name_are_answered_alike(visitor: FlaskClient, ada: int) -> None:
    wrong, unknown = sign_in(visitor, password="nothing of the sort"), sign_in(visitor, name="eve")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text.replace('value="ada"', "") .count("do not belong together") == unknown.text.count("do not belong together") == 1
    assert visitor.get("/tasks").status_code == 303


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("", ""), ("ada", ""), ("", PASSWORD), ("\u0430da", PASSWORD), ("ad\u00e1", PASSWORD), ("ada\u200b", PASSWORD), ("ada", PASSWORD + " "), ("ada", PASSWORD.upper()), ("ada", PASSWORD * 50),
        ("a" * 5000, PASSWORD), ("ada", "\ud83d\ude00" * 20), ("ada' or '1'='1", PASSWORD), ("%", PASSWORD), ("ada", "%"),
    ],
)  # fmt: skip
def test_nothing_that_only_looks_like_a_name_and_its_password_opens_the_page(visitor: FlaskClient, ada: int, name: str, password: str) -> None:
    answer = sign_in(visitor, name, password.encode("utf-16", "surrogatepass").decode("utf-16"))
    assert answer.status_code in (401, 422)
    assert PASSWORD not in answer.text
    assert visitor.get("/tasks").status_code == 303


def test_a_password_of_megabytes_is_refused_before_it_costs_anything(visitor: FlaskClient, ada: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_hasher", None)  # whoever computes with it fails
    assert sign_in(visitor, password="x" * (10 << 20)).status_code == 413


def test_of_a_hundred_wrong_tries_at_most_ten_are_looked_at(visitor: FlaskClient, db: Database, ada: int, ahead: Callable[..., None]) -> None:
    """Whatever name they go for: the address is counted too."""
    form = token_of(visitor.get("/login").text)
    statuses = [
        visitor.post("/login", data={"csrf_token": form, "name": name, "password": f"wrong number {number}"}).status_code
        for number, name in enumerate(["ada"] * 50 + [f"name {number}" for number in range(50)])
    ]
    assert statuses.count(401) <= 10
    assert set(statuses) == {401, 429}
    assert sign_in(visitor).status_code == 429
    ahead(minutes=16)
    assert sign_in(visitor).status_code == 303


def test_nobody_locks_an_owner_out_of_a_known_place(visitor: FlaskClient, db: Database, ada: int) -> None:
    accounts.check_credentials(db, "ada", PASSWORD, "192.0.2.1")
    for number in range(30):
        with pytest.raises(accounts.Denied):
            accounts.check_credentials(db, "ada", "a wrong password", f"198.51.100.{number}")
    with pytest.raises(accounts.TooManyTries):
        accounts.check_credentials(db, "ada", PASSWORD, "203.0.113.1")
    assert accounts.check_credentials(db, "ada", PASSWORD, "192.0.2.1")[:2] == (ada, False)


def test_a_session_begins_under_a_secret_of_its_own(visitor: FlaskClient, ada: int) -> None:
    """Fixation: what was planted before signing in opens nothing afterwards."""
    visitor.set_cookie(COOKIE, "planted-by-somebody-else")
    sign_in(visitor)
    assert secret_of(visitor) not in ("", "planted-by-somebody-else")
    other = FlaskClient(visitor.application)
    other.set_cookie(COOKIE, "planted-by-somebody-else")
    assert other.get("/tasks").status_code == 303


def test_a_form_token_of_before_signing_in_is_void(visitor: FlaskClient, ada: int) -> None:
    before = token_of(visitor.get("/login").text)
    sign_in(visitor)
    assert visitor.post("/appearance", data={"csrf_token": before, "theme": "dark"}).status_code == 403


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 303), ("none", 303)])
def test_a_form_that_the_browser_calls_foreign_is_refused(visitor: FlaskClient, site: str, status: int) -> None:
    form = token_of(visitor.get("/login").text)
    answer = visitor.post("/appearance", data={"csrf_token": form, "theme": "dark"}, headers={"Sec-Fetch-Site": site})
    assert answer.status_code == status


def test_the_cookie_is_out_of_reach_of_scripts_and_over_tls_of_plain_text(visitor: FlaskClient, ada: int) -> None:
    def cookie(answer: TestResponse, name: str) -> str:
        return next(each for each in answer.headers.getlist("Set-Cookie") if each.startswith(f"{name}="))

    plain = cookie(sign_in(visitor), COOKIE)
    assert "HttpOnly" in plain
    assert "SameSite=Lax" in plain
    assert "Secure" not in plain
    over_tls = {"base_url": "https://localhost", "headers": {"Referer": "https://localhost/login"}}
    form = token_of(visitor.get("/login", base_url="https://localhost").text)
    secure = cookie(visitor.post("/login", data={"csrf_token": form, "name": "ada", "password": PASSWORD}, **over_tls), SECURE_COOKIE)
    assert all(flag in secure for flag in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"))
    assert "Domain" not in secure


# ---- links


def test_a_link_signs_in_once_and_only_by_its_button(visitor: FlaskClient, db: Database, ada: int) -> None:
    path = f"/login/link/{accounts.make_sign_in_link(db, 'ada', actor='tests')}"
    assert visitor.get(path).status_code == visitor.get(path).status_code == 200
    assert send(visitor, path, page=path).headers["Location"] == "/"
    assert visitor.get("/tasks").status_code == 200
    other = FlaskClient(visitor.application)
    assert send(other, path, page=path).status_code == 403
    assert other.get("/tasks").status_code == 303


def test_a_link_is_void_after_an_hour(visitor: FlaskClient, db: Database, ada: int, ahead: Callable[..., None]) -> None:
    path = f"/login/link/{accounts.make_sign_in_link(db, 'ada', actor='tests')}"
    ahead(minutes=61)
    assert send(visitor, path, page=path).status_code == 403


# ---- the end of a session


def test_signing_out_ends_the_session_and_not_only_the_cookie(visitor: FlaskClient, ada: int) -> None:
    sign_in(visitor)
    kept = secret_of(visitor)
    assert send(visitor, "/logout", page="/tasks").status_code == 303
    visitor.set_cookie(COOKIE, kept)
    assert visitor.get("/tasks").status_code == 303


def end_by_password(db: Database) -> None:
    accounts.set_password(db, "ada", "another five words of it", actor="tests")


def end_by_disabling(db: Database) -> None:
    accounts.create_account(db, "grace", role="admin", actor="tests")
    accounts.disable_account(db, "ada", actor="tests")


@pytest.mark.parametrize("end", [end_by_password, end_by_disabling])
def test_what_ends_sessions_ends_all_of_them_and_their_streams(
    app: Flask, visitor: FlaskClient, db: Database, ada: int, end: Callable[[Database], None]
) -> None:
    app.config.update(LIVE_HEARTBEAT_SECONDS=0.05, LIVE_STREAM_SECONDS=60.0)
    other = FlaskClient(app)
    sign_in(visitor), sign_in(other)
    stream = visitor.get("/live")
    end(db)
    assert b"retry:" in stream.get_data()  # it ends by itself, long before its minute is over
    assert [each.get("/tasks").status_code for each in (visitor, other)] == [303, 303]


def test_a_password_that_is_changed_while_the_former_is_compared_leaves_nobody_in(
    visitor: FlaskClient, db: Database, ada: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = passwords.is_right
    monkeypatch.setattr(passwords, "is_right", lambda *given: (compare(*given), end_by_password(db))[0])
    assert sign_in(visitor).status_code == 409
    assert visitor.get("/tasks").status_code == 303
    assert db.value("select count(*) from tasker_session") == 0


def test_a_password_that_is_changed_while_a_code_is_looked_at_leaves_nobody_in(
    visitor: FlaskClient, db: Database, ada: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, look = pyotp.random_base32(), accounts.takes_code
    accounts.set_second_factor(db, "ada", secret, actor="tests")
    assert "/login/code" in sign_in(visitor).headers["Location"]
    monkeypatch.setattr(accounts, "takes_code", lambda *given: (look(*given), end_by_password(db))[0])
    assert send(visitor, "/login/code", page="/login/code", code=pyotp.TOTP(secret).now()).status_code == 409
    assert visitor.get("/tasks").status_code == 303
    assert db.value("select count(*) from tasker_session") == 0


@pytest.mark.parametrize(("minutes", "status"), [(8 * 60 - 10, 200), (8 * 60 + 10, 303)])
def test_a_session_is_over_after_eight_hours_without_use(visitor: FlaskClient, ada: int, ahead: Callable[..., None], minutes: int, status: int) -> None:
    sign_in(visitor)
    ahead(minutes=minutes)
    assert visitor.get("/tasks").status_code == status


def test_a_session_is_over_after_a_day_however_it_was_used(visitor: FlaskClient, ada: int, ahead: Callable[..., None]) -> None:
    sign_in(visitor)
    for hours, status in ((7, 200), (14, 200), (21, 200), (25, 303)):
        ahead(hours=hours)
        assert visitor.get("/tasks").status_code == status


def test_rights_that_were_taken_away_count_for_nothing_at_once(visitor: FlaskClient, db: Database, ada: int) -> None:
    accounts.create_account(db, "grace", role="admin", actor="tests")
    sign_in(visitor)
    assert visitor.get("/settings/accounts").status_code == 200
    accounts.grant_role(db, "ada", "viewer", actor="tests")
    accounts.revoke_role(db, "ada", "admin", actor="tests")
    assert visitor.get("/settings/accounts").status_code == 404


# ---- the second factor, passwords, tokens and accounts on their pages


def new_factor(client: FlaskClient) -> tuple[str, str]:
    """The secret that the page offers, and the page."""
    page = send(client, "/settings/second-factor", page="/settings").text
    found = re.search(r"otpauth://[^\"<]+secret=([A-Z2-7]+)", page)
    assert found
    return found[1], page


def test_with_a_second_factor_a_password_alone_opens_nothing(visitor: FlaskClient, db: Database, ada: int) -> None:
    sign_in(visitor)
    secret, _ = new_factor(visitor)
    code = pyotp.TOTP(secret).now()
    assert send(visitor, "/settings/second-factor", page="/settings", present=PASSWORD, code="000000" if code != "000000" else "111111").status_code == 422
    assert send(visitor, "/settings/second-factor", page="/settings", present=PASSWORD, code=code).status_code == 303
    other = FlaskClient(visitor.application)
    assert "/login/code" in sign_in(other).headers["Location"]
    assert other.get("/tasks").headers["Location"].startswith("/login/code")
    assert send(other, "/login/code", page="/login/code", code=code).status_code in (401, 303)
    db.rows("update tasker_account set totp_last = 0 returning 1")
    assert send(other, "/login/code", page="/login/code", code=pyotp.TOTP(secret).now()).status_code in (303,)
    assert other.get("/tasks").status_code == 200


def test_a_second_factor_is_set_up_with_the_present_password(visitor: FlaskClient, db: Database, ada: int) -> None:
    sign_in(visitor)
    secret, page = new_factor(visitor)
    form = {"csrf_token": token_of(page), "code": pyotp.TOTP(secret).now()}
    assert len(re.findall('name="present"', page)) == 2
    for present in ({}, {"present": "wrong and wrong"}):
        refused = visitor.post("/settings/second-factor", data={**form, **present})
        assert (refused.status_code, secret in refused.text) == (422, True)
        assert not accounts.account(db, "ada").has_second_factor
    assert visitor.post("/settings/second-factor", data={**form, "present": PASSWORD}).status_code == 303
    assert accounts.account(db, "ada").has_second_factor


def test_a_second_factor_that_is_there_is_not_replaced(visitor: FlaskClient, db: Database, ada: int, conn: psycopg.Connection[Any]) -> None:
    """Also not by a form that was opened before the present one was set up."""
    sign_in(visitor)
    secret, page = new_factor(visitor)
    accounts.set_second_factor(db, "ada", pyotp.random_base32(), actor="tests")
    kept = conn.execute("select totp_secret from tasker_account where name = 'ada'").fetchall()
    form = {"csrf_token": token_of(page), "present": PASSWORD, "code": pyotp.TOTP(secret).now()}
    for given in (form, {"csrf_token": form["csrf_token"]}, form):
        refused = visitor.post("/settings/second-factor", data=given)
        assert (refused.status_code, "Remove the present one first" in refused.text, "otpauth://" in refused.text) == (409, True, False)
    assert conn.execute("select totp_secret from tasker_account where name = 'ada'").fetchall() == kept


def test_who_has_no_password_sets_up_a_second_factor_without_one(visitor: FlaskClient, db: Database, ada: int) -> None:
    accounts.create_account(db, "grace", role="viewer", actor="tests")
    path = f"/login/link/{accounts.make_sign_in_link(db, 'grace', actor='tests')}"
    send(visitor, path, page=path)
    secret, page = new_factor(visitor)
    assert 'name="present"' not in page
    assert visitor.post("/settings/second-factor", data={"csrf_token": token_of(page), "code": pyotp.TOTP(secret).now()}).status_code == 303
    assert accounts.account(db, "grace").has_second_factor


def test_a_link_is_the_way_back_in_for_who_has_lost_a_second_factor(client: FlaskClient, visitor: FlaskClient, db: Database, ada: int) -> None:
    accounts.set_second_factor(db, "ada", pyotp.random_base32(), actor="tests")
    page = send(client, "/settings/accounts/ada/link", page="/settings/accounts").text
    assert "asks for no second factor" in page
    found = re.search(r"(/login/link/[\w-]{43})", page)
    assert found
    send(visitor, found[1], page=found[1])
    assert visitor.get("/tasks").status_code == 200
    assert send(visitor, "/settings/second-factor/removal", page="/settings").status_code == 422
    assert send(visitor, "/settings/second-factor/removal", page="/settings", present=PASSWORD).status_code == 303


def test_no_code_counts_twice(db: Database, ada: int) -> None:
    secret = pyotp.random_base32()
    code = pyotp.TOTP(secret).now()
    assert accounts.takes_code(db, ada, secret, code)
    assert not accounts.takes_code(db, ada, secret, code)


def test_changing_the_password_needs_the_present_one_and_leaves_one_session(visitor: FlaskClient, ada: int) -> None:
    other = FlaskClient(visitor.application)
    sign_in(visitor), sign_in(other)
    before, new = secret_of(visitor), "seven small boats ashore"
    assert send(visitor, "/settings/password", page="/settings", present="wrong and wrong", password=new, again=new).status_code == 422
    assert send(visitor, "/settings/password", page="/settings", present=PASSWORD, password="password1234", again="password1234").status_code == 422
    assert send(visitor, "/settings/password", page="/settings", present=PASSWORD, password=new, again=new).status_code == 303
    assert secret_of(visitor) != before
    assert (visitor.get("/tasks").status_code, other.get("/tasks").status_code) == (200, 303)
    assert sign_in(other, password=new).status_code == 303


def test_a_token_is_shown_once_and_counts_under_the_api_alone(visitor: FlaskClient, db: Database, ada: int, conn: psycopg.Connection[Any]) -> None:
    sign_in(visitor)
    page = send(visitor, "/settings/tokens", page="/settings", label="ci", scopes="tasker.task:show", days="7").text
    found = re.search(r"tasker_[0-9a-f]{16}_[\w-]{43}", page)
    assert found
    assert found[0] not in visitor.get("/settings").text
    held = tokens.bearer(db, found[0])
    assert held is not None
    assert set(held.rights.held) == {"tasker.task:show"}
    assert FlaskClient(visitor.application).get("/tasks", headers={"Authorization": f"Bearer {found[0]}"}).status_code == 303
    secret = found[0].split("_", 2)[2]
    stored = conn.execute("select t::text from tasker_token t union all select a::text from tasker_audit a").fetchall()
    assert not [row for row in stored if secret in row[0]]
    assert send(visitor, f"/settings/tokens/{held.token_id}/revocation", page="/settings").status_code == 303
    assert tokens.bearer(db, found[0]) is None


def test_what_keeps_a_token_from_being_made_is_told_in_sentences(visitor: FlaskClient, ada: int) -> None:
    sign_in(visitor)
    page = unescape(send(visitor, "/settings/tokens", page="/settings", label="", scopes="what", days="0").text)
    assert 'There is no scope "what"; a scope is' in page
    assert "The label must be one line" in page
    assert "A token lives for 1 to 366 days." in page
    assert "The scope there" not in page


def test_an_administrator_makes_an_account_whose_link_signs_in(client: FlaskClient, visitor: FlaskClient) -> None:
    page = send(client, "/settings/accounts", page="/settings/accounts", name="grace", role="viewer", namespace="shop").text
    found = re.search(r"(/login/link/[\w-]{43})", page)
    assert found
    assert send(visitor, found[1], page=found[1]).status_code == 303
    assert visitor.get("/tasks").status_code == 200
    assert visitor.get("/settings/accounts").status_code == 404
    assert send(client, "/settings/accounts/grace/disabling", page="/settings/accounts", reason="on leave").status_code == 303
    assert visitor.get("/tasks").status_code == 303


def test_the_last_administrator_stays(client: FlaskClient) -> None:
    for path in ("/settings/accounts/dashboard/disabling", "/settings/accounts/dashboard/roles/removal"):
        answer = send(client, path, page="/settings/accounts", role="admin")
        assert answer.status_code == 409
        assert "last administrator" in answer.text


# ---- on record


def recorded(db: Database) -> list[tuple[str, str, str]]:
    return [(row.actor, row.action, row.outcome) for row in audit.entries(db)]


def test_signing_in_failing_to_and_signing_out_are_one_entry_each(visitor: FlaskClient, db: Database, ada: int) -> None:
    sign_in(visitor, password="nothing of the sort")
    sign_in(visitor)
    send(visitor, "/logout", page="/tasks")
    assert recorded(db)[:3] == [("ada", "sign_out", "done"), ("ada", "sign_in", "done"), ("ada", "sign_in", "denied")]
    assert len(recorded(db)) == 4  # and the account's making


def test_every_act_is_one_entry_with_who_what_where_and_why(post: Callable[..., TestResponse], db: Database, failed_task: str) -> None:
    post(f"/tasks/{failed_task}/steps/charge/retry", reason="the gateway is up")
    post(f"/tasks/{failed_task}/pause", reason="stocktaking")
    post(f"/tasks/{failed_task}/pause")
    rows = [row for row in audit.entries(db) if row.action.startswith("tasker.task") or row.action.startswith("tasker.step")]
    assert [(row.actor, row.action, row.outcome, row.namespace, row.reason) for row in rows] == [
        ("dashboard", "tasker.task:update", "refused", "shop", None),
        ("dashboard", "tasker.task:update", "done", "shop", "stocktaking"),
        ("dashboard", "tasker.step:retry", "done", "shop", "the gateway is up"),
    ]
    assert rows[2].object == f"task {failed_task} step charge"
    assert rows[2].address == "127.0.0.1"


def test_a_link_that_was_made_is_on_record_without_its_secret(client: FlaskClient, db: Database, ada: int, conn: psycopg.Connection[Any]) -> None:
    page = send(client, "/settings/accounts/ada/link", page="/settings/accounts", reason="lost the phone").text
    found = re.search(r"/login/link/([\w-]{43})", page)
    assert found
    [row] = audit.entries(db, action="tasker.account:update")
    assert (row.actor, row.outcome, row.object, row.reason, row.address) == ("dashboard", "done", "account ada", "lost the phone", "127.0.0.1")
    assert row.detail == {"changed": "sign-in link"}
    stored = " ".join(text for (text,) in conn.execute("select a::text from tasker_audit a").fetchall())
    assert found[1] not in stored
    assert accounts.digest(found[1]).hex() not in stored


def test_the_audit_page_filters_and_its_file_holds_no_formula(client: FlaskClient, db: Database) -> None:
    audit.note(db, "=cmd()", "tasker.task:retry", "denied", namespace="shop", subject="task 1", reason="two\r\nlines")
    audit.note(db, "grace", "tasker.task:cancel", "done", namespace="shop", subject="task 2")
    page = client.get("/audit?actor=grace").text
    assert "task 2" in page
    assert "task 1" not in page
    text = client.get("/audit.csv?outcome=denied").text
    assert ",'=cmd(),tasker.task:retry,denied,shop,task 1,two  lines," in text


@pytest.mark.parametrize("change", ["update tasker_audit set actor = 'nobody'", "delete from tasker_audit", "truncate tasker_audit"])
def test_the_audit_is_only_ever_added_to(db: Database, ada: int, conn: psycopg.Connection[Any], change: Any) -> None:
    with pytest.raises(psycopg.Error, match="only ever added to"):
        conn.execute(change)
