"""`tasker_pause_task` and `tasker_resume_task`: what runs may end, nothing else starts."""

import threading
from collections.abc import Callable

from graphs import (
    Conn,
    cancel_task,
    claim,
    complete,
    fail,
    given_task,
    given_worker,
    history,
    move_clock,
    names_of,
    now,
    pause_task,
    ready,
    refused,
    release,
    report,
    resolve_dependencies,
    resolve_step,
    resume_task,
    retry_step,
    retry_task,
    skip_step,
    start,
    states,
    task_state,
    update_status,
    value,
    waiting_for,
)
from invariants import assert_invariants

STEADY = {"base": 60.0, "jitter": 0.0}


def claimed(conn: Conn, task: object) -> set[str]:
    return names_of(task, claim(conn))  # type: ignore[arg-type]


def test_nothing_of_a_paused_task_is_claimed(conn: Conn) -> None:
    task, other = given_task(conn, "a, b"), given_task(conn, "x")
    assert pause_task(conn, task) == "pending"
    assert ready(conn, task) == set()
    held = claim(conn)
    assert (names_of(task, held), names_of(other, held)) == (set(), {"x"})
    assert waiting_for(conn, task, "a") == "the task to be resumed: it is paused"
    assert_invariants(conn)


def test_a_resumed_task_goes_on(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    pause_task(conn, task)
    resume_task(conn, task)
    assert ready(conn, task) == {"a"}
    complete(conn, task, "a", "b")
    assert task_state(conn, task) == "completed"
    assert_invariants(conn)


def test_what_runs_may_end_and_its_children_wait(conn: Conn) -> None:
    task = given_task(conn, "a -> b, a -> c")
    held = start(conn, task, "a")
    pause_task(conn, task)
    assert report(conn, [held], want=10) == [], "no child is handed over"
    assert states(conn, task) == {"a": "completed", "b": "ready", "c": "ready"}
    assert claimed(conn, task) == set()
    resume_task(conn, task)
    assert claimed(conn, task) == {"b", "c"}


def test_the_same_in_a_large_report(conn: Conn) -> None:
    # more than three results take the batched path
    task = given_task(conn, ", ".join(f"p{no} -> c{no}" for no in range(6)))
    held = claim(conn)
    assert len(held) == 6
    pause_task(conn, task)
    assert report(conn, held, want=10) == []
    assert claimed(conn, task) == set()
    assert_invariants(conn)
    resume_task(conn, task)
    assert len(claimed(conn, task)) == 6


def test_a_bypassed_step_is_skipped_all_the_same(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c", bypass_steps=["b"])
    held = start(conn, task, "a")
    pause_task(conn, task)
    report(conn, [held], want=10)
    assert states(conn, task) == {"a": "completed", "b": "skipped", "c": "ready"}
    assert claimed(conn, task) == set()


def test_a_back_off_runs_out_but_the_step_stays_put(conn: Conn) -> None:
    task = given_task(conn, "a", backoff=STEADY)
    fail(conn, task, "a", retryable=True)
    pause_task(conn, task)
    move_clock(conn, minutes=2)
    assert claimed(conn, task) == set()
    assert states(conn, task) == {"a": "ready"}
    resume_task(conn, task)
    assert claimed(conn, task) == {"a"}


def test_a_failure_after_the_pause_waits_too(conn: Conn) -> None:
    task = given_task(conn, "a", backoff=STEADY)
    start(conn, task, "a")
    pause_task(conn, task)
    fail(conn, task, "a", retryable=True)
    move_clock(conn, minutes=2)
    assert claimed(conn, task) == set()
    assert_invariants(conn)


def test_a_later_start_waits_too(conn: Conn) -> None:
    from datetime import timedelta

    task = given_task(conn, "a", run_at=now(conn) + timedelta(minutes=1))
    pause_task(conn, task)
    move_clock(conn, minutes=2)
    assert claimed(conn, task) == set()
    resume_task(conn, task)
    assert claimed(conn, task) == {"a"}


def test_what_an_operator_or_an_engine_leads_on_meanwhile_is_parked(conn: Conn) -> None:
    task = given_task(conn, "a -> x, b -> y, c -> z, d, e -> w, f", retry_limit=1)
    fail(conn, task, "a")
    fail(conn, task, "d")
    fail(conn, task, "f")
    held = start(conn, task, "e")
    pause_task(conn, task)
    retry_step(conn, task, "a")
    skip_step(conn, task, "b")
    resolve_step(conn, task, "c")
    release(conn, [held])
    retry_task(conn, task)
    assert claimed(conn, task) == set()
    assert_invariants(conn)
    resume_task(conn, task)
    assert claimed(conn, task) == {"a", "y", "z", "d", "e", "f"}


def test_moves_by_hand_are_parked(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    start(conn, task, "a")
    pause_task(conn, task)
    update_status(conn, task, "a", "running", "completed")
    assert resolve_dependencies(conn, task) == {"b"}
    assert claimed(conn, task) == set()


def test_a_task_whose_last_step_runs_ends_though_it_is_paused(conn: Conn) -> None:
    task = given_task(conn, "a")
    start(conn, task, "a")
    pause_task(conn, task)
    complete(conn, task, "a")
    assert task_state(conn, task) == "completed"
    with refused("WF002"):
        resume_task(conn, task)


def test_a_paused_task_can_be_cancelled(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    pause_task(conn, task)
    assert cancel_task(conn, task) == "cancelled"
    assert value(conn, "select count(*) from tasker_ready") == 0


def test_who_paused_and_resumed_it_and_why_is_on_record(conn: Conn) -> None:
    task = given_task(conn, "a")
    pause_task(conn, task)
    resume_task(conn, task)
    assert history(conn, task) == [("pending", "pending")] * 2
    rows = conn.execute("select actor, reason, detail from tasker_history where task_no = %s and step_no is null order by event_id", [task.no]).fetchall()
    assert rows == [("ann", "wait", {"paused": True}), ("ann", "go on", {"paused": False})]


def test_pausing_twice_resuming_what_runs_and_ended_tasks_are_refused(conn: Conn) -> None:
    task = given_task(conn, "a")
    with refused("WF002"):
        resume_task(conn, task)
    pause_task(conn, task)
    with refused("WF002"):
        pause_task(conn, task)
    resume_task(conn, task)
    start(conn, task, "a")
    cancel_task(conn, task)
    with refused("WF002"):
        pause_task(conn, task)  # it is asked to stop
    ended = given_task(conn, "a")
    complete(conn, ended, "a")
    with refused("WF002"):
        pause_task(conn, ended)
    with refused("WF001"):
        conn.execute("select tasker_pause_task(gen_random_uuid(), 'ann', null)")


def in_background(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def waits_for_a_lock(conn: Conn) -> bool:
    return bool(value(conn, "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"))


def test_a_report_that_waited_for_the_pause_hands_nothing_over(conn: Conn, connect: Callable[..., Conn]) -> None:
    # the interleaving that would start a step of a paused task: the report's statement began before the pause was committed
    task = given_task(conn, "a -> b")
    held = start(conn, task, "a")
    engine, worker = connect(), value(conn, "select worker_id from tasker_step where state = 2")
    handed: list[object] = []
    with conn.transaction():
        pause_task(conn, task)
        reporting = in_background(lambda: handed.extend(report(engine, [held], want=5, worker=worker)))
        while not waits_for_a_lock(connect()):
            pass
    reporting.join(20)
    assert not reporting.is_alive()
    assert handed == []
    assert states(conn, task) == {"a": "completed", "b": "ready"}
    assert claimed(conn, task) == set()
    assert_invariants(conn)


def test_a_pause_that_waited_for_a_report_parks_what_it_unlocked(conn: Conn, connect: Callable[..., Conn]) -> None:
    # the other way round: the child became ready in a transaction that the pause could not see when it began
    task = given_task(conn, "a -> b")
    held = start(conn, task, "a")
    operator, worker = connect(), value(conn, "select worker_id from tasker_step where state = 2")
    with conn.transaction():
        report(conn, [held], want=0, worker=worker)
        pausing = in_background(lambda: pause_task(operator, task))
        while not waits_for_a_lock(connect()):
            pass
    pausing.join(20)
    assert states(conn, task) == {"a": "completed", "b": "ready"}
    assert claimed(conn, task) == set()
    assert_invariants(conn)


def test_a_claim_does_not_wait_for_a_pause(conn: Conn, connect: Callable[..., Conn]) -> None:
    task, other = given_task(conn, "a"), given_task(conn, "x")
    operator = connect()
    worker = given_worker(conn)
    with operator.transaction():
        pause_task(operator, task)
        assert names_of(other, claim(conn, worker=worker)) == {"x"}
    assert states(conn, task) == {"a": "ready"}
