"""`/audit`: who did what, when, from where, to which object and why; as a page with filters, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, make_response, request

from engine import audit
from engine.audit import AuditRow
from webapp.access import allowed_namespaces
from webapp.database import database
from webapp.htmx import SANDBOX, page

SHOWN = 100
CSV_ROWS = 10_000
TEXTS = ("actor", "action", "namespace", "object")
TIMES = ("at_from", "at_to")
OUTCOMES = ("done", "refused", "denied")
HEAD = ("at", "actor", "action", "outcome", "namespace", "object", "reason", "address", "detail")

blueprint = Blueprint("auditing", __name__)


@blueprint.get("/audit")
def index() -> Response:
    """The newest entries that match the filter; older ones by `before`."""
    typed, chosen, problems = _asked()
    before = request.args.get("before", type=int)
    found = _entries(chosen, before=None if before is None else min(before, 2**63 - 1), limit=SHOWN + 1)
    older = found[SHOWN - 1].audit_no if len(found) > SHOWN else None
    kept = {name: text for name, text in typed.items() if text}
    return page("audit/index.html", rows=found[:SHOWN], older=older, typed=typed, problems=problems, kept=kept, outcomes=OUTCOMES)


@blueprint.get("/audit.csv")
def download() -> Response:
    """The newest entries that match the filter, at most CSV_ROWS, as a file."""
    return csv_answer({**_asked()[1], "namespaces": allowed_namespaces("tasker.audit:index")})


def csv_answer(chosen: dict[str, Any]) -> Response:
    """The newest entries of that choice, at most CSV_ROWS, as a file."""
    rows: list[AuditRow] = []
    while len(rows) < CSV_ROWS:
        more = audit.entries(database(), **chosen, before=rows[-1].audit_no if rows else None, limit=1_000)
        rows += more
        if len(more) < 1_000:
            break
    answer = make_response(_written(rows))
    answer.mimetype = "text/csv"
    answer.headers["Content-Security-Policy"] = SANDBOX
    answer.headers["Content-Disposition"] = 'attachment; filename="audit.csv"'
    return answer


def _entries(chosen: dict[str, Any], *, before: int | None, limit: int) -> list[AuditRow]:
    return audit.entries(database(), **chosen, before=before, limit=limit, namespaces=allowed_namespaces("tasker.audit:index"))


def _asked() -> tuple[dict[str, str], dict[str, Any], dict[str, str]]:
    """What was typed, what is asked with it, and what is wrong with it."""
    typed = {name: request.args.get(name, "").replace("\x00", "").strip()[:200] for name in (*TEXTS, "outcome", *TIMES)}
    chosen: dict[str, Any] = {name: typed[name] for name in TEXTS if typed[name]}
    problems: dict[str, str] = {}
    if typed["outcome"] in OUTCOMES:
        chosen["outcome"] = typed["outcome"]
    elif typed["outcome"]:
        problems["outcome"] = "It is done, refused or denied."
    for name in TIMES:
        try:
            chosen |= {name: read_time(typed[name])} if typed[name] else {}
        except ValueError:
            problems[name] = "This is no time."
    return typed, chosen, problems


def read_time(text: str) -> datetime:
    """The time that a filter names, in UTC unless it names a zone. Raises `ValueError`."""
    at = datetime.fromisoformat(text)
    if at.year < 1900:
        raise ValueError
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _written(rows: Iterable[AuditRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEAD)
    for row in rows:
        writer.writerow([row.at.isoformat(), *(_cell(getattr(row, name)) for name in HEAD[1:])])
    return text.getvalue()


def _cell(value: object) -> str:
    """The value on one line; a text that a spreadsheet would take for a formula is told to be none."""
    text = "" if value is None else "".join(each if each.isprintable() else " " for each in str(value))
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
