"""Claiming: the best ready steps a worker has handlers for, each by one worker only, while its lease runs."""

import threading
from collections.abc import Callable
from datetime import timedelta

from graphs import (
    Conn,
    Held,
    claim,
    complete,
    create,
    definition,
    given_task,
    given_worker,
    history,
    move_clock,
    names_of,
    refused,
    register,
    report,
    request,
    states,
    task_of,
    task_state,
    value,
)
from invariants import assert_invariants


def test_a_claimed_step_runs_in_its_first_attempt(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    assert claim(conn) == [Held(task.no, 0, 1)]
    assert states(conn, task) == {"a": "running", "b": "pending"}
    assert task_state(conn, task) == "running"
    assert (history(conn, task), history(conn, task, "a")) == ([("pending", "running")], [("ready", "running")])
    assert_invariants(conn)


def test_no_more_than_wanted_is_given(conn: Conn) -> None:
    given_task(conn, "a, b, c, d, e")
    assert [len(claim(conn, want=want)) for want in (2, 0, 9)] == [2, 0, 3]


def test_the_longest_waiting_goes_first(conn: Conn) -> None:
    known = register(conn, definition("a"))
    tasks = [task_of(conn, known, ["a"]) for _ in range(5)]
    assert [claim(conn, want=1)[0].task_no for _ in tasks] == [task.no for task in tasks]


def test_a_point_of_priority_is_worth_a_minute_of_waiting(conn: Conn) -> None:
    known = register(conn, definition("a"))
    low = task_of(conn, known, ["a"])
    move_clock(conn, minutes=4)
    high = task_of(conn, known, ["a"], priority=5)
    move_clock(conn, minutes=4)
    late = task_of(conn, known, ["a"], priority=5)
    order = [claim(conn, want=1)[0].task_no for _ in range(3)]
    assert order == [high.no, low.no, late.no]


def test_steps_of_other_definitions_stay_for_other_engines(conn: Conn) -> None:
    mine, theirs = given_task(conn, "a"), given_task(conn, "b")
    assert claim(conn, definitions=[]) == []
    assert names_of(mine, claim(conn, definitions=[mine.definition_id])) == {"a"}
    assert states(conn, theirs) == {"b": "ready"}


def test_a_step_being_claimed_elsewhere_is_skipped_not_waited_for(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: a claim that stands in line behind another claim's transaction.
    known = register(conn, definition("a"))
    tasks = [task_of(conn, known, ["a"]) for _ in range(2)]
    other = connect()
    with other.transaction():
        [first] = claim(other, want=1)
        conn.execute("set statement_timeout = '5s'")
        [second] = claim(conn, want=2)
    assert [first.task_no, second.task_no] == [task.no for task in tasks]


def test_no_step_is_given_to_two_workers(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: two sessions that take the same queue row.
    known = register(conn, definition("a, b, c, d, e"))
    create(conn, *[request(known) for _ in range(40)])
    sessions = [connect() for _ in range(8)]
    gate = threading.Barrier(8)
    taken: list[Held] = []

    def take(session: Conn) -> None:
        worker = given_worker(session)
        gate.wait()
        while found := claim(session, want=7, worker=worker):
            taken.extend(found)

    threads = [threading.Thread(target=take, args=[session]) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(taken) == len({one[:2] for one in taken}) == 200
    assert_invariants(conn)


def test_a_worker_whose_lease_is_over_gets_nothing(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    worker = given_worker(conn, lease=timedelta(seconds=30))
    held = claim(conn, worker=worker, want=1)
    move_clock(conn, seconds=30)
    with refused("WF003"):
        claim(conn, worker=worker)
    with refused("WF003"):
        report(conn, held, worker=worker)
    assert states(conn, task) == {"a": "running", "b": "pending"}


def test_a_worker_that_was_never_registered_gets_nothing(conn: Conn) -> None:
    given_task(conn, "a")
    with refused("WF003"):
        claim(conn, worker=4711)


def test_a_heartbeat_lets_the_lease_run_anew(conn: Conn) -> None:
    worker = given_worker(conn, lease=timedelta(seconds=30))
    given_task(conn, "a")
    move_clock(conn, seconds=29)
    assert value(conn, "select tasker_heartbeat(%s, '30 seconds', '{}', false)", worker) is True
    move_clock(conn, seconds=29)
    assert len(claim(conn, worker=worker)) == 1


def test_a_heartbeat_after_the_end_is_told_so(conn: Conn) -> None:
    worker = given_worker(conn, lease=timedelta(seconds=30))
    move_clock(conn, seconds=30)
    assert value(conn, "select tasker_heartbeat(%s, '30 seconds', '{}', false)", worker) is False
    with refused("WF003"):
        claim(conn, worker=worker)


def test_a_queue_row_whose_step_has_moved_on_is_dropped(conn: Conn) -> None:
    task = given_task(conn, "a, b")
    conn.execute("insert into tasker_ready (rank, task_no, step_no, definition_id) values ('-infinity', %s, 0, %s)", [task.no, task.definition_id])
    complete(conn, task, "b")
    first = claim(conn, want=1)
    assert names_of(task, first) == {"a"}
    assert claim(conn, want=1) == []
    assert value(conn, "select count(*) from tasker_ready") == 0


def test_closed_claims_are_forgotten(conn: Conn) -> None:
    given_task(conn, "a")
    worker = given_worker(conn)
    conn.execute("select * from tasker_complete_and_claim(%s, 1, '{}', '{}', '{}', '[]', 9, array(select definition_id from tasker_definition), null)", [worker])
    assert value(conn, "select count(*) from tasker_claim where worker_id = %s", worker) == 1
    conn.execute("select * from tasker_complete_and_claim(%s, 2, '{}', '{}', '{}', '[]', 0, '{}', '{1}')", [worker])
    assert value(conn, "select count(*) from tasker_claim where worker_id = %s", worker) == 0


def test_one_call_is_one_claim_whatever_it_was_given(conn: Conn) -> None:
    known = register(conn, definition("a -> b"))
    task_of(conn, known, ["a", "b"])
    held = claim(conn)
    task_of(conn, known, ["a", "b"])
    before = value(conn, "select count(*) from tasker_claim")
    taken = report(conn, held, want=5)
    assert len(taken) == 2
    assert value(conn, "select count(*) from tasker_claim") == before + 1
    assert_invariants(conn)
