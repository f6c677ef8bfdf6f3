"""How the installation stands: what is stuck and why, what waits in the queues, what each engine has in hand, how each version fared.

The dashboard's overview, lists, engines and workflows ask here. It changes nothing, and every query looks at a bounded number of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, LiteralString

from engine.access.permissions import Namespaces
from engine.db import Database
from engine.queries import FEWEST_RUNS, TALLIES, USUAL_RUNS, allowed, front, within
from engine.rows import EndedTask, LongTransaction, QueueRow, RecordRow, StandingStep, UsualRow

OPEN_LOOKED_AT = 10_000
"""How many open tasks are looked at for those that are stuck, the oldest first."""
QUEUE_LOOKED_AT = 100_000
RECORD_RUNS = 1_000
"""Over how many ended tasks of a version, the newest, its record is taken; they are looked for among twice as many."""
STRIP_RUNS = 20
LONG_SECONDS = 55.0
"""Who looks is told of it within a minute, also by a page that is made anew every few seconds. No transaction of ours is open for so long, but a migrator's."""

STUCK = ("blocked", "unserved", "late", "retrying", "paused")
"""Why a task is stuck, the most pressing first: a failed step holds a branch, no engine has the handler or the labels, it runs longer than 95 of 100 did,
nothing of it goes on before a retry is due, or somebody paused it, which comes before all but the first where several apply."""


_TOOK: LiteralString = """
    select count(*)::int as number, percentile_cont(0.5) within group (order by r.took)::float8 as median,
           percentile_cont(0.95) within group (order by r.took)::float8 as p95
      from tasker_latest_tasks(asked.definition_id, %(runs)s) r where r.state = 4 and r.took is not null
"""


def stuck_tasks(db: Database, *, namespaces: Namespaces = None) -> dict[str, list[int]]:
    """The numbers of the open tasks of these namespaces that are stuck, the oldest first, each under one reason of `STUCK`."""
    # put together here and not by the planner, which cannot know how many there are of each and would compare every one with every other
    looked, unserved, waiting = _open_tasks(db, namespaces), _unserved_tasks(db), _waiting_tasks(db)
    late_after = _late_after(db, {definition for _, definition, *_, running_for in looked if running_for is not None})
    found: dict[str, list[int]] = {reason: [] for reason in STUCK}
    for task_no, definition, blocked, paused, running_for in looked:
        if blocked:
            found["blocked"].append(task_no)
        elif paused:
            found["paused"].append(task_no)
        elif task_no in unserved:
            found["unserved"].append(task_no)
        elif running_for is not None and running_for > late_after.get(definition, running_for):
            found["late"].append(task_no)
        elif running_for is not None and task_no in waiting:
            found["retrying"].append(task_no)
    return {reason: numbers for reason, numbers in found.items() if numbers}


def _open_tasks(db: Database, namespaces: Namespaces) -> list[tuple[Any, ...]]:
    query: LiteralString = f"""
        select t.task_no, t.definition_id, t.failed_count > 0, t.paused, extract(epoch from tasker_clock() - t.started_at)::float8
          from tasker_task t where t.finished_at is null{within("t.definition_id", namespaces)} order by t.task_no limit %(looked)s
    """
    return db.rows(query, {"looked": OPEN_LOOKED_AT, **allowed(namespaces)})


def _unserved_tasks(db: Database) -> set[int]:
    query: LiteralString = """
        select distinct r.task_no
          from tasker_front(%(looked)s) r
         where r.lane <> all(array(select unnest(w.definitions) from tasker_worker w where w.lease_until > tasker_clock() and not w.draining))
    """
    return {row[0] for row in db.rows(query, {"looked": QUEUE_LOOKED_AT})}


def _waiting_tasks(db: Database) -> set[int]:
    """Tasks of which a step waits for its time while nothing runs or is ready."""
    query: LiteralString = """
        select distinct d.task_no from (select q.task_no from tasker_delayed q order by q.run_at limit %(looked)s) d
         cross join lateral (select count(*) as number from (select from tasker_step s where s.task_no = d.task_no and s.state in (1, 2) limit 1) k offset 0) active
         where active.number = 0
    """
    return {row[0] for row in db.rows(query, {"looked": OPEN_LOOKED_AT})}


