"""Creating tasks: all at once, once per idempotency key, from a definition that is known."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from graphs import (
    Conn,
    claim,
    complete,
    create,
    definition,
    given_task,
    history,
    move_clock,
    names_of,
    now,
    ready,
    refused,
    register,
    request,
    states,
    task_of,
    task_state,
    value,
)
from invariants import assert_invariants


def keyed(definition_id: int, key: str, fingerprint: str = "same", **fields: object) -> dict[str, object]:
    return request(definition_id, idempotency_key=key, fingerprint=fingerprint, **fields)


def test_roots_are_ready_and_the_rest_waits(conn: Conn) -> None:
    task = given_task(conn, "a -> c, b -> c, c -> d")
    assert states(conn, task) == {"a": "ready", "b": "ready", "c": "pending", "d": "pending"}
    assert (task_state(conn, task), history(conn, task)) == ("pending", [])
    assert_invariants(conn)


def test_ids_come_in_the_order_of_the_requests(conn: Conn) -> None:
    known = register(conn, definition("a"))
    made = create(conn, *[request(known, reason=str(no)) for no in range(20)])
    reasons = [value(conn, "select reason from tasker_tasks where task_id = %s", task_id) for task_id, _ in made]
    assert reasons == [str(no) for no in range(20)]


def test_what_was_asked_is_kept(conn: Conn) -> None:
    known = register(conn, definition("a"))
    fields = {"context": {"order": 1}, "tags": ["x", "y"], "priority": 7, "initiator": "ann", "source_system": "shop", "reason": "new", "correlation_id": "c-1"}
    [(task_id, _)] = create(conn, request(known, **fields))
    with conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        row = cursor.execute("select * from tasker_tasks where task_id = %s", [task_id]).fetchone()
    assert row is not None
    assert {name: row[name] for name in fields} == fields


def test_a_repeated_key_gives_the_first_task(conn: Conn) -> None:
    known = register(conn, definition("a"))
    [first], [again] = create(conn, keyed(known, "k")), create(conn, keyed(known, "k"))
    assert first[1] is True
    assert again == (first[0], False)
    assert value(conn, "select count(*) from tasker_task") == 1


def test_a_key_repeated_within_one_call_gives_one_task(conn: Conn) -> None:
    known = register(conn, definition("a"))
    made = create(conn, keyed(known, "k"), request(known), keyed(known, "k"))
    assert [new for _, new in made] == [True, True, False]
    assert made[0][0] == made[2][0] != made[1][0]


def test_a_key_used_with_another_request_is_refused(conn: Conn) -> None:
    known = register(conn, definition("a"))
    create(conn, keyed(known, "k", "one"))
    with refused("WF005"):
        create(conn, request(known), keyed(known, "k", "two"))
    assert value(conn, "select count(*) from tasker_task") == 1


def test_a_key_belongs_to_its_workflow(conn: Conn) -> None:
    one, other = register(conn, definition("a")), register(conn, definition("a"))
    made = create(conn, keyed(one, "k"), keyed(other, "k"))
    assert [new for _, new in made] == [True, True]


def test_fifty_at_once_with_one_key_make_one_task(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: two sessions that both miss the key and both insert.
    known = register(conn, definition("a -> b"))
    sessions = [connect() for _ in range(50)]
    gate = threading.Barrier(50)
    found: list[tuple[str, bool]] = []

    def ask(session: Conn) -> None:
        gate.wait()
        found.extend(create(session, keyed(known, "k")))

    threads = [threading.Thread(target=ask, args=[session]) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(found) == 50
    assert len({task_id for task_id, _ in found}) == 1
    assert sum(new for _, new in found) == 1
    assert value(conn, "select count(*) from tasker_task") == 1


def test_keys_in_opposite_order_do_not_deadlock(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: two calls that each hold the key the other asks for next.
    known = register(conn, definition("a"))
    sessions = [connect(), connect()]
    gate = threading.Barrier(2)
    failures: list[Exception] = []

    def ask(session: Conn, keys: list[str]) -> None:
        for turn in range(20):
            gate.wait(timeout=30)
            try:
                create(session, *[keyed(known, f"{turn}-{key}") for key in keys])
            except psycopg.Error as error:
                failures.append(error)

    threads = [threading.Thread(target=ask, args=[sessions[0], ["a", "b", "c"]]), threading.Thread(target=ask, args=[sessions[1], ["c", "b", "a"]])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    assert value(conn, "select count(*) from tasker_task") == 60


def test_an_unknown_definition_makes_nothing(conn: Conn) -> None:
    known = register(conn, definition("a"))
    with refused("WF001"):
        create(conn, request(known), request(known + 1))
    with refused("WF001"):
        create(conn, {"context": {}})
    assert value(conn, "select count(*) from tasker_task") == 0


def test_a_task_with_a_later_start_waits_for_it(conn: Conn) -> None:
    task = given_task(conn, "a -> b", run_at=now(conn) + timedelta(hours=1))
    assert (claim(conn), states(conn, task)["a"]) == ([], "pending")
    move_clock(conn, hours=1)
    assert ready(conn, task) == {"a"}
    complete(conn, task, "a", "b")
    assert task_state(conn, task) == "completed"
    assert_invariants(conn)


def test_a_start_in_the_past_is_now(conn: Conn) -> None:
    task = given_task(conn, "a", run_at=now(conn) - timedelta(hours=1))
    assert states(conn, task) == {"a": "ready"}


def test_higher_priority_goes_first(conn: Conn) -> None:
    known = register(conn, definition("a"))
    tasks = [task_of(conn, known, ["a"], priority=priority) for priority in (0, 5, -3)]
    order = [claim(conn, want=1)[0].task_no for _ in tasks]
    assert order == [tasks[1].no, tasks[0].no, tasks[2].no]


def test_a_bypassed_root_is_skipped_and_its_children_go_on(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c", bypass_steps=["a"])
    assert names_of(task, claim(conn)) == {"b"}
    assert states(conn, task) == {"a": "skipped", "b": "running", "c": "pending"}
    assert_invariants(conn)


def test_a_task_whose_steps_are_all_bypassed_completes_without_a_start(conn: Conn) -> None:
    task = given_task(conn, "a -> b", bypass_steps=["a", "b"])
    assert claim(conn) == []
    assert task_state(conn, task) == "completed"
    assert history(conn, task) == [("pending", "completed")]
    assert_invariants(conn)


def test_a_definition_is_used_from_its_first_task_on(conn: Conn) -> None:
    known = register(conn, definition("a"))
    assert value(conn, "select used from tasker_definition where definition_id = %s", known) is False
    create(conn, request(known))
    assert value(conn, "select used from tasker_definition where definition_id = %s", known) is True


def test_engines_are_told_once_per_call(connect: Callable[..., Conn], conn: Conn) -> None:
    listener = connect()
    listener.execute("listen tasker_ready")
    known = register(conn, definition("a"))
    create(conn, *[request(known) for _ in range(10)])
    assert len(list(listener.notifies(timeout=5, stop_after=1))) == 1
    assert list(listener.notifies(timeout=0)) == []


def test_a_call_without_requests_makes_nothing(conn: Conn) -> None:
    assert conn.execute("select * from tasker_create_tasks(%s::jsonb)", [json.dumps([])]).fetchall() == []


PLAIN = {"context": {"order": 1}, "tags": ["x", "y"], "priority": 7, "initiator": "ann", "source_system": "shop", "reason": "new", "correlation_id": "c-1", "traceparent": "00-1-1-01", "parent_step": "p"}


@pytest.mark.parametrize("fields", [{}, PLAIN, {**dict.fromkeys(PLAIN), "run_at": None, "bypass_steps": [], "idempotency_key": None}], ids=["nothing", "everything", "nulls"])
def test_a_task_that_is_asked_for_alone_is_the_one_made_among_many(conn: Conn, fields: dict[str, object]) -> None:
    graph = definition("a -> c, b -> c, c -> d, e", steps={"a": {"retry_limit": 9}, "e": {"limit": {"at_once": 2}}, "c": {"for_each": "a", "handler_class": "shop.pack"}})
    known = register(conn, graph)
    [(first, _), (second, _)] = create(conn, request(known, **fields), request(known, **fields))
    [alone] = submit(conn, request(known, **fields))
    assert as_made(conn, alone) == as_made(conn, first) == as_made(conn, second)


def as_made(conn: Conn, task_id: str) -> list[Any]:
    """Every row of the new task, but for its numbers; ranks count from its creation."""
    return conn.execute(
        """
        with t as (select * from tasker_task where task_id = %(id)s)
        select to_jsonb(t) - '{task_no,task_id,created_at}'::text[] from t
        union all (select to_jsonb(s) - 'task_no' from tasker_step s join t using (task_no) order by s.step_no)
        union all (select to_jsonb(r) - '{rank,task_no,ready_no}'::text[] || jsonb_build_object('behind', r.rank - t.created_at) from tasker_ready r join t using (task_no) order by r.step_no)
        union all (select to_jsonb(d) - 'task_no' from tasker_delayed d join t using (task_no))
        """,
        {"id": task_id},
    ).fetchall()


def submit(conn: Conn, *requests: dict[str, Any]) -> list[str]:
    """Ids of tasks that are new; they are on record, whatever becomes of the caller."""
    ids, created = conn.execute("call tasker_submit_tasks(%s::jsonb, null, null)", [json.dumps(requests)]).fetchall()[0]
    assert created == [True] * len(requests)
    return [str(task_id) for task_id in ids]


@pytest.mark.parametrize("count", [1, 10])
def test_engines_are_told_once_of_what_is_submitted(connect: Callable[..., Conn], conn: Conn, count: int) -> None:
    known = register(conn, definition("a"))
    create(conn, request(known))
    listener = connect()
    listener.execute("listen tasker_ready")
    submit(conn, *[request(known)] * count)
    assert len(list(listener.notifies(timeout=5, stop_after=1))) == 1
    assert list(listener.notifies(timeout=0)) == []


@pytest.mark.parametrize(("fields", "state"), [({"bypass_steps": ["a"]}, "skipped"), ({"run_at": "2200-01-01T00:00:00Z"}, "pending"), ({"idempotency_key": "k", "fingerprint": "f"}, "ready")])
def test_what_is_asked_for_beside_the_plain_task_is_heeded_when_it_comes_alone(conn: Conn, fields: dict[str, Any], state: str) -> None:
    known = register(conn, definition("a"))
    create(conn, request(known))
    [task_id] = submit(conn, request(known, **fields))
    claim(conn, want=1)
    assert value(conn, "select state from tasker_steps where task_id = %s", task_id) == state
    assert value(conn, "select count(*) from tasker_request_key") == ("idempotency_key" in fields)
