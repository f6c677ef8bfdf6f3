"""`tasker_claim_due_schedules` and the functions around it: who may act on a schedule that is due."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from graphs import Conn, move_clock, now, refused, value

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def no_other_schedules(conn: Conn) -> None:
    conn.execute("delete from tasker_schedule")


def given_schedule(conn: Conn, *, due_in: timedelta = timedelta(), **fields: Any) -> int:
    schedule = {
        "namespace": "tests",
        "name": "nightly",
        "kind": "cron",
        "expression": "* * * * *",
        "time_zone": "UTC",
        "context": {},
        "policy": "one",
        "next_run_at": (now(conn) + due_in).isoformat(),
        **fields,
    }
    return int(value(conn, "select tasker_add_schedule(%s::jsonb)", json.dumps(schedule)))


def claim(conn: Conn, *, limit: int = 10, lease: timedelta = MINUTE) -> list[int]:
    return [row[0] for row in conn.execute("select schedule_id from tasker_claim_due_schedules(%s, %s)", [limit, lease]).fetchall()]


def due_at(conn: Conn, schedule: int) -> datetime:
    found: datetime = value(conn, "select next_run_at from tasker_schedule where schedule_id = %s", schedule)
    return found


def advance(conn: Conn, schedule: int, due: datetime, *, tasks: tuple[Any, ...] = (), error: str | None = None) -> bool:
    return bool(value(conn, "select tasker_advance_schedule(%s, %s, %s, %s::uuid[], %s)", schedule, due, due + 5 * MINUTE, list(tasks), error))


def pause(conn: Conn, schedule: int) -> None:
    conn.execute("select tasker_pause_schedule(%s, 'ann', 'holidays')", [schedule])


def resume(conn: Conn, schedule: int, at: datetime) -> None:
    conn.execute("select tasker_resume_schedule(%s, %s, 'ann', 'back')", [schedule, at])


def row(conn: Conn, schedule: int, column: str) -> Any:
    return value(conn, f"select {column} from tasker_schedule where schedule_id = %s", schedule)


# claiming


def test_only_what_is_due_is_claimed(conn: Conn) -> None:
    late = given_schedule(conn, due_in=-MINUTE)
    soon = given_schedule(conn, due_in=MINUTE)
    assert claim(conn) == [late]
    move_clock(conn, seconds=61)
    assert soon in claim(conn)


def test_the_longest_overdue_goes_first_and_no_more_than_asked_for(conn: Conn) -> None:
    second, first, third = (given_schedule(conn, due_in=-minutes * MINUTE) for minutes in (2, 3, 1))
    assert claim(conn, limit=2) == [first, second]
    assert claim(conn, limit=2) == [third]


def test_the_row_says_all_that_is_needed_to_make_its_tasks(conn: Conn) -> None:
    schedule = given_schedule(conn, version="1.2.0", context={"a": 1}, time_zone="Europe/Berlin", policy="all")
    due = due_at(conn, schedule)
    [found] = conn.execute("select * from tasker_claim_due_schedules(10, '1 minute')").fetchall()
    assert found[:10] == (schedule, "tests", "nightly", "1.2.0", "cron", "* * * * *", "Europe/Berlin", {"a": 1}, "all", due)
    assert timedelta() <= found[10] - due < MINUTE


def test_a_claimed_schedule_is_left_to_its_engine_until_the_lease_ends(conn: Conn) -> None:
    schedule = given_schedule(conn)
    assert claim(conn, lease=MINUTE) == [schedule]
    assert claim(conn) == []
    move_clock(conn, seconds=59)
    assert claim(conn) == []
    move_clock(conn, seconds=2)
    assert claim(conn) == [schedule]


def test_what_another_engine_is_claiming_now_is_not_waited_for(conn: Conn, connect: Callable[..., Conn]) -> None:
    # forbids: both see it due before either has written its lease
    schedules = {given_schedule(conn) for _ in range(3)}
    other = connect("-c lock_timeout=200")
    with conn.transaction():
        first = set(claim(conn, limit=2))
        second = set(claim(other))
    assert first | second == schedules
    assert not first & second


def test_a_schedule_is_not_claimed_on_what_was_read_before_another_claimed_it(conn: Conn, connect: Callable[..., Conn]) -> None:
    # forbids: the second engine's snapshot is from before the first one's commit, its lock from after it
    schedule = given_schedule(conn)
    other = connect("-c default_transaction_isolation=read\\ committed")
    with other.transaction():
        other.execute("select 1 from tasker_schedule")
        assert claim(conn) == [schedule]
        assert claim(other) == []


def test_a_paused_or_ended_schedule_is_never_due(conn: Conn) -> None:
    paused, ended = given_schedule(conn), given_schedule(conn, next_run_at=None)
    pause(conn, paused)
    assert claim(conn) == []
    assert row(conn, ended, "next_run_at") is None


# advancing


def test_an_advanced_schedule_waits_for_its_next_run(conn: Conn) -> None:
    schedule, task = given_schedule(conn), uuid4()
    due = due_at(conn, schedule)
    claim(conn)
    assert advance(conn, schedule, due, tasks=(task,))
    assert due_at(conn, schedule) == due + 5 * MINUTE
    assert claim(conn) == []
    move_clock(conn, minutes=6)
    assert claim(conn) == [schedule]


def test_only_the_run_that_was_claimed_is_advanced_and_only_once(conn: Conn) -> None:
    # forbids: an engine that was away for longer than its lease sets the schedule back
    schedule = given_schedule(conn)
    due = due_at(conn, schedule)
    claim(conn)
    assert advance(conn, schedule, due)
    assert not advance(conn, schedule, due)
    assert due_at(conn, schedule) == due + 5 * MINUTE


def test_the_latest_tasks_are_kept_newest_first_and_at_most_five(conn: Conn) -> None:
    schedule = given_schedule(conn)
    tasks = [uuid4() for _ in range(7)]
    advance(conn, schedule, due_at(conn, schedule), tasks=tuple(tasks[:3]))
    assert row(conn, schedule, "recent_task_ids") == tasks[2::-1]
    advance(conn, schedule, due_at(conn, schedule), tasks=tuple(tasks[3:6]))
    conn.execute("select tasker_note_schedule_run(%s, %s)", [schedule, tasks[6]])
    assert row(conn, schedule, "recent_task_ids") == tasks[:1:-1]


def test_a_run_without_a_task_says_why_until_one_succeeds(conn: Conn) -> None:
    schedule = given_schedule(conn)
    advance(conn, schedule, due_at(conn, schedule), error="no such workflow")
    assert (row(conn, schedule, "last_error"), row(conn, schedule, "last_run_at")) == ("no such workflow", None)
    advance(conn, schedule, due_at(conn, schedule), tasks=(uuid4(),))
    assert row(conn, schedule, "last_error") is None
    assert row(conn, schedule, "last_run_at") is not None


# pausing, resuming, removing


def test_pause_and_resume_keep_who_and_why(conn: Conn) -> None:
    schedule = given_schedule(conn)
    pause(conn, schedule)
    assert row(conn, schedule, "(paused, changed_by, change_reason)") == ("t", "ann", "holidays")
    resume(conn, schedule, now(conn) + MINUTE)
    assert row(conn, schedule, "(paused, changed_by, change_reason)") == ("f", "ann", "back")


def test_what_was_claimed_before_a_pause_cannot_advance_what_was_resumed(conn: Conn) -> None:
    schedule = given_schedule(conn)
    due = due_at(conn, schedule)
    claim(conn)
    pause(conn, schedule)
    resume(conn, schedule, due + MINUTE)
    assert not advance(conn, schedule, due)
    assert due_at(conn, schedule) == due + MINUTE


def test_pausing_twice_or_resuming_what_runs_is_refused(conn: Conn) -> None:
    schedule = given_schedule(conn)
    with refused("WF002"):
        resume(conn, schedule, now(conn))
    pause(conn, schedule)
    with refused("WF002"):
        pause(conn, schedule)


def test_an_unknown_schedule_is_refused_by_each_function(conn: Conn) -> None:
    with refused("WF001"):
        pause(conn, 4711)
    with refused("WF001"):
        resume(conn, 4711, now(conn))
    with refused("WF001"):
        conn.execute("select tasker_remove_schedule(4711)")


def test_a_removed_schedule_is_gone(conn: Conn) -> None:
    schedule = given_schedule(conn)
    conn.execute("select tasker_remove_schedule(%s)", [schedule])
    assert claim(conn) == []


@pytest.mark.parametrize("wrong", [{"kind": "hourly"}, {"policy": "some"}, {"context": [1]}])
def test_the_table_takes_only_what_the_engine_knows(conn: Conn, wrong: dict[str, Any]) -> None:
    with refused("23514"):
        given_schedule(conn, **wrong)
