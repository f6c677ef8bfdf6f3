"""Fairness of a claim: the namespaces take turns, whatever waits in one of them."""

import threading
from collections import Counter
from collections.abc import Callable

from graphs import Conn, Held, claim, create, definition, given_worker, move_clock, register, request, task_of, value
from invariants import assert_invariants


def given_flood(conn: Conn, namespace: str, count: int) -> int:
    known = register(conn, definition("a", namespace=namespace))
    create(conn, *[request(known) for _ in range(count)])
    return known


def namespaces_of(conn: Conn, held: list[Held]) -> Counter[str]:
    rows = conn.execute(
        "select d.namespace from tasker_task t join tasker_definition d using (definition_id) where t.task_no = any(%s)", [[one.task_no for one in held]]
    ).fetchall()
    return Counter(row[0] for row in rows)


def test_a_flood_in_one_namespace_leaves_the_others_their_turns(conn: Conn) -> None:
    for namespace, count in (("flood", 500), ("small", 3), ("middling", 40)):
        given_flood(conn, namespace, count)
        move_clock(conn, minutes=60)
    found = namespaces_of(conn, claim(conn, want=61))
    assert found == {"small": 3, "middling": 29, "flood": 29}


def test_what_a_namespace_leaves_is_for_the_others(conn: Conn) -> None:
    for namespace, count in (("one", 30), ("two", 5)):
        given_flood(conn, namespace, count)
    assert namespaces_of(conn, claim(conn, want=100)) == {"one": 30, "two": 5}


def test_a_claim_of_one_step_goes_now_to_this_and_now_to_that_namespace(conn: Conn) -> None:
    for namespace in ("one", "two"):
        given_flood(conn, namespace, 60)
    found = sum((namespaces_of(conn, claim(conn, want=1)) for _ in range(60)), Counter[str]())
    assert min(found["one"], found["two"]) > 5


def test_within_a_namespace_the_best_rank_is_first_whichever_workflow_it_is_of(conn: Conn) -> None:
    known = [register(conn, definition("a")) for _ in range(3)]
    tasks = []
    for number in range(9):
        tasks.append(task_of(conn, known[number % 3], ["a"]))
        move_clock(conn, seconds=1)
    urgent = task_of(conn, known[1], ["a"], priority=10)
    taken = {one.task_no for one in claim(conn, want=4)}
    assert taken == {urgent.no, *(task.no for task in tasks[:3])}


def test_a_flood_that_the_engine_cannot_run_is_not_looked_through(connect: Callable[..., Conn]) -> None:
    conn = connect("-c enable_seqscan=off")  # as an engine's session has it from its first plan on
    theirs, mine = given_flood(conn, "theirs", 3000), given_flood(conn, "mine", 1)
    move_clock(conn, seconds=1)
    read = "select coalesce(sum(seq_tup_read + idx_tup_fetch), 0) from pg_stat_xact_user_tables where relname = 'tasker_ready'"
    with conn.transaction():
        before = value(conn, read)
        assert len(claim(conn, want=100, definitions=[mine])) == 1
        assert value(conn, read) - before < 20
    assert len(claim(conn, want=100, definitions=[theirs])) == 100


def test_no_step_is_given_to_two_workers_who_pick_in_turn(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: two sessions that pick the same rows, and rows that nobody picks because each leaves them to the other.
    for namespace, count in (("one", 150), ("two", 20), ("three", 3)):
        given_flood(conn, namespace, count)
    gate = threading.Barrier(6)
    taken: list[Held] = []

    def take(session: Conn) -> None:
        worker = given_worker(session)
        gate.wait()
        while found := claim(session, want=7, worker=worker):
            taken.extend(found)

    threads = [threading.Thread(target=take, args=[connect()]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    taken.extend(claim(conn))
    assert len(taken) == len({one[:2] for one in taken}) == 173
    assert_invariants(conn)
