"""The read side: lists, details, counts and "why is this waiting?". Changes nothing; pages, API and command line ask here."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from engine import json_text, large_results
from engine.access.permissions import Namespaces
from engine.db import Database
from engine.errors import NotFound, Problem, RequestError
from engine.gates import Limit
from engine.hiding import redactions
from engine.hiding.redaction import masked, shown_schema
from engine.hiding.redactions import Redaction, TaskRedaction
from engine.journal import level_number
from engine.rows import (
    ActivityRow,
    AttemptRow,
    DefinitionRow,
    EngineRow,
    LinePage,
    LineRow,
    MoveRow,
    NamespaceRow,
    OverviewRow,
    ProgressRow,
    StepDetail,
    StepRow,
    TaskDetail,
    TaskPage,
    TaskRow,
    TemplateRow,
    WorkflowRow,
)
from engine.states import SATISFYING, STEP_CODES, TaskState

MAX_PAGE = 200
MOST_CHANGES = 5_000
COUNT_CAP = 10_001
USUAL_RUNS = 500
MOVES_SHOWN = 20_000
FEWEST_RUNS = 5

_TASK_COLUMNS: LiteralString = """
  t.task_id, t.namespace, t.name, t.version, t.state, t.paused, t.priority, t.tags, t.initiator, t.correlation_id, t.created_at, t.started_at,
  t.finished_at, t.run_at, t.step_count,
  case when t.state = 'completed' and t.failed_count + t.cancelled_count = 0 then t.step_count
       else (select count(*)::int from (select s.state from tasker_step s where s.task_no = t.task_no limit 10001) s where s.state in (4, 7, 8)) end,
  t.failed_count, t.task_no
"""

_STEP_NAMES: LiteralString = "array(select p.name from tasker_template p where p.definition_id = d.definition_id order by p.step_no)"


def within(column: LiteralString, namespaces: Namespaces) -> LiteralString:
    """The end of a condition that leaves definitions of these namespaces; they are given to the query as `allowed` (see `allowed`)."""
    return "" if namespaces is None else f" and {column} = any(array(select a.definition_id from tasker_definition a where a.namespace = any(%(allowed)s)))"


def allowed(namespaces: Namespaces) -> dict[str, Any]:
    """The parameter that `within` needs."""
    return {} if namespaces is None else {"allowed": sorted(namespaces)}


def front(most: LiteralString, namespaces: Namespaces) -> LiteralString:
    """The call that gives the first steps in line in these namespaces; it needs the parameter of `allowed`."""
    return f"tasker_front({most})" if namespaces is None else f"tasker_front({most}, %(allowed)s)"


# one walk through the open and one through the failed tasks for everybody: each is short, and no plan can count them by definition in less
TALLIES: LiteralString = """
  open as materialized (
    select o.definition_id, count(*) as number from (select t.definition_id from tasker_task t where t.finished_at is null limit 100001) o group by 1
  ),
  failed as materialized (
    select f.definition_id, count(*) as number from (select t.definition_id from tasker_task t where t.failed_count > 0 and t.state = 5 limit 100001) f group by 1
  )
