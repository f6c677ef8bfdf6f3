"""`/audit`: who did what, when, from where, to which object and why; as a page with filters, and as a file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import Any

from flask import Blueprint, Response, request

from engine.access import audit
from engine.access.audit import AuditRow
from webapp.access import allowed_namespaces
from webapp.database import database
from webapp.downloads import ROWS, Row, asked_format, list_file, rows_of
from webapp.filters import local_text, reader_zone, utc_text
from webapp.htmx import page

SHOWN = 100
TEXTS = ("actor", "action", "namespace", "object")
TIMES = ("at_from", "at_to")
OUTCOMES = ("done", "refused", "denied")
HEAD = ("at", "actor", "action", "outcome", "namespace", "object", "reason", "address", "detail")

blueprint = Blueprint("auditing", __name__)


@blueprint.get("/audit")
def index() -> Response:
    """The newest entries that match the filter; older ones by `before`, all of them as a file."""
    typed, chosen, problems = _asked()
    if form := asked_format():
        return file_answer({**chosen, "namespaces": allowed_namespaces("tasker.audit:index")}, form)
    before = request.args.get("before", type=int)
    found = _entries(chosen, before=None if before is None else min(before, 2**63 - 1), limit=SHOWN + 1)
    older = found[SHOWN - 1].audit_no if len(found) > SHOWN else None
    times = {name: chosen[name] for name in TIMES if name in chosen}
    kept = {name: text for name, text in typed.items() if text} | {name: utc_text(at) for name, at in times.items()}
    typed |= {name: local_text(at) for name, at in times.items()}
    return page("audit/index.html", rows=found[:SHOWN], older=older, typed=typed, problems=problems, kept=kept, outcomes=OUTCOMES)


@blueprint.get("/audit.csv")
def download() -> Response:
    """Every entry that matches the filter, as CSV."""
    return file_answer({**_asked()[1], "namespaces": allowed_namespaces("tasker.audit:index")}, "csv")


def file_answer(chosen: dict[str, Any], form: str) -> Response:
    """Every entry of that choice as a file, newest first."""
    return list_file("audit", HEAD, _pages(chosen), form)


def _pages(chosen: dict[str, Any]) -> Iterator[list[Row]]:
    before: int | None = None
    while True:
        rows = audit.entries(database(), **chosen, before=before, limit=ROWS)
        yield rows_of(rows, HEAD)
        if len(rows) < ROWS:
            return
        before = rows[-1].audit_no


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
            chosen |= {name: read_time(typed[name], reader_zone())} if typed[name] else {}
        except ValueError:
            problems[name] = "This is no time."
    return typed, chosen, problems


def read_time(text: str, zone: tzinfo = UTC) -> datetime:
    """The time that a filter names, by the clock of that zone unless it names one. Raises `ValueError`."""
    at = datetime.fromisoformat(text)
    if at.year < 1900:
        raise ValueError
    return at if at.tzinfo else at.replace(tzinfo=zone)
