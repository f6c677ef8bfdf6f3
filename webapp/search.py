"""`/search`: tasks, failures and workflows by whatever one knows of them, from the box at the head of every page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flask import Blueprint, Response, request

from engine.errors import RequestError
from engine.finding import search
from engine.finding.search import Found
from webapp.access import allowed_namespaces
from webapp.database import database
from webapp.downloads import Row, asked_format, list_file
from webapp.drawing import step_urls
from webapp.htmx import Notice, page

COLUMNS = ("kind", "task_id", "step_name", "namespace", "name", "version", "state", "tags", "created_at", "finished_at", "error", "description")

blueprint = Blueprint("search", __name__)


@blueprint.get("/search")
def index() -> Response:
    """What bears the text, by kind, newest first; a page that leads to older ones of a kind has that kind alone."""
    text = request.args.get("q", "").strip()[: search.MAX_TEXT]
    if form := asked_format():
        return list_file("found", COLUMNS, _all(text), form)
    cursors = {name: request.args.get(name) for name in ("tasks_before", "steps_before")}
    try:
        found, notice = look_for(text, **cursors), None
    except RequestError:
        found, notice = look_for(text), Notice("refused", "This link to older ones is damaged; the list begins at the newest.")
        cursors = dict.fromkeys(cursors)
    urls = {(step.task_id, step.step_name): step_urls(step.task_id, [step.step_name])[step.step_name] for step in found.steps}
    only = next((name.partition("_")[0] for name, value in cursors.items() if value), None)
    return page("search/index.html", notice=notice, text=text, found=found, urls=urls, only=only)


def _all(text: str) -> Iterator[list[Row]]:
    """Everything that bears the text: workflows, then tasks, then steps, newest first."""
    first = look_for(text, limit=search.MAX_FOUND)
    yield _lines("workflow", first.workflows)
    yield _lines("task", first.tasks)
    older = first.older_tasks
    while older:
        found = look_for(text, limit=search.MAX_FOUND, tasks_before=older)
        yield _lines("task", found.tasks)
        older = found.older_tasks
    yield _lines("step", first.steps)
    older = first.older_steps
    while older:
        found = look_for(text, limit=search.MAX_FOUND, steps_before=older)
        yield _lines("step", found.steps)
        older = found.older_steps


def _lines(kind: str, found: Iterable[object]) -> list[Row]:
    return [{"kind": kind, **{name: getattr(each, name, None) for name in COLUMNS if name != "kind"}} for each in found]


def look_for(text: str, **asked: Any) -> Found:
    """What the caller may see of it."""
    here: dict[str, Any] = {f"{kind}s_in": allowed_namespaces(f"tasker.{kind}:show") for kind in ("task", "step", "workflow")}
    return search.find(database(), text, **here, **asked)
