"""`/settings/roles`: what each role bundles, and roles of one's own: made, changed and removed by administrators. An account has a role everywhere or in one namespace."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request, url_for

from engine.access import accounts
from engine.access.accounts import RoleRow
from engine.access.permissions import ACTIONS, PERMISSIONS, Rights
from engine.errors import NotFound, RequestError, WrongState
from webapp.access import known_caller, require_power_over_role, require_power_to_give
from webapp.database import database
from webapp.downloads import asked_format, list_file, rows_of
from webapp.filters import sentence
from webapp.htmx import Notice, done, given_reason, page

COLUMNS = ("role", "built_in", "account_count", "permissions")

blueprint = Blueprint("roles", __name__)


@blueprint.get("/settings/roles")
def index() -> Response:
    """The roles, and the form that makes one; filled with the one that `role` names, where the caller may change it. All roles as a file where that is asked for."""
    if form := asked_format():
        return list_file("roles", COLUMNS, [rows_of(accounts.roles(database()), COLUMNS)], form)
    wanted = request.args.get("role", "")
    known = next((row for row in accounts.roles(database()) if row.role == wanted and _may_change(row)), None)
    return _page(typed=wanted if known else "", ticked=frozenset(known.permissions if known else ()))


@blueprint.post("/settings/roles")
def keep() -> Response:
    """The role bundles what was ticked; one of that name before is changed for whoever has it, by who may all that it held."""
    name = request.form.get("role", "").strip()
    ticked = frozenset(request.form.getlist("permission")) & PERMISSIONS
    require_power_over_role(name)
    require_power_to_give(Rights.of([("", None, sorted(ticked))]))
    try:
        if not ticked:
            return _page(422, "Tick at least one permission.", name, ticked)
        accounts.keep_role(database(), name, sorted(ticked), actor=known_caller().name, address=request.remote_addr)
    except RequestError as error:
        return _page(422, " ".join(sentence(f"the role's name {each.message}" if each.path == "name" else each.message) for each in error.problems), name, ticked)
    return done(f"The role {name} is kept.", url_for("roles.index"))


@blueprint.post("/settings/roles/<role>/removal")
def remove(role: str) -> Response:
    """There is no such role any more, if nobody has it and the caller may all that it held."""
    require_power_over_role(role)
    try:
        accounts.remove_role(database(), role, actor=known_caller().name, reason=given_reason(), address=request.remote_addr)
    except (WrongState, NotFound) as error:
        return _page(409 if isinstance(error, WrongState) else 404, sentence(error))
    return done(f"The role {role} is removed.", url_for("roles.index"))


def _page(status: int = 200, refused: str = "", typed: str = "", ticked: frozenset[str] = frozenset()) -> Response:
    rows = accounts.roles(database())
    seen: dict[str, Any] = {
        "roles": rows,
        "changeable": {row.role for row in rows if _may_change(row)},
        "actions": ACTIONS,
        "typed": typed,
        "ticked": ticked,
        "may_give": known_caller().rights.namespaces,
    }
    return page("settings/roles.html", status=status, notice=Notice("refused", refused) if refused else None, **seen)


def _may_change(row: RoleRow) -> bool:
    return not row.built_in and known_caller().rights.covers(Rights.of([(row.role, None, row.permissions)]))
