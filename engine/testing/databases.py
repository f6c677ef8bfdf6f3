"""Databases for tests: copies of a migrated one. A copy that a test has only filled is emptied and used again, in half the time of a new one."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import LiteralString

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict

from engine import embedded, migrate
from engine.db import connect
from engine.errors import DatabaseUnavailable
from engine.paths import migrations_folder
from engine.testing.server import gate

ENDING_LOOKS, ENDING_SECONDS = 2_000, 0.002

Name = tuple[str, str]
Rows = dict[Name, list[tuple[object, ...]]]

_numbers = itertools.count(1)

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
_FILLED: LiteralString = "select relnamespace::regnamespace::text, relname from pg_class where oid >= 16384 and relkind = 'r' and pg_relation_size(oid) > 0"
_COUNTERS: LiteralString = "select schemaname, sequencename from pg_sequences where last_value is not null"


@dataclass(frozen=True, slots=True)
class _Copy:
    """A database that is like its template: what its schema is, and the rows of the tables that have any."""

    name: str
    schema: tuple[object, ...]
    rows: Rows


class Databases:
    """Makes databases on a shared server; `admin` is its superuser's connection, in autocommit."""

    def __init__(self, server: embedded.EmbeddedServer, admin: Connection[tuple[object, ...]]) -> None:
        self._server, self._admin = server, admin
        self._unused: dict[str, list[_Copy]] = {}
        self._template = ""

    def template(self) -> str:
        """The name of a database at the newest revision, migrated by whichever process comes first."""
        self._template = self._template or self._found_template()
        return self._template

    def _found_template(self) -> str:
        name = f"template_{_migrations_digest()}"
        with gate():
            if not self._admin.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
                self._migrate(name)
        return name

    @contextmanager
    def fresh(self, template: str | None = None) -> Iterator[str]:
        """The URL of a copy of `template`, or of an empty database, owned by a plain role; under this name it is gone after the block."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        copy = self._taken(name, template) if template else None
        if copy is None:
            self._create(name)
        try:
            yield self._url_of(name)
        finally:
            if template and copy and self._is_emptied(name, copy):
                self._unused.setdefault(template, []).append(copy)
            else:
                self._run("drop database {} with (force)", name)

    def close(self) -> None:
        """No database that was kept for further use is left."""
        for copies in self._unused.values():
            while copies:
                self._run("drop database {} with (force)", copies.pop().name)

    def _taken(self, name: str, template: str) -> _Copy:
        """A copy of the template under that name, one used before if there is one: whoever still knows it by its old name finds nothing."""
        if copies := self._unused.get(template):
            copy = copies.pop()
            self._run("alter database {} rename to {}", copy.name, name)
            return replace(copy, name=name)
        self._create(name, template)
        with self._session(name) as session:
            return _described(name, session)

    def _create(self, name: str, template: str | None = None) -> None:
        if template:
            self._run("create database {} template {} owner tasker", name, template)
        else:
            self._run("create database {} owner tasker", name)

    def _is_emptied(self, name: str, copy: _Copy) -> bool:
        """Whether every row is gone, and with it every session; not where more than rows has changed."""
        try:
            self._end_sessions(name)
            with self._session(name) as session:
                return _schema(session) == copy.schema and _emptied(session, copy)
        except (psycopg.Error, DatabaseUnavailable):
            return False

    def _end_sessions(self, name: str) -> None:
        for _ in range(ENDING_LOOKS):
            if not self._admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name]).fetchall():
                return
            time.sleep(ENDING_SECONDS)  # PostgreSQL's own way to wait looks only every 100 ms

    def _session(self, name: str) -> Connection[tuple[object, ...]]:
        # As a replica, for which the triggers do not hold that refuse to forget anything.
        return connect(_in(self._server.admin_url, name), application_name="tasker test", options="-c lock_timeout=5s -c session_replication_role=replica")

    def _migrate(self, name: str) -> None:
        self._hash_passwords_once()
        self._run("drop database if exists {} with (force)", "template_unfinished")
        self._create("template_unfinished")
        migrate.upgrade(self._url_of("template_unfinished"))
        # A template with a session in it cannot be copied.
        self._run("alter database {} with allow_connections false", "template_unfinished")
        self._end_sessions("template_unfinished")
        # Last: only a whole template bears the name.
        self._run("alter database {} rename to {}", "template_unfinished", name)

    def _hash_passwords_once(self) -> None:
        """Every connection repeats the hashing: 4,096 times, as is usual, protects a weak password, and costs more than the rest of it."""
        if self._admin.info.server_version < 160_000:
            return
        self._admin.execute("set scram_iterations = 1")
        for url in (self._server.url, self._server.admin_url):
            parts = conninfo_to_dict(url)
            self._admin.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(str(parts["user"])), sql.Literal(parts["password"])))

    def _run(self, statement: str, *names: str) -> None:
        self._admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _url_of(self, database: str) -> str:
        return _in(self._server.url, database)


def _in(url: str, database: str) -> str:
    return f"{url.rpartition('/')[0]}/{database}"


def _described(name: str, session: Connection[tuple[object, ...]]) -> _Copy:
    return _Copy(name, _schema(session), _rows(session, _named(session, _FILLED)))


def _schema(session: Connection[tuple[object, ...]]) -> tuple[object, ...]:
    found = session.execute(_SCHEMA).fetchone()
    assert found is not None
    return found


def _named(session: Connection[tuple[object, ...]], query: LiteralString) -> list[Name]:
    return [(str(schema), str(name)) for schema, name in session.execute(query)]


def _rows(session: Connection[tuple[object, ...]], tables: Iterable[Name]) -> Rows:
    return {table: session.execute(sql.SQL("select t::text from {} t order by 1").format(sql.Identifier(*table))).fetchall() for table in tables}


def _emptied(session: Connection[tuple[object, ...]], copy: _Copy) -> bool:
    filled = [sql.Identifier(*table) for table in _named(session, _FILLED) if table not in copy.rows]
    statements = [sql.SQL("alter sequence {} restart").format(sql.Identifier(*counter)) for counter in _named(session, _COUNTERS)]
    if filled:
        statements.append(sql.SQL("truncate {} cascade").format(sql.SQL(", ").join(filled)))
    session.execute(sql.SQL("; ").join(statements))
    return _rows(session, copy.rows) == copy.rows


def _migrations_digest() -> str:
    digest = hashlib.sha256()
    for file in sorted(migrations_folder().rglob("*")):
        if file.suffix in {".py", ".sql"}:
            digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]