"""


def namespaces(db: Database, *, only: Namespaces = None) -> list[NamespaceRow]:
    """Every namespace by name, or `only` these, with counts; open and failed tasks are counted up to 100,001 in all."""
    found = db.rows(
        f"""
        with {TALLIES}
        select n.namespace, n.description, count(distinct d.name), count(d.definition_id), coalesce(sum(open.number), 0)::int, coalesce(sum(failed.number), 0)::int,
               (select r.retention from tasker_retentions r where r.namespace = n.namespace), a.place is not null, a.place is not null and a.error is not null
          from tasker_namespace n left join tasker_definition d using (namespace) left join open using (definition_id) left join failed using (definition_id)
          join tasker_archives a on a.namespace = n.namespace
         {"" if only is None else "where n.namespace = any(%(allowed)s)"}
         group by n.namespace, n.description, a.place, a.error order by n.namespace collate "C"
        """,
        allowed(only),
    )
    return [NamespaceRow(*row) for row in found]


def namespace_names(db: Database, *, only: Namespaces = None) -> list[str]:
    """The name of every namespace, or of `only` these, in order."""
    query: LiteralString = 'select n.namespace from tasker_namespace n where %(allowed)s::text[] is null or n.namespace = any(%(allowed)s) order by n.namespace collate "C"'
    return [row[0] for row in db.rows(query, {"allowed": None, **allowed(only)})]


def workflows(db: Database, namespace: str, name: str | None = None) -> list[WorkflowRow]:
    """The workflows of a namespace by name, or the one of that `name`; the tasks of each version are counted up to 10,001, open and failed ones up to 100,001 in all.

    Raises `NotFound` for an unknown namespace.
    """
    found = db.rows(
        f"""
        with {TALLIES}
        select d.namespace, d.name, (array_agg(d.description order by d.prerelease, d.version_rank collate "C" desc))[1],
               array_agg(d.version order by d.version_rank collate "C" desc),
               sum(made.number)::int, coalesce(sum(open.number), 0)::int, coalesce(sum(failed.number), 0)::int, max(latest.created_at)
          from tasker_definition d left join open using (definition_id) left join failed using (definition_id)
         -- a range, as an equality is planned as a walk through the tasks of all
         cross join lateral (select count(*) as number from (select from tasker_task t where t.definition_id >= d.definition_id and t.definition_id <= d.definition_id
                                                              limit 10001) x) made
          left join lateral tasker_latest_tasks(d.definition_id, 1) latest on true
         where d.namespace = %(namespace)s and (%(name)s::text is null or d.name = %(name)s)
         group by d.namespace, d.name order by d.name collate "C"
        """,
        {"namespace": namespace, "name": name},
    )
    if not found and not db.rows("select 1 from tasker_namespace where namespace = %(namespace)s", {"namespace": namespace}):
        raise NotFound(f'there is no namespace "{namespace}"')
    return [WorkflowRow(*(*row[:3], tuple(row[3]), *row[4:])) for row in found]


def versions(db: Database, namespace: str, name: str) -> list[str]:
    """The versions of a workflow, the newest first; none when there is no such workflow."""
    query: LiteralString = 'select d.version from tasker_definition d where d.namespace = %(namespace)s and d.name = %(name)s order by d.version_rank collate "C" desc'
    return [row[0] for row in db.rows(query, {"namespace": namespace, "name": name})]


def definition(db: Database, namespace: str, name: str, version: str | None = None) -> DefinitionRow:
    """One definition with its steps; without a version the highest release.

    Raises `NotFound`, naming the versions there are.
    """
    found = db.rows(
        """
        select d.definition_id, d.namespace, d.name, d.version, d.description, d.schema, d.created_at
          from tasker_definition d
         where d.namespace = %(namespace)s and d.name = %(name)s and (d.version = %(version)s or %(version)s::text is null and not d.prerelease)
         order by d.version_rank collate "C" desc limit 1
        """,
        {"namespace": namespace, "name": name, "version": version},
    )
    if not found:
        raise NotFound(_no_definition(db, namespace, name, version))
    steps = _templates(db, found[0][0])
    if not steps:  # none is without: it was replaced between the two
        return definition(db, namespace, name, version)
    return DefinitionRow(*(*found[0], steps))


def shown_definition(db: Database, namespace: str, name: str, version: str | None = None) -> DefinitionRow:
    """The same for pages and programs: without the values that its schema names for secret fields."""
    found = definition(db, namespace, name, version)
    return replace(found, schema=shown_schema(found.schema))


def tasks(
    db: Database,
    *,
    namespace: str | None = None,
    name: str | None = None,
    version: str | None = None,
    state: str | None = None,
    tag: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    cursor: str | None = None,
    limit: int = 50,
    namespaces: Namespaces = None,
) -> TaskPage:
    """Tasks, newest first, that match every given filter and are in one of `namespaces`; the next page starts at `next_cursor`.

    Raises `RequestError` for a state that does not exist or a cursor that is not one of ours.
    """
    if state is not None and state not in list(TaskState):
        raise RequestError([Problem("state", "bad_state", f'there is no task state "{state}"; one of {", ".join(TaskState)}')])
    limit = max(1, min(limit, MAX_PAGE))
    found = db.rows(
        f"""
        select {_TASK_COLUMNS} from tasker_tasks t
         where (%(namespace)s::text is null or t.namespace = %(namespace)s)
           and (%(name)s::text is null or t.name = %(name)s)
           and (%(version)s::text is null or t.version = %(version)s)
           and (%(state)s::text is null or t.state_code = tasker_state_code(%(state)s))
           and (not %(open)s or t.finished_at is null)
           and (not %(failed)s or t.failed_count > 0)
           and (%(tag)s::text is null or t.tags <> '{{}}' and t.tags @> array[%(tag)s::text])
           and (%(created_from)s::timestamptz is null or t.created_at >= %(created_from)s)
           and (%(created_to)s::timestamptz is null or t.created_at < %(created_to)s)
           and (%(before)s::bigint is null or t.task_no < %(before)s){within("t.definition_id", namespaces)}
         order by t.task_no desc limit %(limit)s
        """,
        {
            "namespace": namespace,
            "name": name,
            "version": version,
            "state": state,
            "open": state in ("pending", "running"),
            "failed": state == "failed",
            "tag": tag,
            "created_from": created_from,
            "created_to": created_to,
            "before": _read_cursor(cursor),
            "limit": limit + 1,
            **allowed(namespaces),
        },
    )
    more = _write_cursor(found[limit - 1][-1]) if len(found) > limit else None
    return TaskPage(tuple(_task_row(row) for row in found[:limit]), more)


def workflow_keys(db: Database) -> list[str]:
    """Every `namespace/name` that the database knows."""
    return [f"{namespace}/{name}" for namespace, name in db.rows("select distinct d.namespace, d.name from tasker_definition d order by 1, 2")]


def task(db: Database, task_id: str, *, items: int | None = None, item: str | None = None) -> TaskDetail:
    """A task with all its steps and what each waits for, secrets of its context masked. Raises `NotFound`, also for text that is no id.

    With `items` only so many of each map step's items, failed and running ones before others, and the one named `item`.
    """
    head = _head(db, task_id)
    return _detail(head, _step_columns(db, task_id, items=items, item=item))


def task_with_results(db: Database, task_id: str, *, items: int | None = None) -> tuple[TaskDetail, dict[str, Any]]:
    """The same, and by name the results of those of its steps that have one, secrets masked; in a round trip less than when each is asked for."""
    head = _head(db, task_id)
    steps = _step_columns(db, task_id, items=items, with_results=True)
    shown = redactions.read(head[26:]).of_task(head[18])
    found = large_results.resolved(db, task_id, {step[2]: step[28] for step in steps if step[28] is not None})
    return _detail(head, steps), {name: shown.result(name, result) for name, result in found.items()}


def _head(db: Database, task_id: str) -> tuple[Any, ...]:
    found = db.rows(
        f"""
        select {_TASK_COLUMNS}, t.context, t.reason, t.source_system, t.cancel_requested_at, t.parent_task_id, t.parent_step, t.definition_id,
               {_STEP_NAMES}, {redactions.COLUMNS}
          from tasker_tasks t join tasker_definition d using (definition_id) where t.task_id = %(id)s
        """,
        {"id": known_id(task_id)},
    )
    if not found:
        raise NotFound(no_task(task_id))
    return found[0]


def _detail(head: tuple[Any, ...], steps: Sequence[tuple[Any, ...]]) -> TaskDetail:
    context, reason, source_system, cancel_requested_at, parent_id, parent_step, definition_id, names = head[18:26]
    parent = (str(parent_id) if parent_id else None, parent_step)
    context = redactions.read(head[26:]).context(context)
    rows = tuple(_step_row(step, names) for step in steps)
    return TaskDetail(_task_row(head[:18]), context, reason, source_system, cancel_requested_at, definition_id, rows, *parent)


def children(db: Database, task_id: str, *, limit: int = 50, namespaces: Namespaces = None) -> tuple[TaskRow, ...]:
    """The tasks that the task's steps have submitted, the oldest first."""
    found = db.rows(
        f"select {_TASK_COLUMNS} from tasker_tasks t where t.parent_task_id = %(id)s{within('t.definition_id', namespaces)} order by t.task_no limit %(limit)s",
        {"id": known_id(task_id), "limit": limit, **allowed(namespaces)},
    )
    return tuple(_task_row(row) for row in found)


