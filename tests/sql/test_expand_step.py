"""A map step makes one item per element of a list known only at run time, waits for them, and ends with the list of their results."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from graphs import (
    Conn,
    Held,
    Task,
    attempts,
    cancel_step,
    cancel_task,
    claim,
    complete,
    expand,
    expand_held,
    fail,
    fail_all,
    given_task,
    given_worker,
    history,
    move_clock,
    now,
    own_worker,
    readiness,
    ready,
    reap,
    refused,
    report,
    resolve_dependencies,
    resolve_step,
    retry_downstream,
    retry_step,
    retry_task,
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


def given_map(conn: Conn, items: Any, graph: str = "list -> m -> after", *, for_each: str = "list", **template: Any) -> Task:
    """A task whose list step has ended with `items`, so that its map step is ready."""
    task = given_task(conn, graph, steps={"m": {"for_each": for_each, "handler_class": "flows.work", **template}})
    complete(conn, task, "list", result=items)
    return task


def result(conn: Conn, task: Task, name: str) -> Any:
    return value(conn, "select result from tasker_steps where task_no = %s and name = %s", task.no, name)


def error(conn: Conn, task: Task, name: str) -> dict[str, Any]:
    found: dict[str, Any] = value(conn, "select error from tasker_steps where task_no = %s and name = %s", task.no, name)
    return found


def test_every_element_becomes_an_item_that_is_ready(conn: Conn) -> None:
    task = given_map(conn, ["x", {"y": 1}, None])
    assert expand(conn, task, "m") == ["m[0]", "m[1]", "m[2]"]
    assert ready(conn, task) == {"m[0]", "m[1]", "m[2]"}
    items = conn.execute("select item from tasker_steps where task_no = %s and item_no is not null order by item_no", [task.no]).fetchall()
    assert items == [("x",), ({"y": 1},), (None,)]
    assert states(conn, task)["m"] == "pending"
    assert waiting_for(conn, task, "m") == "3 of its 3 items"
    assert_invariants(conn)


def test_the_map_step_ends_with_its_items_results_in_their_order(conn: Conn) -> None:
    task = given_map(conn, [1, 2, 3])
    expand(conn, task, "m")
    for name in ("m[2]", "m[0]", "m[1]"):
        complete(conn, task, name, result={"of": name})
    assert states(conn, task)["m"] == "ready"
    expand(conn, task, "m")
    assert result(conn, task, "m") == [{"of": "m[0]"}, {"of": "m[1]"}, {"of": "m[2]"}]
    complete(conn, task, "after")
    assert task_state(conn, task) == "completed"
    assert_invariants(conn)


def test_the_last_item_hands_the_map_step_to_its_engine(conn: Conn) -> None:
    task = given_map(conn, [1])
    expand(conn, task, "m")
    held = running(conn, task, "m[0]")
    assert report(conn, [held], want=1) == [Held(task.no, task.step_no("m"), 1)]


def test_an_empty_list_ends_the_map_step_at_once(conn: Conn) -> None:
    task = given_map(conn, [])
    assert expand(conn, task, "m") == []
    assert result(conn, task, "m") == []
    assert ready(conn, task) == {"after"}
    assert_invariants(conn)


def test_the_list_may_stand_within_the_result(conn: Conn) -> None:
    task = given_map(conn, {"page": {"rows": [7, 8]}}, for_each="list.page.rows")
    assert expand(conn, task, "m") == ["m[0]", "m[1]"]


def test_a_map_step_counts_one_attempt_and_starts_once(conn: Conn) -> None:
    task = given_map(conn, [1])
    expand(conn, task, "m")
    complete(conn, task, "m[0]")
    expand(conn, task, "m")
    assert attempts(conn, task)["m"] == 1
    assert history(conn, task, "m") == [("ready", "running"), ("running", "pending"), ("ready", "running"), ("running", "completed")]
    events = conn.execute("select type, step_name, attempt from tasker_read_events(0, 1000000000) where step_name like 'm%%' order by event_id").fetchall()
    assert events == [
        ("step.started", "m", 1), ("step.started", "m[0]", 1), ("step.completed", "m[0]", 1), ("step.completed", "m", 1),
    ]  # fmt: skip


def test_a_map_step_that_runs_once_more_began_when_it_made_its_items_anew(conn: Conn) -> None:
    task = given_map(conn, [1], "list -> m")
    expand(conn, task, "m")
    complete(conn, task, "m[0]")
    expand(conn, task, "m")
    move_clock(conn, hours=1)
    retry_downstream(conn, task, "m")
    again = now(conn)
    expand(conn, task, "m")
    report(conn, claim(conn))
    expand(conn, task, "m")
    assert value(conn, "select started_at from tasker_steps where task_no = %s and name = 'm'", task.no) >= again


def test_a_map_step_that_runs_once_more_waits_for_the_items_it_makes_now(conn: Conn) -> None:
    task = given_map(conn, [1, 2, 3], "list -> m")
    expand(conn, task, "m")
    complete(conn, task, "m[0]", "m[1]", "m[2]")
    expand(conn, task, "m")
    retry_downstream(conn, task, "list")
    complete(conn, task, "list", result=[1, 2])
    expand(conn, task, "m")
    assert waiting_for(conn, task, "m") == "2 of its 2 items"
    counts = [readiness(conn, task)["m"][name] for name in ("total_parents", "satisfied_parents")]
    assert counts == [3, 1], "the list, and its items"


def test_a_map_step_took_as_long_as_its_items(conn: Conn) -> None:
    task = given_map(conn, [1])
    begun = value(conn, "select tasker_clock()")
    expand(conn, task, "m")
    conn.execute("select set_config('tasker.clock_offset', '60 seconds', false)")
    complete(conn, task, "m[0]")
    expand(conn, task, "m")
    started, finished = conn.execute("select started_at, finished_at from tasker_steps where task_no = %s and name = 'm'", [task.no]).fetchone() or (None, None)
    assert abs((started - begun).total_seconds()) < 30
    assert (finished - started).total_seconds() >= 59
    duration = value(conn, "select duration from tasker_read_events(0, 1000000000) where type = 'step.completed' and step_name = 'm'")
    assert duration >= 59_000


def test_a_map_over_a_map_reads_its_results(conn: Conn) -> None:
    task = given_task(conn, "list -> m -> n", steps={name: {"for_each": of, "handler_class": "flows.work"} for name, of in (("m", "list"), ("n", "m"))})
    complete(conn, task, "list", result=[1, 2])
    expand(conn, task, "m")
    complete(conn, task, "m[0]", result="a")
    complete(conn, task, "m[1]", result="b")
    expand(conn, task, "m")
    assert expand(conn, task, "n") == ["n[0]", "n[1]"]
    assert value(conn, "select item from tasker_steps where task_no = %s and name = 'n[1]'", task.no) == "b"
    assert_invariants(conn)


# ---- what is no list, and what is too long


@pytest.mark.parametrize(
    ("given", "words"),
    [(None, "nothing"), ({"a": 1}, "an object"), ("abc", "a string"), (3, "a number"), (True, "a boolean")],
)
def test_what_is_no_list_fails_the_map_step(conn: Conn, given: Any, words: str) -> None:
    task = given_map(conn, given)
    expand(conn, task, "m")
    assert states(conn, task)["m"] == "failed"
    assert error(conn, task, "m")["type"] == "not_a_list"
    assert error(conn, task, "m")["message"] == f"list, which gives this step its items, is {words}, not a list"
    assert task_state(conn, task) == "failed"
    assert_invariants(conn)


def test_a_place_that_is_not_there_is_no_list(conn: Conn) -> None:
    task = given_map(conn, {"rows": []}, for_each="list.items")
    expand(conn, task, "m")
    assert error(conn, task, "m")["message"] == "list.items, which gives this step its items, is nothing, not a list"


def test_a_skipped_source_gives_nothing_to_work_on(conn: Conn) -> None:
    task = given_task(conn, "list -> m", steps={"m": {"for_each": "list", "handler_class": "flows.work"}}, bypass_steps=["list"])
    conn.execute("select tasker_wake_due(10)")
    expand(conn, task, "m")
    assert result(conn, task, "m") == []
    assert task_state(conn, task) == "completed"


def test_ten_thousand_items_are_made_and_one_more_is_refused(conn: Conn) -> None:
    task = given_map(conn, list(range(10_000)))
    assert len(expand(conn, task, "m")) == 10_000
    task = given_map(conn, list(range(10_001)))
    expand(conn, task, "m")
    assert (error(conn, task, "m")["type"], error(conn, task, "m")["message"]) == ("too_many_items", "the list has 10001 items; the limit is 10000")


@pytest.mark.parametrize("statistics", ["none", "of a small task"])
def test_what_ten_thousand_items_wait_for_is_told_at_once(conn: Conn, statistics: str) -> None:
    """Forbidden: a plan that joins the steps of a task to each other one by one, which takes minutes here."""
    if statistics != "none":
        expand(conn, given_map(conn, list(range(100))), "m")
        conn.execute("analyze")
    task = given_map(conn, list(range(10_000)))
    expand(conn, task, "m")
    conn.execute("set statement_timeout = '5s'")
    told = readiness(conn, task)
    conn.execute("reset statement_timeout")
    assert told["m"]["waiting_for"] == "10000 of its 10000 items"
    assert (told["m"]["total_parents"], told["m[9999]"]["state"], len(told)) == (10_001, "ready", 10_003)


def test_a_task_has_at_most_fifty_thousand_steps(conn: Conn) -> None:
    maps = ["m", "n"]
    task = given_task(conn, "list -> m, list -> n", steps={name: {"for_each": "list", "handler_class": "flows.work"} for name in maps})
    complete(conn, task, "list", result=[1, 2, 3])
    conn.execute("update tasker_task set item_count = 49994 where task_no = %s", [task.no])
    expand(conn, task, "m")
    expand(conn, task, "n")
    assert states(conn, task)["m"] == "pending"
    assert error(conn, task, "n")["message"] == "the task would have 50003 steps; the limit is 50000"


def test_results_that_are_too_large_together_fail_the_map_step(conn: Conn) -> None:
    task = given_map(conn, list(range(20)))
    names = expand(conn, task, "m")
    conn.execute("update tasker_step set result = to_jsonb(repeat('x', 900000)) where task_no = %s and map_no is not null", [task.no])
    held = claim(conn, want=20)
    assert len(held) == len(names)
    conn.execute("update tasker_step set state = 4, worker_id = null, finished_at = now() where task_no = %s and step_no < -1", [task.no])
    conn.execute("update tasker_step set pending = 1 where task_no = %s and step_no = %s", [task.no, task.step_no("m")])
    complete(conn, task, "m[19]", result="x" * 900_000)
    expand(conn, task, "m")
    assert error(conn, task, "m")["type"] == "result_too_large"
    assert states(conn, task)["after"] == "pending"


# ---- items that go wrong, and operators


def test_a_failed_item_blocks_the_join_and_a_retry_leads_on(conn: Conn) -> None:
    task = given_map(conn, [1, 2])
    expand(conn, task, "m")
    complete(conn, task, "m[0]", result=1)
    fail(conn, task, "m[1]")
    assert task_state(conn, task) == "failed"
    assert waiting_for(conn, task, "m") == "a retry of m[1]"
    assert_invariants(conn)
    assert retry_step(conn, task, "m[1]") == "ready"
    complete(conn, task, "m[1]", result=2)
    expand(conn, task, "m")
    assert result(conn, task, "m") == [1, 2]
    assert_invariants(conn)


def test_the_other_items_go_on_when_one_has_failed(conn: Conn) -> None:
    task = given_map(conn, [1, 2, 3])
    expand(conn, task, "m")
    fail(conn, task, "m[0]")
    assert task_state(conn, task) == "running"
    assert ready(conn, task) == {"m[1]", "m[2]"}
    complete(conn, task, "m[1]", "m[2]")
    assert task_state(conn, task) == "failed"
    assert_invariants(conn)


def test_items_made_after_a_failure_are_waited_for(conn: Conn) -> None:
    task = given_map(conn, [1, 2], "list -> m, other")
    fail(conn, task, "other")
    expand(conn, task, "m")
    complete(conn, task, "m[0]")
    assert task_state(conn, task) == "running"
    assert_invariants(conn)
    complete(conn, task, "m[1]")
    expand(conn, task, "m")
    assert task_state(conn, task) == "failed"
    assert_invariants(conn)


def test_a_retry_of_the_task_takes_up_every_failed_item_with_the_templates_attempts(conn: Conn) -> None:
    task = given_map(conn, [1, 2], retry_limit=2)
    expand(conn, task, "m")
    fail(conn, task, "m[0]")
    fail(conn, task, "m[1]")
    assert retry_task(conn, task) == "running"
    assert ready(conn, task) == {"m[0]", "m[1]"}
    assert {row["retry_limit"] for name, row in readiness(conn, task).items() if name.startswith("m[")} == {3}
    assert_invariants(conn)


def test_an_item_is_retried_by_its_templates_back_off(conn: Conn) -> None:
    task = given_map(conn, [1], backoff={"base": 60.0, "multiplier": 2.0, "cap": 600.0, "jitter": 0.0})
    expand(conn, task, "m")
    fail(conn, task, "m[0]", retryable=True)
    assert states(conn, task)["m[0]"] == "retrying"
    wait = value(conn, "select extract(epoch from run_at - tasker_clock())::float8 from tasker_delayed where task_no = %s", task.no)
    assert 55 < wait <= 60


def test_a_skipped_item_gives_null_and_a_resolved_one_its_result(conn: Conn) -> None:
    task = given_map(conn, [1, 2, 3])
    expand(conn, task, "m")
    skip_step(conn, task, "m[0]")
    resolve_step(conn, task, "m[1]", "by hand")
    complete(conn, task, "m[2]", result="done")
    expand(conn, task, "m")
    assert result(conn, task, "m") == [None, "by hand", "done"]
    assert_invariants(conn)


def test_cancelling_the_task_reaches_the_items(conn: Conn) -> None:
    task = given_map(conn, [1, 2, 3])
    expand(conn, task, "m")
    held = running(conn, task, "m[1]")
    assert cancel_task(conn, task) == "running"
    assert states(conn, task) == {"list": "completed", "m": "cancelled", "after": "cancelled", "m[0]": "cancelled", "m[1]": "running", "m[2]": "cancelled"}
    fail_all(conn, [held], worker=own_worker(conn))
    assert task_state(conn, task) == "cancelled"
    assert_invariants(conn)


def test_a_cancelled_item_takes_what_waits_for_it_along(conn: Conn) -> None:
    task = given_map(conn, [1, 2])
    expand(conn, task, "m")
    cancel_step(conn, task, "m[0]")
    assert states(conn, task) == {"list": "completed", "m": "cancelled", "after": "cancelled", "m[0]": "cancelled", "m[1]": "ready"}
    complete(conn, task, "m[1]")
    assert task_state(conn, task) == "cancelled"
    assert_invariants(conn)


def test_a_map_step_that_is_asked_to_stop_makes_no_items(conn: Conn) -> None:
    task = given_map(conn, [1, 2])
    held = start(conn, task, "m")
    cancel_step(conn, task, "m")
    expand_held(conn, held, worker=own_worker(conn))
    assert states(conn, task) == {"list": "completed", "m": "cancelled", "after": "cancelled"}
    assert_invariants(conn)


def test_a_bypassed_map_step_makes_no_items(conn: Conn) -> None:
    task = given_task(conn, "list -> m -> after", steps={"m": {"for_each": "list", "handler_class": "flows.work"}}, bypass_steps=["m"])
    complete(conn, task, "list", result=[1, 2])
    assert states(conn, task) == {"list": "completed", "m": "skipped", "after": "ready"}


def test_a_resolved_map_step_lets_its_children_go_on_and_its_items_end(conn: Conn) -> None:
    task = given_map(conn, [1, 2])
    expand(conn, task, "m")
    resolve_step(conn, task, "m", [0])
    complete(conn, task, "after", "m[0]", "m[1]")
    assert task_state(conn, task) == "completed"
    assert history(conn, task, "m")[-1] == ("pending", "resolved")
    assert_invariants(conn)


def test_moves_by_hand_come_to_the_same(conn: Conn) -> None:
    task = given_map(conn, [1, 2])
    for name in expand(conn, task, "m"):
        step_id = value(conn, "select step_id from tasker_steps where task_no = %s and name = %s", task.no, name)
        for current, target in (("ready", "running"), ("running", "completed")):
            assert value(conn, "select tasker_update_step_status(%s, %s, %s)", step_id, current, target)
        if name == "m[0]":
            assert resolve_dependencies(conn, task) == set()
            assert_invariants(conn)
    assert resolve_dependencies(conn, task) == {"m"}
    expand(conn, task, "m")
    assert result(conn, task, "m") == [None, None]
    assert_invariants(conn)


def test_nobody_can_send_a_running_step_back_to_wait(conn: Conn) -> None:
    task = given_map(conn, [1])
    start(conn, task, "m")
    with refused("WF002"):
        update_status(conn, task, "m", "running", "pending")


@pytest.mark.parametrize("name", ["m[2]", "m[-1]", "m[00]", "m[0", "list[0]", "m[0][0]", "n[0]"])
def test_an_item_that_is_not_there_is_not_found(conn: Conn, name: str) -> None:
    task = given_map(conn, [1, 2])
    expand(conn, task, "m")
    with refused("WF001"):
        retry_step(conn, task, name)


# ---- the fence, deaths, and what happens at once


@pytest.mark.parametrize("wrong", ["worker", "attempt", "state"])
def test_a_late_report_makes_no_items(conn: Conn, wrong: str) -> None:
    task = given_map(conn, [1, 2])
    held, worker = start(conn, task, "m"), own_worker(conn)
    if wrong == "worker":
        worker = given_worker(conn)
    elif wrong == "attempt":
        held = held._replace(attempt=2)
    else:
        fail(conn, task, "m")
    before = states(conn, task)
    expand_held(conn, held, worker=worker)
    assert states(conn, task) == before
    assert_invariants(conn)


def test_the_same_report_twice_makes_the_items_once(conn: Conn) -> None:
    task = given_map(conn, [1, 2])
    held = start(conn, task, "m")
    for _ in range(2):
        expand_held(conn, held, worker=own_worker(conn))
    assert len(states(conn, task)) == 5
    assert_invariants(conn)
    assert stale_rows(conn) == 0


def test_an_engine_that_dies_before_the_items_are_made_loses_nothing(conn: Conn) -> None:
    task = given_map(conn, [1, 2])
    dead, alive = given_worker(conn), given_worker(conn)
    start(conn, task, "m", worker=dead)
    conn.execute("update tasker_worker set lease_until = tasker_clock() where worker_id = %s", [dead])
    assert reap(conn, worker=alive) == 1
    assert expand(conn, task, "m") == ["m[0]", "m[1]"]
    complete(conn, task, "m[0]", "m[1]")
    expand(conn, task, "m")
    assert states(conn, task)["m"] == "completed"
    assert_invariants(conn)


def test_an_engine_that_dies_when_the_items_are_done_does_not_make_them_again(conn: Conn) -> None:
    task = given_map(conn, [1, 2])
    expand(conn, task, "m")
    complete(conn, task, "m[0]", "m[1]", result=5)
    dead, alive = given_worker(conn), given_worker(conn)
    start(conn, task, "m", worker=dead)
    conn.execute("update tasker_worker set lease_until = tasker_clock() where worker_id = %s", [dead])
    assert reap(conn, worker=alive) == 1
    expand(conn, task, "m")
    assert result(conn, task, "m") == [5, 5]
    assert len(states(conn, task)) == 5
    assert_invariants(conn)


def at_once(*calls: Callable[[], object]) -> list[BaseException]:
    """What the calls raised, made in the same moment."""
    raised: list[BaseException] = []
    together = threading.Barrier(len(calls))

    def make(call: Callable[[], object]) -> None:
        together.wait()
        try:
            call()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=make, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def conflicts(raised: list[BaseException]) -> bool:
    return all(getattr(error, "sqlstate", None) in ("40001", "40P01") for error in raised)


def test_two_map_steps_of_a_task_at_once_number_their_items_apart(conn: Conn, connect: Callable[..., Conn]) -> None:
    """Forbidden: that both read the same lowest number, and one of them fails for ever or overwrites the other's items."""
    sessions = [connect(), connect()]
    for _ in range(20):
        task = given_task(conn, "list -> m, list -> n", steps={name: {"for_each": "list", "handler_class": "flows.work"} for name in ("m", "n")})
        complete(conn, task, "list", result=[1, 2, 3])
        held, worker = [start(conn, task, name) for name in ("m", "n")], own_worker(conn)
        calls = [lambda one=one, session=session: expand_held(session, one, worker=worker) for one, session in zip(held, sessions, strict=True)]  # noqa: B023
        while raised := at_once(*calls):
            assert conflicts(raised)
        assert len(states(conn, task)) == 9
    assert_invariants(conn)


