"""Roles of the database server: the owner migrates, the engine and the dashboard connect as roles that may do what each needs and no more.

`tasker db roles` makes them and grants; every migration grants anew, as it may have brought tables and functions. Whoever has given no roles works
as the owner does, and nothing here is in the way. The dashboard only reads what engines write: it acts by functions that run with the owner's rights.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from engine.db import connect, translated
from engine.errors import TaskerError

PARTS = ("engine", "web")
DEFAULT_NAMES = {"engine": "tasker_engine", "web": "tasker_web"}

_ACCOUNTS = ("tasker_account", "tasker_role", "tasker_grant", "tasker_session", "tasker_token", "tasker_sign_in_link", "tasker_sign_in")
_ADDED_TO = ("tasker_audit",)
_OWNERS = ("tasker_database_role", "tasker_schema_version")
_OF_WEB = (*_ACCOUNTS, "tasker_preset", "tasker_failure_note", "tasker_view", "tasker_follower")
_ACTS = (
    "tasker_act", "tasker_preview", "tasker_note_task", "tasker_create_tasks", "tasker_register_definition", "tasker_add_schedule", "tasker_pause_schedule",
    "tasker_resume_schedule", "tasker_remove_schedule", "tasker_note_schedule_run", "tasker_keep_preset", "tasker_set_retention", "tasker_follow_retention",
    "tasker_make_batch", "tasker_stop_batch", "tasker_owner_grants", "tasker_remove_view", "tasker_set_limit", "tasker_reset_limit",
)  # fmt: skip
"""What the dashboard does to tasks, schedules and workflows: these run with the rights of their owner, and only for the two roles."""


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles by the part that connects as them; `passwords` of those that were made just now."""

    names: dict[str, str]
    passwords: dict[str, str]


def prepare(url: str, names: dict[str, str]) -> Roles:
    """The roles exist, are on record, and have their rights. Raises `TaskerError` with what an administrator has to run where this account may not make roles."""
    with connect(url, application_name="tasker roles", autocommit=False) as connection:
        try:
            missing = [part for part in PARTS if not _exists(connection, names[part])]
            passwords = {part: secrets.token_urlsafe(24) for part in missing}
            for part in missing:
                _make(connection, names[part], passwords[part])
            _record(connection, names)
            _grant(connection, names)
        except psycopg.errors.InsufficientPrivilege as error:
            raise TaskerError(_for_an_administrator(names, error)) from error
        except psycopg.Error as error:
            raise translated(error) from error
    return Roles(names, passwords)


def statements(url: str, names: dict[str, str]) -> list[str]:
    """What `prepare` grants, for people to read."""
    with connect(url, application_name="tasker roles", autocommit=False) as connection:
        return [_text(each, connection) for each in _grants(connection, names)]


def grant_again(url: str) -> None:
    """The roles on record have their rights on everything there is now; nothing is done where none are on record."""
    with connect(url, application_name="tasker roles", autocommit=False) as connection:
        try:
            names = known_roles(connection)
            if len(names) == len(PARTS):
                _grant(connection, names)
        except psycopg.Error as error:
            raise translated(error) from error