def _late_after(db: Database, definitions: set[int]) -> dict[int, float]:
    """After how many seconds a task of each definition has run longer than 95 of 100 did."""
    query: LiteralString = f"""
        select asked.definition_id, took.p95 from unnest(%(ids)s::int[]) as asked (definition_id)
         cross join lateral ({_TOOK}) took where took.number >= %(fewest)s
    """
    return dict(db.rows(query, {"ids": sorted(definitions), "runs": USUAL_RUNS, "fewest": FEWEST_RUNS}))


def task_ids(db: Database, numbers: Sequence[int]) -> list[str]:
    """The ids of the tasks with these numbers, in their order; a task that is gone is left out."""
    query: LiteralString = """
        select t.task_id from unnest(%(numbers)s::bigint[]) with ordinality as asked (task_no, place)
          join tasker_task t using (task_no) order by asked.place
    """
    return [str(row[0]) for row in db.rows(query, {"numbers": list(numbers)})]


def task_sizes(db: Database, numbers: Sequence[int]) -> list[tuple[int, str, int]]:
    """The tasks with these numbers, in their order: number, id, and how many steps each has; a task that is gone is left out."""
    query: LiteralString = """
        select t.task_no, t.task_id::text, d.step_count + t.item_count from unnest(%(numbers)s::bigint[]) with ordinality as asked (task_no, place)
          join tasker_task t using (task_no) join tasker_definition d using (definition_id) order by asked.place
    """
    return db.rows(query, {"numbers": list(numbers)})


def usuals(db: Database, versions: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str, str], UsualRow]:
    """How long tasks of these versions (namespace, name, version) usually take, for those of which enough completed."""
    chosen = sorted(set(versions))
    found = db.rows(
        f"""
        select asked.namespace, asked.name, asked.version, took.number, took.median, took.p95
          from (select d.* from unnest(%(namespaces)s::text[], %(names)s::text[], %(versions)s::text[]) as named (namespace, name, version)
                  join tasker_definition d using (namespace, name, version)) asked
         cross join lateral ({_TOOK}) took where took.number >= %(fewest)s
        """,
        {
            "namespaces": [each[0] for each in chosen],
            "names": [each[1] for each in chosen],
            "versions": [each[2] for each in chosen],
            "runs": USUAL_RUNS,
            "fewest": FEWEST_RUNS,
        },
    )
    return {row[:3]: UsualRow(*row[3:]) for row in found}


def records(
    db: Database, *, namespace: str | None = None, name: str | None = None, version: str | None = None, runs: int = RECORD_RUNS, namespaces: Namespaces = None
) -> list[RecordRow]:
    """How versions fared, by namespace and name, the newest version first: every one of the workflow `name`, or its `version`, or the one of each workflow that a launch takes.

    Over the newest `runs` ended tasks of each, looked for among twice as many tasks; open and failed tasks are counted up to 100,001 in all.
    """
    found = db.rows(
        f"""
        with {TALLIES}
        select d.namespace, d.name, d.version, d.step_count, d.created_at, d.description, ended.number, ended.completed, ended.failed, ended.median, ended.p95,
               ended.first_at, ended.strip, coalesce(open.number, 0)::int, coalesce(failed.number, 0)::int
          from (select k.*, row_number() over (partition by k.namespace, k.name order by k.prerelease, k.version_rank collate "C" desc) as place from tasker_definition k
                 where (%(namespace)s::text is null or k.namespace = %(namespace)s) and (%(name)s::text is null or k.name = %(name)s)
                   and (%(version)s::text is null or k.version = %(version)s){within("k.definition_id", namespaces)}) d
          left join open using (definition_id) left join failed using (definition_id)
         cross join lateral (
           select count(*)::int as number, (count(*) filter (where e.state in (4, 8)))::int as completed, (count(*) filter (where e.state = 5))::int as failed,
                  (percentile_cont(0.5) within group (order by e.took) filter (where e.state = 4))::float8 as median,
                  (percentile_cont(0.95) within group (order by e.took) filter (where e.state = 4))::float8 as p95,
                  min(e.created_at) as first_at,
                  (array_agg(array[e.task_id::text, tasker_state_name(e.state), e.took::text] order by e.task_no desc))[1:%(strip)s] as strip
             from (select l.* from tasker_latest_tasks(d.definition_id, %(looked)s) l where l.finished_at is not null order by l.task_no desc limit %(runs)s) e) ended
         where %(name)s::text is not null or d.place = 1
         order by d.namespace collate "C", d.name collate "C", d.version_rank collate "C" desc
        """,
        {"namespace": namespace, "name": name, "version": version, "strip": STRIP_RUNS, "runs": runs, "looked": 2 * runs, **allowed(namespaces)},
    )
    return [_record(row) for row in found]


