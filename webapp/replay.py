"""`/tasks/<id>/replay`: the graph of a task as it was after any of its moves, or at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from flask import Blueprint, Response, request, url_for

from engine import queries
from engine.drawn_steps import drawn_steps
from engine.replay import Replay, StateThen
from engine.replay import replay as replayed
from engine.rows import StepRow, TaskRow
from webapp.contexts import TABLE_ONLY_ABOVE
from webapp.database import database
from webapp.drawing import Graph, step_urls, tally, task_graph
from webapp.filters import ZONE_FIELD, local_text, read_local, zone_named
from webapp.htmx import Notice, asks_for_regions, page, regions

ROWS_SHOWN = 200
AT_WORK = ("running", "ready", "retrying", "failed")
LONGEST_PLACE = 9
MOST_TYPED = 60
SECOND = "%Y-%m-%dT%H:%M:%S"
REGIONS = ("replay/_time.html", "replay/_moment.html")

blueprint = Blueprint("replay", __name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """The moment that an address asks for; of what is none the present, with what is wrong: said above the page, or beside the field of the time `typed`."""

    place: int | None = None
    at: datetime | None = None
    notice: Notice | None = None
    typed: str = ""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class ReplayView:
    """A moment of a task: what had just happened, the graph as it was, and the steps that something was up with."""

    task: TaskRow
    found: Replay
    graph: Graph | None
    tally: str
    moved: str | None
    busy: tuple[tuple[StepRow, StateThen], ...]
    busy_count: int
    urls: dict[str, str]
    asked: Asked

    @property
    def time(self) -> str:
        """What stands in the field of the time."""
        return self.asked.typed or local_text(self.asked.at or self.at, SECOND)

    @property
    def at(self) -> datetime:
        """When the moment begins."""
        return self.found.move.at if self.found.move else self.task.created_at

    @property
    def is_now(self) -> bool:
        """Whether nothing has happened since."""
        return self.found.place == self.found.move_count

    def url(self, place: int) -> str | None:
        """Another moment of the same task; None for one that there is not."""
        return url_for("replay.show", task_id=self.task.task_id, at=place) if 0 <= place <= self.found.move_count else None


@blueprint.get("/tasks/<uuid:task_id>/replay")
def show(task_id: UUID) -> Response:
    """The moment that `at` names, how many moves had been made or a time; or the end of the second `time` in `zone`; the present without any. For htmx its regions."""
    time = _typed("time")
    asked = _asked_second(time, _typed(ZONE_FIELD)) if time else _asked(_typed("at"))
    status = 422 if asked.notice or asked.problem else 200
    view = _view(task_id, asked)
    if not asks_for_regions():
        return page("replay/show.html", status=status, notice=asked.notice, view=view)
    answer = regions(REGIONS, status=status, notice=asked.notice, view=view)
    answer.headers["HX-Replace-Url"] = view.url(view.found.place) or ""
    return answer


def _typed(name: str) -> str:
    return request.args.get(name, "").strip()[:MOST_TYPED]


def _asked(typed: str) -> Asked:
    if typed.isascii() and typed.isdigit():
        return Asked(place=int(typed[:LONGEST_PLACE]))
    try:
        return Asked(at=read_local(typed, UTC) if typed else None)
    except (ValueError, OverflowError):
        words = f"“{typed}” is no moment. It is the number of a move, or a time such as 2026-01-31T08:30:00; this is the present."
        return Asked(notice=Notice("refused", words))


def _asked_second(typed: str, zone: str) -> Asked:
    known = zone_named(zone)
    if zone and known.key != zone:
        return Asked(typed=typed, problem=f"“{zone}” is no time zone, such as Europe/Berlin; this is the present.")
    try:
        at = read_local(typed, known)
    except (ValueError, OverflowError):
        return Asked(typed=typed, problem=f"“{typed}” is no time, such as 2026-01-31T08:30:05; this is the present.")
    # pages tell times to the second: what happened within the one that is named has happened
    return Asked(at=at if at.microsecond else at.replace(microsecond=999_999))


def _view(task_id: UUID, asked: Asked) -> ReplayView:
    task = queries.task_row(database(), str(task_id))
    found = replayed(database(), str(task_id), place=asked.place, at=asked.at)
    steps = [_then(step, found.steps[step.step_no]) for step in drawn_steps(database(), str(task_id)) if step.step_no in found.steps]
    names = {step.step_no: step.name for step in steps}
    busy = [(step, found.steps[step.step_no]) for step in steps if step.state in AT_WORK]
    return ReplayView(
        task=task,
        found=found,
        graph=task_graph(task, steps) if len(steps) <= TABLE_ONLY_ABOVE else None,
        tally=tally(step.state for step in steps),
        moved=names.get(found.move.step_no) if found.move and found.move.step_no is not None else None,
        busy=tuple(sorted(busy, key=lambda each: AT_WORK.index(each[0].state))[:ROWS_SHOWN]),
        busy_count=len(busy),
        urls=step_urls(task.task_id, _named(busy, names, found)),
        asked=asked,
    )


def _named(busy: Sequence[tuple[StepRow, StateThen]], names: Mapping[int, str], found: Replay) -> list[str]:
    moved = names.get(found.move.step_no) if found.move and found.move.step_no is not None else None
    return [step.name for step, _ in busy] + ([moved] if moved else [])


def _then(step: StepRow, then: StateThen) -> StepRow:
    """The step with what is known of it then, and nothing of what came later."""
    return replace(step, state=then.state, passed_over=step.passed_over and then.state == "skipped", item_states=None, error=None, progress=None)