def known_roles(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """The roles on record by part; none in a database that keeps no such record."""
    if connection.execute("select to_regclass('tasker_database_role')").fetchone() == (None,):
        return {}
    return dict(connection.execute("select r.part, r.role_name from tasker_database_role r").fetchall())


def _exists(connection: psycopg.Connection[Any], name: str) -> bool:
    return connection.execute("select 1 from pg_roles where rolname = %s", [name]).fetchone() is not None


def _make(connection: psycopg.Connection[Any], name: str, password: str) -> None:
    connection.execute(sql.SQL("create role {} login password {} connection limit 100").format(sql.Identifier(name), sql.Literal(password)))


def _record(connection: psycopg.Connection[Any], names: dict[str, str]) -> None:
    for part, name in names.items():
        connection.execute(
            "insert into tasker_database_role (part, role_name) values (%s, %s) on conflict (part) do update set role_name = excluded.role_name", [part, name]
        )


def _grant(connection: psycopg.Connection[Any], names: dict[str, str]) -> None:
    for statement in _grants(connection, names):
        connection.execute(statement)


def _grants(connection: psycopg.Connection[Any], names: dict[str, str]) -> list[sql.Composed]:
    """Everything that was granted before is taken away first, so that what this version grants is all."""
    engine, web = (sql.Identifier(names[part]) for part in PARTS)
    [schema] = connection.execute("select relnamespace::regnamespace::text from pg_class where oid = 'tasker_task'::regclass").fetchone() or ("public",)
    at = sql.SQL(schema)  # as the server writes it, quoted where need be
    tables = [name for (name,) in connection.execute("select relname from pg_class where relnamespace = %s::regnamespace and relkind in ('r', 'p', 'v') and relname like 'tasker\\_%%' order by relname", [schema])]
    written = [name for name in tables if name not in (*_ACCOUNTS, *_ADDED_TO, *_OWNERS, "tasker_preset")]
    return [
        *(sql.SQL("revoke all on {}.{} from {}, {}").format(at, sql.Identifier(name), engine, web) for name in tables),
        sql.SQL("grant usage on schema {} to {}, {}").format(at, engine, web),
        *(_on(at, "select, insert, update, delete", name, engine) for name in written),
        *(_on(at, "select", name, web) for name in written),
        *(_on(at, "select, insert, update, delete", name, web) for name in _OF_WEB),
        *(_on(at, "select, insert", name, role) for name in _ADDED_TO for role in (engine, web)),
        *(_on(at, "select", name, role) for name in _OWNERS for role in (engine, web)),
        *(sql.SQL("grant usage on sequence {}.{} to {}").format(at, sql.Identifier(name), role) for name, role in _sequences(connection, schema, engine, web)),
        *(part for function in _functions(connection, schema) for part in _lent(function, at, engine, web)),
    ]


def _on(schema: sql.SQL, rights: str, table: str, role: sql.Identifier) -> sql.Composed:
    return sql.SQL("grant {} on {}.{} to {}").format(sql.SQL(rights), schema, sql.Identifier(table), role)


def _sequences(connection: psycopg.Connection[Any], schema: str, engine: sql.Identifier, web: sql.Identifier) -> list[tuple[str, sql.Identifier]]:
    """Each sequence with the roles that write to its table."""
    found = connection.execute(
        """
        select s.relname, coalesce(t.relname, '') from pg_class s
          left join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = s.oid and d.deptype in ('a', 'i') and d.refclassid = 'pg_class'::regclass
          left join pg_class t on t.oid = d.refobjid
         where s.relkind = 'S' and s.relnamespace = %s::regnamespace and s.relname like 'tasker\\_%%' order by s.relname
        """,
        [schema],
    ).fetchall()
    of_web = [(name, web) for name, table in found if table in (*_OF_WEB, *_ADDED_TO)]
    return [*of_web, *((name, engine) for name, table in found if table not in _ACCOUNTS)]


def _functions(connection: psycopg.Connection[Any], schema: str) -> list[str]:
    query = "select p.oid::regprocedure::text from pg_proc p where p.pronamespace = %s::regnamespace and p.proname = any(%s) order by 1"
    return [name for (name,) in connection.execute(query, [schema, list(_ACTS)])]


def _lent(function: str, schema: sql.SQL, engine: sql.Identifier, web: sql.Identifier) -> list[sql.Composed]:
    # What such a function calls by name must be ours: the schema comes first, and what a caller has made for itself last.
    named = sql.SQL(function)
    return [
        sql.SQL("alter function {} security definer set search_path = {}, pg_temp").format(named, schema),
        sql.SQL("revoke all on function {} from public").format(named),
        sql.SQL("grant execute on function {} to {}, {}").format(named, engine, web),
    ]


def _text(statement: sql.Composed, connection: psycopg.Connection[Any]) -> str:
    return f"{statement.as_string(connection)};"


def _for_an_administrator(names: dict[str, str], error: Exception) -> str:
    lines = [f"  create role {sql.Identifier(name).as_string(None)} login password '…';" for name in names.values()]
    return "\n".join([f"this account may not make roles ({str(error).splitlines()[0]}); let an administrator of the server run", *lines, "and run `tasker db roles` again"])
