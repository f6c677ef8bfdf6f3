"""`/steps`: the steps that run, are ready or wait for their time, of all tasks. The figures of the overview and of the engines lead here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request

from engine import limits, queries
from engine.measures import standing
from engine.rows import StandingStep
from webapp.access import allowed_namespaces
from webapp.database import database
from webapp.downloads import asked_format, list_file, rows_of
from webapp.drawing import step_urls
from webapp.htmx import asks_for_regions, page, regions

SHOWN = 200
IN_A_FILE = 10_000
COLUMNS = ("task_id", "namespace", "name", "version", "step_name", "state", "attempts", "retry_limit", "since", "until", "engine", "served")

blueprint = Blueprint("waiting", __name__)


@dataclass(frozen=True, slots=True)
class Queue:
    """One of the three lists: its word in the address, its title, which step comes first and what its time means."""

    key: str
    title: str
    order: str
    time: str
    steps: Callable[..., list[StandingStep]]
    count: Callable[..., int]


QUEUES = {
    each.key: each
    for each in (
        Queue("running", "Running steps", "the longest running first", "Runs for", standing.running_steps, lambda now: now.running_count),
        Queue("ready", "Ready steps", "the first in line first", "Ready for", standing.ready_steps, lambda now: now.ready_count),
        Queue("delayed", "Steps that wait for their time", "the next first", "Goes on", standing.delayed_steps, lambda now: now.delayed_count),
    )
}


@blueprint.get("/steps")
def index() -> Response:
    """The queue that is asked for, the running steps without a word; for htmx the region of its rows."""
    queue = QUEUES.get(request.args.get("queue", ""), QUEUES["running"])
    here = allowed_namespaces("tasker.step:index")
    if form := asked_format():
        return list_file(f"{queue.key}-steps", COLUMNS, [rows_of(queue.steps(database(), limit=IN_A_FILE, namespaces=here), COLUMNS)], form)
    steps = queue.steps(database(), limit=SHOWN, namespaces=here)
    urls = {(step.task_id, step.step_name): step_urls(step.task_id, [step.step_name])[step.step_name] for step in steps}
    now = queries.overview(database(), namespaces=here) if len(steps) == SHOWN else None
    total = queue.count(now) if now else len(steps)
    seen: dict[str, Any] = {"queue": queue, "queues": QUEUES.values(), "steps": steps, "urls": urls, "total": total, "held_count": limits.waiting_count(database(), namespaces=here) if queue.key == "ready" else 0}
    return regions(["waiting/_steps.html"], **seen) if asks_for_regions() else page("waiting/index.html", **seen)
