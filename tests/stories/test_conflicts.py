"""Transactions that the database refuses because of others at work at once (40001): they are made again, and no task fails of it."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from story import Story
from test_outages import check_history
from test_sharing import DIAMONDS, check_ledger

TASKS = 60
REFUSED_PERCENT = 30


def refuse_some(conn: psycopg.Connection[Any], table: str) -> None:
    """Of the statements that change rows of the table, REFUSED_PERCENT are refused as in conflict with another transaction, when their work is done."""
    conn.execute("create sequence refused cache 1")
    conn.execute(
        f"""create function refuse() returns trigger language plpgsql as $$ begin
              if random() * 100 < {REFUSED_PERCENT} then
                perform nextval('refused');
                raise 'could not serialize access due to concurrent update' using errcode = '40001';
              end if;
              return null;
            end $$""".encode()
    )
    conn.execute(f"create trigger refuse after update on {table} for each statement execute function refuse()".encode())


def check_all_well(story: Story, tasks: list[str]) -> None:
    assert set(story.all_ended(tasks, 60)) == {"completed"}
    check_history(story.db)
    check_ledger(story, tasks)
    assert story.db.value("select max(attempts) from tasker_step") == 1
    for engine in story.engines:
        assert engine.process.poll() is None
        assert not re.search("Traceback|ERROR|WARNING", engine.said()), engine.said()[-2000:]


def test_serialization_failures_fail_no_step_and_charge_none(story: Story, conn: psycopg.Connection[Any]) -> None:
    story.write(DIAMONDS)
    refuse_some(conn, "tasker_step")
    story.start(runner="processes")
    story.start(runner="threads")
    check_all_well(story, story.launch_many("diamond", TASKS))
    refused = story.db.value("select last_value from refused")
    print(f"{refused} transactions refused, of {TASKS} tasks none failed")
    assert refused > 0


def test_a_database_that_is_set_to_a_stricter_isolation_is_worked_on_as_any_other(story: Story, conn: psycopg.Connection[Any]) -> None:
    name = psycopg.conninfo.conninfo_to_dict(story.url)["dbname"]
    conn.execute(f"alter database {name} set default_transaction_isolation = 'serializable'".encode())
    story.write(DIAMONDS)
    story.start(runner="processes")
    story.start(runner="threads")
    check_all_well(story, story.launch_many("diamond", TASKS))
