"""Who asks, and whether they may: the one place where a request of a page or of the API is let in or turned away.

Pages know their reader by a session's cookie, the API by `Authorization: Bearer` and by nothing else. What a request is about is looked up
by the parts of its address; the namespace is always that of the stored object. Who may not see a thing is answered as if there were none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg
from flask import Flask, Response, current_app, g, make_response, redirect, request, session, url_for
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, HTTPException, Unauthorized

from engine import queries, schedules
from engine.access import accounts, audit, tokens
from engine.access.accounts import SignedIn
from engine.access.permissions import Namespaces, Rights
from engine.access.tokens import Bearer
from engine.access.visitors import Arrived
from engine.db import Database
from engine.errors import NotFound, TaskerError
from webapp.database import primary
from webapp.routes import LOOPBACK, PUBLIC, SIGNED_IN, rule_of
from webapp.security import csrf, from_this_machine
from webapp.shards import (
    Place,
    app_and_path,
    go,
    home,
    is_home,
    lead_home,
    lead_to_namespace,
    lives_elsewhere,
    task_elsewhere,
)
from webapp.visitors import arrived, door, is_elsewhere, is_embedded, sign_in_address, visitor_of_request

log = logging.getLogger(__name__)

API = "/api/"
FOREIGN_SITES = ("cross-site", "same-site")  # the browser's own word for where a form came from; a neighbour's host is not ours
COOKIE, SECURE_COOKIE = "tasker_sign_in", "__Host-tasker_sign_in"
TASKS_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: by a session whose hash is `session`, or by the token `token`. With `half` the second factor is still to come."""

    account_id: int
    name: str
    rights: Rights
    session: bytes | None = None
    token: str | None = None
    half: bool = False
    zone: str | None = None


class NotAllowed(Forbidden):
    """The caller may see it, but not do this."""

    description = "Your account may see this, but not do it. An administrator can give it the right."


# ---- what views ask


def require(permission: str, namespace: str | None) -> None:
    """The caller has that right in that namespace; without a namespace, in at least one.

    Raises `Unauthorized` when nobody is known, `NotAllowed` for who may see but not act, `NotFound` for who may not see.
    """
    _require(permission, namespace, f'there is no namespace "{namespace}"' if namespace else "there is nothing here")


def require_task(permission: str, task_id: str) -> str:
    """The namespace of the task, in which the caller has that right. Raises as `require`, and `Elsewhere` when another database has it; a foreign task and none are answered alike."""
    namespace, place = find_task(permission, task_id)
    if place is not None:
        raise go(place)
    return namespace


def find_task(permission: str, task_id: str) -> tuple[str, Place | None]:
    """The namespace of the task, in which the caller has that right, and the database that has it where that is another. Raises as `require`; a foreign task and none are answered alike."""
    known_caller()
    here = _task_namespace(task_id)
    namespace, place = (here, None) if here is not None else task_elsewhere(task_id) or (None, None)
    if namespace is None:
        raise NotFound(queries.no_task(task_id))
    _require(permission, namespace, queries.no_task(task_id))
    return namespace, place


def _task_namespace(task_id: str) -> str | None:
    """The namespace of a task, which it never leaves: asked for once. None when there is no such task."""
    known: dict[str, str] = current_app.extensions["tasker_task_namespaces"]
    if found := known.get(task_id):
        return found
    found = queries.task_namespace(primary(), task_id)
    if found is not None:
        if len(known) >= TASKS_REMEMBERED:
            known.clear()
        known[task_id] = found
    return found


def require_schedule(permission: str, schedule_id: int) -> str:
    """The namespace of the schedule, in which the caller has that right. Raises as `require_task`."""
    namespace, missing = schedules.schedule_namespace(primary(), schedule_id), f"there is no schedule {schedule_id}"
    if namespace is None:
        known_caller()
        raise NotFound(missing)
    _require(permission, namespace, missing)
    return namespace


