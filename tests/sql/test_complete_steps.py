"""Steps that end well, by the fast path for few and the batched path for many: fenced, once, with hand-over, and the task settled with its last step."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from graphs import (
    Conn,
    Held,
    Task,
    claim,
    columns,
    complete,
    definition,
    fail,
    given_task,
    given_worker,
    history,
    own_worker,
    ready,
    refused,
    register,
    report,
    skip_step,
    start,
    states,
    task_of,
    task_state,
    value,
)
from invariants import assert_invariants, stale_rows

PATHS = ["tasker_complete_few", "tasker_complete_batch"]


def by_path(conn: Conn, path: str, held: list[Held], *, want: int = 0, worker: int | None = None, results: list[Any] | None = None) -> list[Held]:
    rows = conn.execute(
        f"select task_no, step_no, attempt from {path}(%s, %s, %s::bigint[], %s::int[], %s::smallint[], %s::jsonb, %s)".encode(),
        [worker or own_worker(conn), random.randrange(10**9), *columns(sorted(held)), json.dumps(results or [None] * len(held)), want],
    ).fetchall()
    return [Held(*row) for row in rows]


both_paths = pytest.mark.parametrize("path", PATHS)


@both_paths
def test_a_step_waits_for_every_parent(conn: Conn, path: str) -> None:
    task = given_task(conn, "a -> c, b -> c")
    by_path(conn, path, [start(conn, task, "a")])
    assert ready(conn, task) == {"b"}
    by_path(conn, path, [start(conn, task, "b")])
    assert ready(conn, task) == {"c"}
    assert_invariants(conn)


@both_paths
def test_parents_that_end_together_unlock_their_child_once(conn: Conn, path: str) -> None:
    task = given_task(conn, "a -> d, b -> d, c -> d")
    by_path(conn, path, claim(conn))
    assert ready(conn, task) == {"d"}
    assert_invariants(conn)


@both_paths
def test_the_result_is_kept(conn: Conn, path: str) -> None:
    task = given_task(conn, "a, b")
    by_path(conn, path, claim(conn), results=[{"n": 1}, None])
    rows = conn.execute("select result::text from tasker_step where task_no = %s order by step_no", [task.no]).fetchall()
    assert rows == [('{"n": 1}',), ("null",)]


@both_paths
def test_an_earlier_attempts_error_is_gone_after_success(conn: Conn, path: str) -> None:
    task = given_task(conn, "a")
    fail(conn, task, "a", retryable=True, delay=0)
    by_path(conn, path, [start(conn, task, "a")])
    assert value(conn, "select error from tasker_step where task_no = %s", task.no) is None


@both_paths
@pytest.mark.parametrize("wrong", ["worker", "attempt", "state"])
def test_a_report_counts_only_from_the_worker_and_attempt_that_hold_the_step(conn: Conn, path: str, wrong: str) -> None:
    task = given_task(conn, "a -> b")
    held = start(conn, task, "a") if wrong != "state" else Held(task.no, 0, 0)
    before = states(conn, task)
    by_path(conn, path, [held._replace(attempt=held.attempt + 1) if wrong == "attempt" else held], worker=given_worker(conn) if wrong == "worker" else None)
    assert states(conn, task) == before
    assert value(conn, "select pending from tasker_step where task_no = %s and step_no = 1", task.no) == 1
    assert_invariants(conn)


@both_paths
def test_a_late_report_does_not_keep_the_others_of_its_call_from_counting(conn: Conn, path: str) -> None:
    task = given_task(conn, "a -> c, b -> c")
    late, good = start(conn, task, "a"), start(conn, task, "b")
    by_path(conn, path, [late._replace(attempt=9), good])
    assert states(conn, task) == {"a": "running", "b": "completed", "c": "pending"}
    assert_invariants(conn)


@both_paths
def test_the_same_report_twice_counts_once(conn: Conn, path: str) -> None:
    task = given_task(conn, "a -> c, b -> c")
    held = start(conn, task, "a")
    by_path(conn, path, [held, held])
    by_path(conn, path, [held])
    assert states(conn, task) == {"a": "completed", "b": "ready", "c": "pending"}
    assert history(conn, task, "a") == [("ready", "running"), ("running", "completed")]
    assert_invariants(conn)


@both_paths
def test_an_unlocked_child_is_handed_to_the_worker_that_unlocked_it(conn: Conn, path: str) -> None:
    task = given_task(conn, "a -> b -> c")
    [handed] = by_path(conn, path, [start(conn, task, "a")], want=1)
    assert handed == Held(task.no, 1, 1)
    assert states(conn, task) == {"a": "completed", "b": "running", "c": "pending"}
    assert history(conn, task, "b") == [("pending", "running")]
    assert value(conn, "select count(*) from tasker_ready") == 0
    assert_invariants(conn)


@both_paths
def test_without_room_an_unlocked_child_stands_in_the_queue(conn: Conn, path: str) -> None:
    task = given_task(conn, "a -> b, a -> c, a -> d")
    handed = by_path(conn, path, [start(conn, task, "a")], want=2)
    assert len(handed) == 2
    assert sorted(states(conn, task).values()) == ["completed", "ready", "running", "running"]
    assert_invariants(conn)


@both_paths
def test_a_task_completes_with_its_last_leaf_and_only_once(conn: Conn, path: str) -> None:
    task = given_task(conn, "a -> b, a -> c, a -> d -> e")
    for name in ("a", "d", "b", "e", "c"):
        assert task_state(conn, task) in ("pending", "running")
        held = start(conn, task, name)
        by_path(conn, path, [held])
        by_path(conn, path, [held])
    assert task_state(conn, task) == "completed"
    assert history(conn, task) == [("pending", "running"), ("running", "completed")]
    assert_invariants(conn)


@both_paths
def test_many_leaves_that_end_together_complete_their_tasks_once(conn: Conn, path: str) -> None:
    known = register(conn, definition("a, b, c, d, e"))
    tasks = [task_of(conn, known, "abcde") for _ in range(3)]
    by_path(conn, path, claim(conn))
    assert [task_state(conn, task) for task in tasks] == ["completed"] * 3
    assert [history(conn, task)[1:] for task in tasks] == [[("running", "completed")]] * 3
    assert_invariants(conn)


@both_paths
def test_a_child_of_higher_priority_keeps_its_rank(conn: Conn, path: str) -> None:
    low, high = given_task(conn, "a -> b"), given_task(conn, "a -> b", priority=3)
    by_path(conn, path, claim(conn))
    assert claim(conn, want=1)[0].task_no == high.no
    assert claim(conn, want=1)[0].task_no == low.no


@both_paths
def test_a_step_that_is_asked_to_stop_may_still_end_well(conn: Conn, path: str) -> None:
    task = given_task(conn, "a -> b")
    held = start(conn, task, "a")
    conn.execute("select tasker_cancel_step(%s, 'a', 'ann', null)", [task.id])
    by_path(conn, path, [held])
    assert states(conn, task) == {"a": "completed", "b": "ready"}


@both_paths
def test_a_report_on_a_task_that_has_ended_leaves_its_end_alone(conn: Conn, path: str) -> None:
    # Forbids: one odd row that makes a whole report fail again and again. Counts can only disagree after writes by hand.
    odd, sound = given_task(conn, "a"), given_task(conn, "a")
    held = claim(conn)
    conn.execute("update tasker_task set remaining = 0, state = 5, finished_at = tasker_clock() where task_no = %s", [odd.no])
    by_path(conn, path, held)
    assert (task_state(conn, odd), task_state(conn, sound)) == ("failed", "completed")
    assert history(conn, odd) == [("pending", "running")]


def test_a_report_of_many_goes_through_the_one_round_trip(conn: Conn) -> None:
    task = given_task(conn, "a -> f, b -> f, c -> f, d -> f, e -> f")
    taken = report(conn, claim(conn), want=10)
    assert taken == [Held(task.no, 5, 1)]
    assert_invariants(conn)


def test_hand_over_is_filled_up_from_the_queue(conn: Conn) -> None:
    first, second = given_task(conn, "a -> b"), given_task(conn, "a, b, c")
    held = [start(conn, first, "a")]
    taken = report(conn, held, want=3)
    assert [one.task_no for one in taken].count(first.no) == 1
    assert [one.task_no for one in taken].count(second.no) == 2


@pytest.mark.parametrize("seed", range(12))
def test_few_and_many_do_the_same(connect: Callable[..., Conn], conn: Conn, seed: int) -> None:
    """The same random history, told through either function, leaves the same rows behind."""
    dice = random.Random(seed)
    names = [f"s{no}" for no in range(10)]
    edges = [f"{names[dice.randrange(no)]} -> {names[no]}" for no in range(1, 10) for _ in range(dice.randint(0, 2))]
    bypass = dice.sample(names, 2)
    known = register(conn, definition(", ".join([*names, *edges])))
    pair = {path: task_of(conn, known, _names(conn, known), bypass_steps=bypass) for path in PATHS}
    while True:
        held = {path: _claimed(conn, task) for path, task in pair.items()}
        assert [one[1:] for one in held[PATHS[0]]] == [one[1:] for one in held[PATHS[1]]]
        if not held[PATHS[0]]:
            break
        dice.shuffle(numbers := [one.step_no for one in held[PATHS[0]]])
        chosen, failing = numbers[: dice.randint(1, len(numbers))], dice.random() < 0.15
        want = dice.choice([0, 100])
        for path, task in pair.items():
            mine = [one for one in held[path] if one.step_no in chosen]
            if failing:
                fail(conn, task, task.names[mine[0].step_no])
                mine = mine[1:]
            handed = by_path(conn, path, mine, want=want, results=[{"from": one.step_no} for one in mine])
            assert {one.step_no for one in handed} <= set(range(10))
        assert _rows(conn, pair[PATHS[0]]) == _rows(conn, pair[PATHS[1]])
    assert task_state(conn, pair[PATHS[0]]) == task_state(conn, pair[PATHS[1]])
    assert_invariants(conn)
    assert stale_rows(conn) == 0


def _names(conn: Conn, known: int) -> list[str]:
    return [row[0] for row in conn.execute("select name from tasker_template where definition_id = %s order by step_no", [known]).fetchall()]


def _claimed(conn: Conn, task: Task) -> list[Held]:
    claim(conn)
    rows = conn.execute("select task_no, step_no, attempts from tasker_step where task_no = %s and state = 2 order by step_no", [task.no]).fetchall()
    return [Held(*row) for row in rows]


def _rows(conn: Conn, task: Task) -> dict[str, Any]:
    """Everything that is written about a task but its number and the time."""
    return {
        "steps": conn.execute(
            "select step_no, state, pending, attempts, counted, bypass, worker_id, started_at is null, finished_at is null, result, error"
            " from tasker_step where task_no = %s order by step_no", [task.no],
        ).fetchall(),
        "task": conn.execute("select state, remaining, failed_count, cancelled_count, finished_at is null from tasker_task where task_no = %s", [task.no]).fetchall(),
        "ready": conn.execute("select step_no from tasker_ready where task_no = %s order by step_no", [task.no]).fetchall(),
        "history": sorted(
            conn.execute(
                "select coalesce(step_no, -1), from_state, to_state, coalesce(attempt, 0), coalesce(worker_id, 0) from tasker_history where task_no = %s", [task.no]
            ).fetchall()
        ),
        "claims": conn.execute(
            "select held.step_no from tasker_claim k, unnest(k.task_nos, k.step_nos) as held (task_no, step_no) where held.task_no = %s order by 1", [task.no]
        ).fetchall(),
    }


def test_the_children_of_a_skipped_child_go_on_in_the_same_call(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c, a -> d")
    skip_step(conn, task, "b")
    complete(conn, task, "a")
    assert states(conn, task) == {"a": "completed", "b": "skipped", "c": "ready", "d": "ready"}
    assert_invariants(conn)


def test_results_are_read_only_of_steps_that_are_satisfied(conn: Conn) -> None:
    task = given_task(conn, "a -> d, b -> d, c -> d")
    complete(conn, task, "a", result={"n": 1})
    skip_step(conn, task, "b")
    rows = conn.execute("select step_no, result from tasker_read_results(%s, %s)", [[task.no] * 4, [0, 1, 2, 3]]).fetchall()
    assert sorted(rows) == [(0, '{"n": 1}'), (1, "null")]


def test_what_the_steps_of_a_task_share_is_read_once(conn: Conn) -> None:
    task = given_task(conn, "a", context={"order": 7})
    rows = conn.execute("select task_id::text, context from tasker_read_tasks(%s)", [[task.no, 10**9]]).fetchall()
    assert rows == [(task.id, '{"order": 7}')]


def test_a_lost_lease_leaves_everything_as_it_was(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    worker = given_worker(conn)
    held = start(conn, task, "a", worker=worker)
    conn.execute("update tasker_worker set lease_until = tasker_clock() where worker_id = %s", [worker])
    with refused("WF003"):
        report(conn, [held], worker=worker)
    assert states(conn, task) == {"a": "running", "b": "pending"}
