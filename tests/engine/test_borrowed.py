"""Tasks in the caller's own transaction: there once it commits, or never."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from engine import RequestError, TaskRequest, Workflow, submit, submit_many
from engine.borrowed import NoTransaction
from engine.db import READY_CHANNEL, Database
from engine.errors import NotFound

ORDER = TaskRequest("order", "shop", context={"order_id": 7})


@pytest.fixture(autouse=True)
def orders(registry: object, conn: psycopg.Connection[Any]) -> Workflow:
    """A workflow that only this process knows, and the caller's own table."""
    made = Workflow("order", namespace="shop", schema={"type": "object", "required": ["order_id"]})
    made.define("charge")
    conn.execute("create table bought (order_id int)")
    return made


@pytest.fixture
def caller(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        yield connection


def on_record(db: Database) -> tuple[int, int]:
    """How many tasks and how many of the caller's rows others see."""
    return db.rows("select (select count(*) from tasker_task), (select count(*) from bought)")[0]  # type: ignore[return-value]


def test_a_task_is_there_once_the_callers_transaction_commits_and_wakes_engines_only_then(
    caller: psycopg.Connection[Any], conn: psycopg.Connection[Any], db: Database, orders: Workflow
) -> None:
    conn.execute(f"listen {READY_CHANNEL}")
    caller.execute("insert into bought values (7)")
    task_id = submit(ORDER, connection=caller)
    assert on_record(db) == (0, 0)
    assert list(conn.notifies(timeout=0.05)) == []
    caller.commit()
    assert on_record(db) == (1, 1)
    assert [each.channel for each in conn.notifies(timeout=5, stop_after=1)] == [READY_CHANNEL]
    assert str(db.value("select task_id from tasker_task")) == task_id
    assert orders.run_task({"order_id": 8}, connection=caller) != task_id


def test_a_task_goes_with_the_transaction_that_is_rolled_back(caller: psycopg.Connection[Any], db: Database) -> None:
    submit_many([ORDER, ORDER], connection=caller)
    caller.execute("insert into bought values (7)")
    caller.rollback()
    assert on_record(db) == (0, 0)
    submit(ORDER, connection=caller)  # what the transaction had made known went with it, and is made known again
    caller.commit()
    assert on_record(db) == (1, 0)


def test_a_request_that_is_refused_leaves_the_rest_of_the_transaction_alone(caller: psycopg.Connection[Any], db: Database) -> None:
    caller.execute("insert into bought values (7)")
    for wrong, error in ((TaskRequest("odrer", "shop"), NotFound), (TaskRequest("order", "shop"), RequestError)):
        with pytest.raises(error):
            submit_many([ORDER, wrong], connection=caller)
    caller.commit()
    assert on_record(db) == (0, 1)
    assert db.value("select count(*) from tasker_definition") == 0, "nor is the workflow made known"


def test_in_autocommit_a_task_wants_a_transaction_around_it(conn: psycopg.Connection[Any], db: Database) -> None:
    with pytest.raises(NoTransaction, match=r"with connection\.transaction\(\):"):
        submit(ORDER, connection=conn)
    with conn.transaction():
        submit(ORDER, connection=conn)
        assert on_record(db) == (0, 0)
    assert on_record(db) == (1, 0)
    with pytest.raises(NoTransaction, match="not str"):
        submit(ORDER, connection="postgresql://")  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [lambda engine: engine.connect(), Session, lambda engine: scoped_session(sessionmaker(engine))])
def test_sqlalchemys_connections_and_sessions_bind_tasks_to_what_they_commit(make: Callable[[Any], Any], database_url: str, db: Database) -> None:
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    bound = make(engine)
    submit(ORDER, connection=bound)
    bound.commit()
    bound.execute(text("insert into bought values (7)"))
    submit(ORDER, connection=bound)
    with bound.begin_nested() as savepoint:
        submit(ORDER, connection=bound)
        savepoint.rollback()
    assert on_record(db) == (1, 0)
    bound.commit()
    assert on_record(db) == (2, 1)
    submit(ORDER, connection=bound)
    bound.rollback()
    assert on_record(db) == (2, 1)
    bound.close()
    engine.dispose()
