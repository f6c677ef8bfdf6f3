"""The record of what happened: every move once, in order, with who, which attempt and which worker."""

from graphs import (
    Conn,
    cancel_step,
    claim,
    complete,
    fail,
    given_task,
    given_worker,
    history,
    move_clock,
    reap,
    release,
    report,
    resolve_step,
    retry_step,
    skip_step,
    start,
    value,
)


def test_the_whole_life_of_a_step_in_order(conn: Conn) -> None:
    task = given_task(conn, "a", retry_limit=2)
    release(conn, [start(conn, task, "a")])
    fail(conn, task, "a", retryable=True)
    move_clock(conn, minutes=5)
    fail(conn, task, "a")
    retry_step(conn, task, "a")
    complete(conn, task, "a")
    assert history(conn, task, "a") == [
        ("ready", "running"), ("running", "ready"),
        ("ready", "running"), ("running", "retrying"),
        ("ready", "running"), ("running", "failed"),
        ("failed", "ready"), ("ready", "running"), ("running", "completed"),
    ]  # fmt: skip
    rows = conn.execute("select attempt from tasker_history where task_no = %s and step_no = 0 order by event_id", [task.no]).fetchall()
    assert [row[0] for row in rows] == [1, 1, 1, 1, 2, 2, None, 3, 3]


def test_each_end_is_recorded_once(conn: Conn) -> None:
    task = given_task(conn, "a -> b, c, d, e, f -> g")
    complete(conn, task, "a", "b")
    fail(conn, task, "c")
    cancel_step(conn, task, "d")
    skip_step(conn, task, "e")
    resolve_step(conn, task, "f")
    complete(conn, task, "g")
    rows = conn.execute("select step_no, count(*) from tasker_history where task_no = %s and to_state >= 4 group by 1", [task.no]).fetchall()
    assert len(rows) == 8
    assert {row[1] for row in rows} == {1}


def test_an_attempt_starts_once(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c")
    held = claim(conn)
    for _ in range(3):
        held = report(conn, held, want=1)
    rows = conn.execute("select step_no, attempt from tasker_history where task_no = %s and to_state = 2 and step_no is not null", [task.no]).fetchall()
    assert sorted(rows) == [(0, 1), (1, 1), (2, 1)]


def test_moves_of_a_worker_bear_its_number(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    worker = given_worker(conn)
    report(conn, [start(conn, task, "a", worker=worker)], want=1, worker=worker)
    fail(conn, task, "b")
    rows = conn.execute("select distinct worker_id from tasker_history where task_no = %s and step_no is not null", [task.no]).fetchall()
    assert rows == [(worker,)]


def test_a_crash_names_the_worker_that_died(conn: Conn) -> None:
    task = given_task(conn, "a")
    worker = given_worker(conn)
    start(conn, task, "a", worker=worker)
    conn.execute("update tasker_worker set lease_until = tasker_clock() where worker_id = %s", [worker])
    reap(conn)
    row = conn.execute("select worker_id, detail ->> 'type' from tasker_history where task_no = %s and to_state = 3", [task.no]).fetchone()
    assert row == (worker, "worker_crashed")


def test_times_never_run_backwards_along_a_task(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c, a -> d")
    for name in ("a", "b", "d", "c"):
        complete(conn, task, name)
        move_clock(conn, seconds=5)
    query = "select bool_and(at >= before) from (select at, lag(at) over (order by event_id) as before from tasker_history where task_no = %s and step_no is not null) h"
    assert value(conn, query, task.no) is True


def test_a_row_bears_the_transaction_that_wrote_it(conn: Conn) -> None:
    task = given_task(conn, "a, b")
    with conn.transaction():
        xid = value(conn, "select pg_current_xact_id()::text::bigint")
        complete(conn, task, "a")
    complete(conn, task, "b")
    mine = value(conn, "select count(*) from tasker_history where task_no = %s and xid = %s", task.no, xid)
    assert (mine, value(conn, "select count(*) from tasker_history where task_no = %s", task.no)) == (3, 6)


def test_a_call_that_is_rolled_back_leaves_no_trace(conn: Conn) -> None:
    task = given_task(conn, "a")
    with conn.transaction(force_rollback=True):
        complete(conn, task, "a")
    assert history(conn, task) == history(conn, task, "a") == []
