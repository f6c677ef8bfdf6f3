"""What may run now, and what everything else waits for: `tasker_get_ready_steps` and `tasker_step_readiness`."""

from datetime import UTC, datetime, timedelta

import pytest
from graphs import (
    Conn,
    Task,
    cancel_task,
    complete,
    fail,
    given_task,
    given_worker,
    move_clock,
    now,
    readiness,
    ready,
    refused,
    resolve_step,
    skip_step,
    start,
    states,
    value,
    waiting_for,
)

STEADY = {"base": 60.0, "jitter": 0.0}


def served(conn: Conn, definition_id: int, **options: bool) -> None:
    worker = given_worker(conn, definitions=[definition_id])
    if options:
        conn.execute("update tasker_worker set draining = true where worker_id = %s", [worker])


# ---- tasker_get_ready_steps


def test_what_may_run_now(conn: Conn) -> None:
    task = given_task(conn, "a -> c, b, d")
    start(conn, task, "b")
    assert ready(conn, task) == {"a", "d"}
    complete(conn, task, "a")
    assert ready(conn, task) == {"c", "d"}


def test_a_back_off_that_is_over_may_run_now(conn: Conn) -> None:
    task = given_task(conn, "a", backoff=STEADY)
    fail(conn, task, "a", retryable=True)
    assert ready(conn, task) == set()
    move_clock(conn, minutes=1)
    assert ready(conn, task) == {"a"}


def test_a_root_whose_time_has_come_may_run_now(conn: Conn) -> None:
    task = given_task(conn, "a -> b", run_at=now(conn) + timedelta(minutes=1))
    assert ready(conn, task) == set()
    move_clock(conn, minutes=1)
    assert ready(conn, task) == {"a"}


