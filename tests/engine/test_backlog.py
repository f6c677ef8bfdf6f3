"""The backlog between attempts and the database: bounded, in order, and each line written once."""

from __future__ import annotations

import itertools
import time
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from engine import TaskRequest, leases, tasks
from engine.db import Database
from engine.definition import StepTemplate, TaskDefinition
from engine.journal import Line, Progress
from engine.leases import WorkerIdentity
from engine.monitoring import backlog as backlogs
from engine.monitoring.backlog import Backlog
from engine.runners import StepCall, TaskInfo

_numbers = itertools.count(1)


class Held:
    """One attempt of one step that a worker holds."""

    def __init__(self, db: Database, conn: psycopg.Connection[Any]) -> None:
        definition = TaskDefinition("tests", f"talk{next(_numbers)}", version="1.0.0", steps=(StepTemplate("only", handler_class="flows.only"),))
        definition_id = tasks.register_definition(db, definition)
        self.task_id = tasks.submit(db, TaskRequest(definition.name, "tests"))
        self.who: WorkerIdentity = leases.register_worker(
            conn, name="t", runner="threads", concurrency=1, definitions=[definition_id], lease=timedelta(hours=1)
        )
        [(task_no, step_no, _, attempt)] = leases.complete_and_claim(conn, self.who, claim_no=1, done=(), want=1, definitions=f"{{{definition_id}}}")
        info = TaskInfo(task_no, self.task_id, "tests", definition.name, "1.0.0", definition, "{}")
        self.call = StepCall(info, step_no, attempt, 3, {})


@pytest.fixture
def held(db: Database, conn: psycopg.Connection[Any]) -> Held:
    return Held(db, conn)


def line(text: str) -> Line:
    return Line(time.monotonic(), 20, text, None)


def written(conn: psycopg.Connection[Any]) -> list[str]:
    return [row[0] for row in conn.execute("select message from tasker_log order by line_no").fetchall()]


def test_what_was_said_is_on_record_in_its_order(conn: psycopg.Connection[Any], held: Held) -> None:
    backlog = Backlog()
    assert not backlog
    for text in ("one", "two", "three"):
        backlog.hear(held.call, line(text))
    assert backlog
    assert backlog.write(conn, held.who)
    assert written(conn) == ["one", "two", "three"]
    assert not backlog
    assert not backlog.write(conn, held.who)


def test_of_progress_only_the_newest_is_written(conn: psycopg.Connection[Any], db: Database, held: Held) -> None:
    backlog, now = Backlog(), time.monotonic()
    for at, done in ((now, 1.0), (now + 2, 3.0), (now + 1, 2.0)):
        backlog.hear(held.call, Progress(at, done, 10.0, f"page {done:g}"))
    backlog.write(conn, held.who)
    assert conn.execute("select done, note from tasker_progress").fetchall() == [(3.0, "page 3")]


def test_a_thousand_lines_are_one_statement(conn: psycopg.Connection[Any], held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    keep = leases.keep_journal
    monkeypatch.setattr(leases, "keep_journal", lambda *given: (calls.append(1), keep(*given))[1])
    backlog = Backlog()
    for number in range(1000):
        backlog.hear(held.call, line(str(number)))
    backlog.write(conn, held.who)
    assert (len(written(conn)), len(calls)) == (1000, 1)


def test_while_the_database_is_away_the_oldest_lines_go_and_are_counted(
    conn: psycopg.Connection[Any], held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlogs, "MOST_LINES", 3)
    backlog = Backlog()
    for number in range(8):
        backlog.hear(held.call, line(str(number)))
    backlog.write(conn, held.who)
    assert written(conn) == ["\u2026 5 lines before this were lost: the database was away for too long", "5", "6", "7"]


def test_large_lines_count_by_their_size(conn: psycopg.Connection[Any], held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlogs, "MOST_BYTES", 100)
    backlog = Backlog()
    for text in ("a" * 60, "b" * 60, "c" * 30):
        backlog.hear(held.call, line(text))
    backlog.write(conn, held.who)
    assert written(conn)[1:] == ["b" * 60, "c" * 30]


def test_a_batch_whose_reply_was_lost_is_sent_again_and_counts_once(
    conn: psycopg.Connection[Any], held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog, keep = Backlog(), leases.keep_journal

    def lost(*given: Any) -> bool:
        keep(*given)
        raise psycopg.OperationalError("the connection is gone")

    backlog.hear(held.call, line("one"))
    monkeypatch.setattr(leases, "keep_journal", lost)
    with pytest.raises(psycopg.OperationalError):
        backlog.write(conn, held.who)
    assert backlog
    monkeypatch.setattr(leases, "keep_journal", keep)
    backlog.hear(held.call, line("two"))
    backlog.write(conn, held.who)
    assert written(conn) == ["one", "two"]


def test_a_batch_that_the_database_refuses_is_given_up(conn: psycopg.Connection[Any], held: Held) -> None:
    backlog = Backlog()
    backlog.hear(held.call, Line(time.monotonic(), 20, "nul", '{"a": "\\u0000"}'))
    backlog.write(conn, held.who)
    backlog.hear(held.call, line("fine"))
    backlog.write(conn, held.who)
    assert written(conn) == ["fine"]
