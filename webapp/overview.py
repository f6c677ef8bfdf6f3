"""`/`: what runs, what is stuck and why, and what failed, at one glance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response

from engine import queries
from engine.errors import NotFound
from engine.measures import standing
from engine.rows import TaskRow
from engine.why import why_task
from engine.wording import plural
from webapp.access import allowed_namespaces, may
from webapp.database import database, primary
from webapp.filters import count
from webapp.glance import shared
from webapp.htmx import asks_for_regions, page, regions
from webapp.paces import paces
from webapp.why import STUCK_WORDS

STUCK_SHOWN = 8
ITEMS_LOOKED_AT = 3
STEPS_LOOKED_AT = 200
"""Of a larger task the overview does not say what each step waits for: eight of a thousand steps would take it a second."""

blueprint = Blueprint("overview", __name__)


@dataclass(frozen=True, slots=True)
class StuckTask:
    """A task that does not go on as it should: in two words and in a sentence."""

    task: TaskRow
    words: str
    why: str


@dataclass(frozen=True, slots=True)
class Stuck:
    """How many tasks are stuck for which reason, and the most pressing of them."""

    counts: dict[str, int]
    shown: tuple[StuckTask, ...]

    @property
    def total(self) -> int:
        """All of them; of more open tasks than are looked at, only the oldest count."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Tab:
    """How what a page shows stands, for the icon and the title of its tab."""

    state: str
    words: str


@blueprint.get("/")
def index() -> Response:
    """The overview; its live region alone for htmx."""
    if asks_for_regions():
        return regions(["overview/_now.html"], **_seen())
    return page("overview/index.html", **_seen())


@shared
def _seen() -> dict[str, Any]:
    overview, stuck = queries.overview(database(), namespaces=allowed_namespaces("tasker.task:index")), find_stuck()
    known = paces(overview.running, overview.failed, overview.recent, (each.task for each in stuck.shown))
    held = standing.long_transaction(primary(), seconds=standing.LONG_SECONDS) if may("tasker.metrics:index") else None
    return {"tab": _tab(overview.task_counts.get("failed", 0), stuck.total, overview.engines_alive), "overview": overview, "stuck": stuck, "stuck_words": STUCK_WORDS, "paces": known, "held": held}


def _tab(failed: int, stuck: int, engines: int) -> Tab:
    if failed:
        return Tab("failed", f"{count(failed)} failed · Overview")
    if stuck or not engines:
        return Tab("retrying", f"{count(stuck)} stuck · Overview" if stuck else "No engine · Overview")
    return Tab("completed", "Overview")


def find_stuck() -> Stuck:
    """What is stuck now; the first of each reason are shown, so that a long backlog does not hide a single failure."""
    found = standing.stuck_tasks(database(), namespaces=allowed_namespaces("tasker.task:index"))
    chosen = _fairly(found)
    sizes = standing.task_sizes(database(), list(chosen))
    shown = [_stuck_task(task_id, STUCK_WORDS[chosen[number]], step_count) for number, task_id, step_count in sizes]
    return Stuck({reason: len(numbers) for reason, numbers in found.items()}, tuple(each for each in shown if each))


def _fairly(found: dict[str, list[int]]) -> dict[int, str]:
    """The numbers to show with their reasons, most pressing first: every reason gets a place before one gets a second."""
    ranked = [(place, order, number, reason) for order, (reason, numbers) in enumerate(found.items()) for place, number in enumerate(numbers[:STUCK_SHOWN])]
    return {number: reason for _, number, reason in sorted((order, number, reason) for _, order, number, reason in sorted(ranked)[:STUCK_SHOWN])}


def _stuck_task(task_id: str, words: str, step_count: int) -> StuckTask | None:
    try:
        if step_count > STEPS_LOOKED_AT:
            task = queries.task_row(database(), task_id)
            return StuckTask(task, words, f"{count(task.done_count)} of {plural(step_count, 'step')} done; its own page says what it waits for.")
        detail = queries.task(database(), task_id, items=ITEMS_LOOKED_AT)
    except NotFound:  # dropped since the numbers were read
        return None
    return StuckTask(detail.task, words, why_task(detail))