@pytest.mark.parametrize("plans", ["auto", "force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("analysed", ["never", "before", "now"])
def test_what_may_run_now_is_found_by_key_in_a_long_task(conn: Conn, analysed: str, plans: str) -> None:
    conn.execute(f"set plan_cache_mode = {plans}".encode())
    if analysed == "before":
        conn.execute("analyze")
    task = given_task(conn, " -> ".join(f"s{number}" for number in range(2000)))
    if analysed == "now":
        conn.execute("analyze")
    read = "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) from pg_stat_xact_user_tables where relname in ('tasker_step', 'tasker_template')"
    for _ in range(8):  # past the point where a session settles on a plan for all parameters
        with conn.transaction():
            before = value(conn, read)
            rows = conn.execute("select step_name from tasker_get_ready_steps('tests', %s, %s)", [task_name(conn, task), task.id]).fetchall()
            assert rows == [("s0",)]
            assert value(conn, read) - before < 10


def task_name(conn: Conn, task: Task) -> str:
    return str(value(conn, "select name from tasker_definition where definition_id = %s", task.definition_id))


def test_a_bypassed_step_never_may_run(conn: Conn) -> None:
    task = given_task(conn, "a, b", bypass_steps=["a"])
    assert ready(conn, task) == {"b"}


def test_the_task_must_be_of_the_named_workflow(conn: Conn) -> None:
    task = given_task(conn, "a", name="mine")
    query = "select step_id, step_name, attempts, retry_limit from tasker_get_ready_steps(%s, %s, %s)"
    assert conn.execute(query, ["tests", "mine", task.id]).fetchall() == [(task.step_id("a"), "a", 0, 3)]
    assert conn.execute(query, ["tests", "other", task.id]).fetchall() == []
    assert conn.execute(query, ["other", "mine", task.id]).fetchall() == []
    assert conn.execute(query, ["tests", "mine", "00000000-0000-0000-0000-000000000000"]).fetchall() == []


def test_a_queue_row_left_behind_is_not_ready(conn: Conn) -> None:
    task = given_task(conn, "a, b")
    complete(conn, task, "a")
    conn.execute("insert into tasker_ready (rank, task_no, step_no, definition_id) values (tasker_clock(), %s, 0, %s)", [task.no, task.definition_id])
    assert ready(conn, task) == {"b"}


# ---- tasker_step_readiness


def test_one_row_per_step_with_its_counts(conn: Conn) -> None:
    task = given_task(conn, "a -> c, b -> c", retry_limit=4)
    complete(conn, task, "a")
    found = readiness(conn, task)
    assert list(found) == ["a", "b", "c"]
    row = {name: found["c"][name] for name in ("step_id", "state", "total_parents", "satisfied_parents", "attempts", "retry_limit", "next_retry_at")}
    expected = {"step_id": task.step_id("c"), "state": "pending", "total_parents": 2, "satisfied_parents": 1, "attempts": 0, "retry_limit": 4}
    assert row == expected | {"next_retry_at": None}


def test_skipped_and_resolved_parents_are_satisfied(conn: Conn) -> None:
    task = given_task(conn, "a -> d, b -> d, c -> d")
    skip_step(conn, task, "a")
    resolve_step(conn, task, "b")
    assert readiness(conn, task)["d"]["satisfied_parents"] == 2


def test_a_pending_step_names_the_parents_it_waits_for(conn: Conn) -> None:
    task = given_task(conn, "a -> z, b -> z, c -> z, d -> z, e -> z")
    assert waiting_for(conn, task, "z") == "a, b, c and 2 more"
    complete(conn, task, "a", "b", "c", "d")
    assert waiting_for(conn, task, "z") == "e"


def test_a_ready_step_waits_for_an_engine_or_for_a_place_in_one(conn: Conn) -> None:
    task = given_task(conn, "a")
    assert waiting_for(conn, task, "a") == "an engine that has its handler; none is running now"
    served(conn, task.definition_id, draining=True)
    assert waiting_for(conn, task, "a") == "an engine that has its handler; none is running now"
    served(conn, task.definition_id)
    served(conn, task.definition_id)
    assert waiting_for(conn, task, "a") == "a free place in an engine"


def test_a_running_step_waits_for_its_handler(conn: Conn) -> None:
    task = given_task(conn, "a")
    start(conn, task, "a")
    assert waiting_for(conn, task, "a") == "its handler, attempt 1 of 3"


def test_a_retrying_step_tells_when_it_is_due(conn: Conn) -> None:
    task = given_task(conn, "a", backoff=STEADY)
    fail(conn, task, "a", retryable=True)
    row = readiness(conn, task)["a"]
    due = row["next_retry_at"]
    assert abs((due - now(conn)).total_seconds() - 60) < 5
    assert row["waiting_for"] == f"attempt 2 of 3 at {due.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def test_a_root_with_a_later_start_tells_when(conn: Conn) -> None:
    task = given_task(conn, "a", run_at=datetime(2999, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert waiting_for(conn, task, "a") == "its start at 2999-01-02 03:04:05 UTC"


def test_a_failed_task_waits_for_a_retry(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    fail(conn, task, "a")
    assert (waiting_for(conn, task, "a"), waiting_for(conn, task, "b")) == ("", "a retry of a")


def test_every_open_step_has_a_reason_and_no_ended_one(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c, d -> e, f -> g, h, i", bypass_steps=["i"])
    complete(conn, task, "a")
    fail(conn, task, "d")
    fail(conn, task, "f", retryable=True)
    start(conn, task, "h")
    for name, row in readiness(conn, task).items():
        assert bool(row["waiting_for"]) == (states(conn, task)[name] in ("pending", "ready", "running", "retrying")), name
    cancel_task(conn, task)
    assert {row["waiting_for"] for name, row in readiness(conn, task).items() if name != "h"} == {""}


def test_an_unknown_task_is_told_so(conn: Conn) -> None:
    with refused("WF001"):
        value(conn, "select count(*) from tasker_step_readiness('00000000-0000-0000-0000-000000000000')")
