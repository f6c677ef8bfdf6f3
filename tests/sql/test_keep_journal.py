"""`tasker_keep_journal`: what an attempt has said is on record once, and only for those who hold it or held it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import graphs
import test_plans
from graphs import (
    Conn,
    Held,
    claim,
    columns,
    complete,
    expand,
    fail,
    given_task,
    given_worker,
    move_clock,
    own_worker,
    release,
    start,
    value,
)

_batches = itertools.count(1)


def keep(
    conn: Conn,
    *held: Held,
    lines: list[tuple[int, str]] = (),
    progress: list[tuple[int, float, float | None, str | None]] = (),
    worker: int | None = None,
    batch: int | None = None,
    age: float = 0,
) -> bool:
    """`lines` are (place, message), `progress` (place, done, total, note); places are those of `held`, from 1."""
    written = json.dumps([[place, age, 20, message, {"page": 3}] for place, message in lines])
    told = json.dumps([[place, age, *rest] for place, *rest in progress])
    query = "select tasker_keep_journal(%s, %s, %s::bigint[], %s::int[], %s::smallint[], %s::jsonb, %s::jsonb)"
    return bool(value(conn, query, worker or own_worker(conn), batch or next(_batches), *columns(held), written, told))


def lines(conn: Conn) -> list[tuple[int, str]]:
    return conn.execute("select attempt, message from tasker_log order by line_no").fetchall()


def progress(conn: Conn) -> list[Any]:
    return conn.execute("select attempt, done, total, note from tasker_progress order by task_no, step_no").fetchall()


def test_lines_and_progress_of_a_running_attempt_are_kept(conn: Conn) -> None:
    task = given_task(conn, "a")
    held = start(conn, task, "a")
    assert keep(conn, held, lines=[(1, "one"), (1, "two")], progress=[(1, 3, 10, "page 3")], age=5)
    rows = conn.execute("select task_id::text, step_name, attempt, level, message, fields from tasker_logs order by line_no").fetchall()
    assert rows == [(task.id, "a", 1, "info", "one", {"page": 3}), (task.id, "a", 1, "info", "two", {"page": 3})]
    assert progress(conn) == [(1, 3.0, 10.0, "page 3")]
    assert 4 < value(conn, "select extract(epoch from tasker_clock() - at)::float8 from tasker_log limit 1") < 6


def test_the_newest_progress_takes_the_place_of_the_last(conn: Conn) -> None:
    held = start(conn, given_task(conn, "a"), "a")
    keep(conn, held, progress=[(1, 3, 10, "page 3")])
    keep(conn, held, progress=[(1, 4, None, None)])
    assert progress(conn) == [(1, 4.0, None, None)]


def test_a_batch_that_comes_twice_counts_once(conn: Conn) -> None:
    """Its reply may have been lost."""
    held = start(conn, given_task(conn, "a"), "a")
    assert keep(conn, held, lines=[(1, "one")], batch=7_000_001)
    assert not keep(conn, held, lines=[(1, "one")], batch=7_000_001)
    assert lines(conn) == [(1, "one")]


def test_what_an_attempt_said_last_is_kept_after_its_outcome(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    held = start(conn, task, "a")
    complete(conn, task, "a")
    keep(conn, held, lines=[(1, "last words")], progress=[(1, 10, 10, None)])
    assert lines(conn) == [(1, "last words")]
    assert progress(conn) == [(1, 10.0, 10.0, None)]


def test_a_stale_attempt_adds_its_lines_but_no_progress(conn: Conn) -> None:
    task = given_task(conn, "a", retry_limit=3)
    first, slow = start(conn, task, "a"), own_worker(conn)
    fail(conn, task, "a", retryable=True, delay=0)
    other = given_worker(conn)
    move_clock(conn, seconds=1)
    second = start(conn, task, "a", worker=other)
    keep(conn, second, progress=[(1, 5, 10, None)], worker=other)
    keep(conn, first, lines=[(1, "late")], progress=[(1, 9, 10, None)], worker=slow)
    assert lines(conn) == [(1, "late")]
    assert progress(conn) == [(2, 5.0, 10.0, None)]


def test_a_worker_cannot_speak_for_what_it_never_held(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    held, stranger = start(conn, task, "a"), given_worker(conn)

    def speak() -> None:
        said = [(place, "x") for place in (1, 2, 3)]
        assert keep(conn, held, Held(task.no, 0, 2), Held(10**9, 0, 1), lines=said, progress=[(1, 1, 2, None)], worker=stranger)

    speak()
    complete(conn, task, "a")
    speak()
    assert lines(conn) == progress(conn) == []


def test_who_handed_an_attempt_back_does_not_speak_over_who_holds_it_now(conn: Conn) -> None:
    """The number of an attempt that was not charged comes again."""
    task = given_task(conn, "a")
    first = start(conn, task, "a")
    release(conn, [first])
    other = given_worker(conn)
    again = start(conn, task, "a", worker=other)
    assert again == first
    keep(conn, again, lines=[(1, "second go")], progress=[(1, 1, 10, None)], worker=other)
    keep(conn, first, lines=[(1, "first go, late")], progress=[(1, 9, 10, None)])
    assert lines(conn) == [(1, "second go"), (1, "first go, late")]
    assert progress(conn) == [(1, 1.0, 10.0, None)]


def test_items_have_lines_of_their_own(conn: Conn) -> None:
    task = given_task(conn, "a -> b", steps={"b": {"for_each": "a", "handler_class": "flows.work"}})
    complete(conn, task, "a", result=["x", "y"])
    expand(conn, task, "b")
    items = claim(conn)
    keep(conn, *items, lines=[(1, "x"), (2, "y")], progress=[(2, 1, 2, None)])
    assert conn.execute("select step_name, message from tasker_logs order by line_no").fetchall() == [("b[0]", "x"), ("b[1]", "y")]
    assert value(conn, "select step_no from tasker_progress") == -1


def test_a_worker_that_is_gone_says_nothing(conn: Conn) -> None:
    held, worker = start(conn, given_task(conn, "a"), "a"), own_worker(conn)
    conn.execute("delete from tasker_worker where worker_id = %s", [worker])
    assert not keep(conn, held, lines=[(1, "x")], worker=worker)
    assert lines(conn) == []


def test_late_lines_wait_for_a_drop_and_find_nothing(conn: Conn, connect: Callable[..., Conn]) -> None:
    """Forbidden: lines that belong to a task which has just been dropped."""
    task = given_task(conn, "a")
    held, worker = start(conn, task, "a"), own_worker(conn)
    complete(conn, task, "a")
    other = connect()
    with other.transaction():
        other.execute("select from tasker_task where task_no = %s for update", [task.no])
        conn.execute("set lock_timeout = 50")
        try:
            keep(conn, held, lines=[(1, "x")], worker=worker)
        except Exception as error:
            waited = type(error).__name__
        conn.execute("set lock_timeout = 0")
        other.execute("delete from tasker_history where task_no = %s", [task.no])
        other.execute("delete from tasker_step where task_no = %s", [task.no])
        other.execute("delete from tasker_task where task_no = %s", [task.no])
    assert waited == "LockNotAvailable"
    keep(conn, held, lines=[(1, "x")], worker=worker)
    assert lines(conn) == []


def test_the_history_of_many_late_attempts_is_read_once(conn: Conn) -> None:
    """Each batch about a map step with many items costs its task's history once, not once per item."""
    task = given_task(conn, "a -> b", steps={"b": {"for_each": "a", "handler_class": "flows.work"}})
    complete(conn, task, "a", result=list(range(400)))
    expand(conn, task, "b")
    items = claim(conn, want=400)
    conn.execute("update tasker_step set state = 4, worker_id = null, finished_at = tasker_clock() where map_no is not null")
    moves = value(conn, "select count(*) from tasker_history where task_no = %s", task.no)
    found = test_plans.rows_read(conn, lambda: keep(conn, *items, lines=[(place, "x") for place in range(1, 401)]))
    assert len(lines(conn)) == 400
    assert found["tasker_history"] <= moves
    assert found["tasker_step"] <= 400


def test_what_a_batch_reads_does_not_grow_with_the_tables(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    test_plans.fill(conn, task.definition_id, 500)
    mine = claim(conn, want=200)
    running, over = mine[:100], mine[100:]
    graphs.report(conn, over)
    for _ in range(2):
        said = {"lines": [(place, "x") for place in range(1, 101)], "progress": [(place, 1, 2, None) for place in range(1, 101)]}
        for some in (running, over):
            found = test_plans.rows_read(conn, lambda some=some, said=said: keep(conn, *some, **said))
            assert {table: rows for table, rows in found.items() if rows > 500} == {}
