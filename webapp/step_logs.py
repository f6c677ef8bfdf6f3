"""What attempts have logged, for the page of a step and for the page that has all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import url_for

from engine import queries
from engine.journal import LEVELS
from engine.rows import LinePage, StepDetail, StepRow, TaskRow
from webapp.contexts import CLOSED_TASKS, AttemptLog
from webapp.database import database
from webapp.downloads import ROWS, Row, rows_of

LOGS_SHOWN = 3
LINES_SHOWN = 200
EARLIER_LINES_SHOWN = 50
ALL_LINES = 5_000
LINE_COLUMNS = ("line_no", "step_name", "attempt", "at", "level", "message", "fields")


@dataclass(frozen=True, slots=True)
class LogView:
    """One page of a step's log; `counts` has the attempts that wrote lines, `chosen` the parameters that led here."""

    task: TaskRow
    step: StepRow
    counts: dict[int, int]
    attempt: int | None
    level: str | None
    page: LinePage
    chosen: dict[str, Any]
    is_open: bool

    @property
    def is_live(self) -> bool:
        """Whether new lines would come to stand on this page."""
        return self.is_open and "before" not in self.chosen and "after" not in self.chosen

    def url(self, **changed: Any) -> str:
        """The same page with other parameters; of `before`, `after` and `all` only what is given stays."""
        kept = {name: value for name, value in self.chosen.items() if name in ("attempt", "level")}
        return url_for("steps.log", task_id=self.task.task_id, step_name=self.step.name, **{**kept, **changed})


def latest_logs(detail: StepDetail) -> tuple[tuple[AttemptLog, ...], tuple[tuple[int, int], ...]]:
    """The logs of the latest attempts that wrote lines, and the attempts before them with how many lines they wrote."""
    task_id, name = detail.task.task_id, detail.row.name
    if detail.row.kind == "map":
        return (), ()
    counts = list(queries.line_counts(database(), task_id, name).items())
    latest = counts[-LOGS_SHOWN:]
    logs = []
    for attempt, count in latest:
        limit = LINES_SHOWN if (attempt, count) == latest[-1] else EARLIER_LINES_SHOWN
        logs.append(AttemptLog(attempt, count, queries.lines(database(), task_id, name, attempt=attempt, limit=limit)))
    return tuple(logs), tuple(counts[:-LOGS_SHOWN])


def log_view(detail: StepDetail, asked: Mapping[str, str]) -> LogView:
    """The lines that the query parameters ask for: `attempt`, `level`, `before` or `after` a line, or `all`. What makes no sense is not asked for."""
    chosen = _chosen(asked)
    task_id, name = detail.task.task_id, detail.row.name
    limit = ALL_LINES if chosen.get("all") else LINES_SHOWN
    wanted = {key: value for key, value in chosen.items() if key != "all"}
    return LogView(
        task=detail.task,
        step=detail.row,
        counts=queries.line_counts(database(), task_id, name),
        attempt=chosen.get("attempt"),
        level=chosen.get("level"),
        page=queries.lines(database(), task_id, name, limit=limit, **wanted),
        chosen=chosen,
        is_open=detail.task.state not in CLOSED_TASKS,
    )


def all_lines(task_id: str, step_name: str, asked: Mapping[str, str]) -> Iterator[list[Row]]:
    """Every line of the attempt and the level that the query parameters ask for, in their order, page by page, for a file."""
    wanted = {name: value for name, value in _chosen(asked).items() if name in ("attempt", "level")}
    after: int | None = 0
    while after is not None:
        found = queries.lines(database(), task_id, step_name, after=after, limit=ROWS, **wanted)
        yield rows_of(found.items, LINE_COLUMNS)
        after = found.later


def _chosen(asked: Mapping[str, str]) -> dict[str, Any]:
    numbers = {name: int(asked[name]) for name in ("attempt", "before", "after", "all") if asked.get(name, "").isdecimal() and len(asked[name]) < 19}
    level = {"level": asked["level"]} if asked.get("level") in LEVELS else {}
    return {**{name: number for name, number in numbers.items() if name != "attempt" or 0 < number < 32_768}, **level}
