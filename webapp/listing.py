"""The filtered list of tasks: what the query parameters ask for, and the page of tasks that answers. `/tasks` shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, literal_column, or_, select

from engine.rows import TaskRow
from engine.states import SATISFYING, TaskState
from webapp.models import Step, Task, db

PAGE_SIZE = 50
MAX_TEXT = 200
MAX_TASK_NO = 2**63 - 1
COUNTED_STEPS = 2_000  # the progress of a larger task is told on its own page
OPEN = (TaskState.PENDING, TaskState.RUNNING)


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """What a list is narrowed to; None or empty where it is not. `cursor` is the number of the last task already shown."""

    namespace: str | None = None
    name: str | None = None
    version: str | None = None
    state: str | None = None
    tag: str | None = None
    q: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    cursor: int | None = None

    def parameters(self) -> dict[str, str]:
        """The query parameters that make this filter, without the cursor."""
        return {name: text for name, text in self.texts().items() if text}

    def texts(self) -> dict[str, str]:
        """Every part as the filter form shows it, empty where the list is not narrowed."""
        return {field.name: _written(getattr(self, field.name)) for field in fields(self) if field.name != "cursor"}


@dataclass(frozen=True, slots=True)
class TaskList:
    """One page of tasks, newest first; `older` is the cursor of the next page."""

    filter: TaskFilter
    items: tuple[TaskRow, ...]
    older: int | None
    problems: tuple[str, ...] = ()


def read_filter(arguments: Mapping[str, str]) -> tuple[TaskFilter, tuple[str, ...]]:
    """The filter that query parameters ask for, and a sentence for each value that had to be left out."""
    problems: list[str] = []
    texts = {name: _text(arguments.get(name)) for name in ("namespace", "name", "version", "tag", "q")}
    chosen = TaskFilter(
        **texts,
        state=_state(arguments.get("state"), problems),
        created_from=_time(arguments.get("created_from"), "created_from", problems),
        created_to=_time(arguments.get("created_to"), "created_to", problems),
        cursor=_cursor(arguments.get("cursor"), problems),
    )
    return chosen, tuple(problems)


def list_tasks(chosen: TaskFilter, problems: Sequence[str] = ()) -> TaskList:
    """The tasks that match every part of the filter, newest first, at most PAGE_SIZE of them."""
    found = db.session.scalars(_query(chosen).limit(PAGE_SIZE + 1)).all()
    shown = found[:PAGE_SIZE]
    done = _done_counts(shown)
    older = shown[-1].task_no if len(found) > PAGE_SIZE else None
    return TaskList(chosen, tuple(_row(task, done) for task in shown), older, tuple(problems))


def _query(chosen: TaskFilter) -> Select[Task]:
    return select(Task).where(*_conditions(chosen)).order_by(Task.task_no.desc())


def _conditions(chosen: TaskFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    for column in (Task.namespace, Task.name, Task.version, Task.state):
        if (wanted := getattr(chosen, column.key)) is not None:
            conditions.append(column == wanted)
    return [*conditions, *_index_hints(chosen), *_ranges(chosen), *_searched(chosen.q)]


def _index_hints(chosen: TaskFilter) -> list[ColumnElement[bool]]:
    # True of every task in that state; said aloud, and in literals, because the partial indexes are on these columns.
    if chosen.state in OPEN:
        return [Task.finished_at.is_(None)]
    return [Task.failed_count > literal_column("0")] if chosen.state == TaskState.FAILED else []


def _ranges(chosen: TaskFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if chosen.created_from:
        conditions.append(Task.created_at >= chosen.created_from)
    if chosen.created_to:
        conditions.append(Task.created_at < chosen.created_to)
    if chosen.cursor is not None:
        conditions.append(Task.task_no < chosen.cursor)
    if chosen.tag is not None:
        conditions += [Task.tags != literal_column("'{}'"), Task.tags.contains([chosen.tag])]
    return conditions


def _searched(q: str | None) -> list[ColumnElement[bool]]:
    if q is None:
        return []
    if (whole := _uuid(q)) is not None:
        return [or_(Task.task_id == whole, Task.correlation_id == q)]
    named = [Task.correlation_id == q, Task.initiator == q]
    return [or_(*named, *_id_begins_with(q))]


def _id_begins_with(text: str) -> list[ColumnElement[bool]]:
    digits = text.replace("-", "").lower()
    if not 4 <= len(digits) <= 32 or set(digits) - set("0123456789abcdef"):
        return []
    return [Task.task_id.between(UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f")))]


def _done_counts(tasks: Sequence[Task]) -> dict[int, int]:
    """How many steps let their children go on, for the tasks where that is neither plain nor dear to count."""
    asked = [task.task_no for task in tasks if not _all_done(task) and task.step_count <= COUNTED_STEPS]
    if not asked:
        return {}
    satisfied = [str(state) for state in SATISFYING]
    counted = (
        select(Step.task_no, func.count())
        .where(Step.task_no.in_(asked), Step.state.in_(satisfied))
        .group_by(Step.task_no)
    )
    found = dict.fromkeys(asked, 0)
    found.update((task_no, number) for task_no, number in db.session.execute(counted))
    return found


def _all_done(task: Task) -> bool:
    return task.state == TaskState.COMPLETED and not task.failed_count and not task.cancelled_count


def _row(task: Task, done: Mapping[int, int]) -> TaskRow:
    return TaskRow(
        task_id=str(task.task_id),
        namespace=task.namespace,
        name=task.name,
        version=task.version,
        state=task.state,
        paused=task.paused,
        priority=task.priority,
        tags=tuple(task.tags),
        initiator=task.initiator,
        correlation_id=task.correlation_id,
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        run_at=task.run_at,
        step_count=task.step_count,
        done_count=done.get(task.task_no, task.step_count if _all_done(task) else 0),
        failed_count=task.failed_count,
    )


def _text(given: str | None) -> str | None:
    # PostgreSQL refuses NUL in a text; no stored name holds one, so a search for it may simply find less.
    return (given or "").replace("\x00", "").strip()[:MAX_TEXT] or None


def _state(given: str | None, problems: list[str]) -> str | None:
    wanted = _text(given)
    if wanted is None or wanted in set(TaskState):
        return wanted
    problems.append(f"There is no task state “{wanted}”; the list is not narrowed by it.")
    return None


def _time(given: str | None, name: str, problems: list[str]) -> datetime | None:
    wanted = _text(given)
    if wanted is None:
        return None
    try:
        read = datetime.fromisoformat(wanted)
        return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        problems.append(f"“{wanted}” is no time; {name} reads like 2026-01-31T08:30.")
        return None


def _cursor(given: str | None, problems: list[str]) -> int | None:
    wanted = _text(given)
    if wanted is None:
        return None
    if wanted.isascii() and wanted.isdigit():
        return min(int(wanted), MAX_TASK_NO)
    problems.append("This link to older tasks is damaged; the list begins at the newest.")
    return None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _written(value: Any) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M}" if isinstance(value, datetime) else value or ""


def without(chosen: TaskFilter, name: str) -> dict[str, str]:
    """The query parameters of the same filter with one part left out, for the link that removes it."""
    return replace(chosen, **{name: None}).parameters()