def all_children(db: Database, task_id: str, *, at_once: int, namespaces: Namespaces = None) -> Iterator[tuple[TaskRow, ...]]:
    """The same, every one of them, `at_once` in a page."""
    last = 0
    while True:
        found = db.rows(
            f"""
            select {_TASK_COLUMNS} from tasker_tasks t
             where t.parent_task_id = %(id)s and t.task_no > %(last)s{within("t.definition_id", namespaces)} order by t.task_no limit %(limit)s
            """,
            {"id": known_id(task_id), "last": last, "limit": at_once, **allowed(namespaces)},
        )
        yield tuple(_task_row(row) for row in found)
        if len(found) < at_once:
            return
        last = found[-1][17]


def task_row(db: Database, task_id: str) -> TaskRow:
    """A task without its steps. Raises `NotFound`."""
    found = db.rows(f"select {_TASK_COLUMNS} from tasker_tasks t where t.task_id = %(id)s", {"id": known_id(task_id)})
    if not found:
        raise NotFound(no_task(task_id))
    return _task_row(found[0])


def cursor_after(db: Database, task_id: str) -> str:
    """The cursor of the page that begins after this task. Raises `NotFound`."""
    found = db.value("select t.task_no from tasker_task t where t.task_id = %(id)s", {"id": known_id(task_id)})
    if found is None:
        raise NotFound(no_task(task_id))
    return _write_cursor(found)


def task_namespace(db: Database, task_id: str) -> str | None:
    """The namespace of a task; None when there is no such task."""
    query: LiteralString = "select d.namespace from tasker_task t join tasker_definition d using (definition_id) where t.task_id = %(id)s"
    found: str | None = db.value(query, {"id": known_id(task_id)})
    return found


def outcome(db: Database, task_id: str) -> dict[str, Any]:
    """What became of a task, as programs read it: state, context and every step's state, attempts, result and error. Raises `NotFound`."""
    detail = task(db, task_id)
    found = results(db, task_id)
    steps = {
        row.name: {"state": row.state, "attempts": row.attempts, "result": found.get(row.name), "error": plain_error(row.error)}
        for row in detail.steps
    }
    about = detail.task
    return {
        "task_id": about.task_id,
        "namespace": about.namespace,
        "name": about.name,
        "version": about.version,
        "state": about.state,
        "context": detail.context,
        "steps": steps,
    }