def _record(row: tuple[Any, ...]) -> RecordRow:
    marks = tuple(EndedTask(task_id, state, float(took) if took else None) for task_id, state, took in row[12] or ())
    return RecordRow(*(*row[:12], marks, *row[13:]))


def queues(db: Database, *, namespaces: Namespaces = None) -> list[QueueRow]:
    """What waits and runs of every version of which anything does, those with steps that no engine serves first; ready steps are counted up to QUEUE_LOOKED_AT."""
    found = db.rows(
        f"""
        with lane as materialized (
          select q.definition_id, q.lane, count(*) as number, min(q.rank) as head, (array_agg(q.task_no order by q.rank, q.ready_no))[1] as task_no
            from tasker_front(%(looked)s) q group by 1, 2
        ),
        line as materialized (
          select l.definition_id, sum(l.number) as number, min(l.head) as head, (array_agg(l.task_no order by l.head))[1] as task_no,
                 sum(l.number) filter (where not exists (select from tasker_worker w where w.lease_until > tasker_clock() and not w.draining and l.lane = any(w.definitions))) as unserved
            from lane l group by 1
        ),
        later as materialized (
          select s.definition_id, count(*) as number
            from (select d.task_no, d.step_no from tasker_delayed d order by d.run_at limit %(looked)s) d
           cross join lateral (select k.definition_id from tasker_step k where k.task_no = d.task_no and k.step_no = d.step_no offset 0) s group by 1
        ),
        hand as materialized (
          select s.definition_id, count(*) as number
            from (select distinct w.worker_id, held.task_no, held.step_no from tasker_claim w, unnest(w.task_nos, w.step_nos) as held (task_no, step_no)) h
           cross join lateral (select k.definition_id from tasker_step k
                                where k.task_no = h.task_no and k.step_no = h.step_no and k.state = 2 and k.worker_id = h.worker_id offset 0) s group by 1
        )
        select d.namespace, d.name, d.version, coalesce(line.number, 0)::int, first.since, coalesce(later.number, 0)::int, coalesce(hand.number, 0)::int, serving.number, coalesce(line.unserved, 0)::int
          from tasker_definition d
         cross join lateral (select count(*)::int as number from tasker_worker w
                              where w.lease_until > tasker_clock() and not w.draining and d.definition_id = any(w.definitions)) serving
          left join line using (definition_id) left join later using (definition_id) left join hand using (definition_id)
          left join lateral (select line.head + t.priority * interval '1 minute' as since from tasker_task t where t.task_no = line.task_no) first on true
         where (line.number > 0 or later.number > 0 or hand.number > 0){within("d.definition_id", namespaces)}
         order by serving.number > 0 and coalesce(line.unserved, 0) = 0, d.namespace collate "C", d.name collate "C", d.version_rank collate "C" desc
        """,
        {"looked": QUEUE_LOOKED_AT, **allowed(namespaces)},
    )
    return [QueueRow(*row) for row in found]


def long_transaction(db: Database, *, seconds: float = LONG_SECONDS) -> LongTransaction | None:
    """The oldest transaction in this database that has been open for so long and keeps dead rows; None when there is none, or it is of a role whose sessions ours may not see.

    A vacuum keeps none and is what is wanted; what autovacuum does besides gives way by itself.
    """
    found = db.rows(
        """
        select a.pid, coalesce(nullif(a.application_name, ''), 'a session of ' || a.usename), extract(epoch from clock_timestamp() - a.xact_start)::float8
          from pg_stat_activity a
         where a.datname = current_database() and a.xact_start < clock_timestamp() - make_interval(secs => %(seconds)s)
           and (a.backend_xmin is not null or a.backend_xid is not null) and a.pid <> pg_backend_pid()
           and a.backend_type <> 'autovacuum worker' and not exists (select from pg_stat_progress_vacuum v where v.pid = a.pid)
         order by a.xact_start limit 1
        """,
        {"seconds": seconds},
    )
    return LongTransaction(*found[0]) if found else None


