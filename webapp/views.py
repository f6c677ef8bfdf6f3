"""`/views`: lists of tasks and of failures kept under a name, alone or for the team, each with its count now, and with the alert that it raises.

A reader's counts are of what the reader may see; an alert counts with the rights of whoever kept the view last.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import Blueprint, Response, current_app, request, url_for

from engine import queries
from engine.access.permissions import Namespaces
from engine.errors import DatabaseUnavailable, RequestError, WrongState
from engine.finding import views
from engine.finding.failure_filter import count_failures
from engine.finding.tally import Tally
from engine.finding.task_counts import count_tasks
from engine.finding.views import FAILURES, KINDS, TASKS, Alert, View
from engine.outgoing import notices
from webapp.access import allowed_namespaces, known_caller, note, require
from webapp.database import database
from webapp.downloads import Row, asked_format, list_file
from webapp.filters import sentence
from webapp.glance import Glance
from webapp.htmx import Notice, asks_for_regions, done, page, regions

COUNT_MS = 300
BUDGET_SECONDS = 1.0
KEPT_FOR = 5
"""How much longer than other shared answers a count serves."""
IN_STRIP = 12
FIELDS = ("title", "shared", "threshold", "rest", "webhook", "email")
SEE, SEE_FAILURES, SHARE = views.PERMISSION, views.FAILURES_PERMISSION, "tasker.task:update"
ON_A_PAGE = 50
COLUMNS = ("view_id", "name", "kind", "namespace", "owner", "narrowing", "changed_at")

blueprint = Blueprint("views", __name__)


@dataclass(frozen=True, slots=True)
class Counted:
    """A view with how many tasks, or groups of failures, the reader sees in it; None when that took too long to say. `is_least`: older ones were not looked through."""

    view: View
    count: int | None
    is_least: bool = False

    @property
    def url(self) -> str:
        """The list itself."""
        return url_of(self.view)

    @property
    def is_over(self) -> bool:
        """Whether it holds more than it should."""
        threshold = self.view.alert.threshold
        return threshold is not None and self.count is not None and self.count > threshold


@dataclass(frozen=True, slots=True)
class Strip:
    """The views that stand beside a list, and how many there are in all."""

    shown: Sequence[Counted]
    number: int


@blueprint.get("/views")
def index() -> Response:
    """All that the reader sees, a page at a time; for htmx the region of their rows."""
    require(SEE, None)
    found = seen_views()
    if form := asked_format():
        return list_file("views", (*COLUMNS, "count", "is_least", "threshold"), [[_line(each) for each in counted(found)]], form)
    asked = request.args.get("from", "")
    first = min(int(asked), max(0, len(found) - 1)) // ON_A_PAGE * ON_A_PAGE if asked.isascii() and asked.isdigit() and len(asked) < 8 else 0
    seen: dict[str, Any] = {"found": counted(found[first : first + ON_A_PAGE]), "first": first, "number": len(found), "on_a_page": ON_A_PAGE}
    return regions(["views/_list.html"], **seen) if asks_for_regions() else page("views/index.html", **seen)


def _line(each: Counted) -> Row:
    return {**{name: getattr(each.view, name) for name in COLUMNS}, "count": each.count, "is_least": each.is_least, "threshold": each.view.alert.threshold}


@blueprint.post("/views")
def keep() -> Response:
    """Keep the filter of a list under a name; it leads to the page of the new view, where an alert can be set."""
    require(SEE, None)
    kind = _kind(request.form)
    shared = request.form.get("shared", "").replace("\x00", "") or None
    parameters = views.narrowing(kind, request.form, shared)
    try:
        require_sharing(shared)
        view_id = views.keep_view(database(), _text("title"), parameters, namespace=shared, owner_id=known_caller().account_id, kind=kind)
    except (RequestError, WrongState) as error:
        known = sharable(views.narrowing(kind, request.form, None).get("namespace"))
        return page("views/new.html", status=422, notice=Notice("refused", sentence(error)), parameters=parameters, typed=_typed(), sharable=known, kind=kind)
    _note("keep", shared, view_id)
    return done("The view is kept.", url_for("views.show", view_id=view_id))


@blueprint.get("/views/new")
def new() -> Response:
    """The form that keeps the filter which the query parameters make."""
    require(SEE, None)
    kind = _kind(request.args)
    parameters = views.narrowing(kind, request.args, None)
    return page("views/new.html", parameters=parameters, typed=dict.fromkeys(FIELDS, ""), sharable=sharable(parameters.get("namespace")), kind=kind)


@blueprint.get("/views/<int:view_id>")
def show(view_id: int) -> Response:
    """One view: what it holds, whom it tells, and what came of that."""
    return _show(seen_view(view_id))


@blueprint.post("/views/<int:view_id>")
def change(view_id: int) -> Response:
    """Keep it under another name, or with another alert; from now on it counts with the rights of who did this."""
    found = changeable(view_id)
    shared = request.form.get("shared", "").replace("\x00", "") or None
    try:
        require_sharing(shared)
        keep_changed(found, _text("title"), shared, views.read_alert(request.form))
    except (RequestError, WrongState) as error:
        return _show(found, 422, Notice("refused", sentence(error)), _typed())
    _note("change", shared, view_id)
    return done("The view is changed.", url_for("views.show", view_id=view_id))


@blueprint.post("/views/<int:view_id>/removal")
def removal(view_id: int) -> Response:
    """Keep it no longer."""
    found = changeable(view_id)
    views.remove_view(database(), view_id)
    _note("remove", found.namespace, view_id)
    return done(f"The view {found.name} is removed.", url_for("views.index"))


def strip(kind: str = TASKS) -> Strip:
    """What stands beside a list of that kind."""
    found = [each for each in seen_views() if each.kind == kind]
    return Strip(counted(found[:IN_STRIP]), len(found))


def counted(found: Sequence[View]) -> list[Counted]:
    """The views with their counts, as far as those are found in a moment; readers with the same rights share them for some seconds."""
    ends_at = time.monotonic() + BUDGET_SECONDS
    tallies = [_count(view) if time.monotonic() < ends_at else None for view in found]
    return [Counted(view, tally.number, tally.is_least) if tally else Counted(view, None) for view, tally in zip(found, tallies, strict=True)]


def url_of(view: View) -> str:
    """The list itself."""
    return url_for(f"{view.kind}.index", **dict[str, Any](view.narrowing))


def sharable(namespace: str | None) -> list[str]:
    """Where the reader may show a view of that namespace, or of all, to others."""
    here = allowed_namespaces(SHARE)
    known = queries.namespace_names(database(), only=here)
    return [name for name in known if namespace in (None, name)]


def _count(view: View) -> Tally | None:
    rights = known_caller().rights
    glances: dict[Any, Glance[Tally | None]] = current_app.extensions["tasker_glances"]
    glance = glances.setdefault(("view", view.view_id, view.changed_at, rights.key), Glance())
    find = partial(_count_failures, view, rights.namespaces(SEE_FAILURES)) if view.kind == FAILURES else partial(count_tasks, database(), view.filter, namespaces=rights.namespaces(SEE), within_ms=COUNT_MS)
    return glance.answer(find, current_app.extensions["tasker_acts"], KEPT_FOR * current_app.config["GLANCE_SECONDS"])


def _count_failures(view: View, here: Namespaces) -> Tally | None:
    try:
        return count_failures(database(), view.failure_filter, namespaces=here)
    except DatabaseUnavailable:  # it takes too long, which is no reason to show nothing else
        return None


def seen_views() -> list[View]:
    """The caller's own, and those that are shared where the caller sees tasks."""
    return views.views(database(), known_caller().account_id, allowed_namespaces(SEE))


