"""Workflows that run again and again: what can be done with a schedule, and `fire_due`, by which every engine's loop makes the tasks that are due.

Two engines never make a task for one run twice: a row lock gives a due schedule to one of them, it advances only from the run it was
given for, and the tasks bear an idempotency key of schedule and run, should the first engine have died in between.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, LiteralString
from zoneinfo import ZoneInfoNotFoundError

from cronsim import CronSimError

from engine import json_text, queries, tasks
from engine.access.permissions import Namespaces
from engine.db import Database
from engine.errors import DatabaseUnavailable, NotFound, Problem, RequestError, TaskerError
from engine.hiding.redactions import redactions_of
from engine.requests import TaskRequest, checked_context
from engine.rows import ScheduledTask, ScheduleRow
from engine.timing import POLICIES, Policy, Timing, plan

BATCH = 50
LEASE = timedelta(seconds=30)
MAX_LISTED = 1_000
MAX_ERROR = 1_000

log = logging.getLogger("tasker.schedules")


# ---- what people do with schedules


def add_schedule(
    db: Database,
    timing: Timing,
    *,
    name: str,
    namespace: str = "default",
    version: str | None = None,
    context: Mapping[str, Any] | None = None,
    policy: Policy = "one",
    actor: str | None = None,
) -> ScheduleRow:
    """The workflow runs at these times from now on; `timing` is made by `engine.timing.cron` or `every`.

    Raises `NotFound` for a workflow or version the database does not know, `RequestError` for a context that does not fit its schema now.
    """
    request = TaskRequest(name=name, namespace=namespace, version=version, context=context or {})
    _check(db, request, policy)
    now = _now(db).replace(microsecond=0)
    schedule = {
        "namespace": namespace,
        "name": name,
        "version": version,
        "kind": timing.kind,
        "expression": timing.expression,
        "time_zone": timing.time_zone,
        "context": request.context,
        "policy": policy,
        "next_run_at": next(timing.runs(now, now)).isoformat(),
        "created_by": actor,
    }
    return schedule_row(db, db.value("select tasker_add_schedule(%(schedule)s::jsonb)", {"schedule": json_text.dump(schedule)}))


def pause_schedule(db: Database, schedule_id: int, *, actor: str, reason: str | None = None) -> ScheduleRow:
    """It makes no task until it is resumed. Raises `NotFound`, and `WrongState` when it is paused already."""
    known = {"schedule": _known(schedule_id), "actor": actor, "reason": reason or None}
    db.value("select tasker_pause_schedule(%(schedule)s, %(actor)s, %(reason)s)", known)
    return schedule_row(db, schedule_id)


def resume_schedule(db: Database, schedule_id: int, *, actor: str, reason: str | None = None) -> ScheduleRow:
    """It runs at its times again; those that passed meanwhile are not made up for. Raises `NotFound`, and `WrongState` when it is not paused."""
    schedule, now = schedule_row(db, schedule_id), _now(db)
    following = next(schedule.timing.runs(schedule.next_run_at or now, now), None)
    known = {"schedule": schedule_id, "next": following, "actor": actor, "reason": reason or None}
    db.value("select tasker_resume_schedule(%(schedule)s, %(next)s, %(actor)s, %(reason)s)", known)
    return schedule_row(db, schedule_id)


def run_schedule(db: Database, schedule_id: int, *, actor: str, reason: str | None = None) -> str:
    """The id of a task made now, whether it is paused or not; its own times stay as they are. Raises `NotFound`, `RequestError`."""
    schedule = _stored(db, schedule_id)
    task_id = tasks.submit(db, _request(schedule, initiator=actor, reason=reason or f"{schedule.tag}, run by hand"))
    db.value("select tasker_note_schedule_run(%(schedule)s, %(task)s)", {"schedule": schedule_id, "task": task_id})
    return task_id


def remove_schedule(db: Database, schedule_id: int) -> None:
    """It is gone; its tasks stay. Raises `NotFound`."""
    db.value("select tasker_remove_schedule(%(schedule)s)", {"schedule": _known(schedule_id)})


# ---- what is asked

_COLUMNS: LiteralString = """
    s.schedule_id, s.namespace, s.name, s.version, s.kind, s.expression, s.time_zone, s.policy, s.context, s.paused, s.next_run_at, s.last_run_at,
    s.last_error, s.refused_count, s.missed_count, s.created_by, s.created_at, s.changed_by, s.changed_at, s.change_reason,
    (select coalesce(jsonb_agg(jsonb_build_array(t.task_id, tasker_state_name(t.state), t.created_at) order by made.place), '[]')
       from unnest(s.recent_task_ids) with ordinality as made (task_id, place) join tasker_task t using (task_id))
