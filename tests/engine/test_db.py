"""What is told of a database that cannot be reached."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from engine.db import Database, connect, described, end_calls_within
from engine.errors import DatabaseUnavailable, NoAnswerInTime


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://tasker:s3cr/et@db.example:5432/tasker",
        "postgresql://tasker:12/s3cr@db.example:5432/tasker",
        "postgresql://tasker:s3cr%zz@db.example/tasker",
        "postgresql://tasker:a@s3cr@db.example:5432/tasker",
        "postgresql://tasker:x?s3cr/y@db.example/tasker",
        "s3cr",
    ],
)
def test_a_password_that_is_written_wrongly_is_not_told_with_the_error(url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"the database URL is no address of PostgreSQL.*write / as %2F") as refused:
        connect(url, connect_seconds=1)
    assert "s3cr" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql+psycopg://tasker:s3cr%2Fet@db.example:5432/tasker", "db.example:5432/tasker"),
        ("postgresql://a:5432,b:5433/tasker", "a,b:5432,5433/tasker"),
        ("postgresql:///tasker?host=/run/postgresql", "/run/postgresql:5432/tasker"),
    ],
)
def test_a_place_is_told_without_its_password(url: str, place: str) -> None:
    assert described(url) == place


def test_a_call_that_takes_too_long_is_told_as_that_and_not_as_a_lost_connection(database_url: str) -> None:
    database = Database(database_url, call_seconds=0.5)
    with pytest.raises(DatabaseUnavailable, match="needed more time than a call may take"):
        database.value("select pg_sleep(5)")
    assert database.value("select 1") == 1
    database.close()


@pytest.fixture
def little_time() -> Iterator[None]:
    end_calls_within(0.6)
    yield
    end_calls_within(None)


def test_many_calls_may_have_to_share_their_time(database_url: str, little_time: None) -> None:
    database, began = Database(database_url, call_seconds=5), time.monotonic()
    assert database.value("select 1 from pg_sleep(0.4)") == 1
    with pytest.raises(NoAnswerInTime, match=r"no answer within 0\.\d s"):
        database.value("select 1 from pg_sleep(3)")
    with pytest.raises(NoAnswerInTime, match="took too long to answer everything that was asked of it"):
        database.value("select 1")
    assert time.monotonic() - began < 2
    end_calls_within(None)
    assert database.value("select 1") == 1
    database.close()


def test_the_server_ends_what_waits_for_the_rest_of_a_request(database_url: str) -> None:
    """Half of it came, is done, and holds its locks: neither a limit of statements nor one of rests ends that."""
    cut, other = Database(database_url, max_size=1, transaction_seconds=0.3), Database(database_url, max_size=1)
    with cut.connection() as connection:
        if connection.info.server_version < 170_000:
            pytest.skip("this server has no limit for transactions")
        line = connection.pgconn
        line.enter_pipeline_mode()
        line.send_query_params(b"select pg_advisory_xact_lock(7)", None)
        line.send_flush_request()
        line.flush()
        until = time.monotonic() + 20
        while not other.value("select exists (select from pg_locks where locktype = 'advisory' and objid = 7 and granted)"):
            assert time.monotonic() < until
        while not other.value("select pg_try_advisory_xact_lock(7)"):
            assert time.monotonic() < until, "it is held for ever"
        line.finish()
    cut.close()
    other.close()


def test_a_server_asks_a_client_that_says_nothing_whether_it_lives(database_url: str) -> None:
    db = Database(database_url, max_size=1)
    assert db.rows("select current_setting('tcp_keepalives_idle'), current_setting('tcp_keepalives_interval'), current_setting('tcp_keepalives_count')") == [("10", "5", "3")]
    db.close()
