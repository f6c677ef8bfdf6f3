"""The steps of dead engines are taken back: the lease alone proves a death, a free advisory lock only shortens it."""

from collections.abc import Callable
from datetime import timedelta

from graphs import (
    Conn,
    attempts,
    cancel_step,
    claim,
    complete,
    fail,
    given_task,
    given_worker,
    history,
    move_clock,
    reap,
    refused,
    report,
    start,
    states,
    task_state,
    value,
)
from invariants import assert_invariants

LEASE = timedelta(seconds=30)


def seconds_left(conn: Conn, worker: int) -> float:
    return float(value(conn, "select extract(epoch from lease_until - tasker_clock())::float8 from tasker_worker where worker_id = %s", worker))


def test_steps_of_a_worker_whose_lease_is_over_run_elsewhere_and_are_charged(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    start(conn, task, "a", worker=given_worker(conn, lease=LEASE))
    move_clock(conn, seconds=29)
    assert reap(conn) == 0
    move_clock(conn, seconds=1)
    assert reap(conn) == 1
    assert (states(conn, task)["a"], attempts(conn, task)["a"]) == ("retrying", 1)
    assert [one.attempt for one in claim(conn)] == [2]
    assert history(conn, task, "a")[1] == ("running", "retrying")
    assert_invariants(conn)


def test_what_was_taken_back_is_not_taken_back_again(conn: Conn) -> None:
    task = given_task(conn, "a, b")
    worker = given_worker(conn, lease=LEASE)
    claim(conn, worker=worker)
    move_clock(conn, seconds=30)
    assert [reap(conn), reap(conn)] == [2, 0]
    assert value(conn, "select count(*) from tasker_claim where worker_id = %s", worker) == 0
    assert set(states(conn, task).values()) == {"retrying"}


def test_a_step_that_keeps_killing_its_worker_ends_failed(conn: Conn) -> None:
    task = given_task(conn, "a", retry_limit=2)
    for _ in range(2):
        start(conn, task, "a", worker=given_worker(conn, lease=LEASE))
        move_clock(conn, seconds=30)
        reap(conn)
    assert (states(conn, task), task_state(conn, task)) == ({"a": "failed"}, "failed")
    assert value(conn, "select error ->> 'type' from tasker_step where task_no = %s", task.no) == "worker_crashed"
    assert_invariants(conn)


def test_a_step_asked_to_stop_is_cancelled_with_its_worker(conn: Conn) -> None:
    task = given_task(conn, "a")
    start(conn, task, "a", worker=given_worker(conn, lease=LEASE))
    cancel_step(conn, task, "a")
    move_clock(conn, seconds=30)
    reap(conn)
    assert task_state(conn, task) == "cancelled"


def test_steps_that_ended_before_the_death_stay_ended(conn: Conn) -> None:
    task = given_task(conn, "a, b, c")
    worker = given_worker(conn, lease=LEASE)
    claim(conn, worker=worker)
    complete(conn, task, "a")
    fail(conn, task, "b")
    move_clock(conn, seconds=30)
    assert reap(conn) == 1
    assert states(conn, task) == {"a": "completed", "b": "failed", "c": "retrying"}
    assert_invariants(conn)


def test_a_worker_that_comes_back_too_late_counts_no_more(conn: Conn) -> None:
    task = given_task(conn, "a")
    worker = given_worker(conn, lease=LEASE)
    held = start(conn, task, "a", worker=worker)
    move_clock(conn, seconds=30)
    reap(conn)
    with refused("WF003"):
        report(conn, [held], worker=worker)
    assert states(conn, task) == {"a": "retrying"}


def test_a_worker_does_not_reap_itself(conn: Conn) -> None:
    task = given_task(conn, "a")
    worker = given_worker(conn, lease=LEASE, session_lock=True)
    start(conn, task, "a", worker=worker)
    assert reap(conn, worker=worker) == 0
    assert seconds_left(conn, worker) > 20
    move_clock(conn, seconds=30)
    assert reap(conn, worker=worker) == 0


def test_one_dead_engine_after_the_other(conn: Conn) -> None:
    tasks = [given_task(conn, "a") for _ in range(3)]
    for task in tasks:
        start(conn, task, "a", worker=given_worker(conn, lease=LEASE))
    move_clock(conn, seconds=30)
    assert [reap(conn) for _ in range(4)] == [1, 1, 1, 0]
    assert [states(conn, task) for task in tasks] == [{"a": "retrying"}] * 3


# ---- the advisory lock


def test_a_free_lock_cuts_the_lease_to_the_grace_time(conn: Conn) -> None:
    task = given_task(conn, "a")
    worker = given_worker(conn, lease=LEASE, session_lock=True)
    start(conn, task, "a", worker=worker)
    assert reap(conn) == 0
    assert 0.5 < seconds_left(conn, worker) <= 1
    assert states(conn, task) == {"a": "running"}
    move_clock(conn, seconds=1)
    assert reap(conn) == 1


def test_a_held_lock_leaves_the_lease_alone(connect: Callable[..., Conn], conn: Conn) -> None:
    worker = given_worker(conn, lease=LEASE, session_lock=True)
    engine = connect()
    engine.execute("select pg_advisory_lock_shared(77, %s)", [worker])
    reap(conn)
    assert seconds_left(conn, worker) > 20
    engine.close()
    for _ in range(200):
        reap(conn)
        if seconds_left(conn, worker) <= 1:
            break
    assert seconds_left(conn, worker) <= 1


def test_a_live_engine_that_had_lost_its_connections_goes_on(conn: Conn) -> None:
    task = given_task(conn, "a")
    worker = given_worker(conn, lease=LEASE, session_lock=True)
    held = start(conn, task, "a", worker=worker)
    reap(conn)
    assert value(conn, "select tasker_heartbeat(%s, '30 seconds', '{}', false)", worker) is True
    report(conn, [held], worker=worker)
    assert task_state(conn, task) == "completed"


def test_a_free_lock_says_nothing_about_an_earlier_life_of_the_server(conn: Conn) -> None:
    worker = given_worker(conn, lease=LEASE, session_lock=True)
    conn.execute("update tasker_worker set server_started_at = server_started_at - interval '1 hour'")
    reap(conn)
    assert seconds_left(conn, worker) > 20
    value(conn, "select tasker_heartbeat(%s, '30 seconds', '{}', false)", worker)
    reap(conn)
    assert seconds_left(conn, worker) <= 1


def test_an_engine_behind_a_pooler_lives_by_its_lease_alone(conn: Conn) -> None:
    worker = given_worker(conn, lease=LEASE, session_lock=False)
    value(conn, "select tasker_heartbeat(%s, '30 seconds', '{}', false)", worker)
    reap(conn)
    assert seconds_left(conn, worker) > 20


# ---- leftovers


def test_a_long_dead_worker_is_forgotten_when_it_holds_nothing(conn: Conn) -> None:
    worker = given_worker(conn, lease=LEASE)
    move_clock(conn, minutes=61)
    reap(conn)
    assert value(conn, "select count(*) from tasker_worker where worker_id = %s", worker) == 0


def test_a_dead_worker_is_remembered_while_its_steps_are_not_rescued(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: one reaper forgets the worker whose steps another reaper is taking back, and that one is rolled back.
    task = given_task(conn, "a")
    worker = given_worker(conn, lease=LEASE)
    start(conn, task, "a", worker=worker)
    other = connect()
    for session in (conn, other):
        move_clock(session, hours=2)
    own, others = given_worker(conn), given_worker(other)
    with other.transaction(force_rollback=True):
        assert reap(other, worker=others) == 1
        assert reap(conn, worker=own) == 0
    assert reap(conn, worker=own) == 1
    assert states(conn, task) == {"a": "retrying"}


def test_an_engine_whose_heartbeat_was_in_time_keeps_its_steps(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: a reaper that still sees the lease which a heartbeat, not yet committed, has renewed in time.
    task, worker = given_task(conn, "a"), given_worker(conn, lease=LEASE)
    start(conn, task, "a", worker=worker)
    late, beating = connect(), connect()
    move_clock(late, seconds=31)
    reaper = given_worker(late)
    with beating.transaction():
        assert value(beating, "select tasker_heartbeat(%s, interval '1 hour', '{}', false)", worker)
        assert value(late, "select tasker_reap_workers(%s)", reaper) == 0
    assert value(late, "select tasker_reap_workers(%s)", reaper) == 0
    assert states(conn, task) == {"a": "running"}
    assert_invariants(conn)


def test_what_a_call_under_way_claims_for_an_engine_that_has_signed_off_is_taken_back(connect: Callable[..., Conn], conn: Conn) -> None:
    task, worker, slow = given_task(conn, "a"), given_worker(conn), connect()
    with slow.transaction():
        assert len(claim(slow, worker=worker)) == 1
        conn.execute("select tasker_retire_worker(%s)", [worker])
    assert reap(conn) == 1
    assert states(conn, task) == {"a": "retrying"}
    assert_invariants(conn)


def test_two_reapers_take_each_step_back_once(connect: Callable[..., Conn], conn: Conn) -> None:
    task = given_task(conn, "a")
    start(conn, task, "a", worker=given_worker(conn, lease=LEASE))
    other = connect()
    for session in (conn, other):
        move_clock(session, seconds=30)
    own, others = given_worker(conn), given_worker(other)
    with other.transaction():
        assert reap(other, worker=others) == 1
        assert reap(conn, worker=own) == 0
    assert history(conn, task, "a") == [("ready", "running"), ("running", "retrying")]


# ---- what a worker holds


def test_a_worker_finds_what_it_holds_after_a_lost_reply(conn: Conn) -> None:
    task = given_task(conn, "a -> c, b")
    worker = given_worker(conn)
    held = claim(conn, worker=worker)
    report(conn, [held[0]], want=1, worker=worker)
    rows = conn.execute("select task_no, step_no, definition_id, attempt from tasker_worker_steps(%s)", [worker]).fetchall()
    expected = {task.step_no(name) for name, state in states(conn, task).items() if state == "running"}
    assert {row[1] for row in rows} == expected
    assert {(row[0], row[2], row[3]) for row in rows} == {(task.no, task.definition_id, 1)}


def test_a_step_held_anew_is_found_under_its_newest_claim(conn: Conn) -> None:
    task = given_task(conn, "a")
    worker = given_worker(conn)
    start(conn, task, "a", worker=worker)
    fail(conn, task, "a", retryable=True, delay=0)
    start(conn, task, "a", worker=worker)
    newest = value(conn, "select max(claim_no) from tasker_claim where worker_id = %s", worker)
    assert conn.execute("select attempt, claim_no from tasker_worker_steps(%s)", [worker]).fetchall() == [(2, newest)]
