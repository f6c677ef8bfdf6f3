"""A test's database is empty, whether it is new or another test has filled it; and nobody comes in who knows it from an earlier test."""

from __future__ import annotations

import psycopg
import pytest
from warm import WarmSessions

from engine.testing.databases import Databases
from engine.testing.emptying import SMALL_BYTES

SIGN_IN = "insert into tasker_audit (at, actor, action, outcome, reason) select now(), 'ana', 'sign_in', 'done', repeat('x', 1000) from generate_series(1, {})"
FEW, MANY = SIGN_IN.format(1), SIGN_IN.format(SMALL_BYTES // 1000 + 10)


def test_a_database_that_was_filled_is_emptied_and_used_again(databases: Databases, template: str) -> None:
    first = _filled(databases, template, FEW)
    assert _filled(databases, template, MANY) == first
    assert _filled(databases, template, "insert into tasker_namespace (namespace) values ('bank')") == first
    with databases.fresh(template) as url, psycopg.connect(url) as session:
        assert session.execute("select count(*) from tasker_audit").fetchone() == (0,)


def test_a_database_whose_schema_was_changed_is_dropped(databases: Databases, template: str) -> None:
    first = _filled(databases, template, "alter table tasker_audit add column mood text")
    assert _filled(databases, template, "select 1") != first


def test_a_lent_session_meets_an_empty_database_and_knows_nothing_of_the_test_before(databases: Databases, template: str) -> None:
    with databases.lent(template) as place:
        first = place.session
        for statement in (FEW, "set tasker.clock_offset = '1 day'", "select pg_advisory_lock(7)", "create temp table mine (a int)", "listen mine", "select nextval('tasker_task_no')"):
            first.execute(statement)
    with databases.lent(template) as place:
        assert place.session is first
        known = """select (select count(*) from tasker_audit), tasker_clock() - clock_timestamp() < interval '1 minute', to_regclass('pg_temp.mine'),
                   (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), (select count(*) from pg_listening_channels()), nextval('tasker_task_no')"""
        assert first.execute(known).fetchone() == (0, True, None, 0, 0, 1)


def test_a_lent_database_is_out_of_reach_for_who_knows_it_from_the_test_before(databases: Databases, template: str) -> None:
    with databases.lent(template) as place:
        late = psycopg.connect(place.url, autocommit=True)
        assert late.execute("select pg_has_role('tasker', 'member')").fetchone() == (True,), "it may do what the owner may"
    with databases.lent(template) as again:
        assert again.session is place.session
        with pytest.raises(psycopg.OperationalError):
            late.execute("select 1")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(place.url)


@pytest.mark.parametrize("spoil", ["alter table tasker_audit add column mood text", "begin", "select pg_terminate_backend(pg_backend_pid())"])
def test_a_lent_database_that_a_test_has_spoilt_is_dropped(databases: Databases, template: str, spoil: str) -> None:
    with databases.lent(template) as place:
        try:
            place.session.execute(spoil.encode())
        except psycopg.OperationalError:
            assert "terminate" in spoil
    with databases.lent(template) as again:
        assert again.session is not place.session


def test_a_session_that_rested_comes_as_a_new_one_to_who_opens_the_same_connection(databases: Databases, template: str, warm_sessions: WarmSessions) -> None:
    with databases.lent(template, resting=warm_sessions.resting) as place, warm_sessions.of(place.url), psycopg.connect(place.url, autocommit=True) as first:
        process = first.info.backend_pid
        for statement in ("set tasker.clock_offset = '1 day'", "select pg_advisory_lock(7)", "create temp table mine (a int)", "listen mine", "prepare known as select 1"):
            first.execute(statement)
    assert first.closed
    with pytest.raises(psycopg.OperationalError, match="closed"):
        first.execute("select 1")
    with databases.lent(template, resting=warm_sessions.resting) as again, warm_sessions.of(again.url), psycopg.connect(again.url) as second:
        assert (second.info.backend_pid, second.autocommit) == (process, False)
        known = """select tasker_clock() - clock_timestamp() < interval '1 minute', to_regclass('pg_temp.mine'), (select count(*) from pg_listening_channels()),
                   (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), (select count(*) from pg_prepared_statements)"""
        assert second.execute(known).fetchone() == (True, None, 0, 0, 0)


def test_a_session_rests_for_nobody_else(databases: Databases, template: str, warm_sessions: WarmSessions) -> None:
    with databases.lent(template, resting=warm_sessions.resting) as place, warm_sessions.of(place.url):
        with psycopg.connect(place.url) as first:
            process = first.info.backend_pid
        with psycopg.connect(place.url, application_name="somebody") as other:
            assert other.info.backend_pid != process
        with psycopg.connect(place.url) as second, psycopg.connect(place.url) as third:
            assert second.info.backend_pid == process != third.info.backend_pid
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(place.url)


def _filled(databases: Databases, template: str, statement: str) -> object:
    """The number of the database in which it ran, and in which there was nothing before."""
    with databases.fresh(template) as url, psycopg.connect(url, autocommit=True) as session:
        assert session.execute("select count(*) from tasker_audit").fetchone() == (0,)
        session.execute(statement.encode())
        found = session.execute("select oid from pg_database where datname = current_database()").fetchone()
        assert found
        return found[0]