"""


def schedules(db: Database, *, namespace: str | None = None, namespaces: Namespaces = None) -> list[ScheduleRow]:
    """Every schedule, or those of a namespace or of `namespaces`, by workflow; at most MAX_LISTED. Secrets of their contexts are masked."""
    query: LiteralString = f"""
        select {_COLUMNS} from tasker_schedule s
         where (%(namespace)s::text is null or s.namespace = %(namespace)s) and (%(allowed)s::text[] is null or s.namespace = any(%(allowed)s))
         order by s.namespace collate "C", s.name collate "C", s.schedule_id limit %(limit)s"""
    return _shown(db, [_row(found) for found in db.rows(query, {"namespace": namespace, "limit": MAX_LISTED, "allowed": None, **queries.allowed(namespaces)})])


def schedule_row(db: Database, schedule_id: int) -> ScheduleRow:
    """One schedule, secrets of its context masked. Raises `NotFound`."""
    return _shown(db, [_stored(db, schedule_id)])[0]


def _shown(db: Database, rows: list[ScheduleRow]) -> list[ScheduleRow]:
    known = redactions_of(db, ((row.namespace, row.name, row.version) for row in rows))
    return [replace(row, context=known[row.namespace, row.name, row.version].context(row.context)) for row in rows]


def _stored(db: Database, schedule_id: int) -> ScheduleRow:
    query: LiteralString = f"select {_COLUMNS} from tasker_schedule s where s.schedule_id = %(schedule)s"
    found = db.rows(query, {"schedule": _known(schedule_id)})
    if not found:
        raise NotFound(f"there is no schedule {schedule_id}")
    return _row(found[0])


def schedule_namespace(db: Database, schedule_id: int) -> str | None:
    """The namespace of a schedule; None when there is no such schedule."""
    try:
        known = _known(schedule_id)
    except NotFound:
        return None
    found: str | None = db.value("select s.namespace from tasker_schedule s where s.schedule_id = %(schedule)s", {"schedule": known})
    return found


def _row(found: tuple[Any, ...]) -> ScheduleRow:
    *fields, recent = found
    made = tuple(ScheduledTask(task_id, state, datetime.fromisoformat(created_at)) for task_id, state, created_at in recent)
    return ScheduleRow(*(*fields[:4], Timing(*fields[4:7]), *fields[7:], made))


# ---- what the engine's loop does


@dataclass(frozen=True, slots=True)
class DueSchedule:
    """A schedule that was claimed for the run at `due_at`; `now` is the database's clock."""

    schedule_id: int
    namespace: str
    name: str
    version: str | None
    timing: Timing
    context: dict[str, Any]
    policy: Policy
    due_at: datetime
    now: datetime

    @property
    def tag(self) -> str:
        return f"schedule:{self.schedule_id}"


def fire_due(db: Database) -> int:
    """Every schedule that is due has its tasks and waits for its next run; returns how many tasks were made.

    One whose task is refused says so in `last_error` and goes on with its next run. Raises `DatabaseUnavailable`.
    """
    made = 0
    while True:
        claimed = claim_due_schedules(db)
        made += sum(fire(db, due) for due in claimed)
        if len(claimed) < BATCH:
            return made


