"""Every address of the dashboard is asked for things that make no sense: it answers, never with an error of its own, and what was not well-formed changes nothing.

`FUZZ_REQUESTS` says how many the nightly run makes, `FUZZ_SEED` repeats one.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sql"))

from invariants import assert_invariants

EACH_TIME = 400
NIGHTLY = int(os.environ.get("FUZZ_REQUESTS", "20000"))
SEED = int(os.environ.get("FUZZ_SEED", "777"))
NOT_ASKED = {"live.live", "patterns.index", "signing_in.sign_out"}  # one does not end, one shows on purpose what pages must not, and after the last nobody asks
ODD = [
    "", " ", "0", "-1", "1", "9" * 30, "1e9", "NaN", "null", "true", "a" * 9_000, "%", "_", "\\", "'", '"', "';drop table tasker_task;--", "<script>alert(1)</script>", "{{7*7}}", "../../etc/passwd", "..%2f",
    "\0", "\x01", "\U0001f600", "\u202eabc", "\u0661\u0662", "\u00df", "00000000-0000-0000-0000-000000000000", "not-a-uuid", "2026-13-45", "0000-00-00", "2026-01-01T00:00:00Z", "99999-01-01",
    "failed", "RUNNING", "failed,running", "[]", "{}", '{"a":1,"a":2}', "[" * 200, "//evil.example", "/\\evil.example", "javascript:alert(1)", "\r\nSet-Cookie: a=b", "on", "order_id", "shop", "1.0.0", "~", "*", "(a+)+$",
]  # fmt: skip
FIELDS = [
    "state", "namespace", "name", "workflow", "version", "tag", "q", "text", "initiator", "context", "from", "to", "since", "until", "after", "before", "cursor", "limit", "page", "sort", "order", "seen", "reason", "result", "note",
    "next", "theme", "preset", "copy", "mode", "raw", "order_id", "speed", "lines-0-sku", "lines-999999-sku", "run_at", "priority", "tags", "idempotency_key", "action", "role", "csrf_token", "_method", "__proto__", "a[b]", "\0",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _propagate(app: Flask) -> None:
    """A handler that raises answers 500, as it would in production."""
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.config["WTF_CSRF_ENABLED"] = False


class Visitor:
    """Asks for anything; ids and names are often good ones, so that the request gets past the door."""

    def __init__(self, client: FlaskClient, rules: list[Rule], known: dict[str, list[str]]) -> None:
        self.client, self.rules, self.known = client, rules, known

    def ask(self, seed: int) -> tuple[str, TestResponse]:
        chance = random.Random(seed)
        rule = chance.choice(self.rules)
        method = chance.choice(sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}) + ["GET"] * (chance.random() < 0.05))
        path = self._path(rule, chance)
        options: dict[str, Any] = {"query_string": urlencode(self._fields(chance))}
        if method == "POST":
            options["data"] = urlencode(self._fields(chance)).encode() if chance.random() < 0.9 else b"\xff\xfe%ff&&=" * 50
            options["content_type"] = chance.choice(["application/x-www-form-urlencoded"] * 8 + ["application/json", "text/plain", ""])
        headers = {"HX-Request": "true"} if chance.random() < 0.3 else {}
        if chance.random() < 0.1:
            headers["Last-Event-ID"] = headers["Accept-Language"] = headers["If-None-Match"] = chance.choice(ODD).encode("ascii", "ignore").decode().replace("\r\n", "").replace("\0", "")
        return f"{method} {path!r} {options}", self.client.open(path, method=method, headers=headers, **options)

    def _path(self, rule: Rule, chance: random.Random) -> str:
        path = rule.rule
        for name in sorted(rule.arguments):
            value = chance.choice(self.known.get(name, ODD) if chance.random() < 0.8 else ODD)
            start = next(part for part in path.split("<") if part.partition(">")[0].rpartition(":")[2] == name)
            path = path.replace(f"<{start.partition('>')[0]}>", value.replace("?", "%3f").replace("#", "%23"))
        return path

    def _fields(self, chance: random.Random) -> list[tuple[str, str]]:
        count = chance.choice([0, 1, 1, 2, 3, 40])
        return [(chance.choice(FIELDS), chance.choice(ODD)) for _ in range(count)]


@pytest.fixture
def visitor(app: Flask, client: FlaskClient, failed_task: str, launch: Callable[..., str]) -> Visitor:
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint not in NOT_ASKED]
    tasks = [failed_task, launch(8), launch(9)]
    known = {
        "task_id": tasks, "step_name": ["validate", "charge", "reserve", "ship"], "namespace": ["shop"], "name": ["process_order"], "version": ["1.0.0", "latest"],
        "schedule_id": ["1"], "filename": ["style.css", "../engine/db.py", "vendor"],
    }  # fmt: skip
    return Visitor(client, rules, known)


def visit(visitor: Visitor, count: int) -> Iterator[str]:
    """What went wrong, each with the seed that repeats it."""
    for seed in range(SEED, SEED + count):
        what, answer = visitor.ask(seed)
        text = answer.get_data(as_text=True) if answer.mimetype in ("text/html", "application/json") else ""
        if answer.status_code >= 500:
            yield f"FUZZ_SEED={seed}: {answer.status_code} for {what[:600]}"
        elif "Traceback (most recent" in text or "<script>alert(1)" in text or "psycopg" in text:
            yield f"FUZZ_SEED={seed}: an answer that shows what it must not for {what[:600]}"
        elif (target := answer.headers.get("Location")) and not (target.startswith(("/", "http://localhost/")) and not target.startswith(("//", "/\\"))):
            yield f"FUZZ_SEED={seed}: leads away to {target!r} for {what[:600]}"
        answer.close()


def test_no_request_is_answered_with_an_error_of_ours(visitor: Visitor, conn: psycopg.Connection[Any]) -> None:
    wrong = list(visit(visitor, EACH_TIME))
    assert not wrong, "\n".join(wrong[:5])
    assert_invariants(conn)


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_no_request_of_a_night_is_answered_with_an_error_of_ours(visitor: Visitor, conn: psycopg.Connection[Any]) -> None:
    wrong = list(visit(visitor, NIGHTLY))
    assert not wrong, f"{len(wrong)} of {NIGHTLY}\n" + "\n".join(wrong[:20])
    assert_invariants(conn)