def step(db: Database, task_id: str, step_name: str) -> StepDetail:
    """One step with input, parents' results, result and every attempt. Raises `NotFound`."""
    detail = task(db, task_id, items=0, item=known_step(step_name))
    row = next((each for each in detail.steps if each.name == step_name), None)
    if row is None:
        raise NotFound(f'the task has no step "{step_name}"')
    of = next(each for each in detail.steps if each.name == (row.item_of or row.name))
    [template] = _templates(db, detail.definition_id, of.step_no)
    outcome = results(db, task_id, [step_name, *row.parents])
    return StepDetail(
        row=row,
        task=detail.task,
        template=template,
        input=detail.context,
        parent_results={name: outcome[name] for name in row.parents if name in outcome},
        result=outcome.get(step_name),
        attempts=tuple(_attempts(db, row.step_id)),
        steps=detail.steps,
        definition_id=detail.definition_id,
        item=redaction_of_task(db, task_id).item(step_name, _item(db, row.step_id)) if row.item_of else None,
    )


def items(db: Database, task_id: str, step_name: str, *, first: int = 0, limit: int = 100) -> tuple[StepRow, ...]:
    """The items of a map step in their order, from the place `first` on; none before it has made them. Raises `NotFound`."""
    found = db.rows(f"select {_STEP_NAMES} from tasker_task t join tasker_definition d using (definition_id) where t.task_id = %(id)s", {"id": known_id(task_id)})
    if not found:
        raise NotFound(no_task(task_id))
    return tuple(_step_row(step, found[0][0]) for step in _step_columns(db, task_id, items=limit, of=known_step(step_name), first=first))


def _item(db: Database, step_id: int) -> Any:
    query: LiteralString = """
        select s.item from tasker_step_place(%(step)s) own join tasker_step s on s.task_no = own.task_no and s.step_no = own.step_no
    """
    return db.value(query, {"step": step_id})


def lines(
    db: Database,
    task_id: str,
    step_name: str | None = None,
    *,
    attempt: int | None = None,
    level: str | None = None,
    after: int | None = None,
    before: int | None = None,
    limit: int = 200,
) -> LinePage:
    """What the attempts of a task, of one of its steps or one attempt have logged, in the order in which it was written down.

    The newest `limit` lines, of this level and above; with `before` the newest before that `line_no`, with `after` the first behind it.
    Raises `NotFound`, and `RequestError` for a level that does not exist.
    """
    found = db.rows(
        f"""
        select x.line_no, tasker_step_name(p.name, s.item_no), x.attempt, x.at, tasker_level_name(x.level), x.message, x.fields
          from (select l.line_no, l.task_no, l.step_no, l.attempt, l.at, l.level, l.message, l.fields
                  from (select n.task_no, case when %(step)s::text is not null then tasker_step_no(n.task_no, %(step)s) end as step_no
                          from tasker_task_no(%(task)s::uuid) as n (task_no) offset 0) t
                 cross join lateral (select k.* from tasker_log k
                                      where k.task_no = t.task_no and (t.step_no is null or k.step_no = t.step_no)
                                        and (%(attempt)s::int is null or k.attempt = %(attempt)s) and k.level >= %(level)s
                                        and (%(after)s::bigint is null or k.line_no > %(after)s) and (%(before)s::bigint is null or k.line_no < %(before)s)
                                      order by k.line_no {'' if after is not None else 'desc'} limit %(limit)s) l) x
          join tasker_step s using (task_no, step_no)
          join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
         order by x.line_no
        """,
        {"task": known_id(task_id), "step": step_name, "attempt": attempt, "level": _level(level), "after": after, "before": before, "limit": limit + 1},
    )
    rows = [LineRow(*row) for row in found]
    if after is not None:
        return _line_page(rows[:limit], is_first=not after, is_last=len(rows) <= limit)
    return _line_page(rows[-limit:], is_first=len(rows) <= limit, is_last=before is None)


def _line_page(rows: list[LineRow], *, is_first: bool, is_last: bool) -> LinePage:
    return LinePage(tuple(rows), rows[0].line_no if rows and not is_first else None, rows[-1].line_no if rows and not is_last else None)


def _level(name: str | None) -> int:
    try:
        return level_number(name or "debug")
    except ValueError as error:
        raise RequestError([Problem("level", "bad_level", str(error))]) from None


def line_counts(db: Database, task_id: str, step_name: str) -> dict[int, int]:
    """How many lines each attempt of the step has written, by its number; without those that wrote none. Raises `NotFound`."""
    query: LiteralString = """
        select l.attempt, count(*)::int
          from (select n.task_no, tasker_step_no(n.task_no, %(step)s) as step_no from tasker_task_no(%(task)s::uuid) as n (task_no) offset 0) t
         cross join lateral (select k.attempt from tasker_log k where k.task_no = t.task_no and k.step_no = t.step_no) l
         group by 1 order by 1
    """
    return dict(db.rows(query, {"task": known_id(task_id), "step": step_name}))


_HAS_RESULT: LiteralString = """
    s.state in ('completed', 'skipped', 'resolved') and (%(names)s::text[] is null or s.name = any(%(names)s))
      and (s.map_no is null or exists (select from tasker_step m where m.task_no = s.task_no and m.step_no = s.map_no
                                          and s.step_no between m.first_item and m.first_item + m.item_count - 1))
"""