_STEP_COLUMNS: LiteralString = """
    t.task_id, d.namespace, d.name, d.version, tasker_step_name(p.name, s.item_no), tasker_state_name(s.state), s.attempts, s.retry_limit
"""
_NAMED: LiteralString = """
    join tasker_task t on t.task_no = s.task_no
    join tasker_definition d on d.definition_id = s.definition_id
    join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
"""


def running_steps(db: Database, *, limit: int, per_engine: int | None = None, namespaces: Namespaces = None) -> list[StandingStep]:
    """The steps of these namespaces that engines have in hand, the longest running first: `limit` of them, or `per_engine` of each engine."""
    found = db.rows(
        f"""
        select {_STEP_COLUMNS}, s.started_at, null::timestamptz, w.worker_id, w.name, true
          from (select h.*, row_number() over (partition by h.worker_id order by h.started_at, h.task_no, h.step_no) as place
                  from (select distinct c.worker_id, held.task_no, held.step_no from tasker_claim c, unnest(c.task_nos, c.step_nos) as held (task_no, step_no)) c
                 cross join lateral (select k.* from tasker_step k
                                      where k.task_no = c.task_no and k.step_no = c.step_no and k.state = 2 and k.worker_id = c.worker_id{within("k.definition_id", namespaces)} offset 0) h) s
          {_NAMED} join tasker_worker w on w.worker_id = s.worker_id
         where %(per)s::int is null or s.place <= %(per)s
         order by s.started_at, s.task_no, s.step_no limit %(limit)s
        """,
        {"limit": limit, "per": per_engine, **allowed(namespaces)},
    )
    return [StandingStep(str(row[0]), *row[1:]) for row in found]


def running_counts(db: Database, *, namespaces: Namespaces = None) -> dict[int, int]:
    """How many steps of these namespaces each engine has in hand, by its number."""
    query: LiteralString = f"""
        select c.worker_id, count(*)::int
          from (select distinct w.worker_id, held.task_no, held.step_no from tasker_claim w, unnest(w.task_nos, w.step_nos) as held (task_no, step_no)) c
         cross join lateral (select from tasker_step k
                              where k.task_no = c.task_no and k.step_no = c.step_no and k.state = 2 and k.worker_id = c.worker_id{within("k.definition_id", namespaces)} offset 0) s
         group by 1
    """
    return dict(db.rows(query, allowed(namespaces)))


def ready_steps(db: Database, *, limit: int, namespaces: Namespaces = None) -> list[StandingStep]:
    """The steps of these namespaces that wait for an engine, the first in line first; `served` tells whether any engine has their handler and labels."""
    found = db.rows(
        f"""
        select {_STEP_COLUMNS}, q.rank + t.priority * interval '1 minute', null::timestamptz, null::int, null,
               exists (select from tasker_worker w where w.lease_until > tasker_clock() and not w.draining and q.lane = any(w.definitions)), p.labels
          from {front("%(limit)s", namespaces)} q
         cross join lateral (select k.* from tasker_step k where k.task_no = q.task_no and k.step_no = q.step_no offset 0) s
          {_NAMED}
         order by q.rank, q.ready_no
        """,
        {"limit": limit, **allowed(namespaces)},
    )
    return [StandingStep(*(str(row[0]), *row[1:-1], tuple(row[-1]))) for row in found]


def delayed_steps(db: Database, *, limit: int, namespaces: Namespaces = None) -> list[StandingStep]:
    """The steps of these namespaces that wait for their time, the next first: a retry's, or the start of a task that was launched for later."""
    of_delayed: LiteralString = "" if namespaces is None else f"join tasker_task o using (task_no) where true{within('o.definition_id', namespaces)}"
    found = db.rows(
        f"""
        select {_STEP_COLUMNS}, null::timestamptz, q.run_at, null::int, null, true
          from (select r.task_no, r.step_no, r.run_at from tasker_delayed r {of_delayed} order by r.run_at, r.task_no, r.step_no limit %(limit)s) q
         cross join lateral (select k.* from tasker_step k where k.task_no = q.task_no and k.step_no = q.step_no offset 0) s
          {_NAMED}
         order by q.run_at, q.task_no, q.step_no
        """,
        {"limit": limit, **allowed(namespaces)},
    )
    return [StandingStep(str(row[0]), *row[1:]) for row in found]
