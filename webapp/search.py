"""`/search`: tasks, failures and workflows by whatever one knows of them, from the box at the head of every page."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from engine import search
from engine.errors import RequestError
from engine.search import Found
from webapp.access import allowed_namespaces
from webapp.database import database
from webapp.drawing import step_urls
from webapp.htmx import Notice, page

blueprint = Blueprint("search", __name__)


@blueprint.get("/search")
def index() -> Response:
    """What bears the text, by kind, newest first; a page that leads to older ones of a kind has that kind alone."""
    text = request.args.get("q", "").strip()[: search.MAX_TEXT]
    cursors = {name: request.args.get(name) for name in ("tasks_before", "steps_before")}
    try:
        found, notice = look_for(text, **cursors), None
    except RequestError:
        found, notice = look_for(text), Notice("refused", "This link to older ones is damaged; the list begins at the newest.")
        cursors = dict.fromkeys(cursors)
    urls = {(step.task_id, step.step_name): step_urls(step.task_id, [step.step_name])[step.step_name] for step in found.steps}
    only = next((name.partition("_")[0] for name, value in cursors.items() if value), None)
    return page("search/index.html", notice=notice, text=text, found=found, urls=urls, only=only)


def look_for(text: str, **asked: Any) -> Found:
    """What the caller may see of it."""
    here: dict[str, Any] = {f"{kind}s_in": allowed_namespaces(f"tasker.{kind}:show") for kind in ("task", "step", "workflow")}
    return search.find(database(), text, **here, **asked)