def results(db: Database, task_id: str, names: list[str] | None = None) -> dict[str, Any]:
    """Results by step name, of the steps that have one, secrets masked; all of them when no names are given."""
    try:
        shown = redaction_of_task(db, task_id)
    except NotFound:
        return {}
    return {name: shown.result(name, result) for name, result in stored_results(db, task_id, names).items()}


def redaction_of_task(db: Database, task_id: str) -> TaskRedaction:
    """What of a task may be shown. Raises `NotFound`."""
    query: LiteralString = f"select t.context, {redactions.COLUMNS} from tasker_task t join tasker_definition d using (definition_id) where t.task_id = %(id)s"
    found = db.rows(query, {"id": known_id(task_id)})
    if not found:
        raise NotFound(no_task(task_id))
    return redactions.read(found[0][1:]).of_task(found[0][0])


def stored_context(db: Database, task_id: str) -> dict[str, Any]:
    """The context as it is stored, secrets and all: not to be shown. Raises `NotFound`."""
    found = db.rows("select t.context from tasker_task t where t.task_id = %(id)s", {"id": known_id(task_id)})
    if not found:
        raise NotFound(no_task(task_id))
    context: dict[str, Any] = found[0][0]
    return context


def stored_results(db: Database, task_id: str, names: list[str] | None = None) -> dict[str, Any]:
    """The results as they are stored, secrets and all: not to be shown."""
    found = db.rows(
        f"select s.name, s.result from tasker_steps s where s.task_id = %(id)s and {_HAS_RESULT} order by s.step_no",
        {"id": known_id(task_id), "names": names},
    )
    return large_results.resolved(db, known_id(task_id), dict(found))


def activity(db: Database, task_id: str, *, limit: int = 200) -> list[ActivityRow]:
    """The newest moves of a task and its steps, newest first. Raises `NotFound`."""
    found = db.rows(
        """
        select h.at, tasker_step_name(p.name, s.item_no), tasker_state_name(h.from_state), tasker_state_name(h.to_state), h.attempt, coalesce(w.name, 'engine ' || nullif(h.worker_id, 0)),
               h.actor,
               case when h.to_state = 2 and s.first_item is not null
                         and exists (select from tasker_history e where e.task_no = h.task_no and e.step_no = h.step_no and e.event_id < h.event_id and e.to_state = 0)
                    then 'has all its items' else h.reason end,
               h.detail - 'result'
          from (select * from tasker_history n where n.task_no = tasker_task_no(%(id)s::uuid) order by n.event_id + 0 desc limit %(limit)s) h
          join tasker_task t using (task_no)
          left join tasker_step s on s.task_no = h.task_no and s.step_no = h.step_no
          left join tasker_template p on p.definition_id = t.definition_id and p.step_no = coalesce(s.map_no, h.step_no)
          left join tasker_worker w on w.worker_id = h.worker_id
         order by h.event_id desc
        """,
        {"id": known_id(task_id), "limit": limit},  # + 0: not by the index of all events, however few of them are this task's
    )
    if any(row[8] and "context_before" in row[8] for row in found):
        shown = redaction_of_task(db, task_id).of
        found = [(*row[:8], _shown_note(row[8], shown)) for row in found]
    return [ActivityRow(*row) for row in found]


def _shown_note(detail: dict[str, Any] | None, shown: Redaction) -> dict[str, Any] | None:
    return detail if not detail or "context_before" not in detail else detail | {"context_before": shown.context(detail["context_before"])}


def moves(db: Database, task_id: str) -> list[MoveRow]:
    """Every move of every step of a task, oldest first; the newest `MOVES_SHOWN` when there are more. Raises `NotFound`."""
    found = db.rows(
        """
        select m.step_no, m.at, tasker_state_name(m.from_state), tasker_state_name(m.to_state), m.attempt,
               coalesce(w.name, 'engine ' || nullif(m.worker_id, 0))
          from (select h.event_id, h.step_no, h.at, h.from_state, h.to_state, h.attempt, h.worker_id from tasker_history h
                 where h.task_no = tasker_task_no(%(id)s::uuid) and h.step_no is not null and h.from_state is distinct from h.to_state
                 order by h.event_id + 0 desc limit %(limit)s) m
          left join tasker_worker w on w.worker_id = m.worker_id
         order by m.event_id
        """,
        {"id": known_id(task_id), "limit": MOVES_SHOWN},
    )
    return [MoveRow(*row) for row in found]


def done_counts(db: Database, task_nos: Sequence[int]) -> dict[int, int]:
    """How many steps of these tasks let their children go on, by the task's number; a task without any is left out."""
    query: LiteralString = """
        select s.task_no, count(*) from tasker_step s
         where s.task_no = any(%(tasks)s::bigint[]) and s.state = any(%(done)s::smallint[]) group by s.task_no
    """
    return dict(db.rows(query, {"tasks": list(task_nos), "done": [STEP_CODES[state] for state in SATISFYING]}))


def clock(db: Database) -> datetime:
    """The database's time, by which everything is recorded."""
    at: datetime = db.value("select tasker_clock()")
    return at


