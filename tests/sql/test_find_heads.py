"""A snapshot that somebody keeps: what one long look over dead rows has found serves the next claims of the session too."""

import time
from collections.abc import Callable, Iterator

import pytest
from graphs import Conn, Task, definition, move_clock, register, report, task_of, value

KEPT = "select coalesce(current_setting('tasker.heads', true), '')"


@pytest.fixture
def database_url(new_database_url: str) -> str:
    """A database in which no other test has left anything."""
    return new_database_url


@pytest.fixture
def tasks(conn: Conn) -> Iterator[list[Task]]:
    """Three of one step each, in the order of their numbers; afterwards the session knows nothing."""
    known = register(conn, definition("a"))
    made = []
    for _ in range(3):
        made.append(task_of(conn, known, ["a"]))
        move_clock(conn, seconds=1)
    yield made
    conn.execute("reset tasker.heads")


def given_dead_rows(conn: Conn, lane: int, count: int) -> None:
    conn.execute("insert into tasker_ready (rank, task_no, step_no, definition_id) select timestamptz '2000-01-01', 1, n, %s from generate_series(1, %s) n", (lane, count))
    conn.execute("delete from tasker_ready where rank = timestamptz '2000-01-01'")


def given_known_head(conn: Conn, task: Task, until: str) -> None:
    """As if an earlier claim had found that the queue begins with this task's step."""
    conn.execute(
        "select set_config('tasker.heads', array[row(definition_id, rank, ready_no)::tasker_head]::text, false), set_config('tasker.heads_until', %s, false)"
        " from tasker_ready where task_no = %s",
        (until, task.no),
    )


def taken(conn: Conn, want: int) -> list[int]:
    return sorted(one.task_no for one in report(conn, [], want=want))


def test_a_long_look_over_dead_rows_is_kept_and_a_short_one_forgets_it(conn: Conn, connect: Callable[..., Conn], tasks: list[Task]) -> None:
    analyst = connect()
    analyst.execute("begin isolation level repeatable read")
    analyst.execute("select count(*) from tasker_task")
    given_dead_rows(conn, value(conn, "select min(definition_id) from tasker_ready"), 20_000)
    conn.execute("select tasker_find_heads()")
    assert value(conn, KEPT) != ""
    analyst.execute("rollback")
    until = time.monotonic() + 30
    while value(conn, KEPT) and time.monotonic() < until:  # another session's snapshot, an autovacuum's too, keeps them for a moment longer
        conn.execute("vacuum (index_cleanup on) tasker_ready")  # without being told to it leaves an index alone in which little is dead
        conn.execute("select tasker_find_heads()")
    assert value(conn, KEPT) == "", conn.execute("select pid, state, backend_xmin, query from pg_stat_activity where backend_xmin is not null").fetchall()
    assert taken(conn, 3) == [task.no for task in tasks]


def test_a_short_look_is_not_kept(conn: Conn, tasks: list[Task]) -> None:
    given_known_head(conn, tasks[0], "2000-01-01")
    assert taken(conn, 1) == [tasks[0].no]
    assert value(conn, KEPT) == ""


def test_what_is_known_serves_while_it_is_new(conn: Conn, tasks: list[Task]) -> None:
    given_known_head(conn, tasks[1], "infinity")
    assert taken(conn, 1) == [tasks[1].no]


def test_what_is_known_for_long_is_looked_up_again(conn: Conn, tasks: list[Task]) -> None:
    given_known_head(conn, tasks[1], "2000-01-01")
    assert taken(conn, 1) == [tasks[0].no]


def test_a_claim_with_room_for_more_takes_what_stands_before_the_known_heads_too(conn: Conn, tasks: list[Task]) -> None:
    given_known_head(conn, tasks[1], "infinity")
    assert taken(conn, 3) == [task.no for task in tasks]


def test_a_lane_that_was_empty_at_the_last_look_is_seen_by_a_claim_with_room(conn: Conn, tasks: list[Task]) -> None:
    given_known_head(conn, tasks[0], "infinity")
    later = task_of(conn, register(conn, definition("a", name="later")), ["a"])
    assert taken(conn, 4) == [*(task.no for task in tasks), later.no]


def test_what_is_known_of_a_lane_that_the_engine_does_not_serve_gives_it_nothing(conn: Conn, tasks: list[Task]) -> None:
    given_known_head(conn, tasks[0], "infinity")
    assert report(conn, [], want=3, definitions=[1_000_000]) == []
