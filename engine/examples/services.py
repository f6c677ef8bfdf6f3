"""The accounts service that `accounts/user_registration` calls: real HTTP on loopback, real records, and now and then a real failure.

`tasker demo` starts it; the handlers find it through the environment variable `TASKER_EXAMPLES_URL`. It is a neighbour of the
engine, not a part of it: it speaks HTTP and JSON only and knows nothing of tasks and steps.
"""

import hashlib
import json
import math
import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from engine.examples import clock, storage

URL_VARIABLE = "TASKER_EXAMPLES_URL"
MAX_BODY_BYTES = 64 * 1024
WELCOMES_PER_MINUTE = 10
PAID_PLANS = ("pro", "enterprise")
MAILS = {"free": ("welcome", "verify_email"), "pro": ("welcome", "verify_email", "first_integration")}
MAILS["enterprise"] = (*MAILS["pro"], "meet_your_account_manager")

SCHEMA = """
create table if not exists users (
  user_id integer primary key, email text not null unique, name text not null, plan text not null, status text not null, created_at text not null);
create table if not exists profiles (
  profile_id text primary key, user_id integer not null unique references users, plan text not null, payment_method text);
create table if not exists preferences (preferences_id text primary key, user_id integer not null unique references users, choices text not null);
create table if not exists welcomes (sequence_id text primary key, user_id integer not null references users, sent_at real not null);
create table if not exists answers (request text primary key, status integer not null, body text not null)
"""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the endpoints see it."""

    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back; `headers` beside those every reply has."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


class Failures:
    """Decides which requests fail: seeded, about `rate` of those that carry an idempotency key, each key once at most.

    So a caller that tries twice always gets through. Safe to share between threads.
    """

    def __init__(self, *, seed: int, rate: float) -> None:
        self._random = random.Random(seed)
        self._rate = rate
        self._struck: set[str] = set()
        self._lock = threading.Lock()

    def strike(self, key: str) -> int | None:
        """The status this request fails with, or None."""
        with self._lock:
            unlucky = self._random.random() < self._rate
            status = self._random.choice((429, 500, 503))
            if not key or not unlucky or key in self._struck:
                return None
            self._struck.add(key)
            return status


class AccountsService:
    """Users, billing profiles, preferences and welcome mails, kept in one SQLite file."""

    def __init__(self, file: Path, failures: Failures) -> None:
        self._file = file
        self._failures = failures

    def answer(self, method: str, request: Request, *, key: str) -> Reply:
        """Serve one request; the same `key` on the same path gets the first answer again, and nothing is done twice."""
        status = self._failures.strike(f"{method} {request.path} {key}" if key else "")
        if status in (429, 503):
            return _refusal(status, "busy, come back in a second", retry_after=1)
        reply = self._served(method, request, key)
        # A 500 strikes after the work is done: the caller cannot know, and only its key keeps the repetition harmless.
        return reply if status is None else _refusal(status, "the connection to the record store was lost")

    def _served(self, method: str, request: Request, key: str) -> Reply:
        endpoint = _endpoint(method, request.path)
        if endpoint is None:
            return _refusal(404, f"nothing answers {method} {request.path}")
        with storage.transaction(self._file, SCHEMA) as db:
            return _earlier_answer(db, method, request, key) or _new_answer(db, endpoint, method, request, key)


@dataclass(frozen=True, slots=True)
class Services(AbstractContextManager["Services"]):
    """The running service: `url` without a trailing slash, and `stop()`; also a context manager that stops it."""

    url: str
    _server: ThreadingHTTPServer

    def stop(self) -> None:
        """The port is closed afterwards; the records stay. Stopping twice does no harm."""
        self._server.shutdown()
        self._server.server_close()

    def __exit__(self, *exception: object) -> None:
        self.stop()


def start_services(*, seed: int = 11, failure_rate: float = 0.25, folder: Path | None = None) -> Services:
    """Start the accounts service on a free loopback port; it answers as soon as this returns.

    Its records lie in `folder`, by default below the data directory, so that a task of yesterday can go on today.
    """
    file = (folder or storage.folder("accounts")) / "accounts.sqlite3"
    service = AccountsService(file, Failures(seed=seed, rate=failure_rate))
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"service": service}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="accounts-service", daemon=True).start()
    return Services(f"http://127.0.0.1:{server.server_port}", server)


# The endpoints: each takes the records and the request, and returns the reply.


def _create_user(db: sqlite3.Connection, request: Request) -> Reply:
    email, name, plan = (str(request.body.get(part) or "") for part in ("email", "name", "plan"))
    if "@" not in email or not name:
        return _refusal(422, "a user needs an email and a name")
    if db.execute("select 1 from users where email = ?", (email.lower(),)).fetchone():
        return _refusal(409, "this email is registered already")
    db.execute(
        "insert into users (email, name, plan, status, created_at) values (?, ?, ?, 'created', ?)",
        (email.lower(), name, plan or "free", clock.now()),
    )
    return Reply(201, _user(db.execute("select * from users where email = ?", (email.lower(),)).fetchone()))


def _find_user(db: sqlite3.Connection, request: Request) -> Reply:
    row = db.execute("select * from users where email = ?", (request.query.get("email", "").lower(),)).fetchone()
    return Reply(200, _user(row)) if row else _refusal(404, "no user has this email")


def _update_user(db: sqlite3.Connection, request: Request) -> Reply:
    user_id = request.path.rpartition("/")[2]
    db.execute("update users set status = ? where user_id = ?", (str(request.body.get("status") or "active"), user_id))
    row = db.execute("select * from users where user_id = ?", (user_id,)).fetchone()
    return Reply(200, _user(row)) if row else _refusal(404, "no such user")


def _create_profile(db: sqlite3.Connection, request: Request) -> Reply:
    user_id, plan, method = request.body.get("user_id"), str(request.body.get("plan") or "free"), request.body.get("payment_method")
    if plan in PAID_PLANS and not method:
        return _refusal(402, f"the {plan} plan needs a payment method")
    return _create_for_user(db, "profiles", user_id, {"profile_id": f"bill_{_digest(user_id)}", "plan": plan, "payment_method": method})


def _create_preferences(db: sqlite3.Connection, request: Request) -> Reply:
    user_id, choices = request.body.get("user_id"), request.body.get("preferences") or {}
    stored = {"preferences_id": f"pref_{_digest(user_id)}", "choices": json.dumps(choices)}
    reply = _create_for_user(db, "preferences", user_id, stored)
    return reply if reply.status != HTTPStatus.CREATED else Reply(reply.status, _without(reply.body, "choices") | {"preferences": choices})


def _send_welcome(db: sqlite3.Connection, request: Request) -> Reply:
    user_id, plan = request.body.get("user_id"), str(request.body.get("plan") or "free")
    if not _user_exists(db, user_id):
        return _refusal(404, "no such user")
    seconds = _seconds_until_welcome(db, user_id)
    if seconds:
        return _refusal(429, "too many welcome mails for this user", retry_after=seconds)
    sent = db.execute("select count(*) from welcomes where user_id = ?", (user_id,)).fetchone()[0]
    sequence_id = f"seq_{_digest(f'{user_id}/{sent}')}"
    db.execute("insert into welcomes (sequence_id, user_id, sent_at) values (?, ?, ?)", (sequence_id, user_id, time.time()))
    mails = [f"{sequence_id}_{mail}" for mail in MAILS.get(plan, MAILS["free"])]
    return Reply(201, {"sequence_id": sequence_id, "emails_sent": len(mails), "email_ids": mails})


Endpoint = Callable[[sqlite3.Connection, Request], Reply]
_ENDPOINTS: tuple[tuple[str, str, Endpoint], ...] = (
    ("POST", r"/users", _create_user),
    ("GET", r"/users", _find_user),
    ("PATCH", r"/users/\d+", _update_user),
    ("POST", r"/billing_profiles", _create_profile),
    ("POST", r"/preferences", _create_preferences),
    ("POST", r"/welcome_sequences", _send_welcome),
)


def _endpoint(method: str, path: str) -> Endpoint | None:
    return next((endpoint for verb, pattern, endpoint in _ENDPOINTS if verb == method and re.fullmatch(pattern, path)), None)


def _earlier_answer(db: sqlite3.Connection, method: str, request: Request, key: str) -> Reply | None:
    row = db.execute("select status, body from answers where request = ?", (f"{method} {request.path} {key}",)).fetchone()
    return Reply(row["status"], json.loads(row["body"])) if key and row else None


def _new_answer(db: sqlite3.Connection, endpoint: Endpoint, method: str, request: Request, key: str) -> Reply:
    reply = endpoint(db, request)
    # A refusal is not kept: a later repetition may find things changed.
    if key and reply.status < HTTPStatus.BAD_REQUEST and method != "GET":
        stored = (f"{method} {request.path} {key}", reply.status, json.dumps(reply.body))
        db.execute("insert into answers (request, status, body) values (?, ?, ?)", stored)
    return reply


def _create_for_user(db: sqlite3.Connection, table: str, user_id: Any, columns: dict[str, Any]) -> Reply:
    if not _user_exists(db, user_id):
        return _refusal(404, "no such user")
    if db.execute(f"select 1 from {table} where user_id = ?", (user_id,)).fetchone():
        return _refusal(409, "this user has one already")
    stored = {**columns, "user_id": user_id}
    db.execute(f"insert into {table} ({', '.join(stored)}) values ({', '.join('?' * len(stored))})", tuple(stored.values()))
    return Reply(201, stored)


def _user_exists(db: sqlite3.Connection, user_id: Any) -> bool:
    return isinstance(user_id, int) and db.execute("select 1 from users where user_id = ?", (user_id,)).fetchone() is not None


def _seconds_until_welcome(db: sqlite3.Connection, user_id: Any) -> int:
    """Whole seconds until this user may get another welcome; 0 when now."""
    oldest = "select sent_at from welcomes where user_id = ? order by sent_at desc limit 1 offset ?"
    row = db.execute(oldest, (user_id, WELCOMES_PER_MINUTE - 1)).fetchone()
    return max(0, math.ceil(row["sent_at"] + 60 - time.time())) if row else 0


def _user(row: sqlite3.Row) -> dict[str, Any]:
    return {name: row[name] for name in ("user_id", "email", "name", "plan", "status", "created_at")}


def _refusal(status: int, message: str, *, retry_after: int | None = None) -> Reply:
    return Reply(status, {"error": message}, {} if retry_after is None else {"Retry-After": str(retry_after)})


def _without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


def _digest(value: Any) -> str:
    return hashlib.sha256(str(value).encode()).hexdigest()[:12]


# HTTP: from the socket to `AccountsService.answer` and back.


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    server_version = "AccountsService/1.0"
    timeout = 10
    service: ClassVar[AccountsService]

    def do_GET(self) -> None:
        self._reply(self._answer())

    def do_POST(self) -> None:
        self._reply(self._answer())

    def do_PATCH(self) -> None:
        self._reply(self._answer())

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal belongs to whoever started the service."""

    def _answer(self) -> Reply:
        url = urlsplit(self.path)
        try:
            body = self._body()
        except ValueError as error:
            return _refusal(400, str(error))
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        return self.service.answer(self.command, Request(url.path, query, body), key=self.headers.get("Idempotency-Key", ""))

    def _body(self) -> dict[str, Any]:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_BODY_BYTES:
            raise ValueError(f"a body has at most {MAX_BODY_BYTES} bytes")
        body = json.loads(self.rfile.read(length) or b"{}")
        if not isinstance(body, dict):
            raise ValueError("the body must be a JSON object")
        return body

    def _reply(self, reply: Reply) -> None:
        payload = json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(payload)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)