def key_holder(db: Database, namespace: str, name: str, key: str) -> TaskRow | None:
    """The task that a launch with this idempotency key leads to, or None while nobody has used it."""
    found = db.rows(
        f"""select {_TASK_COLUMNS} from tasker_request_key k join tasker_tasks t using (task_id)
             where k.namespace = %(namespace)s and k.name = %(name)s and k.key = %(key)s""",
        {"namespace": namespace, "name": name, "key": key},
    )
    return _task_row(found[0]) if found else None


def engines(db: Database, *, namespaces: Namespaces = None) -> list[EngineRow]:
    """Every engine seen within the last hour, the living first, with what it serves of these namespaces."""
    found = db.rows(
        f"""
        select w.worker_id, w.name, w.runner, w.concurrency, w.started_at, w.seen_at, w.lease_until > tasker_clock(), w.draining, w.figures -> 'cluster',
               array(select d.namespace || '/' || d.name || '@' || d.version from tasker_definition d where d.definition_id = any(w.definitions){within("d.definition_id", namespaces)}
                      order by d.namespace, d.name, d.version_rank collate "C"), w.labels, coalesce(w.figures -> 'hindrances', '[]')
          from tasker_worker w order by w.lease_until > tasker_clock() desc, w.worker_id
        """,
        allowed(namespaces),
    )
    return [EngineRow(*(*row[:8], tuple(row[9]), row[8], tuple(row[10]), tuple(row[11]))) for row in found]


def overview(db: Database, *, namespaces: Namespaces = None) -> OverviewRow:
    """What runs, what waits, what failed, at one glance; of these namespaces alone where some are given."""
    of_task, of_step, given = within("definition_id", namespaces), within("k.definition_id", namespaces), allowed(namespaces)
    of_delayed: LiteralString = "" if namespaces is None else f"d join tasker_task using (task_no) where true{of_task}"
    counts = dict(
        db.rows(
            f"""
        select tasker_state_name(x.state), x.number
          from (select o.state, count(*) as number from tasker_task o where o.finished_at is null{of_task} group by 1) x
        union all
        select 'failed', count(*) from (select from tasker_task t where t.failed_count > 0 and t.state = 5{of_task} limit 10001) f
        union all
        select tasker_state_name(f.state), f.number
          from (select l.state, count(*) as number from (select t.state, t.finished_at from tasker_task t where true{of_task} order by t.task_no desc limit 10001) l
                 where l.finished_at is not null and l.state <> 5 group by 1) f
        union all
        select 'looked at', count(*) from (select from tasker_task where true{of_task} limit 10001) f
            """,
            given,
        )
    )
    is_large = counts.pop("looked at") == COUNT_CAP
    queues = db.rows(
        f"""
        select (select count(*) from (select from tasker_ready where definition_id > 0{of_task} limit 10001) r), (select count(*) from (select from tasker_delayed {of_delayed} limit 10001) d),
               (select count(*) from (select distinct c.worker_id, held.task_no, held.step_no from tasker_claim c, unnest(c.task_nos, c.step_nos) as held (task_no, step_no)
                                       limit 10001) c
                 cross join lateral (select from tasker_step k
                                      where k.task_no = c.task_no and k.step_no = c.step_no and k.state = 2 and k.worker_id = c.worker_id{of_step} offset 0) s),
               (select r.rank + t.priority * interval '1 minute' from {front("1", namespaces)} r
                  join tasker_task t using (task_no)),
               (select count(*) from tasker_worker w where w.lease_until > tasker_clock())
        """,
        given,
    )[0]
    running, failed, latest = (tasks(db, state=state, limit=10, namespaces=namespaces).items for state in ("running", "failed", None))
    return OverviewRow(*(counts, *queues, running, failed, latest, is_large))


def changed_tasks(db: Database, cursor: str | None) -> tuple[str, dict[str, str] | None]:
    """The tasks that changed since `cursor`, each id with its namespace, and the next cursor; None starts now. No tasks but None: any may have changed.

    The cursor is a snapshot: what is seen now and was not then is named, a late commit too, and nobody waits for other transactions to end. They are too
    many to name above 5,000, and none is looked for beyond the last 5,000 transactions. A task may be named twice.
    A new task has moved nothing yet: the latest ones are known by the number of the transaction that wrote them, of which a row keeps 32 bits.
    """
    now: str = db.value(_NOW)
    if cursor is None or now == cursor:
        return now, {}
    (since_xmin, since_xmax, since_open), (_, xmax, still_open) = _snapshot(cursor), _snapshot(now)
    low = max(since_xmin, since_xmax - MOST_CHANGES)
    if any(number < low and number not in still_open for number in since_open):
        return now, None
    seen_now: LiteralString = "xid >= %(low)s and xid < %(xmax)s and (xid >= %(since_xmax)s or xid = any(%(since_open)s::bigint[])) and xid <> all(%(still_open)s::bigint[])"
    found = db.rows(
        f"""
        select t.task_id, d.namespace
          from (select task_no from tasker_history where {seen_now}
                union
                select task_no from tasker_log where {seen_now}
                union
                select task_no from tasker_progress where {seen_now}
                union
                select n.task_no
                  from (select l.task_no, (%(xmax)s + l.since - 4294967296 * round(l.since / 4294967296.0))::bigint as xid
                          from (select t.task_no, t.xmin::text::bigint - %(xmax)s %% 4294967296 as since from tasker_task t order by t.task_no desc limit 1000) l) n
                 where {seen_now}
                limit {MOST_CHANGES}) h
          left join lateral (select k.task_id, k.definition_id from tasker_task k where k.task_no = h.task_no offset 0) t on true   -- by key, however many tasks there are
          left join tasker_definition d using (definition_id)
        """,
        {"low": low, "xmax": xmax, "since_xmax": since_xmax, "since_open": since_open, "still_open": still_open},
    )
    # tasks that were dropped meanwhile count too: what they took of the limit, others were left out for
    return now, None if len(found) == MOST_CHANGES else {str(task_id): namespace for task_id, namespace in found if task_id}


