"""`/engines`: the companion processes that execute steps, what each of them runs now and can run, and what waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from flask import Blueprint, Response, make_response, redirect, url_for

from engine import limits, queries
from engine.access.permissions import Namespaces
from engine.measures import standing
from engine.rows import EngineRow, QueueRow, StandingStep
from webapp.access import allowed_namespaces
from webapp.database import database
from webapp.downloads import Row, asked_format, list_file, rows_of
from webapp.drawing import step_urls
from webapp.glance import shared
from webapp.htmx import asks_for_regions, page, regions
from webapp.replica import replica_standing

STEPS_SHOWN = 6
"""Of each engine, the longest running; the list of running steps has them all."""
STEPS_READ = 1_000
QUEUE_COLUMNS = ("namespace", "name", "version", "ready_count", "first_ready_at", "delayed_count", "running_count", "engine_count", "unserved_count")
COLUMNS = ("name", "runner", "concurrency", "started_at", "seen_at", "alive", "draining", "definitions")

blueprint = Blueprint("engines", __name__)


@dataclass(frozen=True, slots=True)
class EngineView:
    """One engine with the steps it has had in hand longest, each with its address, and how many it has."""

    row: EngineRow
    running: tuple[tuple[StandingStep, str], ...]
    running_count: int

    @property
    def words(self) -> tuple[str, str]:
        """Its state as a word, and the state of a step that has the same look."""
        if not self.row.alive:
            return "Gone", "cancelled"
        return ("Draining", "retrying") if self.row.draining else ("Alive", "completed")

    @property
    def cluster_words(self) -> tuple[str, str]:
        """The state of the cluster it runs handlers on, in the same way."""
        known = {"connected": ("Connected", "completed"), "troubled": ("In trouble", "retrying")}
        return known.get((self.row.cluster or {}).get("state", ""), ("Unreachable", "failed"))


@dataclass(frozen=True, slots=True)
class NamespaceQueue:
    """What waits and runs of one namespace, by version."""

    name: str
    rows: tuple[QueueRow, ...]

    @property
    def total(self) -> QueueRow:
        """All of it as one row, which is served when every row with ready steps is."""
        heads = [row.first_ready_at for row in self.rows if row.first_ready_at]
        ready, delayed, running, unserved = (sum(getattr(row, key) for row in self.rows) for key in ("ready_count", "delayed_count", "running_count", "unserved_count"))
        return QueueRow(self.name, "", "", ready, min(heads, default=None), delayed, running, min(row.engine_count for row in self.rows), unserved)


@blueprint.get("/engines")
def index() -> Response:
    """Every engine that has been seen lately, the living first, and the queues; for htmx the region of them."""
    if form := asked_format():
        return list_file("engines", (*COLUMNS, "running_count"), [_lines()], form)
    if asks_for_regions():
        return regions(["engines/_list.html"], **_seen())
    return page("engines/index.html", **_seen())


@blueprint.get("/engines/queues")
def queues() -> Response:
    """What waits and runs of each version as a file; the page of the engines has the same as a table."""
    form = asked_format()
    if form is None:
        return make_response(redirect(url_for("engines.index", _anchor="queues-title"), code=303))
    found = sorted(standing.queues(database(), namespaces=_here()), key=lambda row: row.namespace)
    return list_file("queues", QUEUE_COLUMNS, [rows_of(found, QUEUE_COLUMNS)], form)


@shared
def _seen() -> dict[str, Any]:
    rows = standing.queues(database(), namespaces=_here())
    return {"replica": replica_standing(), "engines": _engines(), "queues": _by_namespace(rows), "unserved": [row for row in rows if row.unserved_count], "held_count": limits.waiting_count(database(), namespaces=_here())}


def _engines() -> list[EngineView]:
    counts = standing.running_counts(database(), namespaces=_here())
    steps = standing.running_steps(database(), limit=STEPS_READ, per_engine=STEPS_SHOWN, namespaces=_here())
    return [EngineView(row, _with_urls(steps, row.worker_id), counts.get(row.worker_id, 0)) for row in queries.engines(database(), namespaces=_here())]


def _lines() -> list[Row]:
    counts = standing.running_counts(database(), namespaces=_here())
    rows = queries.engines(database(), namespaces=_here())
    return [{"running_count": counts.get(row.worker_id, 0), **{name: getattr(row, name) for name in COLUMNS}} for row in rows]


def _here() -> Namespaces:
    return allowed_namespaces("tasker.metrics:index")


def _with_urls(steps: Sequence[StandingStep], worker_id: int) -> tuple[tuple[StandingStep, str], ...]:
    mine = [step for step in steps if step.worker_id == worker_id]
    return tuple((step, step_urls(step.task_id, [step.step_name])[step.step_name]) for step in mine)


def _by_namespace(rows: Sequence[QueueRow]) -> list[NamespaceQueue]:
    ordered = sorted(rows, key=lambda row: row.namespace)
    return [NamespaceQueue(name, tuple(found)) for name, found in groupby(ordered, key=lambda row: row.namespace)]
