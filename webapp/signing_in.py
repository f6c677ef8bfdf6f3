"""`/login` and `/logout`: by a password and, where one is set up, a second factor, by a link that the installation printed, or by another method."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, make_response, redirect, request, session, url_for
from werkzeug.exceptions import NotFound

from engine.access import accounts
from engine.access.accounts import Denied, TooManyTries
from webapp.access import Caller, caller_of_request, drop_cookie, keep_cookie, known_caller, own_page
from webapp.database import database
from webapp.filters import sentence
from webapp.htmx import Notice, page
from webapp.methods import SignInMethod

RETRY_AFTER_SECONDS = 900
TRY = "try"  # what a method remembers while the browser is elsewhere, in the signed cookie of the form tokens

blueprint = Blueprint("signing_in", __name__)


@blueprint.get("/login")
def form() -> Response:
    """The form; who is signed in already goes on."""
    caller = caller_of_request()
    if caller is not None and not caller.half:
        return go_on()
    return _form()


@blueprint.post("/login")
def sign_in() -> Response:
    """Sign in by name and password, or lead to the page of the second factor."""
    try:
        account_id, asks_more, kept = accounts.check_credentials(database(), _typed("name"), request.form.get("password", ""), address())
    except Denied as error:
        return _refused(error, "signing_in/login.html")
    if asks_more:
        secret = accounts.begin_session(database(), account_id, method="password", half=True, address=address(), browser=_browser(), password_hash=kept)
        answer = make_response(redirect(url_for("signing_in.second_factor", next=wanted()), code=303))
        keep_cookie(answer, secret)
        return answer
    return signed_in(account_id, "password", password_hash=kept)


@blueprint.get("/login/code")
def second_factor() -> Response:
    """The form for the code, once the password was right."""
    return page("signing_in/code.html", next=wanted()) if _half() else _back()


@blueprint.post("/login/code")
def give_second_factor() -> Response:
    """Sign in with the code of the second factor."""
    caller = _half()
    if caller is None:
        return _back()
    try:
        accounts.check_second_factor(database(), caller.account_id, _typed("code"), address())
    except Denied as error:
        return _refused(error, "signing_in/code.html")
    return signed_in(caller.account_id, "password and second factor", completes=caller.session)


@blueprint.get("/login/link/<secret>")
def link(secret: str) -> Response:
    """A button: whatever only looks at links must not use them up."""
    return page("signing_in/link.html", secret=secret)


@blueprint.post("/login/link/<secret>")
def use_link(secret: str) -> Response:
    """Sign in by a link, once; no second factor is asked for, as a link is the way back in for who has lost theirs."""
    try:
        account_id = accounts.use_sign_in_link(database(), secret)
    except Denied as error:
        return page("signing_in/login.html", status=403, notice=Notice("refused", sentence(error)), next=None, typed_name="", sign_in_methods=methods())
    accounts.note_sign_in(database(), account_id, address(), "link")
    return signed_in(account_id, "link")


@blueprint.get("/login/with/<method>")
def elsewhere(method: str) -> Response:
    """To where that method signs people in."""
    chosen = methods_by_key().get(method)
    if chosen is None:
        raise NotFound
    try:
        url, remembered = chosen.begin(_callback(method))
    except Denied as error:
        return _not_elsewhere(error, 502)
    session[TRY] = {**remembered, "method": method, "next": wanted() or ""}
    return make_response(redirect(url, code=303))


@blueprint.get("/login/with/<method>/done")
def back_from_elsewhere(method: str) -> Response:
    """Back from there: sign in whoever the method vouches for, once for each time it was begun."""
    chosen, remembered = methods_by_key().get(method), session.pop(TRY, {})
    if chosen is None or remembered.get("method") != method:
        return _back()
    try:
        person = chosen.finish(_callback(method), request.url, remembered)
        account_id = accounts.account_of(database(), person.outside_id, person.name, role=chosen.role, method=chosen.title)
    except Denied as error:
        return _not_elsewhere(error, 403)
    accounts.note_sign_in(database(), account_id, address(), chosen.title)
    return signed_in(account_id, chosen.title, remembered["next"])


def _callback(method: str) -> str:
    return url_for("signing_in.back_from_elsewhere", method=method, _external=True)


def _not_elsewhere(error: Denied, status: int) -> Response:
    notice = Notice("refused", sentence(error))
    return page("signing_in/login.html", status=status, notice=notice, next=wanted(), typed_name="", sign_in_methods=methods())


def methods() -> list[SignInMethod]:
    """What is offered beside the password."""
    return list(methods_by_key().values())


def methods_by_key() -> dict[str, SignInMethod]:
    """The same by what stands in their addresses."""
    found: dict[str, SignInMethod] = current_app.extensions["tasker_sign_in_methods"]
    return found


@blueprint.post("/logout")
def sign_out() -> Response:
    """This session is over."""
    caller = known_caller()
    if caller.session is None:
        raise NotFound
    accounts.end_session(database(), caller.account_id, caller.session, actor=caller.name, address=address())
    answer = make_response(redirect(url_for("signing_in.form"), code=303))
    drop_cookie(answer)
    answer.headers["Clear-Site-Data"] = '"cache"'
    return answer


def signed_in(account_id: int, method: str, where: str | None = None, *, password_hash: str | None = None, completes: bytes | None = None) -> Response:
    """The browser has a new session of that account, and goes where its reader wanted to. Raises `WrongState` as `begin_session`."""
    secret = accounts.begin_session(
        database(), account_id, method=method, address=address(), browser=_browser(), password_hash=password_hash, completes=completes
    )
    answer = go_on(where)
    keep_cookie(answer, secret)
    return answer


def go_on(where: str | None = None) -> Response:
    """To the page that was wanted, else to the overview."""
    return make_response(redirect(own_page(where or wanted() or "/"), code=303))


def wanted() -> str | None:
    """The page that was asked for before signing in."""
    return request.values.get("next") or None


def address() -> str:
    """Where the request comes from."""
    return request.remote_addr or "?"


def _form(status: int = 200) -> Response:
    return page("signing_in/login.html", status=status, next=wanted(), typed_name="", sign_in_methods=methods())


def _refused(error: Denied, template: str) -> Response:
    is_flood = isinstance(error, TooManyTries)
    notice = Notice("refused", sentence(error))
    answer = page(template, status=429 if is_flood else 401, notice=notice, next=wanted(), typed_name=_typed("name"), sign_in_methods=methods())
    if is_flood:
        answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer


def _half() -> Caller | None:
    """Whose password was right a moment ago."""
    caller = caller_of_request()
    return caller if caller is not None and caller.half else None


def _back() -> Response:
    return make_response(redirect(url_for("signing_in.form", next=wanted()), code=303))


def _typed(name: str) -> str:
    return request.form.get(name, "").strip()


def _browser() -> str | None:
    return request.user_agent.string or None