def seen_view(view_id: int) -> View:
    """One of them. Raises `NotFound`."""
    require(SEE, None)
    return views.view(database(), view_id, known_caller().account_id, allowed_namespaces(SEE))


def changeable(view_id: int) -> View:
    """One of them that the caller may change. Raises `NotFound`, `NotAllowed`."""
    found = seen_view(view_id)
    if found.namespace is not None:
        require(SHARE, found.namespace)
    return found


def require_sharing(namespace: str | None) -> None:
    """The caller may show views to all who see the namespace. Raises as `require`."""
    if namespace is not None:
        require(SHARE, namespace)


def keep_changed(found: View, name: str, shared: str | None, alert: Alert) -> None:
    """The view has that name and alert, and is shown there; it counts with the caller's rights. Raises `RequestError`, `WrongState`, and as `require`."""
    _require_telling(alert, shared)
    views.keep_view(
        database(), name, views.narrowing(found.kind, found.narrowing, shared), namespace=shared, owner_id=known_caller().account_id, alert=alert, kind=found.kind,
        link=url_for("views.show", view_id=found.view_id, _external=True), view_id=found.view_id,
    )  # fmt: skip


def may_change(found: View) -> bool:
    """Whether the caller may change it."""
    return found.namespace is None or known_caller().rights.has(SHARE, found.namespace)


def _require_telling(alert: Alert, namespace: str | None) -> None:
    # what is sent out of the installation is for those who may act in it
    if alert.threshold is not None or alert.webhook or alert.email:
        require(SHARE, namespace)


def _show(found: View, status: int = 200, notice: Notice | None = None, typed: dict[str, str] | None = None) -> Response:
    [seen] = counted([found])
    changes = may_change(found)
    seen_deliveries = notices.deliveries(database(), found.view_id) if changes else []
    given = typed or _fields(found)
    return page("views/show.html", status=status, notice=notice, seen=seen, typed=given, sharable=sharable(found.narrowing.get("namespace")), may_change=changes, deliveries=seen_deliveries)


def _fields(view: View) -> dict[str, str]:
    threshold = "" if view.alert.threshold is None else str(view.alert.threshold)
    rest = views.rest_text(view.alert.rest)
    return {"title": view.name, "shared": view.namespace or "", "threshold": threshold, "rest": rest, "webhook": view.alert.webhook or "", "email": view.alert.email or ""}


def _typed() -> dict[str, str]:
    return {name: _text(name) for name in FIELDS}


def _kind(given: Mapping[str, str]) -> str:
    kind = given.get("kind", TASKS)
    return kind if kind in KINDS else TASKS


def _text(name: str) -> str:
    return request.form.get(name, "").replace("\x00", "").strip()


def _note(act: str, namespace: str | None, view_id: int) -> None:
    note("done", SEE, namespace, f"view {view_id}", detail={"act": act})
