"""Databases for tests: copies of a migrated one. A copy that a test has only filled is emptied and used again."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict

from engine import embedded, migrate
from engine.db import connect
from engine.errors import DatabaseUnavailable
from engine.paths import migrations_folder
from engine.testing.emptying import Pristine, end_sessions, is_emptied, pristine
from engine.testing.lent import Lendable, Lent
from engine.testing.server import gate

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class _Copy:
    """A database that is like its template."""

    name: str
    like: Pristine


class Databases:
    """Makes databases on a shared server; `admin` is its superuser's connection, in autocommit."""

    def __init__(self, server: embedded.EmbeddedServer, admin: Connection[tuple[object, ...]]) -> None:
        self._server, self._admin = server, admin
        self._unused: dict[str, list[_Copy]] = {}
        self._lendable: dict[str, list[Lendable]] = {}
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
        name = _new_name()
        copy = self._taken(name, template) if template else None
        if copy is None:
            self._create(name)
        try:
            yield _in(self._server.url, name)
        finally:
            if template and copy and self._is_emptied(name, copy):
                self._unused.setdefault(template, []).append(copy)
            else:
                self._drop(name)

    @contextmanager
    def lent(self, template: str, *, resting: Callable[[str], Sequence[int]] = lambda name: ()) -> Iterator[Lent]:
        """A copy of `template` with a session that was there before, which takes a tenth of a new one's time; by this URL it is out of reach after the block.

        `resting` gives the server processes of further sessions of that database that are to outlive the block: nobody may use them at its end.
        """
        waiting = self._lendable.setdefault(template, [])
        one = waiting.pop() if waiting else self._new_lendable(template)
        returned = False
        try:
            yield one.lend()
            returned = one.is_returned(resting(one.name))
        finally:
            if returned:
                waiting.append(one)
            else:
                self._drop_lendable(one)

    def close(self) -> None:
        """No database that was kept for further use is left."""
        for copies in self._unused.values():
            while copies:
                self._drop(copies.pop().name)
        for waiting in self._lendable.values():
            while waiting:
                self._drop_lendable(waiting.pop())

    def _taken(self, name: str, template: str) -> _Copy:
        """A copy of the template under that name, one used before if there is one: whoever still knows it by its old name finds nothing."""
        if copies := self._unused.get(template):
            copy = copies.pop()
            self._run("alter database {} rename to {}", copy.name, name)
            return replace(copy, name=name)
        self._create(name, template)
        with self._session(name) as session:
            return _Copy(name, pristine(session))

    def _create(self, name: str, template: str | None = None) -> None:
        if template:
            # the usual way writes each page to the log, which is twice the work and more where nothing is made to last
            self._run("create database {} template {} strategy file_copy owner tasker", name, template)
        else:
            self._run("create database {} owner tasker", name)

    def _drop(self, name: str) -> None:
        self._run("drop database {} with (force)", name)

    def _new_lendable(self, template: str) -> Lendable:
        self._hash_quickly()
        name = _new_name()
        self._create(name, template)
        return Lendable(name, self._server.url, self._admin, self._session(name))

    def _drop_lendable(self, one: Lendable) -> None:
        one.close()
        self._drop(one.name)
        with suppress(psycopg.errors.DependentObjectsStillExist):
            self._run("drop role {}", one.name)

    def _is_emptied(self, name: str, copy: _Copy) -> bool:
        """Whether every row is gone, and with it every session; not where more than rows has changed."""
        try:
            end_sessions(self._admin, name)
            with self._session(name) as session:
                return is_emptied(session, copy.like)
        except (psycopg.Error, DatabaseUnavailable):
            return False

    def _session(self, name: str) -> Connection[tuple[object, ...]]:
        # As a replica, for which the triggers do not hold that refuse to forget anything.
        return connect(_in(self._server.admin_url, name), application_name="tasker test", options="-c lock_timeout=5s -c session_replication_role=replica")

    def _migrate(self, name: str) -> None:
        self._hash_passwords_once()
        self._run("drop database if exists {} with (force)", "template_unfinished")
        self._create("template_unfinished")
        migrate.upgrade(_in(self._server.url, "template_unfinished"))
        # A template with a session in it cannot be copied.
        self._run("alter database {} with allow_connections false", "template_unfinished")
        end_sessions(self._admin, "template_unfinished")
        # Last: only a whole template bears the name.
        self._run("alter database {} rename to {}", "template_unfinished", name)

    def _hash_passwords_once(self) -> None:
        self._hash_quickly()
        for url in (self._server.url, self._server.admin_url):
            parts = conninfo_to_dict(url)
            self._admin.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(str(parts["user"])), sql.Literal(parts["password"])))

    def _hash_quickly(self) -> None:
        """Every connection repeats the hashing: 4,096 times, as is usual, protects a weak password, and costs more than the rest of it."""
        if self._admin.info.server_version >= 160_000:
            self._admin.execute("set scram_iterations = 1")

    def _run(self, statement: str, *names: str) -> None:
        self._admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _new_name() -> str:
    return f"test_{os.getpid()}_{next(_numbers)}"


def _in(url: str, database: str) -> str:
    return f"{url.rpartition('/')[0]}/{database}"


def _migrations_digest() -> str:
    digest = hashlib.sha256()
    for file in sorted(migrations_folder().rglob("*")):
        if file.suffix in {".py", ".sql"}:
            digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]
