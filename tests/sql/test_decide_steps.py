"""A decision chooses among its children: the others are passed over, and so is what only they lead to; joins wait for what really runs."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from graphs import (
    Conn,
    Held,
    Task,
    cancel_step,
    cancel_task,
    complete,
    decide,
    decide_all,
    fail,
    given_task,
    given_worker,
    history,
    ready,
    refused,
    resolve_dependencies,
    resolve_step,
    retry_step,
    running,
    skip_step,
    start,
    states,
    task_state,
    update_status,
    value,
    waiting_for,
)
from invariants import assert_invariants, stale_rows

DECISION = {"decision": True, "handler_class": "flows.decide"}


def given_decision(conn: Conn, graph: str, *, decisions: tuple[str, ...] = ("d",), **options: Any) -> Task:
    return given_task(conn, graph, steps=dict.fromkeys(decisions, DECISION), **options)


def of(conn: Conn, task: Task, *names: str) -> list[str]:
    found = states(conn, task)
    return [found[name] for name in names]


def reason(conn: Conn, task: Task, name: str) -> str | None:
    query = "select reason from tasker_history where task_no = %s and step_no = %s order by event_id desc limit 1"
    found: str | None = value(conn, query, task.no, task.step_no(name))
    return found


def test_only_the_chosen_branch_runs_and_the_join_waits_for_it_alone(conn: Conn) -> None:
    task = given_decision(conn, "d -> a -> join, d -> b -> join, d -> c -> join")
    decide(conn, task, "d", "b")
    assert of(conn, task, "d", "a", "b", "c", "join") == ["completed", "skipped", "ready", "skipped", "pending"]
    assert reason(conn, task, "a") == "not chosen by d"
    complete(conn, task, "b", "join")
    assert task_state(conn, task) == "completed"
    assert_invariants(conn)


def test_the_result_is_what_was_chosen(conn: Conn) -> None:
    task = given_decision(conn, "d -> a, d -> b")
    decide(conn, task, "d", "b", "a")
    assert value(conn, "select result from tasker_steps where task_no = %s and name = 'd'", task.no) == ["b", "a"]
    assert ready(conn, task) == {"a", "b"}


def test_what_only_passed_over_steps_lead_to_is_passed_over_down_to_the_end(conn: Conn) -> None:
    task = given_decision(conn, "d -> a -> b -> c, d -> x")
    decide(conn, task, "d", "x")
    assert of(conn, task, "a", "b", "c", "x") == ["skipped", "skipped", "skipped", "ready"]
    assert reason(conn, task, "c") == "every step before it was passed over"
    complete(conn, task, "x")
    assert task_state(conn, task) == "completed"
    assert_invariants(conn)


def test_a_decision_may_choose_nothing_and_the_task_is_done(conn: Conn) -> None:
    task = given_decision(conn, "d -> a -> join, d -> b -> join")
    decide(conn, task, "d")
    assert of(conn, task, "a", "b", "join") == ["skipped"] * 3
    assert task_state(conn, task) == "completed"
    assert history(conn, task)[-1] == ("running", "completed")
    assert_invariants(conn)


def test_a_step_behind_a_passed_over_one_runs_when_another_parent_did(conn: Conn) -> None:
    task = given_decision(conn, "d -> a -> join, d -> b, other -> join")
    decide(conn, task, "d", "b")
    assert waiting_for(conn, task, "join") == "other"
    complete(conn, task, "other")
    assert ready(conn, task) == {"b", "join"}


def test_the_other_parent_may_be_done_first(conn: Conn) -> None:
    task = given_decision(conn, "d -> a -> join, d -> b, other -> join")
    complete(conn, task, "other")
    decide(conn, task, "d", "b")
    assert of(conn, task, "a", "join") == ["skipped", "ready"]
    assert_invariants(conn)


def test_a_step_that_was_not_chosen_is_skipped_whatever_else_it_waits_for(conn: Conn) -> None:
    task = given_decision(conn, "d -> a -> z, other -> a, d -> b")
    decide(conn, task, "d", "b")
    assert of(conn, task, "a", "z") == ["skipped", "skipped"]
    complete(conn, task, "other", "b")
    assert of(conn, task, "a", "z") == ["skipped", "skipped"]
    assert history(conn, task, "a") == [("pending", "skipped")]
    assert task_state(conn, task) == "completed"
    assert_invariants(conn)


def test_a_step_must_be_chosen_by_every_decision_it_depends_on(conn: Conn) -> None:
    task = given_decision(conn, "d -> a, e -> a, d -> x, e -> y", decisions=("d", "e"))
    decide(conn, task, "d", "a")
    assert of(conn, task, "a", "x") == ["pending", "skipped"]
    decide(conn, task, "e", "y")
    assert of(conn, task, "a", "y") == ["skipped", "ready"]
    assert_invariants(conn)


def test_decisions_may_follow_decisions(conn: Conn) -> None:
    task = given_decision(conn, "d -> e -> a -> join, e -> b -> join, d -> c -> join", decisions=("d", "e"))
    decide(conn, task, "d", "e")
    decide(conn, task, "e", "b")
    complete(conn, task, "b")
    assert of(conn, task, "a", "b", "c", "join") == ["skipped", "completed", "skipped", "ready"]
    assert_invariants(conn)


def test_a_decision_that_is_passed_over_passes_its_children_over(conn: Conn) -> None:
    task = given_decision(conn, "d -> e -> a, e -> b, d -> c", decisions=("d", "e"))
    decide(conn, task, "d", "c")
    assert of(conn, task, "e", "a", "b") == ["skipped"] * 3


def test_a_bypassed_step_of_the_chosen_branch_lets_its_children_go_on(conn: Conn) -> None:
    task = given_decision(conn, "d -> a -> z, d -> b", bypass_steps=["a"])
    decide(conn, task, "d", "a")
    assert of(conn, task, "a", "b", "z") == ["skipped", "skipped", "ready"]
    assert_invariants(conn)


def test_a_bypassed_step_that_is_not_chosen_takes_what_follows_along_once(conn: Conn) -> None:
    task = given_decision(conn, "d -> a -> z, other -> a, d -> b", bypass_steps=["a"])
    decide(conn, task, "d", "b")
    complete(conn, task, "other")
    assert of(conn, task, "a", "z") == ["skipped", "skipped"]
    assert history(conn, task, "z") == [("pending", "skipped")]
    assert_invariants(conn)


def test_a_failed_parent_still_blocks_a_join_whose_other_parents_were_passed_over(conn: Conn) -> None:
    task = given_decision(conn, "d -> a -> join, d -> b -> join")
    decide(conn, task, "d", "b")
    fail(conn, task, "b")
    assert of(conn, task, "a", "join") == ["skipped", "pending"]
    assert task_state(conn, task) == "failed"
    retry_step(conn, task, "b")
    complete(conn, task, "b", "join")
    assert task_state(conn, task) == "completed"
    assert_invariants(conn)


def test_passing_over_a_step_that_a_failure_blocks_frees_what_follows_it(conn: Conn) -> None:
    task = given_decision(conn, "f -> x -> j, d -> x, d -> y -> j")
    fail(conn, task, "f")
    decide(conn, task, "d", "y")
    assert of(conn, task, "x", "y", "j") == ["skipped", "ready", "pending"]
    complete(conn, task, "y", "j")
    assert of(conn, task, "j") == ["completed"]
    assert task_state(conn, task) == "failed"
    assert_invariants(conn)


def test_a_decision_in_a_task_that_is_to_stop_moves_nothing_that_was_cancelled(conn: Conn) -> None:
    task = given_decision(conn, "d -> a, d -> b")
    held = start(conn, task, "d")
    cancel_task(conn, task)
    decide_all(conn, [held], [["a"]], worker=value(conn, "select max(worker_id) from tasker_worker"))
    assert of(conn, task, "d", "a", "b") == ["completed", "cancelled", "cancelled"]
    assert task_state(conn, task) == "cancelled"
    assert_invariants(conn)


def test_a_cancelled_child_stays_cancelled(conn: Conn) -> None:
    task = given_decision(conn, "d -> a -> z, d -> b")
    cancel_step(conn, task, "a")
    decide(conn, task, "d", "b")
    assert of(conn, task, "a", "z", "b") == ["cancelled", "cancelled", "ready"]
    assert_invariants(conn)


# ---- the fence


@pytest.mark.parametrize("wrong", ["worker", "attempt", "state"])
def test_a_late_report_changes_nothing(conn: Conn, wrong: str) -> None:
    task = given_decision(conn, "d -> a, d -> b")
    held = start(conn, task, "d")
    worker = value(conn, "select max(worker_id) from tasker_worker")
    if wrong == "worker":
        worker = given_worker(conn)
    elif wrong == "attempt":
        held = held._replace(attempt=held.attempt + 1)
    else:
        fail(conn, task, "d")
    before = states(conn, task)
    decide_all(conn, [held], [["a"]], worker=worker)
    assert states(conn, task) == before
    assert_invariants(conn)


def test_the_same_report_twice_counts_once(conn: Conn) -> None:
    task = given_decision(conn, "d -> a -> join, d -> b -> join")
    held = running(conn, task, "d")
    worker = value(conn, "select max(worker_id) from tasker_worker")
    for chosen in (["a"], ["b"]):
        decide_all(conn, [held], [chosen], worker=worker)
    assert of(conn, task, "a", "b") == ["ready", "skipped"]
    assert_invariants(conn)
    assert stale_rows(conn) == 0


@pytest.mark.parametrize("choice", ["a", {"a": 1}, [1], [None], ["z"], ["a", "join"]])
def test_a_choice_that_is_no_list_of_children_is_refused_and_nothing_moves(conn: Conn, choice: Any) -> None:
    task = given_decision(conn, "d -> a -> join, d -> b -> join")
    held = running(conn, task, "d")
    with refused("22023"):
        decide_all(conn, [held], [choice], worker=value(conn, "select max(worker_id) from tasker_worker"))
    assert of(conn, task, "d", "a", "b", "join") == ["running", "pending", "pending", "pending"]


def test_many_decisions_are_reported_at_once(conn: Conn) -> None:
    tasks = [given_decision(conn, "d -> a, d -> b") for _ in range(5)]
    held = [Held(task.no, task.step_no("d"), start(conn, task, "d").attempt) for task in tasks]
    decide_all(conn, held, [["a"], ["b"], [], ["a", "b"], ["a"]], worker=value(conn, "select max(worker_id) from tasker_worker"))
    assert [of(conn, task, "a", "b") for task in tasks] == [
        ["ready", "skipped"], ["skipped", "ready"], ["skipped", "skipped"], ["ready", "ready"], ["ready", "skipped"],
    ]  # fmt: skip


# ---- operators


def test_a_person_who_resolves_a_decision_decides(conn: Conn) -> None:
    task = given_decision(conn, "d -> a -> join, d -> b -> join")
    fail(conn, task, "d")
    resolve_step(conn, task, "d", ["a"])
    assert of(conn, task, "d", "a", "b", "join") == ["resolved", "ready", "skipped", "pending"]
    complete(conn, task, "a", "join")
    assert task_state(conn, task) == "completed"
    assert_invariants(conn)


def test_a_person_cannot_choose_what_is_no_child(conn: Conn) -> None:
    task = given_decision(conn, "d -> a -> join, d -> b")
    with refused("22023"):
        resolve_step(conn, task, "d", ["join"])
    assert of(conn, task, "d", "a", "b") == ["ready", "pending", "pending"]


def test_after_a_decision_that_a_person_skips_all_children_go_on(conn: Conn) -> None:
    task = given_decision(conn, "d -> a, d -> b")
    skip_step(conn, task, "d")
    assert ready(conn, task) == {"a", "b"}


def test_a_step_that_a_person_skips_counts_as_run(conn: Conn) -> None:
    task = given_decision(conn, "d -> a -> z, d -> b")
    decide(conn, task, "d", "a")
    skip_step(conn, task, "a")
    assert of(conn, task, "a", "z") == ["skipped", "ready"]


def test_moves_by_hand_come_to_the_same(conn: Conn) -> None:
    task = given_decision(conn, "d -> a -> x -> join, d -> b -> join, d -> c")
    start(conn, task, "d")
    conn.execute("update tasker_step set result = '[\"b\"]' where task_no = %s and step_no = %s", [task.no, task.step_no("d")])
    update_status(conn, task, "d", "running", "completed")
    assert resolve_dependencies(conn, task) == {"b"}
    assert of(conn, task, "a", "x", "c", "join") == ["skipped", "skipped", "skipped", "pending"]
    assert resolve_dependencies(conn, task) == set()
    assert_invariants(conn)


def test_a_decision_moved_by_hand_without_a_result_has_chosen_all(conn: Conn) -> None:
    task = given_decision(conn, "d -> a, d -> b")
    start(conn, task, "d")
    update_status(conn, task, "d", "running", "completed")
    assert resolve_dependencies(conn, task) == {"a", "b"}


# ---- at once


def test_two_decisions_at_once_see_each_other(conn: Conn, connect: Callable[..., Conn]) -> None:
    """Both pass over a parent of the same join. Forbidden: that each takes the other's parent for one that still runs, so that the join runs."""
    for _ in range(20):
        task = given_decision(conn, "d -> a -> join, d -> x, e -> b -> join, e -> y", decisions=("d", "e"))
        held = [start(conn, task, name) for name in ("d", "e")]
        worker = value(conn, "select max(worker_id) from tasker_worker")
        together = threading.Barrier(2)

        def report(one: Held, chosen: str, session: Conn, together: threading.Barrier = together, worker: int = worker) -> None:
            together.wait()
            decide_all(session, [one], [[chosen]], worker=worker)

        threads = [threading.Thread(target=report, args=(one, chosen, connect())) for one, chosen in zip(held, "xy", strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert of(conn, task, "d", "e", "a", "b", "join") == ["completed", "completed", "skipped", "skipped", "skipped"]
        complete(conn, task, "x", "y")
        assert task_state(conn, task) == "completed"
    assert_invariants(conn)
