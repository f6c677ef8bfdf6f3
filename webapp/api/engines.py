"""`/engines`: the processes that run steps."""

from __future__ import annotations

from flask import Response

from engine import queries
from webapp.api import access, shapes
from webapp.api.answers import EnginesSchema
from webapp.api.blueprint import Endpoints
from webapp.database import database

READ = "tasker.metrics:index"

endpoints = Endpoints("engines", "The processes that run steps")


@endpoints.route("/engines")
@endpoints.response(200, EnginesSchema)
@endpoints.may_answer()
def index() -> Response:
    """List the engines seen within the last hour, the living first"""
    within = access.allowed_namespaces(READ)
    told = [shapes.engine(row) for row in queries.engines(database())]
    for one in told:
        one["definitions"] = [key for key in one["definitions"] if within is None or key.partition("/")[0] in within]
    return shapes.respond({"engines": told})
