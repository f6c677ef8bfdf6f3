"""`tasker_run_batches`: whatever becomes of an item, the batch goes on, and those behind it do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from graphs import Conn, Task, given_task, make_batch, refused, states, value

IN_TIME = "-c statement_timeout=300"


def run(conn: Conn, *, limit: int = 20, seconds: float = 60.0) -> int:
    return int(value(conn, "select tasker_run_batches(%s, make_interval(secs => %s))", limit, seconds))


def outcomes(conn: Conn, batch: int) -> list[str | None]:
    return [row[0] for row in conn.execute("select outcome from tasker_batch_item where batch_id = %s order by item_no", [batch])]


def message(conn: Conn, batch: int, item: int) -> str:
    return str(value(conn, "select message from tasker_batch_item where batch_id = %s and item_no = %s", batch, item))


def has_ended(conn: Conn, batch: int) -> bool:
    return bool(value(conn, "select finished_at is not null from tasker_batch where batch_id = %s", batch))


def is_paused(conn: Conn, task: Task) -> bool:
    return bool(value(conn, "select paused from tasker_task where task_no = %s", task.no))


@contextmanager
def held(session: Conn, task: Task) -> Iterator[None]:
    """Nobody else can act on the task."""
    with session.transaction():
        session.execute("select from tasker_task where task_no = %s for update", [task.no])
        yield


@contextmanager
def failing(conn: Conn, task: Task, sqlstate: str) -> Iterator[None]:
    """Whatever changes the task fails so; nothing of the block lasts."""
    with conn.transaction(force_rollback=True):
        body = f"begin if new.task_no = {task.no} then raise exception 'no way' using errcode = '{sqlstate}'; end if; return new; end"
        conn.execute(f"create function test_fails () returns trigger language plpgsql as $${body}$$".encode())
        conn.execute("create trigger test_fails before update on tasker_task for each row execute function test_fails()")
        yield


# ---- turns


def test_batches_take_turns(conn: Conn) -> None:
    # Forbids: three tasks wait until a hundred thousand others are done.
    large, small = (make_batch(conn, *(given_task(conn, "a") for _ in range(count))) for count in (4, 2))
    seen = []
    while run(conn, limit=1):
        seen.append((outcomes(conn, large).count("done"), outcomes(conn, small).count("done")))
    assert seen == [(1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (4, 2)]


# ---- time


def test_no_item_is_begun_after_the_time_of_a_piece(conn: Conn) -> None:
    batch = make_batch(conn, *(given_task(conn, "a") for _ in range(3)))
    assert [run(conn, seconds=0) for _ in range(4)] == [1, 1, 1, 0]
    assert (outcomes(conn, batch), has_ended(conn, batch)) == (["done"] * 3, True)


def test_an_item_that_is_not_done_in_time_is_refused_and_the_next_is_done(conn: Conn, connect: Callable[..., Conn]) -> None:
    # forbids: the first item always runs into the time limit of the statement, and the same piece begins anew for ever
    slow, quick, later = given_task(conn, "a"), given_task(conn, "a"), given_task(conn, "a")
    batch, behind = make_batch(conn, slow, quick), make_batch(conn, later)
    engine = connect(IN_TIME)
    with held(connect(), slow):
        assert [run(engine) for _ in range(4)] == [1, 1, 1, 0]
    assert outcomes(conn, batch) == ["refused", "done"]
    assert message(conn, batch, 1).startswith("it could not be done in time: ")
    assert (is_paused(conn, slow), is_paused(conn, quick), is_paused(conn, later)) == (False, True, True)
    assert (has_ended(conn, batch), has_ended(conn, behind)) == (True, True)
    assert conn.execute("select done_count, refused_count from tasker_batch where batch_id = %s", [batch]).fetchone() == (1, 1)


def test_an_item_that_had_less_time_than_there_is_comes_first_the_next_time(conn: Conn, connect: Callable[..., Conn]) -> None:
    # forbids: an item that others left no time for is refused; and what was done before it is undone
    quick, slow = given_task(conn, "a"), given_task(conn, "a")
    batch = make_batch(conn, quick, slow)
    engine = connect(IN_TIME)
    with held(connect(), slow):
        assert run(engine) == 1
    assert (outcomes(conn, batch), is_paused(conn, quick), has_ended(conn, batch)) == (["done", None], True, False)
    assert run(engine) == 1
    assert (outcomes(conn, batch), is_paused(conn, slow), has_ended(conn, batch)) == (["done", "done"], True, True)


# ---- errors


def test_an_item_that_fails_with_whatever_error_is_refused_with_it(conn: Conn) -> None:
    bad, good = given_task(conn, "a"), given_task(conn, "a")
    batch = make_batch(conn, bad, good)
    for sqlstate in ("22003", "23514", "P0001", "XX000", "WF006"):
        with failing(conn, bad, sqlstate):
            assert run(conn) == 2
            assert (outcomes(conn, batch), message(conn, batch, 1), has_ended(conn, batch)) == (["refused", "done"], "no way", True)
            assert (is_paused(conn, bad), is_paused(conn, good)) == (False, True)


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "53100", "53200"])
def test_what_may_succeed_the_next_time_is_not_refused(conn: Conn, sqlstate: str) -> None:
    first, second = given_task(conn, "a"), given_task(conn, "a")
    batch = make_batch(conn, first, second)
    with failing(conn, first, sqlstate):
        with refused(sqlstate), conn.transaction():
            run(conn)
        assert outcomes(conn, batch) == [None, None]
    with failing(conn, second, sqlstate):
        assert run(conn) == 1
        assert (outcomes(conn, batch), has_ended(conn, batch)) == (["done", None], False)
    assert (run(conn), has_ended(conn, batch)) == (2, True)


def test_a_task_or_step_that_is_gone_is_refused(conn: Conn) -> None:
    gone, there = given_task(conn, "a"), given_task(conn, "a")
    batch = make_batch(conn, gone, there)
    conn.execute("select tasker_forget_tasks(array[%s::bigint])", [gone.no])
    assert run(conn) == 2
    assert (outcomes(conn, batch), has_ended(conn, batch)) == (["refused", "done"], True)
    assert states(conn, there) == {"a": "ready"}


# ---- the end


def test_a_batch_ends_with_its_last_item_whatever_was_counted(conn: Conn) -> None:
    first, second = make_batch(conn, given_task(conn, "a")), make_batch(conn, given_task(conn, "a"))
    conn.execute("update tasker_batch set item_count = 2 where batch_id = %s", [first])
    assert [run(conn) for _ in range(3)] == [1, 1, 0]
    assert (has_ended(conn, first), has_ended(conn, second)) == (True, True)
