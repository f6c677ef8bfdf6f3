"""What a new copy of a template looks like, and how one that a test has filled becomes like it again, in half the time of another copy.

Its sessions are a superuser's, with `session_replication_role=replica`: for those the triggers do not hold that refuse to forget anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import Connection, sql

ENDING_LOOKS, ENDING_SECONDS = 2_000, 0.002

Name = tuple[str, str]
Rows = dict[Name, list[tuple[object, ...]]]

# PostgreSQL expects ten pages of a table that it knows nothing about. Up to there a deleted row changes no plan, and a table that was
# truncated would: every session that is still there would make its plans for it anew.
SMALL_BYTES = 8 * 8192

# What a test may have changed beside rows: objects and their rights, functions, settings, statistics. 16384 is the first number of what is not PostgreSQL's own.
_SCHEMA: LiteralString = """
    select (select sum(hashtext(format('%s %s %s %s %s %s', oid, relname, relacl, relnatts, relchecks, reloptions)))
              from pg_class where oid >= 16384 and relkind <> 't'),
           (select sum(hashtext(format('%s %s %s', oid, xmin, proacl))) from pg_proc where oid >= 16384),
           (select sum(hashtext(format('%s %s', oid, tgenabled))) from pg_trigger),
           (select sum(hashtext(format('%s %s', nspname, nspacl))) from pg_namespace where nspname !~ '^pg_(temp|toast_temp)_'),
           (select sum(hashtext(format('%s %s', setrole, setconfig))) from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase where d.datname = current_database()),
           (select count(*) from pg_constraint), (select count(*) from pg_statistic where starelid >= 16384)
"""
# By their files: to ask each table for a row takes ten times as long.
_FILLED: LiteralString = """
    select relnamespace::regnamespace::text, relname, pg_relation_size(oid) from pg_class
     where oid >= 16384 and relkind = 'r' and pg_relation_size(oid) > 0
"""
_COUNTERS: LiteralString = "select setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) from pg_sequences where last_value is not null"


@dataclass(frozen=True, slots=True)
class Pristine:
    """What a copy was like before a test had it: its schema, and the rows of the tables that have any."""

    schema: tuple[object, ...]
    rows: Rows


def end_sessions(admin: Connection[Any], database: str, *, but: Sequence[int] = ()) -> None:
    """Nobody is in the database any more, except for these processes of the server."""
    query: LiteralString = "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid <> all(%s)"
    for _ in range(ENDING_LOOKS):
        if not admin.execute(query, [database, list(but)]).fetchall():
            return
        time.sleep(ENDING_SECONDS)  # PostgreSQL's own way to wait looks only every 100 ms


def pristine(session: Connection[Any]) -> Pristine:
    """What the session's database is like now."""
    return Pristine(_schema(session), _rows(session, [(schema, name) for schema, name, _ in session.execute(_FILLED)]))


def is_emptied(session: Connection[Any], before: Pristine) -> bool:
    """Whether the database is as it was before, every further row deleted; not where more than rows has changed."""
    if _schema(session) != before.schema:
        return False
    filled = [(sql.Identifier(schema, name), size) for schema, name, size in session.execute(_FILLED) if (schema, name) not in before.rows]
    session.execute(_COUNTERS)
    _execute(session, [sql.SQL("delete from {}").format(table) for table, size in filled if size <= SMALL_BYTES])
    _truncate(session, [table for table, size in filled if size > SMALL_BYTES])
    return _rows(session, before.rows) == before.rows


def _truncate(session: Connection[Any], tables: list[sql.Identifier]) -> None:
    if tables:
        session.execute(sql.SQL("truncate {} cascade").format(sql.SQL(", ").join(tables)))


def _execute(session: Connection[Any], statements: list[sql.Composed]) -> None:
    """All of them in one round trip, and one transaction."""
    if statements:
        session.execute(sql.SQL("; ").join(statements))


def _schema(session: Connection[Any]) -> tuple[object, ...]:
    found: tuple[object, ...] | None = session.execute(_SCHEMA).fetchone()
    assert found is not None
    return found


def _rows(session: Connection[Any], tables: Iterable[Name]) -> Rows:
    return {table: session.execute(sql.SQL("select t::text from {} t order by 1").format(sql.Identifier(*table))).fetchall() for table in tables}
