"""`/workflows`: namespaces, the workflows in them, each version as it is defined and how it fared, and what differs between two of them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from engine import queries
from engine.errors import NotFound
from engine.measures import standing
from engine.rows import DefinitionRow, NamespaceRow, RecordRow, TemplateRow, WorkflowRow
from engine.schedules import schedules
from webapp.access import allowed_namespaces, may
from webapp.contexts import TABLE_ONLY_ABOVE
from webapp.database import database
from webapp.diff_drawing import diff_graph
from webapp.downloads import Row, asked_format, list_file, rows_of
from webapp.drawing import definition_graph
from webapp.glance import shared
from webapp.htmx import page
from webapp.listing import recent_tasks
from webapp.paces import paces
from webapp.schedules import schedule_view
from webapp.schema_table import schema_fields
from webapp.version_diff import version_diff

NAMESPACES_OPENED = 20
RECENT_TASKS = 10
COLUMNS = ("namespace", "name", "description", "versions", "task_count", "open_task_count", "failed_task_count", "last_task_at")
VERSION_COLUMNS = (
    "version", "ended_count", "completed_count", "failed_count", "success_rate", "first_at", "median_seconds", "p95_seconds", "failed_task_count", "open_task_count", "step_count",
    "known_since", "description",
)  # fmt: skip
STEP_COLUMNS = (
    "name", "kind", "parents", "for_each", "retryable", "retry_limit", "timeout_seconds", "limit", "needs", "resources", "handler", "description",
)  # fmt: skip
CATALOGUE_RUNS = 100
"""Over how many ended tasks the catalogue takes the record of a workflow; its own page looks at `standing.RECORD_RUNS`."""

blueprint = Blueprint("workflows", __name__)


@blueprint.get("/workflows")
def index() -> Response:
    """All namespaces; the workflows of each are listed as long as there are few namespaces."""
    here = allowed_namespaces("tasker.workflow:index")
    namespaces = queries.namespaces(database(), only=here)
    if form := asked_format():
        return list_file("workflows", COLUMNS, (rows_of(queries.workflows(database(), each.name), COLUMNS) for each in namespaces), form)
    opened = namespaces if len(namespaces) <= NAMESPACES_OPENED else []
    found = {each.name: queries.workflows(database(), each.name) for each in opened}
    known = _newest_records(standing.records(database(), runs=CATALOGUE_RUNS, namespaces=here)) if opened else {}
    return page("workflows/index.html", namespaces=namespaces, workflows=found, records=known, runs=CATALOGUE_RUNS)


@blueprint.get("/workflows/<namespace>")
def namespace(namespace: str) -> Response:
    """The workflows of one namespace."""
    found = queries.workflows(database(), namespace)
    if form := asked_format():
        return list_file("workflows", COLUMNS, [rows_of(found, COLUMNS)], form)
    known = _newest_records(standing.records(database(), namespace=namespace, runs=CATALOGUE_RUNS))
    return page("workflows/namespace.html", namespace=_described(namespace), workflows=found, records=known, runs=CATALOGUE_RUNS)


@blueprint.get("/workflows/<namespace>/<name>")
def show(namespace: str, name: str) -> Response:
    """One workflow: its versions side by side, its schedules, and its latest tasks; its versions as a file where that is asked for."""
    found = _workflow(namespace, name)
    known = _records(namespace, name)
    if form := asked_format():
        return list_file("workflow-versions", VERSION_COLUMNS, [[_version_line(record) for record in known]], form)
    recent = recent_tasks(namespace, name, RECENT_TASKS)
    by_itself = [schedule_view(row) for row in schedules(database(), namespace=namespace) if row.name == name and may("tasker.schedule:index", namespace)]
    return page(
        "workflows/show.html", workflow=found, records=known, tasks=recent, paces=paces(recent), schedules=by_itself, runs=standing.RECORD_RUNS
    )


@blueprint.get("/workflows/<namespace>/<name>/diff")
def diff(namespace: str, name: str) -> Response:
    """What differs between the versions `from` and `to`; without them between the two newest. An unknown one is told beside its field."""
    found = _workflow(namespace, name)
    newest, before = found.versions[0], found.versions[min(1, len(found.versions) - 1)]
    asked = {"from": request.args.get("from") or before, "to": request.args.get("to") or newest}
    problems = {key: f"There is no version {version}." for key, version in asked.items() if version not in found.versions}
    known = [each for each in _records(namespace, name) if each.version in asked.values()]
    seen: dict[str, Any] = {"workflow": found, "asked": asked, "problems": problems, "records": known, "runs": standing.RECORD_RUNS}
    if problems:
        return page("workflows/diff.html", status=404, diff=None, graph=None, **seen)
    compared = version_diff(*(queries.shown_definition(database(), namespace, name, asked[key]) for key in ("from", "to")))
    return page("workflows/diff.html", diff=compared, graph=diff_graph(compared), **seen)


@blueprint.get("/workflows/<namespace>/<name>/<version>")
def version(namespace: str, name: str, version: str) -> Response:
    """One version: its graph, how it fared, the settings of its steps and the input it takes; its steps as a file where that is asked for."""
    definition = queries.shown_definition(database(), namespace, name, version)
    if form := asked_format():
        return list_file("workflow-steps", STEP_COLUMNS, [[_step_line(step, definition) for step in definition.steps]], form)
    return page(
        "workflows/version.html",
        definition=definition,
        versions=queries.versions(database(), namespace, name),
        record=_record_of(definition),
        graph=definition_graph(definition) if len(definition.steps) <= TABLE_ONLY_ABOVE else None,
        fields=schema_fields(definition.schema),
        runs=standing.RECORD_RUNS,
    )


def _version_line(record: RecordRow) -> Row:
    times = {"median_seconds": record.median, "p95_seconds": record.p95}
    return times | {name: getattr(record, name) for name in VERSION_COLUMNS if name not in times}


def _step_line(step: TemplateRow, definition: DefinitionRow) -> Row:
    told = {"parents": [definition.steps[number].name for number in step.parents], "timeout_seconds": step.timeout_ms and step.timeout_ms / 1000}
    return told | {name: getattr(step, name) for name in STEP_COLUMNS if name not in told}


def _newest_records(records: list[RecordRow]) -> dict[tuple[str, str], RecordRow]:
    return {(each.namespace, each.name): each for each in records}


def _record_of(definition: DefinitionRow) -> RecordRow:
    return standing.records(database(), namespace=definition.namespace, name=definition.name, version=definition.version)[0]


def _described(namespace: str) -> NamespaceRow:
    return next(each for each in queries.namespaces(database()) if each.name == namespace)


@shared
def _records(namespace: str, name: str) -> list[RecordRow]:
    return standing.records(database(), namespace=namespace, name=name)


@shared
def _workflow(namespace: str, name: str) -> WorkflowRow:
    if found := queries.workflows(database(), namespace, name):
        return found[0]
    raise NotFound(f"there is no workflow {namespace}/{name}")