# A standby does not tell which transactions are open: there only what comes before the oldest of them is seen.
_NOW: LiteralString = """
    select case when pg_is_in_recovery() then concat(pg_snapshot_xmin(s.now), ':', pg_snapshot_xmin(s.now), ':') else s.now::text end from pg_current_snapshot() as s (now)
"""


def _snapshot(text: str) -> tuple[int, int, list[int]]:
    """Its first transaction that was open, the first one to come, and all that were open."""
    xmin, xmax, still_open = text.split(":")
    return int(xmin), int(xmax), [int(number) for number in still_open.split(",") if number]


def _no_definition(db: Database, namespace: str, name: str, version: str | None) -> str:
    known = db.rows(
        """select d.version from tasker_definition d where d.namespace = %(namespace)s and d.name = %(name)s
            order by d.version_rank collate "C" desc limit 10""",
        {"namespace": namespace, "name": name},
    )
    if not known:
        return f"there is no workflow {namespace}/{name}"
    listed = ", ".join(row[0] for row in known)
    return f"{namespace}/{name} has no version {version}; there is {listed}" if version else f"{namespace}/{name} has only pre-releases; name one of {listed}"


def _templates(db: Database, definition_id: int, step_no: int | None = None) -> tuple[TemplateRow, ...]:
    found = db.rows(
        """
        select p.step_no, p.name, p.description, p.handler, p.parents, p.children, p.retryable, p.retry_limit, p.timeout_ms,
               p.backoff_base, p.backoff_multiplier, p.backoff_cap, p.backoff_jitter, p.output_schema, p.handler_config, p.decision,
               (select f.name from tasker_template f where f.definition_id = p.definition_id and f.step_no = p.for_each), p.for_each_path,
               p.resources, p.labels, (select array[l.at_once::text, l.per_period::text, extract(epoch from l.period)::int::text, array_to_string(l.key_path, '.')]
                            from tasker_definition d join tasker_limit l using (namespace, name) where d.definition_id = p.definition_id and l.step_name = p.name)
          from tasker_template p where p.definition_id = %(id)s and (%(step)s::int is null or p.step_no = %(step)s) order by p.step_no
        """,
        {"id": definition_id, "step": step_no},
    )
    return tuple(_template_row(row) for row in found)


def _template_row(row: tuple[Any, ...]) -> TemplateRow:
    source = None if row[16] is None else ".".join([row[16], *row[17]])
    backoff = dict(zip(("base", "multiplier", "cap", "jitter"), row[9:13], strict=True))
    return TemplateRow(*(*row[:4], tuple(row[4]), tuple(row[5]), *row[6:9], backoff, shown_schema(row[13]), masked(row[14] or {}), row[15], source, row[18], tuple(row[19]), _limit_words(row[20])))


def _limit_words(found: list[Any] | None) -> str | None:
    if found is None:
        return None
    at_once, per_period, period = (None if part is None else int(part) for part in found[:3])
    return str(Limit(at_once, per_period, period or 1, found[3] or None))


def _task_row(row: tuple[Any, ...]) -> TaskRow:
    return TaskRow(*(str(row[0]), *row[1:7], tuple(row[7]), *row[8:17]))


