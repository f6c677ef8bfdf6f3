"""`/namespaces` and `/workflows`: what tasks can be made of, with graph and schema."""

from __future__ import annotations

from typing import Any

from flask import Response

from engine import queries
from engine.errors import NotFound
from webapp.api import access, shapes
from webapp.api.answers import DefinitionSchema, NamespacesSchema, WorkflowsSchema
from webapp.api.blueprint import Endpoints
from webapp.api.bodies import NamespaceQuery
from webapp.database import database

READ = "tasker.workflow:index"

endpoints = Endpoints("workflows", "What tasks are made of")


@endpoints.route("/namespaces")
@endpoints.response(200, NamespacesSchema)
@endpoints.may_answer()
def namespaces() -> Response:
    """List the namespaces"""
    within = access.allowed_namespaces(READ)
    seen = [row for row in queries.namespaces(database()) if within is None or row.name in within]
    return shapes.respond({"namespaces": [{"name": row.name, "description": row.description, "workflow_count": row.workflow_count} for row in seen]})


@endpoints.route("/workflows")
@endpoints.arguments(NamespaceQuery, location="query")
@endpoints.response(200, WorkflowsSchema)
@endpoints.may_answer(404, 422)
def index(asked: dict[str, Any]) -> Response:
    """List the workflows, of all namespaces or of one"""
    within = access.allowed_namespaces(READ)
    names = queries.namespace_names(database()) if asked["namespace"] is None else [asked["namespace"]]
    seen = [name for name in names if within is None or name in within]
    if asked["namespace"] and not seen:
        raise NotFound(_no_namespace(asked["namespace"]))
    return shapes.respond({"workflows": [shapes.workflow(row) for name in seen for row in queries.workflows(database(), name)]})


@endpoints.route("/workflows/<namespace>")
@endpoints.response(200, WorkflowsSchema)
@endpoints.may_answer(404)
def of_namespace(namespace: str) -> Response:
    """List the workflows of a namespace"""
    return shapes.respond({"workflows": [shapes.workflow(row) for row in queries.workflows(database(), namespace)]})


@endpoints.route("/workflows/<namespace>/<name>")
@endpoints.response(200, DefinitionSchema)
@endpoints.may_answer(404)
def latest(namespace: str, name: str) -> Response:
    """Show the highest version of a workflow that is no pre-release, with its steps and the schema of its context"""
    return shapes.respond(shapes.definition(queries.shown_definition(database(), namespace, name)))


@endpoints.route("/workflows/<namespace>/<name>/<version>")
@endpoints.response(200, DefinitionSchema)
@endpoints.may_answer(404)
def show(namespace: str, name: str, version: str) -> Response:
    """Show a version of a workflow with its steps and the schema of its context"""
    return shapes.respond(shapes.definition(queries.shown_definition(database(), namespace, name, version)))


def _no_namespace(name: str) -> str:
    return f'there is no namespace "{name}"'
