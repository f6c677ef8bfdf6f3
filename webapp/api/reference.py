"""The description of the API: as OpenAPI 3.1 for programs, and as a page for people that is made from the same document."""

from __future__ import annotations

import re
from functools import cache
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request

from webapp.api import actions, reference_page, shapes
from webapp.api.blueprint import PREFIX, Api, Endpoints
from webapp.api.reference_page import METHODS
from webapp.htmx import page

TITLE = "Tasker"
INTRODUCTION = """Create tasks, watch them and act on them. Every request but those for this description carries `Authorization: Bearer <token>`.

Every error is `{"errors": [{"path", "code", "message"}]}`: 400 for what cannot be parsed, 422 with all problems at once for what was understood and is wrong,
404 for what does not exist or may not be seen, 405 and 413 as everywhere, 500 when something went wrong here. 429 and 503 carry `Retry-After`."""
HEADERS = {
    429: {"Retry-After": {"description": "After how many seconds to ask again", "schema": {"type": "integer"}}},
    503: {"Retry-After": {"description": "After how many seconds to ask again", "schema": {"type": "integer"}}},
    401: {"WWW-Authenticate": {"description": "Bearer", "schema": {"type": "string"}}},
}
DESCRIPTIONS = {
    400: "The body is no JSON",
    401: "No token, or none that is valid",
    403: "The token may see this, but not do that",
    404: "It does not exist, or the token may not see it",
    409: "It is not in a state that allows this",
    412: "It has changed since; nothing was done",
    413: "The body is larger than 1 MiB",
    415: "The body is not application/json in UTF-8",
    422: "Understood, but wrong; every problem with its path",
    429: "Too many requests",
    503: "The database cannot be reached, or more tasks wait than the installation takes; nothing was done",
}

blueprint = Blueprint("api_reference", __name__)


def init_app(app: Flask, groups: tuple[Endpoints, ...]) -> None:
    """The endpoints answer; their description is made when somebody first asks for it, as that takes a while."""
    app.config.update(API_TITLE=TITLE, API_VERSION="1", OPENAPI_VERSION="3.1.0", OPENAPI_URL_PREFIX=None)
    for group in groups:
        app.register_blueprint(group)
    app.register_blueprint(blueprint)
    app.extensions["tasker_api_document"] = cache(lambda: described(app, groups))


def described(app: Flask, groups: tuple[Endpoints, ...]) -> dict[str, Any]:
    """The OpenAPI document of these endpoints."""
    api = Api(app, spec_kwargs={"info": {"description": INTRODUCTION}})
    for name, schema in actions.SCHEMAS.items():
        api.spec.components.schema(name, schema=schema)
    for group in groups:
        group.register_views_in_doc(api, app, api.spec, name=group.name, parameters=None)
        api.spec.tag({"name": group.name, "description": group.description})
    return finished(api.spec.to_dict())


def document() -> dict[str, Any]:
    """The OpenAPI document of this application."""
    found: dict[str, Any] = current_app.extensions["tasker_api_document"]()
    return found


@blueprint.get(f"{PREFIX}/openapi.json")
def openapi() -> Response:
    """The document itself, for programs."""
    below = {"servers": [{"url": request.script_root}]} if request.script_root else {}
    return shapes.respond(document() | below)


@blueprint.get("/api/docs")
def docs() -> Response:
    """The page that shows it."""
    spec = document()
    groups = reference_page.groups(spec, request.root_url.rstrip("/"))
    return page("reference/index.html", groups=groups, objects=reference_page.objects(spec), paragraphs=INTRODUCTION.split("\n\n"))


def finished(spec: dict[str, Any]) -> dict[str, Any]:
    """The document with what the libraries leave out: names of operations and groups, how to sign in, the headers of errors."""
    for address, item in spec["paths"].items():
        for method in METHODS:
            if method in item:
                _finish_operation(item[method], f"{method} {address.removeprefix(PREFIX)}")
    for name, response in spec["components"].get("responses", {}).items():
        _finish_error(name, response)
    for tag in spec.get("tags", ()):
        tag["name"] = tag["name"].removeprefix("api_")
    spec["components"]["schemas"].pop("PaginationMetadata", None)
    spec["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    spec["security"] = [{"token": []}]
    return spec


def _finish_operation(operation: dict[str, Any], name: str) -> None:
    operation["operationId"] = "_".join(re.findall(r"\w+", name))
    [tag] = operation["tags"]
    operation["tags"] = [tag.removeprefix("api_")]
    operation.setdefault("parameters", []).extend(operation.pop("x-headers", ()))
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _finish_error(name: str, response: dict[str, Any]) -> None:
    status = HTTPStatus[name].value
    response["description"] = DESCRIPTIONS.get(status, response["description"])
    if status in HEADERS:
        response["headers"] = HEADERS[status]
