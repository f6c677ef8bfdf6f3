"""`/palette`: every place one may go to, and what bears the text, in one list; the box behind Ctrl-K asks it, and it is a page of its own without a script."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, make_response, render_template, request, url_for

from engine.finding import views
from engine.finding.search import MAX_TEXT
from webapp.access import allowed_namespaces, known_caller, may
from webapp.database import database
from webapp.drawing import step_urls
from webapp.filters import label, short
from webapp.htmx import asks_for_regions, page
from webapp.search import look_for
from webapp.shards import is_home
from webapp.views import url_of

MOST = 5

PLACES = (
    ("o", "Overview", "overview.index", "tasker.task:index"),
    ("w", "Workflows", "workflows.index", "tasker.workflow:index"),
    ("t", "Tasks", "tasks.index", "tasker.task:index"),
    ("v", "Views", "views.index", "tasker.task:index"),
    ("f", "Failures", "failures.index", "tasker.step:index"),
    ("b", "Batches", "batches.index", "tasker.task:index"),
    ("s", "Schedules", "schedules.index", "tasker.schedule:index"),
    ("e", "Engines", "engines.index", "tasker.metrics:index"),
    ("l", "Limits", "limits.index", "tasker.workflow:index"),
    ("a", "Analytics", "analytics.index", "tasker.analytics:index"),
    ("u", "Audit", "auditing.index", "tasker.audit:index"),
    ("m", "Your account", "settings.index", None),
)
"""The key after `g`, the words, the page and the right that it asks for."""

blueprint = Blueprint("palette", __name__)


@dataclass(frozen=True, slots=True)
class Place:
    """One line of the list: what kind of thing it is, its words, and where it is. `key` comes after `g`."""

    kind: str
    words: str
    url: str
    aside: str = ""
    key: str = ""


@blueprint.app_context_processor
def offer_places() -> dict[str, object]:
    """The sheet of keys stands on every page."""
    return {"places": places}


@blueprint.get("/palette")
def index() -> Response:
    """What the text may mean; for the box its lines alone."""
    text = request.args.get("q", "").strip()[:MAX_TEXT]
    found = [*_named(text), *(_found(text) if text else ())]
    if asks_for_regions():
        return make_response(render_template("palette/_lines.html", found=found))
    return page("palette/index.html", text=text, found=found)


def places() -> list[Place]:
    """The pages that the reader may see."""
    return [Place("Go to", words, url_for(endpoint), key=key) for key, words, endpoint, permission in PLACES if permission is None or may(permission)]


def _named(text: str) -> list[Place]:
    """The pages and kept views with the text in their names."""
    wanted = text.lower()
    kept = views.views(database(), known_caller().account_id, allowed_namespaces(views.PERMISSION)) if may(views.PERMISSION) and is_home() else []
    lists = [Place("View", each.name, url_of(each), each.namespace or "") for each in kept]
    return [each for each in (*places(), *lists) if wanted in each.words.lower()]


def _found(text: str) -> list[Place]:
    found = look_for(text, limit=MOST)
    workflows = {(row.namespace, row.name, row.version): row for row in found.workflows}
    return [
        *(Place("Workflow", f"{namespace}/{name}", url_for("workflows.version", namespace=namespace, name=name, version=version), version) for namespace, name, version in workflows),
        *(Place("Launch", f"{namespace}/{name}", url_for("launches.form", namespace=namespace, name=name, version=version), version) for namespace, name, version in workflows if may("tasker.task:create", namespace)),
        *(Place("Task", f"{row.name} {short(row.task_id)}", url_for("tasks.show", task_id=row.task_id), label(row.state)) for row in found.tasks),
        *(Place("Failed step", row.step_name, step_urls(row.task_id, [row.step_name])[row.step_name], row.error or "") for row in found.steps),
        Place("Search", f"Everything that bears “{text}”", url_for("search.index", q=text)),
    ]
