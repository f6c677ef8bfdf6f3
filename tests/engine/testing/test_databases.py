"""A test's database is empty, whether it is new or another test has filled it."""

from __future__ import annotations

import psycopg

from engine.testing.databases import Databases


def test_a_database_that_was_filled_is_emptied_and_used_again(databases: Databases, template: str) -> None:
    first = _filled(databases, template, "insert into tasker_audit (at, actor, action, outcome) values (now(), 'ana', 'sign_in', 'done')")
    assert _filled(databases, template, "insert into tasker_namespace (namespace) values ('bank')") == first
    with databases.fresh(template) as url, psycopg.connect(url) as session:
        assert session.execute("select count(*) from tasker_audit").fetchone() == (0,)


def test_a_database_whose_schema_was_changed_is_dropped(databases: Databases, template: str) -> None:
    first = _filled(databases, template, "alter table tasker_audit add column mood text")
    assert _filled(databases, template, "select 1") != first


def _filled(databases: Databases, template: str, statement: str) -> object:
    """The number of the database in which it ran, and in which there was nothing before."""
    with databases.fresh(template) as url, psycopg.connect(url, autocommit=True) as session:
        assert session.execute("select count(*) from tasker_namespace").fetchone() == (0,)
        session.execute(statement.encode())
        found = session.execute("select oid from pg_database where datname = current_database()").fetchone()
        assert found
        return found[0]
