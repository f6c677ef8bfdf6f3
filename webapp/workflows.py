"""`/workflows`: namespaces, the workflows in them, and each version as it is defined."""

from __future__ import annotations

from flask import Blueprint, Response

from engine import queries
from engine.rows import NamespaceRow, WorkflowRow
from webapp.database import database
from webapp.drawing import definition_graph
from webapp.htmx import page
from webapp.listing import recent_tasks
from webapp.paces import paces
from webapp.schema_table import schema_fields

NAMESPACES_OPENED = 20
RECENT_TASKS = 10

blueprint = Blueprint("workflows", __name__)


@blueprint.get("/workflows")
def index() -> Response:
    """All namespaces; the workflows of each are listed as long as there are few namespaces."""
    namespaces = queries.namespaces(database())
    opened = namespaces if len(namespaces) <= NAMESPACES_OPENED else []
    found = {each.name: queries.workflows(database(), each.name) for each in opened}
    return page("workflows/index.html", namespaces=namespaces, workflows=found)


@blueprint.get("/workflows/<namespace>")
def namespace(namespace: str) -> Response:
    """The workflows of one namespace."""
    found = queries.workflows(database(), namespace)
    return page("workflows/namespace.html", namespace=_described(namespace), workflows=found)


@blueprint.get("/workflows/<namespace>/<name>")
def show(namespace: str, name: str) -> Response:
    """One workflow: its versions and its latest tasks."""
    found = _workflow(namespace, name)
    definition = queries.definition(database(), namespace, name, found.versions[0])
    recent = recent_tasks(namespace, name, RECENT_TASKS)
    return page("workflows/show.html", workflow=found, definition=definition, tasks=recent, paces=paces(recent))


@blueprint.get("/workflows/<namespace>/<name>/<version>")
def version(namespace: str, name: str, version: str) -> Response:
    """One version: its graph, the settings of its steps and the input it takes."""
    definition = queries.definition(database(), namespace, name, version)
    return page(
        "workflows/version.html",
        definition=definition,
        workflow=_workflow(namespace, name),
        graph=definition_graph(definition),
        fields=schema_fields(definition.schema),
    )


def _described(namespace: str) -> NamespaceRow:
    return next(each for each in queries.namespaces(database()) if each.name == namespace)


def _workflow(namespace: str, name: str) -> WorkflowRow:
    for each in queries.workflows(database(), namespace):
        if each.name == name:
            return each
    # Asking for the definition words the error, with the versions there are.
    queries.definition(database(), namespace, name)
    raise LookupError(name)
