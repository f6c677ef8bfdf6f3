"""Whether an installation can work: what `/health` asks of the database, in a few small statements that answer soon or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg

from engine.db import Database, Note
from engine.migrate import VERSION_TABLE, newest_revision

CALL_SECONDS = 2.0
"""A probe is told that the database does not answer rather than wait any longer."""
SILENT_SECONDS = 15.0
"""An engine is heard of every five seconds; three times nothing is no hiccup."""
COUNTED = 10_001
"""Nothing is counted any further."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """`schema` is ok, behind, ahead or missing; `heartbeat_seconds` the age of the youngest sign of life of a living engine, None without one."""

    schema: str
    engine_count: int = 0
    heartbeat_seconds: float | None = None

    @property
    def is_ready(self) -> bool:
        """Whether pages can be served: with no engine they can, and are what tells so."""
        return self.schema in ("ok", "ahead")

    @property
    def hears_engine(self) -> bool:
        """Whether some engine was heard of lately."""
        return self.heartbeat_seconds is not None and self.heartbeat_seconds <= SILENT_SECONDS


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is of what, each up to COUNTED; `tasks` by state, of those ended well only among the newest."""

    tasks: dict[str, int]
    ready: int
    delayed: int
    running: int
    oldest_ready_at: datetime | None
    engine_count: int


def open_probe(url: str, note: Note | None = None) -> Database:
    """A connection for probes alone: that all others are in use must not look like an outage."""
    return Database(url, max_size=1, application_name="tasker health", call_seconds=CALL_SECONDS, note=note)


def readiness(db: Database) -> Readiness:
    """How schema and engines stand. Raises `DatabaseUnavailable`."""
    schema = _schema(db)
    if schema not in ("ok", "ahead"):
        return Readiness(schema)
    query: LiteralString = """
        select count(*)::int, extract(epoch from tasker_clock() - max(w.seen_at))::float8 from tasker_worker w where w.lease_until > tasker_clock()
    """
    return Readiness(schema, *db.rows(query)[0])


def _schema(db: Database) -> str:
    try:
        found = db.value(f"select version_num from {VERSION_TABLE}")
    except psycopg.errors.UndefinedTable:
        return "missing"
    newest = newest_revision()
    if found == newest:
        return "ok"
    return "missing" if found is None else "behind" if found < newest else "ahead"


def counts(db: Database) -> Counts:
    """How the installation stands in numbers, from a bounded number of rows. Raises `DatabaseUnavailable`."""
    return Counts(_task_counts(db), *db.rows(_QUEUES, {"most": COUNTED})[0])


def _task_counts(db: Database) -> dict[str, int]:
    query: LiteralString = """
        select tasker_state_name(o.state), count(*)::int from (select t.state from tasker_task t where t.finished_at is null limit %(most)s) o group by o.state
        union all
        select 'failed', count(*)::int from (select from tasker_task t where t.failed_count > 0 and t.state = 5 limit %(most)s) f
        union all
        select tasker_state_name(l.state), count(*)::int
          from (select t.state, t.finished_at from tasker_task t order by t.task_no desc limit %(most)s) l
         where l.finished_at is not null and l.state <> 5 group by l.state
    """
    return dict(db.rows(query, {"most": COUNTED}))


_QUEUES: LiteralString = """
    select (select count(*)::int from (select from tasker_ready r where r.definition_id > 0 limit %(most)s) r),
           (select count(*)::int from (select from tasker_delayed d limit %(most)s) d),
           (select count(*)::int
              from (select distinct c.worker_id, held.task_no, held.step_no
                      from tasker_claim c, unnest(c.task_nos, c.step_nos) as held (task_no, step_no) limit %(most)s) c
             cross join lateral (select from tasker_step k
                                  where k.task_no = c.task_no and k.step_no = c.step_no and k.state = 2 and k.worker_id = c.worker_id offset 0) s),
           (select r.rank + t.priority * interval '1 minute'
              from tasker_front(1) r join tasker_task t using (task_no)),
           (select count(*)::int from tasker_worker w where w.lease_until > tasker_clock())
"""