def claim_due_schedules(db: Database, *, limit: int = BATCH, lease: timedelta = LEASE) -> list[DueSchedule]:
    """What is due and now, for the length of the lease, ours; schedules another engine is claiming are left to it."""
    found = db.rows("select * from tasker_claim_due_schedules(%(limit)s, %(lease)s)", {"limit": limit, "lease": lease})
    return [DueSchedule(*(*row[:4], Timing(*row[4:7]), *row[7:])) for row in found]


def fire(db: Database, due: DueSchedule) -> int:
    """The tasks of a claimed schedule are made and it waits for its next run; returns how many of them are new."""
    try:
        decided = plan(due.timing, due.policy, due=due.due_at, now=due.now)
    except (ZoneInfoNotFoundError, OSError) as error:
        return _leave(db, due, error)
    except (CronSimError, LookupError, ValueError) as error:
        return _give_up(db, due, error)
    made: list[tuple[str, bool]] = []
    problem = None if decided.runs else f"left out: no engine was there at {_iso(due.due_at)}"
    try:
        made = tasks.create_tasks(db, [_due_request(due, at) for at in decided.runs])
    except DatabaseUnavailable:
        raise
    except TaskerError as refused:
        problem = str(refused)[:MAX_ERROR]
    lost = {"refused": 0 if made else len(decided.runs), "missed": decided.missed_count}
    _advance(db, due, decided.next_run_at, [task_id for task_id, _ in made], problem, lost)
    return sum(created for _, created in made)


def _leave(db: Database, due: DueSchedule, error: Exception) -> int:
    """Where this machine lacks the time zone, or cannot read it now, another one may have it, or this one later: it stays due."""
    _advance(db, due, due.due_at, [], f"the rules of its time zone cannot be read; tried again: {error}"[:MAX_ERROR], {"refused": 0, "missed": 0})
    return 0


def _give_up(db: Database, due: DueSchedule, error: Exception) -> int:
    """One whose times nobody can compute must not hold up the others."""
    _advance(db, due, None, [], f"its next run cannot be computed: {error}"[:MAX_ERROR], {"refused": 1, "missed": 0})
    return 0


def _advance(db: Database, due: DueSchedule, next_run_at: datetime | None, task_ids: list[str], problem: str | None, lost: dict[str, int]) -> None:
    if problem:
        log.warning("%s made no task: %s", due.tag, problem)
    db.value(
        "select tasker_advance_schedule(%(schedule)s, %(due)s, %(next)s, %(tasks)s::uuid[], %(error)s, %(refused)s, %(missed)s)",
        lost | {"schedule": due.schedule_id, "due": due.due_at, "next": next_run_at, "tasks": task_ids, "error": problem},
    )


def _due_request(due: DueSchedule, at: datetime) -> TaskRequest:
    key = f"{due.tag}:{_iso(at)}"
    return _request(due, initiator=due.tag, reason=f"due {_iso(at)}", idempotency_key=key)


def _request(schedule: ScheduleRow | DueSchedule, **fields: Any) -> TaskRequest:
    return TaskRequest(
        name=schedule.name,
        namespace=schedule.namespace,
        version=schedule.version,
        context=schedule.context,
        source_system="schedule",
        tags=(schedule.tag,),
        **fields,
    )


def _check(db: Database, request: TaskRequest, policy: str) -> None:
    if policy not in POLICIES:
        raise RequestError([Problem("policy", "unknown_policy", f"{policy!r} is none of {', '.join(POLICIES)}")])
    checked_context(request, queries.definition(db, request.namespace, request.name, request.version).schema)


def _now(db: Database) -> datetime:
    now: datetime = db.value("select tasker_clock()")
    return now


def _known(schedule_id: int) -> int:
    if not 0 < schedule_id < 2**31:
        raise NotFound(f"there is no schedule {schedule_id}")
    return schedule_id


def _iso(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}Z"