def _step_columns(
    db: Database, task_id: str, *, items: int | None = None, item: str | None = None, of: str | None = None, first: int = 0, with_results: bool = False
) -> list[tuple[Any, ...]]:
    """The steps in their order, items behind their map step: of each the `items` that need somebody most, and the named item.

    Items that a map step made before it was run again are on record, and no longer among the steps.

    With `of` only the items of that map step, `items` of them from the place `first` on.
    """
    return db.rows(
        """
        select x.* from (
          select r.step_id, s.step_no, r.step_name, r.state, r.attempts, r.retry_limit, p.parents, coalesce(s.children, '{}'), r.satisfied_parents,
                 s.started_at, s.finished_at, r.next_retry_at, r.waiting_for, s.error,
                 case when s.started_at is not null and s.state not in (0, 1, 3, 7, 8)
                      then extract(epoch from coalesce(s.finished_at, tasker_clock()) - s.started_at)::float8 end,
                 w.name, s.bypass, s.passed_over,
                 case when s.map_no is not null then 'item' when p.decision then 'decision' when p.for_each is not null then 'map' else 'step' end,
                 case when s.map_no is not null then p.name end as item_of, s.item_no,
                 case when s.first_item is not null then (
                   select coalesce(jsonb_object_agg(tasker_state_name(i.state), i.number), '{}')
                     from (select k.state, count(*) as number from tasker_step k
                            where k.task_no = s.task_no and k.step_no between s.first_item and s.first_item + s.item_count - 1 group by 1) i) end,
                 s.map_no,
                 case when s.map_no is not null
                      then row_number() over (partition by s.map_no order by array_position(array[5, 3, 2, 1], s.state::int), s.item_no) end as place,
                 g.done, g.total, g.note, g.at, case when %(with_results)s and s.state in (4, 7, 8) then s.result end
            from tasker_step_readiness(%(id)s::uuid) r
           cross join lateral (select (r.step_id + 524288) >> 20 as task_no, (((r.step_id + 524288) & 1048575) - 524288)::int as step_no offset 0) own
           cross join lateral (select k.* from tasker_step k where k.task_no = own.task_no and k.step_no = own.step_no offset 0) s
            join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
            left join lateral (select k.done, k.total, k.note, k.at from tasker_progress k
                                where k.task_no = s.task_no and k.step_no = s.step_no and k.attempt = s.attempts and k.at >= s.started_at offset 0) g on true
            left join tasker_worker w on w.worker_id = s.worker_id
           where s.map_no is null or exists (select from tasker_step m where m.task_no = s.task_no and m.step_no = s.map_no
                                                and s.step_no between m.first_item and m.first_item + m.item_count - 1)) x
         where case when %(of)s::text is not null then x.item_of = %(of)s and x.item_no >= %(first)s and x.item_no < %(first)s + %(items)s
                    else x.place is null or %(items)s::int is null or x.place <= %(items)s or x.step_name = %(item)s end
         order by coalesce(x.map_no, x.step_no), x.item_no nulls first
        """,
        {"id": known_id(task_id), "items": items, "item": item, "of": of, "first": first, "with_results": with_results},
    )


def _step_row(row: tuple[Any, ...], names: Sequence[str]) -> StepRow:
    parents, children = (tuple(names[no] for no in numbers) for numbers in row[6:8])
    progress = None if row[24] is None else ProgressRow(*row[24:28])
    return StepRow(*(*row[:6], parents, children, *row[8:22], progress))


def _attempts(db: Database, step_id: int) -> list[AttemptRow]:
    found = db.rows(
        """
        select h.attempt, h.to_state = 2 as begins, tasker_state_name(h.to_state), h.at, coalesce(w.name, 'engine ' || nullif(h.worker_id, 0)), h.detail
          from tasker_history h left join tasker_worker w using (worker_id)
         where h.task_no = (tasker_step_place(%(step)s)).task_no and h.step_no = (tasker_step_place(%(step)s)).step_no and h.attempt is not null and h.from_state <> h.to_state
         order by h.event_id
        """,
        {"step": step_id},
    )
    attempts: list[AttemptRow] = []
    for attempt, begins, state, at, engine, detail in found:
        if begins and attempts and attempts[-1].attempt == attempt and attempts[-1].state == "running":
            continue  # a map step whose items are done; it has been at work all the time
        if begins:
            attempts.append(AttemptRow(attempt, "running", at, None, None, engine, None))
        elif attempts and attempts[-1].attempt == attempt:
            started = attempts[-1].started_at
            attempts[-1] = AttemptRow(attempt, state, started, at, (at - started).total_seconds(), attempts[-1].engine, detail)
    return attempts


def plain_error(error: dict[str, Any] | None) -> dict[str, Any] | None:
    """Of an error what programs decide by; None of none."""
    return {"type": error.get("type"), "message": error.get("message"), "code": error.get("code")} if error else None


def no_task(task_id: str) -> str:
    """What is said of a task that there is not."""
    return f"there is no task {task_id}; it may have been dropped after its retention"


def known_id(task_id: str) -> str:
    """The id as PostgreSQL reads it. Raises `NotFound` for text that is none."""
    try:
        return str(UUID(task_id))
    except (ValueError, AttributeError, TypeError):
        raise NotFound(f"there is no task {str(task_id)[:80]}") from None


def known_step(step_name: str) -> str:
    """The name as PostgreSQL reads it. Raises `NotFound` for text that it could not hold, so that no step is called so."""
    if json_text.clean_text(step_name) != step_name:
        raise NotFound(f"the task has no step {step_name[:80]!r}")
    return step_name


def _write_cursor(task_no: int) -> str:
    return base64.urlsafe_b64encode(str(task_no).encode()).decode().rstrip("=")


def _read_cursor(cursor: str | None) -> int | None:
    if not cursor:
        return None
    try:
        number = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        raise RequestError([Problem("cursor", "bad_cursor", "this cursor is not one that a list gave")]) from None
    return min(number, 2**63 - 1)
