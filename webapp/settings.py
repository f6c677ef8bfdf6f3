"""`/settings`: one's own password, second factor, sessions and tokens; `/settings/accounts`: who else may come in, for administrators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from zoneinfo import available_timezones

import pyotp
from flask import Blueprint, Response, g, redirect, request, session, url_for
from flask import make_response as made

from engine.access import accounts, passwords, tokens
from engine.errors import NotFound, RequestError, WrongState
from webapp.access import Caller, drop_cookie, keep_cookie, known_caller, require_power_over, require_power_to_give
from webapp.database import database
from webapp.downloads import Row, asked_format, list_file
from webapp.filters import plural, sentence
from webapp.htmx import Notice, done, given_reason, page

ISSUER = "Tasker"
SECRET = "second_factor"  # where the secret waits for its first code, in the signed cookie of the form tokens
NEW_TOKEN = {"label": "", "scopes": "", "namespace": "", "days": "90"}
NEW_ACCOUNT = {"name": "", "role": "", "namespace": ""}  # never the password

VERBS = ("must ", "may ", "has ", "is ")  # what begins so lacks its subject; other messages are sentences already
COLUMNS = ("name", "disabled", "has_password", "has_second_factor", "created_at", "created_by", "signed_in_at")

blueprint = Blueprint("settings", __name__)


@blueprint.get("/settings")
def index() -> Response:
    """One's own account."""
    return _own()


@blueprint.post("/settings/zone")
def zone() -> Response:
    """See times in another zone, or in the browser's."""
    try:
        accounts.set_zone(database(), known_caller().account_id, request.form.get("zone", "").replace("\x00", "").strip() or None)
    except RequestError as error:
        return _own(422, _refused(_words(error)))
    return done("Times are shown in that zone.", url_for("settings.index"))


@blueprint.post("/settings/password")
def password() -> Response:
    """Have another password: every session is over but a new one of this browser."""
    caller = known_caller()
    given, again = request.form.get("password", ""), request.form.get("again", "")
    if given != again:
        return _own(422, _refused("The two new passwords differ."))
    try:
        _confirm(caller)
        accounts.set_password(database(), caller.name, given, actor=caller.name, address=request.remote_addr)
    except (RequestError, accounts.Denied) as error:
        return _own(422, _refused(_words(error)))
    answer = done("Your password is changed, and every other session is over.", url_for("settings.index"))
    keep_cookie(answer, accounts.begin_session(database(), caller.account_id, method="password", address=request.remote_addr, browser=request.user_agent.string))
    return answer


def _confirm(caller: Caller) -> None:
    """Raises `Denied` unless the present password was typed, where there is one: a browser left alone must not give the account away."""
    if accounts.account(database(), caller.name).has_password:
        accounts.check_password_of(database(), caller.account_id, request.form.get("present", ""), request.remote_addr or "?")


@blueprint.post("/settings/second-factor")
def second_factor() -> Response:
    """Show a new secret; with a code of it and the present password, ask for such a code from now on. One that is there already stays."""
    caller, secret = known_caller(), session.get(SECRET)
    if accounts.account(database(), caller.name).has_second_factor:
        session.pop(SECRET, None)
        return _own(409, _refused("You have a second factor already. Remove the present one first."))
    if not secret or "code" not in request.form:
        session[SECRET] = pyotp.random_base32()
        return _own()
    return _set_up(caller, secret)


def _set_up(caller: Caller, secret: str) -> Response:
    try:
        _confirm(caller)  # first, as a code that was looked at counts no second time
    except accounts.Denied as error:
        return _own(422, _refused(_words(error)))
    if not accounts.takes_code(database(), caller.account_id, secret, request.form["code"]):
        return _own(422, _refused("This code is not the one of now. Is the clock of your device right?"))
    accounts.set_second_factor(database(), caller.name, secret, actor=caller.name, address=request.remote_addr)
    session.pop(SECRET)
    return done("From now on you are asked for a code when you sign in.", url_for("settings.index"))


