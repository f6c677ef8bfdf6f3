"""`…/launch/rows`: many tasks of one workflow from a CSV file: every row is checked and shown before any task is made, and a form that is sent twice makes them once."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from flask import Blueprint, Response, request, url_for

from engine import queries, tasks
from engine.errors import KeyReused, RequestError
from engine.finding.task_counts import count_by_state
from engine.hiding.redaction import masked
from engine.requests import TaskRequest
from engine.rows import DefinitionRow
from engine.sheets import MAX_CHARACTERS, MAX_ROWS, Sheet, SheetRow, read_sheet
from engine.states import FINAL_TASK, TaskState
from webapp.access import allowed_namespaces, note
from webapp.database import database
from webapp.filters import count, plural, sentence
from webapp.htmx import MAX_REASON, Notice, asks_for_regions, done, live_regions, page, regions
from webapp.overview import Tab
from webapp.request_log import correlation_id
from webapp.security import actor

SHOWN = 10
PIECE = 200
TOKEN = re.compile(r"[\w-]{16,64}", re.ASCII)
TAG = re.compile(r"rows-[0-9a-f]{12}", re.ASCII)
UNREADABLE = "The file is not text in UTF-8. Save it as “CSV UTF-8” and choose it again."

blueprint = Blueprint("launch_sheets", __name__)


@dataclass(frozen=True, slots=True)
class Upload:
    """The page in one state: what was sent, and what was read of it; `sheet` is None before anything was sent; by the `known` keys tasks were made before."""

    definition: DefinitionRow
    text: str = ""
    reason: str = ""
    token: str = ""
    sheet: Sheet | None = None
    known: frozenset[str] = frozenset()

    @property
    def tag(self) -> str:
        """What all its tasks bear."""
        return f"rows-{hashlib.sha256(self.token.encode()).hexdigest()[:12]}"

    @property
    def is_ready(self) -> bool:
        """Whether tasks can be made of it."""
        return self.sheet is not None and not self.sheet.problems

    @property
    def examples(self) -> list[tuple[int, str, str]]:
        """The first rows as contexts, without their secrets, and what else their tasks are to have, in words."""
        rows = self.rows[:SHOWN]
        return [(row.line, json.dumps(masked(row.context, self.definition.schema), ensure_ascii=False), _words(row)) for row in rows]

    @property
    def rows(self) -> list[SheetRow]:
        """Those that a task is made of."""
        return [row for row in (self.sheet.rows if self.sheet else ()) if row.fields.get("idempotency_key") not in self.known]


@blueprint.get("/workflows/<namespace>/<name>/<version>/launch/rows")
def form(namespace: str, name: str, version: str) -> Response:
    """The form for the file."""
    return _page(Upload(queries.shown_definition(database(), namespace, name, version)))


@blueprint.post("/workflows/<namespace>/<name>/<version>/launch/rows")
def launch(namespace: str, name: str, version: str) -> Response:
    """Show what the file holds; make its tasks once that was shown and is without a fault."""
    definition = queries.shown_definition(database(), namespace, name, version)
    given = request.form.get("token", "")
    upload = Upload(definition, reason=request.form.get("reason", "").replace("\x00", "").strip()[:MAX_REASON], token=given if TOKEN.fullmatch(given) else secrets.token_urlsafe(16))
    try:
        upload = replace(upload, text=_text())
    except UnicodeDecodeError:
        return _page(upload, 422, Notice("refused", UNREADABLE))
    if not upload.text.strip():
        return _page(upload, 422, Notice("refused", "Choose a CSV file, or paste its rows."))
    schema = queries.definition(database(), namespace, name, version).schema
    sheet = read_sheet(upload.text, _about(definition), schema)
    upload = replace(upload, sheet=sheet, known=tasks.known_keys(database(), namespace, name, [row.fields["idempotency_key"] for row in sheet.rows if "idempotency_key" in row.fields]))
    if not upload.is_ready:
        return _page(upload, 422)
    return _made(upload) if "_launch" in request.form else _page(upload)


@blueprint.get("/workflows/<namespace>/<name>/<version>/launch/rows/<tag>")
def progress(namespace: str, name: str, version: str, tag: str) -> Response:
    """How far the tasks of one file are; for htmx the region of that."""
    definition = queries.shown_definition(database(), namespace, name, version)
    here = allowed_namespaces("tasker.task:index")
    found = count_by_state(database(), tag, namespace=namespace, name=name, namespaces=here) if TAG.fullmatch(tag) else {}
    is_open = any(TaskState(state) not in FINAL_TASK for state in found)
    seen: dict[str, Any] = {"definition": definition, "tag": tag, "counts": found, "tab": _tab(f"{name}, {tag}", found), "is_open": is_open}
    if asks_for_regions():
        return regions(live_regions(("launches/_progress.html",), is_open=is_open), **seen)
    return page("launches/progress.html", status=200 if found else 404, **seen)


def _tab(title: str, counts: Mapping[str, int]) -> Tab:
    if not counts:
        return Tab("plain", title)
    ended = sum(number for state, number in counts.items() if TaskState(state) in FINAL_TASK)
    failed = f", {count(counts['failed'])} failed" if "failed" in counts else ""
    return Tab(_look(counts.keys()), f"{count(ended)} of {count(sum(counts.values()))} ended{failed} · {title}")


def _look(states: Set[str]) -> str:
    """The state that stands for all of them: a failure does so before the rest has ended."""
    if "failed" in states:
        return "failed"
    if len(states) == 1:
        return next(iter(states))
    return "completed" if all(TaskState(state) in FINAL_TASK for state in states) else "running"


def _text() -> str:
    sent = request.files.get("file")
    if sent is None or not sent.filename:
        return request.form.get("rows", "")
    content: bytes = sent.read()
    return content.decode("utf-8-sig")


def _about(definition: DefinitionRow) -> TaskRequest:
    return TaskRequest(definition.name, definition.namespace, definition.version)


def _made(upload: Upload) -> Response:
    definition, rows = upload.definition, upload.rows
    new = 0
    try:
        # in pieces, each a transaction: what a lost connection leaves undone is made when the form is sent again
        for begin in range(0, len(rows), PIECE):
            made = tasks.create_tasks(database(), [_request(upload, row) for row in rows[begin : begin + PIECE]])
            new += sum(is_new for _, is_new in made)
    except KeyReused:
        changed = "This form has launched its rows already, and holds others now. Nothing more was launched: press Launch again for new tasks."
        return _page(replace(upload, token=secrets.token_urlsafe(16)), 409, Notice("refused", changed))
    except RequestError as error:
        return _page(upload, 422, Notice("refused", sentence(error)))
    where = url_for("launch_sheets.progress", namespace=definition.namespace, name=definition.name, version=definition.version, tag=upload.tag)
    if not rows and not count_by_state(database(), upload.tag, namespace=definition.namespace, name=definition.name, namespaces=allowed_namespaces("tasker.task:index")):
        return _page(upload, 409, Notice("refused", "Every row has a key that was used before. Nothing was launched."))
    if not new:
        return done("This form was sent before: these are the tasks it made. Nothing new was launched.", where)
    note("done", "tasker.task:create", definition.namespace, f"{new} tasks {upload.tag}", upload.reason or None, {"act": "launch rows"})
    return done(f"{plural(new, 'task')} launched.", where)


def _words(row: SheetRow) -> str:
    names = {"idempotency_key": "key", "tags": "tags", "priority": "priority"}
    return ", ".join(f"{names[name]} {' '.join(value) if name == 'tags' else value}" for name, value in row.fields.items())


def _request(upload: Upload, row: SheetRow) -> TaskRequest:
    definition = upload.definition
    return TaskRequest.of(
        {
            "name": definition.name,
            "namespace": definition.namespace,
            "version": definition.version,
            "context": row.context,
            "initiator": actor(),
            "source_system": "dashboard",
            "reason": upload.reason or None,
            "tags": (*row.fields.get("tags", ()), upload.tag),
            "priority": row.fields.get("priority", 0),
            "correlation_id": correlation_id(),
            "idempotency_key": row.fields.get("idempotency_key", f"rows:{upload.token}:{row.line}"),
        }
    )


def _page(upload: Upload, status: int = 200, notice: Notice | None = None) -> Response:
    fields = sorted(((upload.definition.schema or {}).get("properties") or {}).keys())
    required = (upload.definition.schema or {}).get("required") or []
    return page("launches/rows.html", status=status, notice=notice, upload=upload, fields=fields, required=required, most_rows=MAX_ROWS, most_characters=MAX_CHARACTERS)
