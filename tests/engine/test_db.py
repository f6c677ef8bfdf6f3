"""What is told of a database that cannot be reached."""

from __future__ import annotations

import pytest

from engine.db import Database, connect, described
from engine.errors import DatabaseUnavailable


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