def allowed_namespaces(permission: str) -> Namespaces:
    """Where the caller has that right: in these namespaces, or in all when it is None."""
    return known_caller().rights.namespaces(permission)


def hide_foreign(task_id: str | None) -> str | None:
    """The id of a task that the caller may see, or None."""
    namespace = _task_namespace(task_id) if task_id else None
    return task_id if namespace and may("tasker.task:show", namespace) else None


@contextmanager
def hidden_as_missing(words: str) -> Iterator[None]:
    """What the caller may not see is answered in the words of what does not exist."""
    try:
        yield
    except NotFound:
        raise NotFound(words) from None


def may(permission: str, namespace: str | None = None) -> bool:
    """Whether a button is worth showing: templates and views ask. While the database cannot say, everything is shown."""
    caller = g.get("caller")
    return has_cookie() if caller is None else caller.rights.has(permission, namespace)


def known_caller() -> Caller:
    """Who asks. Raises `Unauthorized` when nobody is known, or the second factor is still to come."""
    caller = caller_of_request()
    if caller is None or caller.half:
        raise Unauthorized("Sign in, or send a token that counts.", www_authenticate=WWWAuthenticate("bearer", {"realm": "tasker"}))
    return caller


def caller_of_request() -> Caller | None:
    """Who asks, looked up once: by a token under /api, by a session everywhere else. Raises `DatabaseUnavailable`."""
    if "caller" not in g:
        g.caller = _by_token() if takes_tokens() else _by_door() if is_embedded() else _by_session()
    caller: Caller | None = g.caller
    return caller


def _require(permission: str, namespace: str | None, missing: str) -> None:
    g.asked = permission, namespace
    rights = known_caller().rights
    if rights.has(permission, namespace):
        return
    note("denied", permission, namespace, request.path)
    if rights.has(_seeing(permission), namespace):
        raise NotAllowed
    raise NotFound(missing)


def _seeing(permission: str) -> str:
    return f"{permission.rpartition(':')[0]}:show"


