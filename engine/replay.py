"""How a task stood at any past moment: the moves of its history up to there. The dashboard's replay asks; it changes nothing.

Moments are numbered by the moves of the task and of the steps that its definition names, items of map steps left out: 0 is before the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from engine.db import Database
from engine.errors import NotFound
from engine.queries import known_id, no_task
from engine.states import SATISFYING


@dataclass(frozen=True, slots=True)
class ReplayMove:
    """The move that led to a moment; of the task itself where `step_no` is None."""

    at: datetime
    step_no: int | None
    from_state: str
    to_state: str
    attempt: int | None
    engine: str | None
    actor: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class StateThen:
    """The state of a step at a moment, and since when; None since the task was made."""

    state: str
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Replay:
    """A task after the first `place` of its `move_count` moves, with its steps by number; `move` is the last of those, None before any."""

    place: int
    move_count: int
    move: ReplayMove | None
    task_state: str
    steps: Mapping[int, StateThen]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is on record of a step around a moment: its last move before it, what its next move leads out of, and how it is now."""

    moved_from: str | None
    moved_to: str | None
    since: datetime | None
    due_at: datetime | None
    next_from: str | None
    now: str
    parents: tuple[int, ...]


def replay(db: Database, task_id: str, *, place: int | None = None, at: datetime | None = None) -> Replay:
    """The task after so many moves, or at a time; without either as it is now. A place beyond either end is that end. Raises `NotFound`.

    That a step became ready is no move on record: it did when its last parent was satisfied, when its retry was due, or with its task.
    """
    found = db.rows(_QUERY, {"id": known_id(task_id), "place": place, "at": at})
    if not found:
        raise NotFound(no_task(task_id))
    (task, run_at, moment_at, chosen, count, *move), steps = _head(found[0]), found[1:]
    known = {row[0]: _Known(*(*row[1:7], tuple(row[7]))) for row in steps}
    is_now = at is None and chosen == count
    states = {number: StateThen(_state(number, known, at or moment_at, run_at, is_now=is_now), each.since) for number, each in known.items()}
    return Replay(chosen, count, ReplayMove(*move) if move[0] else None, task, states)


def _head(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of the first row: the task's state, when it may start, when the moment begins, its place and the number of moves, and the move."""
    return (row[2] or row[5] or row[6], *row[8:])


def _state(number: int, known: Mapping[int, _Known], at: datetime, run_at: datetime | None, *, is_now: bool) -> str:
    step = known[number]
    if is_now and step.next_from is None:
        return step.now
    if step.moved_to == "retrying":
        return "ready" if step.due_at and step.due_at <= at else "retrying"
    if step.moved_to not in (None, "pending") or (step.moved_from, step.moved_to) == ("running", "pending"):
        return step.moved_to or step.now
    if not step.parents:
        return "pending" if run_at and at < run_at else "ready"
    return "ready" if all(known[parent].moved_to in SATISFYING for parent in step.parents) else "pending"


_QUERY: LiteralString = """
    with own as (
      select t.task_no, t.state, t.created_at, t.run_at, d.definition_id, d.step_count
        from tasker_task t join tasker_definition d using (definition_id) where t.task_id = %(id)s),
    moves as materialized (
      select h.*, row_number() over (order by h.event_id) as place
        from own
       cross join lateral (
         select k.event_id, k.step_no, k.at, k.from_state, k.to_state, k.attempt, k.worker_id, k.actor, k.reason, k.detail from tasker_history k
          where k.task_no = own.task_no and k.from_state <> k.to_state and (k.step_no is null or k.step_no between 0 and own.step_count - 1) offset 0) h),
    chosen as materialized (
      select count(*) as number,
             case when %(place)s::bigint is not null then least(greatest(%(place)s::bigint, 0), count(*))
                  when %(at)s::timestamptz is not null then coalesce(max(m.place) filter (where m.at <= %(at)s::timestamptz), 0)
                  else count(*) end as place
        from moves m),
    past as (
      select distinct on (m.step_no) coalesce(m.step_no, -1) as step_no, m.from_state, m.to_state, m.at, case when m.to_state = 3 then (m.detail ->> 'run_at')::timestamptz end as due_at
        from moves m cross join chosen c where m.place <= c.place order by m.step_no, m.place desc),
    future as (
      select distinct on (m.step_no) coalesce(m.step_no, -1) as step_no, m.from_state from moves m cross join chosen c where m.place > c.place order by m.step_no, m.place),
    move as materialized (   -- one row: the moves are not to be looked through for every step
      select m.at, m.step_no, m.from_state, m.to_state, m.attempt, coalesce(w.name, 'engine ' || nullif(m.worker_id, 0)) as engine, m.actor, m.reason
        from moves m cross join chosen c left join tasker_worker w on w.worker_id = m.worker_id where m.place = c.place),
    now as (
      select -1 as step_no, own.state, '{}'::int[] as parents from own
      union all
      select s.step_no, s.state, s.parents from own cross join lateral (
        select k.step_no, k.state, p.parents::int[] from tasker_step k join tasker_template p on p.definition_id = own.definition_id and p.step_no = k.step_no
         where k.task_no = own.task_no and k.step_no between 0 and own.step_count - 1 offset 0) s)
    select now.step_no, tasker_state_name(past.from_state), tasker_state_name(past.to_state), past.at, past.due_at, tasker_state_name(future.from_state),
           tasker_state_name(now.state), now.parents, own.run_at, coalesce(m.at, own.created_at), chosen.place, chosen.number,
           m.at, m.step_no, tasker_state_name(m.from_state), tasker_state_name(m.to_state), m.attempt, m.engine, m.actor, m.reason
      from now cross join own cross join chosen
      left join past on past.step_no = now.step_no   -- -1, the task itself: an equality, for two thousand steps are not to be compared with each other
      left join future on future.step_no = now.step_no
      left join move m on true
     order by now.step_no
"""
