"""`/views`: lists of tasks and of failures kept under a name, and whom they tell when they hold too many."""

from __future__ import annotations

from typing import Any

from flask import Response
from marshmallow import Schema, fields
from marshmallow.validate import OneOf, Range

from engine.errors import NotFound, Problem, RequestError
from engine.finding import views
from engine.finding.failure_filter import LONGEST
from webapp.access import known_caller
from webapp.api import access, shapes
from webapp.api.blueprint import PREFIX, Endpoints
from webapp.api.bodies import MAX_NAME, StrictSchema
from webapp.api.chosen import ChosenTasksSchema, parameters_of
from webapp.api.fields import maybe_text, maybe_time, said, text
from webapp.database import database
from webapp.views import (
    SEE,
    Counted,
    changeable,
    counted,
    keep_changed,
    may_change,
    require_sharing,
    seen_view,
    seen_views,
    sharable,
)

endpoints = Endpoints("views", "Lists of tasks and of failures kept under a name")


class ChosenFailuresSchema(StrictSchema):
    namespace, name, step, error, owner = (text(LONGEST) for _ in range(5))


class ViewRequestSchema(StrictSchema):
    name = text(views.MAX_NAME, required=True)
    filter = fields.Nested(ChosenTasksSchema, load_default=dict, metadata=said("As `GET /tasks` takes it; {} is every task"))
    failures = fields.Nested(ChosenFailuresSchema, load_default=None, metadata=said("In place of `filter`: a list of failures, as `/failures` takes it; {} is every one"))
    namespace = text(MAX_NAME, load_default=None, allow_none=True, metadata=said("Shown to all who see this namespace; left out: to the token's account alone"))


class AlertRequestSchema(StrictSchema):
    threshold = fields.Integer(load_default=None, strict=True, validate=Range(0, views.MAX_THRESHOLD), metadata=said("Told when more tasks match, and again when no more do"))
    rest = text(20, load_default="", metadata=said("At least so long between two alerts, such as 15m (the default), 1h or 1d"))
    webhook = text(500, load_default="", metadata=said("An address with or without an e-mail address; one of them is needed"))
    secret = text(views.MAX_SECRET, load_default="", metadata=said("Signs what the webhook is sent; left out: the one there is"))
    email = text(254, load_default="")


class AlertSchema(Schema):
    threshold = fields.Integer(required=True)
    rest = fields.String(required=True)
    webhook = maybe_text()
    has_secret = fields.Boolean(required=True)
    email = maybe_text()


class ViewSchema(Schema):
    view_id = fields.Integer(required=True)
    name = fields.String(required=True)
    kind = fields.String(required=True, validate=OneOf(views.KINDS))
    namespace = maybe_text()
    owner = fields.String(required=True)
    filter = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    changed_at = fields.DateTime(required=True)
    count = fields.Integer(required=True, allow_none=True, metadata=said("How many tasks or groups of failures the caller sees in it now, 1,001 for more than 1,000; null when that took too long"))
    is_least = fields.Boolean(required=True, metadata=said("Whether it may hold more than `count`: older ones were not looked through"))
    threshold = fields.Integer(required=True, allow_none=True, metadata=said("An alert is raised above it"))
    over_since = maybe_time()
    alert = fields.Nested(AlertSchema, required=True, allow_none=True, metadata=said("For who may change the view"))


class ViewsSchema(Schema):
    views = fields.List(fields.Nested(ViewSchema), required=True)


@endpoints.route("/views")
@endpoints.response(200, ViewsSchema)
@endpoints.may_answer()
def index() -> Response:
    """List the views of the token's account, and those that are shared with it, with their counts"""
    return shapes.respond({"views": [_told(each) for each in counted(seen_views())]})


@endpoints.route("/views", methods=["POST"])
@endpoints.arguments(ViewRequestSchema)
@endpoints.response(201, ViewSchema)
@endpoints.may_answer(400, 404, 409, 413, 415, 422)
def keep(given: dict[str, Any]) -> Response:
    """Keep a filter under a name"""
    require_sharing(given["namespace"])
    if given["namespace"] is not None and given["namespace"] not in sharable(None):
        raise NotFound(f'there is no namespace "{given["namespace"]}"')
    kind, asked = (views.TASKS, parameters_of(given["filter"])) if given["failures"] is None else (views.FAILURES, given["failures"])
    if kind == views.FAILURES and given["filter"]:
        raise RequestError([Problem("filter", "ambiguous", "a view is of tasks, by filter, or of failures")])
    parameters = views.narrowing(kind, asked, given["namespace"])
    view_id = views.keep_view(database(), given["name"], parameters, namespace=given["namespace"], owner_id=known_caller().account_id, kind=kind)
    access.note("done", SEE, given["namespace"], f"view {view_id}", detail={"act": "keep"})
    [made] = counted([seen_view(view_id)])
    return shapes.respond(_told(made), 201, location=f"{PREFIX}/views/{view_id}")


@endpoints.route("/views/<int:view_id>")
@endpoints.response(200, ViewSchema)
@endpoints.may_answer(404)
def show(view_id: int) -> Response:
    """Show a view with its count"""
    [found] = counted([seen_view(view_id)])
    return shapes.respond(_told(found))


@endpoints.route("/views/<int:view_id>", methods=["DELETE"])
@endpoints.response(204)
@endpoints.may_answer(404)
def remove(view_id: int) -> Response:
    """Keep a view no longer"""
    found = changeable(view_id)
    views.remove_view(database(), view_id)
    access.note("done", SEE, found.namespace, f"view {view_id}", detail={"act": "remove"})
    return Response(status=204)


@endpoints.route("/views/<int:view_id>/alert", methods=["PUT"])
@endpoints.arguments(AlertRequestSchema)
@endpoints.response(200, ViewSchema)
@endpoints.may_answer(400, 404, 413, 415, 422)
def set_alert(given: dict[str, Any], view_id: int) -> Response:
    """Have a view tell when it holds too many tasks; from now on it counts with the rights of the token"""
    found = changeable(view_id)
    if given["threshold"] is None:
        raise RequestError([Problem("threshold", "missing", "is required; DELETE has the view tell nothing")])
    return _alerted(found, views.read_alert({**given, "threshold": str(given["threshold"])}), "set alert")


@endpoints.route("/views/<int:view_id>/alert", methods=["DELETE"])
@endpoints.response(200, ViewSchema)
@endpoints.may_answer(404)
def remove_alert(view_id: int) -> Response:
    """Have a view tell nothing"""
    return _alerted(changeable(view_id), views.Alert(secret=""), "remove alert")


def _alerted(found: views.View, alert: views.Alert, act: str) -> Response:
    keep_changed(found, found.name, found.namespace, alert)
    access.note("done", SEE, found.namespace, f"view {found.view_id}", detail={"act": act})
    return show(view_id=found.view_id)


def _alert(found: views.View) -> dict[str, Any] | None:
    alert = found.alert
    if alert.threshold is None or not may_change(found):
        return None
    return {"threshold": alert.threshold, "rest": views.rest_text(alert.rest), "webhook": alert.webhook, "has_secret": found.has_secret, "email": alert.email}


def _told(each: Counted) -> dict[str, Any]:
    names = ("view_id", "name", "kind", "namespace", "owner", "changed_at", "over_since")
    facts = {name: shapes.plain(getattr(each.view, name)) for name in names}
    return facts | {"filter": each.view.narrowing, "count": each.count, "is_least": each.is_least, "threshold": each.view.alert.threshold, "alert": _alert(each.view)}