def note(
    outcome: str,
    action: str,
    namespace: str | None = None,
    subject: str | None = None,
    reason: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """What the caller did, or was denied, is on record. Views that act call this once, after the act, which stands even if this fails."""
    given: dict[str, Any] = {"namespace": namespace, "subject": subject, "reason": reason, "detail": detail, "address": request.remote_addr}
    try:
        audit.note(primary(), known_caller().name, action, outcome, **given)
    except (TaskerError, psycopg.Error) as error:
        log.error("not on record: %s %s by %s: %s", action, outcome, known_caller().name, error)


def note_act(outcome: str, reason: str | None = None) -> None:
    """The act that the address stands for is on record, with what it was done to."""
    permission, namespace = g.asked
    note(outcome, permission, namespace, _subject(request.view_args or {}), reason, {"act": str(request.endpoint).rpartition(".")[2]})


def _subject(arguments: dict[str, Any]) -> str:
    if "task_id" in arguments:
        step = f" step {arguments['step_name']}" if "step_name" in arguments else ""
        return f"task {arguments['task_id']}{step}"
    return " ".join(f"{name.removesuffix('_id')} {value}" for name, value in arguments.items() if name != "namespace")


def require_power_over(name: str) -> None:
    """The account may nothing that the caller may not. Raises `NotAllowed`, `NotFound`: who could change a mightier account could become it."""
    require_power_to_give(accounts.account_rights(home(), name))


def require_power_over_role(role: str) -> None:
    """The caller has everywhere what the role holds now; of one that there is not yet, nothing is asked. Raises `NotAllowed`: to change it takes from whoever has it."""
    _require_to_cover(accounts.role_rights(home(), role, None), "This role may more than you may everywhere yourself. An administrator who may everything can change or remove it.")


def require_power_to_give(rights: Rights) -> None:
    """The caller has those rights. Raises `NotAllowed`."""
    _require_to_cover(rights, "That would be more than you may yourself. An administrator who may everything can do it.")


def _require_to_cover(rights: Rights, refusal: str) -> None:
    if not known_caller().rights.covers(rights):
        note_act("denied")
        raise NotAllowed(refusal)


# ---- who asks


def still_the_same() -> Callable[[], bool]:
    """Tells later, outside of this request, whether its caller is still signed in and has the same rights.

    True while the database cannot say, false when the application that vouches for the caller fails to.
    """
    caller, opened, find = known_caller(), home(), _finder()

    def look() -> bool:
        try:
            found = find(opened)
        except accounts.Denied:
            return False
        except (TaskerError, psycopg.Error):
            return True
        except Exception:
            log.exception("the application could not say who follows a live page of %s; the page has ended", caller.name)
            return False
        return found is not None and found.rights == caller.rights

    return look


def _finder() -> Callable[[Database], SignedIn | Bearer | Arrived | None]:
    """Finds the caller of this request again, by the same token, session or application."""
    digest, token, here, address = known_caller().session, _token(), door(), request.remote_addr
    if digest is not None:
        return lambda opened: accounts.signed_in(opened, digest)
    if known_caller().token or here is None:
        return lambda opened: tokens.bearer(opened, token)
    return lambda opened: arrived(opened, here.visitor_now(), address)


def takes_tokens() -> bool:
    """Whether this address is for programs; there a cookie counts for nothing."""
    return request.path.startswith(API) or (request.endpoint is not None and rule_of(request.endpoint, {}) == LOOPBACK)


def _by_token() -> Caller | None:
    token = _token()
    found = tokens.bearer(home(), token) if token else None
    return None if found is None else Caller(found.account_id, found.name, found.rights, token=found.token_id)


def _token() -> str:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _by_session() -> Caller | None:
    secret = _secret()
    if not secret:
        return None
    digest = accounts.digest(secret)
    found = accounts.signed_in(home(), digest)
    return None if found is None else Caller(found.account_id, found.name, found.rights, session=digest, half=found.half, zone=found.zone)


def _by_door() -> Caller | None:
    try:
        found = arrived(home(), visitor_of_request(), request.remote_addr)
    except accounts.Denied as error:
        raise NotAllowed(str(error)) from error
    return None if found is None else Caller(found.account_id, found.name, found.rights)


def _cookie_name() -> str:
    return SECURE_COOKIE if request.is_secure else COOKIE


def _secret() -> str:
    """What tells this reader's browser from another's: the session's secret, or whom the application has signed in."""
    if is_embedded():
        visitor = visitor_of_request()
        return visitor.outside_id if visitor else ""
    return request.cookies.get(_cookie_name(), "")


def has_cookie() -> bool:
    """Whether the browser holds a session's cookie, whatever it is worth."""
    return bool(_secret())


def keep_cookie(response: Response, secret: str) -> None:
    """The browser is the owner of that session; its form tokens and notices of before are void."""
    name = _cookie_name()
    response.set_cookie(name, secret, httponly=True, secure=request.is_secure, samesite="Lax", path="/")
    session.clear()
    session["of"] = _tag(secret)


def drop_cookie(response: Response) -> None:
    """The browser holds no session any more."""
    response.delete_cookie(_cookie_name(), httponly=True, secure=request.is_secure, samesite="Lax", path="/")
    session.clear()


def shows_sections() -> bool:
    """Whether a page says where else one could go: to who is signed in, or was before the database went away."""
    caller = g.get("caller")
    return not caller.half if caller is not None else "caller" not in g and has_cookie()


# ---- the guard


def init_app(app: Flask) -> None:
    """Every request is held to the table of routes; form tokens are checked behind it."""
    app.extensions["tasker_task_namespaces"] = {}
    app.before_request(_bind_forms)
    app.before_request(_guard)
    csrf.init_app(app)
    app.context_processor(lambda: {"may": may, "caller": g.get("caller"), "shows_sections": shows_sections(), "signs_in_here": not is_embedded(), "sign_in_address": sign_in_address})


def _bind_forms() -> None:
    """A form token is good for the session it was made in: another reader in the same browser begins anew."""
    if request.endpoint == "static" or takes_tokens():
        return
    tag = _tag(_secret()) if has_cookie() else ""
    if session.get("of", "") != tag:
        session.clear()
        if tag:
            session["of"] = tag


def _tag(secret: str) -> str:
    return accounts.digest(secret).hex()[:16]


def _guard() -> Response | None:
    """Let the request in, or answer it."""
    if request.method not in ("GET", "HEAD", "OPTIONS") and request.headers.get("Sec-Fetch-Site") in FOREIGN_SITES and not takes_tokens():
        raise Forbidden
    if is_elsewhere(request.endpoint):
        raise NotFound("people sign in at the application that this dashboard is a part of, and have their roles from there")
    arguments = request.view_args or {}
    rule = rule_of(request.endpoint, arguments) if request.endpoint else SIGNED_IN
    lead_home(request.endpoint)
    if rule == PUBLIC or (rule == LOOPBACK and from_this_machine()):
        return None
    try:
        caller = known_caller()
    except Unauthorized:
        return _challenge()
    if request.path.startswith(API):
        current_app.extensions["tasker_api_turnstile"]()
    if rule == LOOPBACK:
        require("tasker.metrics:index", None)
    elif rule is None:
        raise NotAllowed
    elif rule is not None and rule != SIGNED_IN and caller:
        _require_of_address(rule, arguments)
    return None


def _require_of_address(permission: str, arguments: dict[str, object]) -> None:
    if "task_id" in arguments:
        require_task(permission, str(arguments["task_id"]))
    elif "schedule_id" in arguments:
        require_schedule(permission, int(str(arguments["schedule_id"])))
    else:
        namespace = arguments.get("namespace")
        require(permission, None if namespace is None else str(namespace))
        _lead_to_namespace(permission, str(namespace or request.args.get("namespace") or ""))


def _lead_to_namespace(permission: str, namespace: str) -> None:
    """What an address names is looked for where it lives; who has no rights there does not learn where that is."""
    if namespace and lives_elsewhere(namespace) and known_caller().rights.has(permission, namespace):
        lead_to_namespace(namespace)


def _challenge() -> Response | None:
    """Pages lead to the way in and back; programs and streams are told."""
    if takes_tokens() or request.method not in ("GET", "HEAD") or "text/event-stream" in request.headers.get("Accept", "") or request.endpoint == "live.live":
        raise Unauthorized("Sign in, or send a token that counts.", www_authenticate=WWWAuthenticate("bearer", {"realm": "tasker"}))
    caller = g.get("caller")
    where = url_for("signing_in.second_factor", next=_wanted()) if caller and caller.half else sign_in_address(_wanted())
    if where is None:
        raise Unauthorized("Sign in at the application that this dashboard is a part of.")
    if request.headers.get("HX-Request") == "true":
        answer = make_response("", 401)
        answer.headers["HX-Redirect"] = where
        return answer
    return make_response(redirect(where, code=303))


def _wanted() -> str | None:
    wanted = request.full_path.removesuffix("?")
    if is_embedded() or not is_home():
        return request.script_root + wanted
    return None if wanted == "/" else wanted


def own_page(wanted: str) -> str:
    """`wanted` when it is the path of one of our pages, else the overview."""
    parts = urlsplit(wanted)
    if not wanted.isprintable() or "\\" in wanted or parts.scheme or parts.netloc or not parts.path.startswith("/") or parts.path.startswith("//"):
        return "/"
    try:
        app, path = app_and_path(parts.path)
        endpoint, _ = app.url_map.bind("").match(path, method="GET")
    except HTTPException:
        return "/"
    return "/" if endpoint in ("static", "signing_in.form") else wanted

