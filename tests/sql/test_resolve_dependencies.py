"""Bringing a task to where its steps' states say it should be: after moves by hand the same as the engine's own path."""

import random
from datetime import timedelta
from typing import Any

import pytest
from graphs import (
    Conn,
    Task,
    cancel_step,
    complete,
    definition,
    fail,
    given_task,
    history,
    move_clock,
    now,
    ready,
    refused,
    register,
    resolve_dependencies,
    start,
    states,
    task_of,
    task_state,
    update_status,
    value,
)
from invariants import assert_invariants


def by_hand(conn: Conn, task: Task, name: str, end: str) -> set[str]:
    """The step starts and ends by hand; what became ready."""
    assert update_status(conn, task, name, "ready", "running")
    assert update_status(conn, task, name, "running", end)
    return resolve_dependencies(conn, task)


def test_it_returns_what_became_ready(conn: Conn) -> None:
    task = given_task(conn, "a -> b, a -> c, a -> d, x -> d")
    assert by_hand(conn, task, "a", "completed") == {"b", "c"}
    assert by_hand(conn, task, "x", "completed") == {"d"}
    row = conn.execute("select step_id, step_name from tasker_resolve_dependencies(%s)", [task.id]).fetchall()
    assert row == []


def test_step_ids_are_those_of_the_other_functions(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    update_status(conn, task, "a", "ready", "running")
    update_status(conn, task, "a", "running", "completed")
    assert conn.execute("select step_id from tasker_resolve_dependencies(%s)", [task.id]).fetchall() == [(task.step_id("b"),)]


def test_without_a_change_nothing_changes(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c, d", run_at=None)
    complete(conn, task, "a")
    fail(conn, task, "d")
    before = states(conn, task), task_state(conn, task), history(conn, task), value(conn, "select count(*) from tasker_history")
    assert resolve_dependencies(conn, task) == set()
    assert (states(conn, task), task_state(conn, task), history(conn, task), value(conn, "select count(*) from tasker_history")) == before
    assert_invariants(conn)


def test_a_task_that_has_ended_stays_as_it_is(conn: Conn) -> None:
    task = given_task(conn, "a")
    complete(conn, task, "a")
    ended = value(conn, "select finished_at from tasker_task")
    move_clock(conn, hours=1)
    resolve_dependencies(conn, task)
    assert value(conn, "select finished_at from tasker_task") == ended


def test_what_a_cancelled_step_leads_to_is_cancelled(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c, x")
    update_status(conn, task, "a", "ready", "cancelled")
    resolve_dependencies(conn, task)
    assert states(conn, task) == {"a": "cancelled", "b": "cancelled", "c": "cancelled", "x": "ready"}
    assert_invariants(conn)


def test_bypassed_steps_on_the_way_are_skipped(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c -> d", bypass_steps=["b", "c"])
    assert by_hand(conn, task, "a", "completed") == {"d"}
    assert states(conn, task) == {"a": "completed", "b": "skipped", "c": "skipped", "d": "ready"}
    assert value(conn, "select count(*) from tasker_step where state = 7 and finished_at is null") == 0
    assert_invariants(conn)


def test_the_children_of_a_delayed_root_go_on_when_it_is_resolved_before_its_time(conn: Conn) -> None:
    task = given_task(conn, "a -> b", run_at=now(conn) + timedelta(hours=1))
    update_status(conn, task, "a", "pending", "resolved")
    assert resolve_dependencies(conn, task) == {"b"}
    assert_invariants(conn)


def test_a_delayed_root_still_waits_for_its_time(conn: Conn) -> None:
    task = given_task(conn, "a", run_at=now(conn) + timedelta(hours=1))
    assert (resolve_dependencies(conn, task), ready(conn, task)) == (set(), set())
    assert_invariants(conn)


def test_a_failed_task_ends_well_when_its_last_failure_is_resolved_by_hand(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    complete(conn, task, "a")
    fail(conn, task, "b")
    update_status(conn, task, "b", "failed", "resolved")
    resolve_dependencies(conn, task)
    assert history(conn, task)[-1] == ("failed", "completed")
    assert_invariants(conn)


def test_an_unknown_task_is_told_so(conn: Conn) -> None:
    with refused("WF001"):
        conn.execute("select * from tasker_resolve_dependencies('00000000-0000-0000-0000-000000000000')")


@pytest.mark.parametrize("seed", range(12))
def test_by_hand_and_by_the_engine_come_to_the_same(conn: Conn, seed: int) -> None:
    """A random graph is worked off twice in the same order, through either path."""
    dice = random.Random(seed)
    names = [f"s{no}" for no in range(9)]
    edges = [f"{names[dice.randrange(no)]} -> {names[no]}" for no in range(1, 9) for _ in range(dice.randint(0, 2))]
    known = register(conn, definition(", ".join([*names, *edges]), retryable=False))
    order = [row[0] for row in conn.execute("select name from tasker_template where definition_id = %s order by step_no", [known]).fetchall()]
    bypass = dice.sample(names, dice.randint(0, 2))
    engine, hand = (task_of(conn, known, order, bypass_steps=bypass) for _ in range(2))
    conn.execute("select tasker_wake_due(100)")
    while open_steps := sorted(ready(conn, engine)):
        assert ready(conn, hand) == set(open_steps)
        name, end = dice.choice(open_steps), dice.choices(["completed", "failed", "cancelled"], [8, 1, 1])[0]
        if end == "cancelled":
            cancel_step(conn, engine, name)
            update_status(conn, hand, name, "ready", "cancelled")
            resolve_dependencies(conn, hand)
            continue
        {"completed": complete, "failed": fail}[end](conn, engine, name)
        by_hand(conn, hand, name, end)
        assert _shape(conn, engine) == _shape(conn, hand)
        assert_invariants(conn)
    assert _shape(conn, engine) == _shape(conn, hand)


def _shape(conn: Conn, task: Task) -> tuple[Any, ...]:
    waiting = conn.execute("select step_no, pending from tasker_step where task_no = %s and state in (0, 1, 2, 3) order by 1", [task.no]).fetchall()
    return states(conn, task), task_state(conn, task), history(conn, task), waiting


def test_a_step_that_runs_meanwhile_is_counted_when_it_ends(conn: Conn) -> None:
    task = given_task(conn, "a -> c, b -> c")
    start(conn, task, "b")
    by_hand(conn, task, "a", "completed")
    complete(conn, task, "b", "c")
    assert task_state(conn, task) == "completed"
    assert_invariants(conn)
