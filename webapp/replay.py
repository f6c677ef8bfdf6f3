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
from webapp.htmx import Notice, asks_for_regions, page, regions

ROWS_SHOWN = 200
AT_WORK = ("running", "ready", "retrying", "failed")
LONGEST_PLACE = 9

blueprint = Blueprint("replay", __name__)


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
    """The moment that `at` names: how many moves had been made, or a time; the present without it. For htmx the region of the moment."""
    typed = request.args.get("at", "").strip()[:60]
    asked = _asked(typed)
    notice = Notice("refused", f"“{typed}” is no moment. It is the number of a move, or a time such as 2026-01-31T08:30:00; this is the present.") if asked is None else None
    view = _view(task_id, asked or {})
    if not asks_for_regions():
        return page("replay/show.html", status=422 if notice else 200, notice=notice, view=view)
    answer = regions(["replay/_moment.html"], status=422 if notice else 200, notice=notice, view=view)
    answer.headers["HX-Replace-Url"] = view.url(view.found.place) or ""
    return answer


def _asked(typed: str) -> dict[str, int | datetime] | None:
    """What the query is asked with; None for what is no moment."""
    if typed.isascii() and typed.isdigit():
        return {"place": int(typed[:LONGEST_PLACE])}
    try:
        at = datetime.fromisoformat(typed) if typed else None
        return {"at": at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)} if at else {}
    except (ValueError, OverflowError):
        return None


def _view(task_id: UUID, asked: Mapping[str, int | datetime]) -> ReplayView:
    task = queries.task_row(database(), str(task_id))
    found = replayed(database(), str(task_id), **asked)  # type: ignore[arg-type]
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
    )


def _named(busy: Sequence[tuple[StepRow, StateThen]], names: Mapping[int, str], found: Replay) -> list[str]:
    moved = names.get(found.move.step_no) if found.move and found.move.step_no is not None else None
    return [step.name for step, _ in busy] + ([moved] if moved else [])


def _then(step: StepRow, then: StateThen) -> StepRow:
    """The step with what is known of it then, and nothing of what came later."""
    return replace(step, state=then.state, passed_over=step.passed_over and then.state == "skipped", item_states=None, error=None, progress=None)