@blueprint.post("/settings/second-factor/removal")
def no_second_factor() -> Response:
    """Ask for no code any more."""
    caller = known_caller()
    try:
        _confirm(caller)
    except accounts.Denied as error:
        return _own(422, _refused(_words(error)))
    accounts.set_second_factor(database(), caller.name, None, actor=caller.name, address=request.remote_addr)
    return done("You are asked for no code any more.", url_for("settings.index"))


@blueprint.post("/settings/sessions/<int:session_id>/end")
def end_session(session_id: int) -> Response:
    """One of the caller's sessions is over."""
    caller = known_caller()
    number = min(session_id, 2**31 - 1)
    own = {each.session_id: each.digest for each in accounts.sessions(database(), caller.account_id)}
    accounts.end_session_no(database(), caller.account_id, number, actor=caller.name, address=request.remote_addr)
    if own.get(number) == caller.session:
        answer = made(redirect(url_for("signing_in.form"), code=303))
        drop_cookie(answer)
        return answer
    return done("That session is over.", url_for("settings.index"))


@blueprint.post("/settings/sessions/end")
def sign_out_elsewhere() -> Response:
    """Every session of the caller's is over but this one."""
    caller = known_caller()
    count = accounts.sign_out(database(), caller.name, but=caller.session, actor=caller.name, address=request.remote_addr)
    return done(f"{plural(count, 'other session')} of yours {'is' if count == 1 else 'are'} over." if count else "There was no other session.", url_for("settings.index"))


@blueprint.post("/settings/tokens")
def make_token() -> Response:
    """A token of the caller's, shown this once."""
    caller = known_caller()
    scopes = request.form.get("scopes", "").split()
    try:
        token = tokens.make_token(
            database(),
            caller.name,
            request.form.get("label", "").strip(),
            actor=caller.name,
            scopes=scopes or None,
            namespace=request.form.get("namespace", "").replace("\x00", "").strip() or None,
            life=timedelta(days=_number(request.form.get("days", "90"))),
            address=request.remote_addr,
        )
    except RequestError as error:
        return _own(422, _refused(_words(error)), typed=_typed(NEW_TOKEN))
    return _own(201, token=token)


def _number(text: str) -> int:
    return int(text) if text.strip().isascii() and text.strip().isdecimal() and len(text.strip()) < 6 else 0


@blueprint.post("/settings/tokens/<token_id>/revocation")
def revoke_token(token_id: str) -> Response:
    """A token of the caller's counts for nothing any more."""
    caller = known_caller()
    tokens.revoke_token(database(), token_id, actor=caller.name, account_id=caller.account_id, address=request.remote_addr)
    return done("The token counts for nothing any more.", url_for("settings.index"))


def _typed(fresh: Mapping[str, str]) -> dict[str, str]:
    return {name: request.form.get(name, text) for name, text in fresh.items()}


def _own(status: int = 200, notice: Notice | None = None, token: str = "", typed: Mapping[str, str] = NEW_TOKEN) -> Response:
    caller = known_caller()
    row = accounts.account(database(), caller.name)
    secret = session.get(SECRET) if request.endpoint == "settings.second_factor" else None
    seen: dict[str, Any] = {
        "account": row,
        "sessions": accounts.sessions(database(), caller.account_id),
        "tokens": tokens.tokens(database(), caller.account_id),
        "secret": secret,
        "uri": pyotp.TOTP(secret).provisioning_uri(name=caller.name, issuer_name=ISSUER) if secret else "",
        "token": token,
        "typed": typed,
        "shortest": passwords.SHORTEST,
        "zones": sorted(available_timezones()),
        "chosen_zone": caller.zone,
    }
    return page("settings/index.html", status=status, notice=notice, **seen)


# ---- accounts of others


@blueprint.get("/settings/accounts")
def list_accounts() -> Response:
    """Who may come in; all of them as a file where that is asked for."""
    if form := asked_format():
        return list_file("accounts", (*COLUMNS, "grants"), [[_line(each) for each in accounts.accounts(database())]], form)
    return _others()


