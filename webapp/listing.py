"""The page of tasks that answers a filter, newest first. `/tasks` shows it.

Parts of a filter that an index serves are looked up in all tasks. The others (a text, an initiator, a value of the context, a state that most tasks
end in) are looked for among the newest LOOKED_AT tasks that the rest of the filter leaves, and the list says so and leads on to older ones.
A task that a text names by its id or correlation id is on the first page however old it is, and once more where its turn comes; a file has it once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Double,
    Integer,
    Select,
    Text,
    cast,
    extract,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from engine import queries
from engine.access.permissions import Namespaces
from engine.finding.search import ids_from
from engine.hiding.redaction import leads_to_secret, masked
from engine.measures import standing
from engine.rows import TaskRow
from engine.states import TASK_CODES, TaskState
from webapp.access import allowed_namespaces
from webapp.database import database
from webapp.downloads import ROWS, Row, rows_of
from webapp.models import Definition, StoredTask, Task, db
from webapp.task_filter import MAX_TASK_NO, AskedFilter, ContextValue, TaskFilter

PAGE_SIZE = 50
LOOKED_AT = 100_000
CONTEXTS_LOOKED_AT = 20_000
NEW_COUNTED = 1_000
HITS = 1_000
TASK_COLUMNS = (
    "task_id", "namespace", "name", "version", "state", "paused", "priority", "tags", "initiator", "correlation_id", "created_at", "started_at", "finished_at", "run_at",
    "step_count", "done_count", "failed_count",
)  # fmt: skip
COUNTED_STEPS = 2_000  # the progress of a larger task is told on its own page
OPEN = (TaskState.PENDING, TaskState.RUNNING)
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
NUMBER_SLACK = 1_000
"""How many tasks may have been numbered out of the order of their times: those of transactions that were under way together."""


@dataclass(frozen=True, slots=True)
class TaskList:
    """One page of tasks, newest first; `older` is the cursor of the next page.

    `looked_at` tasks, back to `looked_back_to`, were searched when that may not be all of them. A live list has `new_count` tasks to show that it does not, and
    `left_count` that it shows but which no longer match.
    """

    asked: AskedFilter
    items: tuple[TaskRow, ...]
    numbers: tuple[int, ...]
    older: int | None
    looked_at: int | None = None
    looked_back_to: datetime | None = None
    new_count: int = 0
    left_count: int = 0

    @property
    def filter(self) -> TaskFilter:
        """What the list is narrowed to."""
        return self.asked.chosen

    @property
    def shown(self) -> str | None:
        """The numbers of its tasks as `read_shown` reads them."""
        return ",".join(map(str, self.numbers)) or None


def with_known_names(asked: AskedFilter) -> AskedFilter:
    """The same, with a word beside a namespace, workflow or version that the database does not know."""
    problems = dict(asked.problems)
    for key, word in (("namespace", "namespace"), ("name", "workflow"), ("version", "version")):
        wanted = getattr(asked.chosen, key)
        if wanted and not db.session.scalar(select(Definition.definition_id).where(getattr(Definition, key) == wanted, *_allowed()).limit(1)):
            problems[key] = f"No {word} is called “{wanted}”."
    return replace(asked, problems=problems)


def list_tasks(asked: AskedFilter, limit: int = PAGE_SIZE) -> TaskList:
    """The tasks that match every part of the filter, at most `limit` of them."""
    search = _Search(asked.chosen)
    found = search.numbers(limit + 1)
    shown = found[:limit]
    older = search.older(shown[-1]) if len(found) > limit else search.floor
    rows = _rows(shown)
    looked_at = search.looked_at if search.floor and len(found) <= limit else None
    return TaskList(asked, tuple(rows.values()), tuple(rows), older, looked_at, search.floor_at() if looked_at else None)


def all_tasks(asked: AskedFilter) -> Iterator[list[Row]]:
    """Every task that matches, once, newest first, page by page, for a file."""
    older: int | None = asked.chosen.cursor
    ahead: set[int] = set()
    while True:
        found = list_tasks(replace(asked, chosen=replace(asked.chosen, cursor=older)), ROWS)
        yield rows_of([row for number, row in zip(found.numbers, found.items, strict=True) if number not in ahead], TASK_COLUMNS)
        older = found.older
        if older is None:
            return
        ahead.update(number for number in found.numbers if number < older)


def matching(chosen: TaskFilter, limit: int, namespaces: Namespaces) -> tuple[list[int], int | None]:
    """The numbers of the newest tasks of these namespaces that match, at most `limit`; and how many were looked through, where there are older ones."""
    search = _Search(chosen)
    return _of_namespaces(search.numbers(limit), namespaces), search.looked_at if search.floor else None


def _of_namespaces(found: list[int], namespaces: Namespaces) -> list[int]:
    if namespaces is None:
        return found
    here = select(Definition.definition_id).where(Definition.namespace.in_(sorted(namespaces)))
    still = select(StoredTask.task_no).where(StoredTask.task_no == func.any(cast(found, ARRAY(BigInteger))), StoredTask.definition_id.in_(here)).order_by(StoredTask.task_no.desc())
    return list(db.session.scalars(still))


def renewed(asked: AskedFilter, shown: Sequence[int]) -> TaskList:
    """The same tasks in the same places as they are now, with a count of those that a new list would have more or fewer: nothing moves under the reader."""
    rows = _rows(shown)
    search = _Search(asked.chosen)
    is_full = len(shown) >= PAGE_SIZE
    newer = search.numbers(NEW_COUNTED + len(shown), StoredTask.task_no >= min(shown)) if is_full else search.numbers(NEW_COUNTED + len(shown))
    still = search.numbers(len(shown), StoredTask.task_no.in_(shown))
    older = search.older(shown[-1]) if is_full else search.floor
    left = len(rows.keys() - set(still))
    return TaskList(asked, tuple(rows.values()), tuple(rows), older, new_count=len(set(newer) - rows.keys()), left_count=left)


def recent_tasks(namespace: str, name: str, limit: int) -> tuple[TaskRow, ...]:
    """The newest tasks of a workflow."""
    return tuple(_rows(_Search(TaskFilter(namespace=namespace, name=name)).numbers(limit)).values())


class _Search:
    """One filter on its way to the numbers of its tasks; `floor` is the lowest number looked at when the search had to stop somewhere."""

    def __init__(self, chosen: TaskFilter) -> None:
        self._chosen = chosen
        self._served = _served_conditions(chosen)
        self._searched = _searched_conditions(chosen)
        self.looked_at = CONTEXTS_LOOKED_AT if chosen.context else LOOKED_AT
        self.floor = self._floor() if self._searched or chosen.q else None

    def numbers(self, limit: int, *more: ColumnElement[bool]) -> list[int]:
        """The numbers of the tasks that match, highest first, at most `limit`."""
        conditions = [*self._served, *self._searched, *more]
        if self.floor is not None:
            conditions.append(StoredTask.task_no >= self.floor)
        if self._chosen.q is None:
            return self._found(conditions, limit)
        named = self._found([*conditions, _contains(self._chosen.q)], limit)
        hits = [hit for hit in _hits(self._chosen.q) if hit >= self._lowest_named]
        exact = self._found([*self._served, *self._searched, *more, StoredTask.task_no.in_(hits)], limit) if hits else []
        return sorted({*named, *exact}, reverse=True)[:limit]

    @property
    def _lowest_named(self) -> int:
        """The first page has what is named however old it is, a later one only what is in its turn."""
        return 0 if self._chosen.cursor is None or self.floor is None else self.floor

    def older(self, last: int) -> int:
        """The cursor of the page behind this one, which ends with `last`: what is named may lie far below, with tasks between that nobody has looked at."""
        return last if self.floor is None else max(last, self.floor)

    def floor_at(self) -> datetime | None:
        """When the lowest task that was looked at was made."""
        return db.session.scalar(select(StoredTask.created_at).where(StoredTask.task_no == self.floor))

    def _floor(self) -> int | None:
        last = self._of_definitions(self._served, 1, self.looked_at - 1).subquery()
        lowest: int | None = db.session.scalar(select(func.max(last.c.task_no)))
        return lowest

    def _found(self, conditions: list[ColumnElement[bool]], limit: int) -> list[int]:
        found = self._of_definitions(conditions, limit, 0).subquery()
        return list(db.session.scalars(select(found.c.task_no).order_by(found.c.task_no.desc()).limit(limit)))

    def _of_definitions(self, conditions: list[ColumnElement[bool]], limit: int, offset: int) -> Select[Any]:
        """The newest tasks; where the filter names a workflow, those of each of its versions, which one index has in order."""
        newest = select(StoredTask.task_no).where(*conditions).order_by(StoredTask.task_no.desc()).limit(limit).offset(offset)
        named = [*_allowed(), *_named(self._chosen)]
        if not named:
            return newest
        definitions = select(Definition.definition_id).where(*named).subquery()
        each = newest.where(StoredTask.definition_id == definitions.c.definition_id).lateral()
        return select(each.c.task_no).select_from(definitions.join(each, true()))


def _allowed() -> list[ColumnElement[bool]]:
    """What keeps a list to the namespaces that its reader may see."""
    here = allowed_namespaces("tasker.task:index")
    return [] if here is None else [Definition.namespace.in_(sorted(here))]


def _served_conditions(chosen: TaskFilter) -> list[ColumnElement[bool]]:
    """Those that an index serves, or that its order makes cheap."""
    conditions = [*_state_conditions(chosen.state), *_times(chosen)]
    if chosen.cursor is not None:
        conditions.append(StoredTask.task_no < chosen.cursor)
    if chosen.tag is not None:
        conditions += [StoredTask.tags != literal_column("'{}'"), StoredTask.tags.contains([chosen.tag])]
    if chosen.stuck is not None:
        conditions.append(StoredTask.task_no == func.any(cast(_stuck_numbers(chosen.stuck), ARRAY(BigInteger))))
    return conditions


def _searched_conditions(chosen: TaskFilter) -> list[ColumnElement[bool]]:
    """Those for which tasks have to be looked through."""
    conditions: list[ColumnElement[bool]] = []
    if chosen.state is not None and not _state_conditions(chosen.state):
        conditions.append(StoredTask.state == TASK_CODES[TaskState(chosen.state)])
    if chosen.initiator is not None:
        conditions.append(StoredTask.initiator == chosen.initiator)
    if chosen.context is not None:
        conditions += [_holds(chosen.context), *_keeps_secrets(chosen.context)]
    if chosen.slower is not None:
        conditions.append(_is_slower(chosen))
    return conditions


def _is_slower(chosen: TaskFilter) -> ColumnElement[bool]:
    """Longer than 95 of 100 of its version took: what `webapp.expected.pace` says of it."""
    asked = [*_allowed(), *_named(chosen)]
    known = {(row.namespace, row.name, row.version): row.definition_id for row in db.session.scalars(select(Definition).where(*asked))}
    usuals = standing.usuals(database(), known)
    if not usuals:
        return false()
    columns = cast([known[key] for key in usuals], ARRAY(Integer)), cast([usual.p95 for usual in usuals.values()], ARRAY(Double))
    usual = func.unnest(*columns).table_valued("definition_id", "p95").render_derived()
    took = extract("epoch", func.coalesce(StoredTask.finished_at, func.tasker_clock()) - StoredTask.started_at)
    beyond = select(usual.c.p95).where(usual.c.definition_id == StoredTask.definition_id, cast(took, Double) > usual.c.p95)
    return beyond.exists() & ~StoredTask.paused


def _named(chosen: TaskFilter) -> list[ColumnElement[bool]]:
    return [getattr(Definition, key) == wanted for key in ("namespace", "name", "version") if (wanted := getattr(chosen, key))]


def _keeps_secrets(wanted: ContextValue) -> list[ColumnElement[bool]]:
    """Leaves out the versions that mark that place as secret: a search must not tell what a page would not."""
    place = tuple(part.removesuffix("[]") for part in wanted.path)
    marked = select(Definition.definition_id, Definition.schema).where(*_allowed(), cast(Definition.schema, Text).regexp_match("writeOnly|x-sensitive|password"))
    secret = [number for number, schema in db.session.execute(marked) if _may_tell(place, wanted, schema)]
    return [StoredTask.definition_id.not_in(secret)] if secret else []


def _may_tell(place: tuple[str, ...], wanted: ContextValue, schema: Any) -> bool:
    return leads_to_secret(place, schema) or any(masked(document, schema) != document for document in wanted.documents)


def _state_conditions(state: str | None) -> list[ColumnElement[bool]]:
    # True of every task in that state; said aloud, and in literals, because the partial indexes are on these columns.
    if state in OPEN:
        return [StoredTask.state == TASK_CODES[TaskState(state)], StoredTask.finished_at.is_(None)]
    return [StoredTask.state == TASK_CODES[TaskState.FAILED], StoredTask.failed_count > literal_column("0")] if state == TaskState.FAILED else []


def _times(chosen: TaskFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if chosen.within:
        chosen = replace(chosen, created_from=max(_now() - chosen.within, chosen.created_from or _BEGINNING))
    if chosen.created_from:
        first = _number_at(chosen.created_from)
        conditions += [StoredTask.created_at >= chosen.created_from, StoredTask.task_no >= (MAX_TASK_NO if first is None else first) - NUMBER_SLACK]
    if chosen.created_to:
        conditions.append(StoredTask.created_at < chosen.created_to)
        if (end := _number_at(chosen.created_to)) is not None:
            conditions.append(StoredTask.task_no < end + NUMBER_SLACK)
    return conditions


def _now() -> datetime:
    return db.session.execute(select(func.tasker_clock(type_=DateTime(timezone=True)))).scalar_one()


def _number_at(at: datetime) -> int | None:
    found: int | None = db.session.scalar(select(func.tasker_task_no_at(at)))
    return found


def _stuck_numbers(reason: str) -> list[int]:
    found = standing.stuck_tasks(database(), namespaces=allowed_namespaces("tasker.task:index"))
    return [number for each, numbers in found.items() if reason in ("any", each) for number in numbers]


def _holds(wanted: ContextValue) -> ColumnElement[bool]:
    return or_(*(StoredTask.context.contains(cast(document, JSONB)) for document in wanted.documents))


def _contains(text: str) -> ColumnElement[bool]:
    columns = (StoredTask.correlation_id, StoredTask.initiator, StoredTask.source_system, StoredTask.reason)
    return or_(*(column.icontains(text, autoescape=True) for column in columns))


def _hits(text: str) -> list[int]:
    """The tasks that a text names by their id, its beginning, or their correlation id, however old they are."""
    named = select(StoredTask.task_no).where(StoredTask.correlation_id == text).limit(HITS)
    found = set(db.session.scalars(named))
    if (ids := ids_from(text)) is not None:
        found.update(db.session.scalars(select(StoredTask.task_no).where(StoredTask.task_id.between(*ids)).limit(HITS)))
    return sorted(found)


def _rows(numbers: Sequence[int]) -> dict[int, TaskRow]:
    """The tasks of these numbers in this order; one that is gone is left out."""
    if not numbers:
        return {}
    here = allowed_namespaces("tasker.task:index")
    foreign = [] if here is None else [Task.namespace.in_(sorted(here))]
    found = {task.task_no: task for task in db.session.scalars(select(Task).where(Task.task_no.in_(numbers), *foreign))}
    done = _done_counts(list(found.values()))
    return {number: _row(found[number], done) for number in numbers if number in found}


def _done_counts(tasks: Sequence[Task]) -> dict[int, int]:
    """How many steps let their children go on, for the tasks where that is neither plain nor dear to count."""
    asked = [task.task_no for task in tasks if not _all_done(task) and task.step_count <= COUNTED_STEPS]
    return dict.fromkeys(asked, 0) | queries.done_counts(database(), asked) if asked else {}


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