def test_a_first_failure_while_items_are_made_counts_them(conn: Conn, connect: Callable[..., Conn]) -> None:
    """Forbidden: that the failure counts the task anew without the items that are coming into being, so that it settles too early or never."""
    sessions = [connect(), connect()]
    for _ in range(20):
        task = given_map(conn, list(range(30)), "list -> m, other")
        held, other, worker = start(conn, task, "m"), start(conn, task, "other"), own_worker(conn)
        calls = [lambda: expand_held(sessions[0], held, worker=worker), lambda: fail_all(sessions[1], [other], worker=worker)]  # noqa: B023
        while raised := at_once(*calls):
            assert conflicts(raised)
        assert_invariants(conn)
        rows = claim(conn, want=100)
        assert len(rows) == 30
        report(conn, rows[:17])
        assert task_state(conn, task) == "running"
        [last] = report(conn, rows[17:], want=1)
        expand_held(conn, last, worker=worker)
        assert task_state(conn, task) == "failed"
    assert_invariants(conn)


def test_items_that_end_while_the_task_is_cancelled_leave_no_deadlock_and_no_rest(conn: Conn, connect: Callable[..., Conn]) -> None:
    """Forbidden: that the items' engine holds an item and waits for the map step, while the operator holds that and waits for the item."""
    sessions = [connect(), connect()]
    for _ in range(20):
        task = given_map(conn, list(range(40)))
        expand(conn, task, "m")
        held, worker = claim(conn, want=40), own_worker(conn)
        raised = at_once(lambda: report(sessions[0], held, worker=worker), lambda: cancel_task(sessions[1], task))  # noqa: B023
        assert raised == [], json.dumps([str(error) for error in raised])
        fail_all(conn, held, worker=worker)
        if task_state(conn, task) != "cancelled":
            expand(conn, task, "m")
        assert_invariants(conn)