@blueprint.post("/settings/accounts")
def create_account() -> Response:
    """Somebody new may come in, by a password or by a link that is shown this once."""
    name, typed = request.form.get("name", "").strip(), request.form.get("password", "")
    role, namespace = request.form.get("role", ""), _namespace()
    require_power_to_give(accounts.role_rights(database(), role, namespace))
    try:
        accounts.create_account(
            database(), name, role=role, namespace=namespace, password=typed or None, actor=_actor(), address=request.remote_addr
        )
    except (RequestError, WrongState) as error:
        return _others(422 if isinstance(error, RequestError) else 409, _refused(_words(error)), typed=_typed(NEW_ACCOUNT))
    if typed:
        return done(f"{name} may sign in.", url_for("settings.list_accounts"))
    return _linked(name, 201)


@blueprint.post("/settings/accounts/<name>/link")
def make_link(name: str) -> Response:
    """A one-time link for an account, shown this once."""
    require_power_over(name)
    return _linked(accounts.account(database(), name).name)


def _linked(name: str, status: int = 200) -> Response:
    secret = accounts.make_sign_in_link(database(), name, **_by())
    return _others(status, link=url_for("signing_in.link", secret=secret, _external=True), link_of=name)


@blueprint.post("/settings/accounts/<name>/disabling")
def disable(name: str) -> Response:
    """Nobody comes in by it any more."""
    return _changed(name, lambda: accounts.disable_account(database(), name, **_by()), f"{name} is disabled and signed out.")


@blueprint.post("/settings/accounts/<name>/enabling")
def enable(name: str) -> Response:
    """It may come in again."""
    return _changed(name, lambda: accounts.enable_account(database(), name, **_by()), f"{name} may sign in.")


@blueprint.post("/settings/accounts/<name>/sign-out")
def sign_out_account(name: str) -> Response:
    """It is signed out everywhere."""
    return _changed(name, lambda: accounts.sign_out(database(), name, **_by()), f"{name} is signed out everywhere.")


@blueprint.post("/settings/accounts/<name>/roles")
def grant(name: str) -> Response:
    """It has one more role."""
    role = request.form.get("role", "")
    require_power_to_give(accounts.role_rights(database(), role, _namespace()))
    return _changed(name, lambda: accounts.grant_role(database(), name, role, _namespace(), **_by()), f"{name} is {role} now.")


@blueprint.post("/settings/accounts/<name>/roles/removal")
def revoke(name: str) -> Response:
    """It has one role less."""
    role = request.form.get("role", "")
    return _changed(name, lambda: accounts.revoke_role(database(), name, role, _namespace(), **_by()), f"{name} is not {role} there any more.")


def _changed(name: str, change: Callable[[], object], said: str) -> Response:
    try:
        require_power_over(name)
        change()
    except NotFound as error:
        return _others(404, _refused(_words(error)))
    except WrongState as error:
        return _others(409, _refused(_words(error)))
    except RequestError as error:
        return _others(422, _refused(_words(error)))
    return done(said, url_for("settings.list_accounts"))


def _by() -> dict[str, Any]:
    return {"actor": _actor(), "reason": given_reason(), "address": request.remote_addr}


def _actor() -> str:
    return str(g.caller.name)


def _namespace() -> str | None:
    return request.form.get("namespace", "").replace("\x00", "").strip() or None


def _line(each: accounts.AccountRow) -> Row:
    grants = [f"{role} in {namespace}" if namespace else role for role, namespace in each.grants]
    return {**{name: getattr(each, name) for name in COLUMNS}, "grants": grants}


def _others(status: int = 200, notice: Notice | None = None, link: str = "", link_of: str = "", typed: Mapping[str, str] = NEW_ACCOUNT) -> Response:
    seen: dict[str, Any] = {
        "accounts": accounts.accounts(database()),
        "roles": accounts.role_names(database()),
        "link": link,
        "link_of": link_of,
        "typed": typed,
    }
    return page("settings/accounts.html", status=status, notice=notice, **seen)


def _refused(words: str) -> Notice:
    return Notice("refused", words)


def _words(error: Exception) -> str:
    if isinstance(error, RequestError):
        return " ".join(sentence(f"the {each.path} {each.message}" if each.message.startswith(VERBS) else each.message) for each in error.problems)
    return sentence(error)
