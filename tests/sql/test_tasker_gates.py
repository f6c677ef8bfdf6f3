"""What a ready step may have to wait for: an engine with its labels, a free place, its turn. Told by states, and by what a claim gets."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from graphs import (
    Conn,
    Held,
    Task,
    claim,
    create,
    definition,
    fail_all,
    given_worker,
    move_clock,
    names_of,
    own_worker,
    register,
    release,
    report,
    request,
    start,
    states,
    task_of,
    value,
)
from invariants import assert_invariants


def given(conn: Conn, graph: str, limit: dict[str, Any] | None = None, **options: Any) -> tuple[int, list[str]]:
    """A registered definition, its workflow limited, and the names of its steps."""
    content = definition(graph, workflow_limit=limit, **options)
    return register(conn, content), [step["name"] for step in content["steps"]]


def tasks_of(conn: Conn, known: tuple[int, list[str]], *contexts: dict[str, Any]) -> list[Task]:
    made = []
    for context in contexts:
        made.append(task_of(conn, known[0], known[1], context=context))
        move_clock(conn, seconds=1)
    return made


def swept(conn: Conn) -> None:
    value(conn, "select tasker_sweep_places()")


def waits_for(conn: Conn, task: Task, name: str) -> str:
    return str(value(conn, "select waiting_for from tasker_step_readiness(%s) where step_name = %s", task.id, name))


def lanes(conn: Conn, known: int, *labels: str) -> list[int]:
    return [known, *(row[0] for row in conn.execute("select tasker_lanes(%s, %s)", [[known], list(labels)]).fetchall())]


# ---- labels


def test_a_step_that_needs_labels_is_for_an_engine_that_has_them_all(conn: Conn) -> None:
    known, names = given(conn, "a -> b, a -> c", steps={"b": {"needs": ["gpu", "eu"]}})
    [task] = tasks_of(conn, (known, names), {})
    report(conn, claim(conn, want=1, definitions=[known]), definitions=[known])
    for labels in ((), ("gpu",), ("eu", "big")):
        assert "b" not in names_of(task, claim(conn, want=9, definitions=lanes(conn, known, *labels)))
    assert "an engine with the labels eu, gpu; none is running now" in waits_for(conn, task, "b")
    given_worker(conn, definitions=lanes(conn, known, "eu", "gpu"))
    assert waits_for(conn, task, "b") == "a free place in an engine"
    assert names_of(task, claim(conn, want=9, definitions=lanes(conn, known, "gpu", "eu", "big"))) == {"b"}
    assert_invariants(conn)


def test_steps_with_and_without_labels_are_claimed_together_and_told_of_as_of_one_workflow(conn: Conn) -> None:
    known, names = given(conn, "a, b", steps={"b": {"needs": "gpu"}})
    made = tasks_of(conn, (known, names), *[{}] * 3)
    assert len(claim(conn, want=1, definitions=lanes(conn, known, "gpu"))) == 1
    assert {row[0] for row in conn.execute("select definition_id from tasker_front(10)").fetchall()} == {known}
    held = claim(conn, want=9, definitions=lanes(conn, known, "gpu"))
    assert len(held) == 5
    assert {names_of(task, [one for one in held if one.task_no == task.no]) == {"a", "b"} for task in made[1:]} == {True}
    assert_invariants(conn)


def test_a_step_with_labels_is_not_handed_to_who_unlocks_it(conn: Conn) -> None:
    known, names = given(conn, "a -> b", steps={"b": {"needs": "gpu"}})
    for count in (1, 5):   # the two ways of reporting
        made = tasks_of(conn, (known, names), *[{}] * count)
        held = claim(conn, want=count, definitions=[known])
        assert report(conn, held, want=9, definitions=[known]) == []
        assert {states(conn, task)["b"] for task in made} == {"ready"}
        assert len(claim(conn, definitions=lanes(conn, known, "gpu"))) == count
    assert_invariants(conn)


# ---- at once


def test_no_more_steps_run_at_once_than_their_limit_allows(conn: Conn) -> None:
    known = given(conn, "a", steps={"a": {"limit": {"at_once": 2}}})
    made = tasks_of(conn, known, *[{}] * 5)
    held = claim(conn, want=9)
    assert [one.task_no for one in sorted(held)] == [made[0].no, made[1].no]
    assert claim(conn, want=9) == []
    assert waits_for(conn, made[2], "a").startswith("a free place: 2 of 2 taken by ")
    assert made[0].id[:8] in waits_for(conn, made[2], "a")
    report(conn, held[:1])
    value(conn, "select tasker_free_places(%s)", [held[0].task_no])
    [third] = claim(conn, want=9)
    assert third.task_no == made[2].no
    assert_invariants(conn)


def test_every_key_has_places_of_its_own(conn: Conn) -> None:
    known = given(conn, "a", steps={"a": {"limit": {"at_once": 1, "key": "customer.id"}}})
    made = tasks_of(conn, known, *({"customer": {"id": no}} for no in (1, 1, 2, 1, 2)), {"customer": {}}, {})
    first = {one.task_no for one in claim(conn, want=9)}
    assert first == {made[0].no, made[2].no, made[5].no}, "a context without the key stands in the line of those without"


def test_a_limit_on_the_workflow_is_on_its_tasks_from_first_to_last_step(conn: Conn) -> None:
    known = given(conn, "a -> b, c", limit={"at_once": 1, "key": "customer"})
    one, two, other = tasks_of(conn, known, {"customer": "x"}, {"customer": "x"}, {"customer": "y"})
    held = claim(conn, want=9)
    assert {step.task_no for step in held} == {one.no, other.no}
    assert len(held) == 4, "both roots of either task"
    unlocked = report(conn, [step for step in held if step.task_no == one.no], want=9)
    assert names_of(one, unlocked) == {"b"}
    value(conn, "select tasker_free_places(%s)", [one.no])
    assert claim(conn, want=9) == []
    assert waits_for(conn, two, "a").startswith("a free place: 1 of 1 taken by ")
    report(conn, unlocked)
    value(conn, "select tasker_free_places(%s)", [one.no])
    assert {step.task_no for step in claim(conn, want=9)} == {two.no}
    assert_invariants(conn)


def test_a_step_passes_the_limit_of_its_workflow_and_then_its_own(conn: Conn) -> None:
    known = given(conn, "a", limit={"at_once": 3}, steps={"a": {"limit": {"at_once": 1}}})
    made = tasks_of(conn, known, *[{}] * 5)
    held = [*claim(conn, want=9), *claim(conn, want=9)]
    assert [one.task_no for one in held] == [made[0].no]
    report(conn, held)
    swept(conn)
    held = [*claim(conn, want=9), *claim(conn, want=9)]
    assert [one.task_no for one in held] == [made[1].no]
    assert value(conn, "select count(*) from tasker_place where step_no = 0 and attempt = 0 and not ended") == 3
    assert_invariants(conn)


def test_a_place_is_free_again_however_its_step_has_ended(conn: Conn) -> None:
    # Forbids: a place that is lost with an engine, or with an operator's act.
    known = given(conn, "a", steps={"a": {"limit": {"at_once": 1}}}, retry_limit=2)
    made = tasks_of(conn, known, *[{}] * 6)

    def next_up(worker: int | None = None) -> Held:
        swept(conn)
        [held] = claim(conn, want=9, worker=worker)
        return held

    dying = given_worker(conn, lease=timedelta(seconds=30))
    first = next_up(dying)
    assert first.task_no == made[0].no
    move_clock(conn, seconds=31)
    assert value(conn, "select tasker_rescue_steps(%s)", dying) == 1
    again = next_up()
    assert again in {(made[0].no, 0, 2), (made[1].no, 0, 1)}
    release(conn, [again])
    assert next_up() == again, "what is handed back keeps its place"
    fail_all(conn, [again], worker=own_worker(conn), retryable=False)
    cancelled = next_up()
    value(conn, "select tasker_cancel_step((select task_id from tasker_task where task_no = %s), 'a', 'tests', 'why not')", cancelled.task_no)
    fail_all(conn, [cancelled], worker=own_worker(conn), retryable=False)
    paused = next_up()
    release(conn, [paused])
    value(conn, "select tasker_pause_task((select task_id from tasker_task where task_no = %s), 'tests', 'later')", paused.task_no)
    after = next_up()
    assert after.task_no != paused.task_no
    value(conn, "select tasker_resume_task((select task_id from tasker_task where task_no = %s), 'tests', 'now')", paused.task_no)
    assert claim(conn, want=9) == []
    report(conn, [after])
    ended = set()
    while held := (swept(conn), claim(conn, want=9))[1]:
        assert len(held) == 1
        ended.add(held[0].task_no)
        report(conn, held)
    assert paused.task_no in ended
    for _ in range(3):
        swept(conn)
    assert value(conn, "select (select count(*) from tasker_place) + (select count(*) from tasker_line) + (select count(*) from tasker_waiting)") == 0
    assert_invariants(conn)


def insisting(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """As engines do: what a deadlock has undone is asked again."""
    while True:
        try:
            return call(*arguments, **named)
        except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
            pass


def test_engines_that_claim_at_the_same_moment_do_not_go_beyond_a_limit(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: two sessions that each see the same free place.
    known = given(conn, "a", steps={"a": {"limit": {"at_once": 3, "key": "k"}}})
    create(conn, *[request(known[0], context={"k": no % 2}) for no in range(60)])
    gate = threading.Barrier(5)
    most: list[int] = []
    total: list[Held] = []
    running = "select coalesce(max(n), 0) from (select count(*) as n from tasker_step s join tasker_task t using (task_no) where s.state = 2 group by t.context ->> 'k') x"

    def work(session: Conn) -> None:
        worker = given_worker(session)
        gate.wait()
        idle = 0
        while idle < 400 and len(total) < 60:
            held = insisting(claim, session, want=2, worker=worker)
            most.append(value(session, running))
            idle = 0 if held else idle + 1
            if held:
                total.extend(held)
                insisting(report, session, held, worker=worker)
                insisting(value, session, "select tasker_free_places(%s)", [one.task_no for one in held])

    threads = [threading.Thread(target=work, args=[connect()]) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(total) == len({one[:2] for one in total}) == 60
    assert max(most) <= 3
    assert_invariants(conn)


# ---- rates


def test_no_more_steps_begin_within_a_period_than_their_limit_allows(conn: Conn) -> None:
    known = given(conn, "a", steps={"a": {"limit": {"per_minute": 3}}})
    made = tasks_of(conn, known, *[{}] * 5)
    held = claim(conn, want=9)
    assert len(held) == 3
    report(conn, held)
    move_clock(conn, seconds=54)
    swept(conn)
    assert claim(conn, want=9) == []
    assert waits_for(conn, made[3], "a").startswith("its turn: 3 per minute; next at ")
    move_clock(conn, seconds=7)
    assert len(claim(conn, want=9)) == 2
    assert_invariants(conn)


def test_another_attempt_is_another_beginning(conn: Conn) -> None:
    known = given(conn, "a", steps={"a": {"limit": {"per_minute": 1}}}, retry_limit=3)
    [task] = tasks_of(conn, known, {})
    fail_all(conn, claim(conn, want=9), worker=own_worker(conn), retryable=True, delay=1)
    move_clock(conn, seconds=30)
    swept(conn)
    assert claim(conn, want=9) == []
    move_clock(conn, seconds=31)
    assert claim(conn, want=9) == [Held(task.no, 0, 2)]


# ---- the numbers


def test_an_operator_changes_a_limit_and_puts_it_back(conn: Conn) -> None:
    content = definition("a", steps={"a": {"limit": {"at_once": 1}}})
    known = register(conn, content)
    tasks_of(conn, (known, ["a"]), *[{}] * 6)
    assert len(claim(conn, want=9)) == 1
    where = [content["namespace"], content["name"], "a"]
    conn.execute("select tasker_set_limit(%s, %s, %s, 3, null, 'ann')", where)
    assert len(claim(conn, want=9)) == 2
    newer = register(conn, {**content, "version": "1.1.0", "fingerprint": "x" * 64})
    assert newer != known
    assert value(conn, "select at_once from tasker_limit") == 3, "what an operator has set outlives a new version"
    conn.execute("select tasker_set_limit(%s, %s, %s, 0, null, 'ann')", where)
    swept(conn)
    assert claim(conn, want=9) == []
    conn.execute("select tasker_reset_limit(%s, %s, %s, 'ann')", where)
    assert value(conn, "select array[at_once::text, changed_by] from tasker_limit") == ["1", None]


def test_a_limit_that_is_not_as_it_was_seen_is_not_changed(connect: Callable[..., Conn], conn: Conn) -> None:
    """Two who saw the same and change it at the same moment: the second waits for the first, and is told."""
    content = definition("a", steps={"a": {"limit": {"at_once": 1}}})
    register(conn, content)
    where = [content["namespace"], content["name"], "a"]
    seen = value(conn, "select tasker_limit_seen(l) from tasker_limit l")
    refused: list[str | None] = []

    def second() -> None:
        with connect() as other, pytest.raises(psycopg.Error) as caught:
            other.execute("select tasker_set_limit(%s, %s, %s, 9, null, 'bob', null, %s)", [*where, seen])
        refused.append(caught.value.sqlstate)

    with connect() as first, first.transaction():
        first.execute("select tasker_set_limit(%s, %s, %s, 3, null, 'ann', null, %s)", [*where, seen])
        late = threading.Thread(target=second)
        late.start()
        late.join(0.3)
        assert late.is_alive(), "it must see what the first has made of the limit"
    late.join(30)
    assert (refused, value(conn, "select at_once from tasker_limit")) == (["WF006"], 3)
    with pytest.raises(psycopg.Error, match="changed since you looked"):
        conn.execute("select tasker_reset_limit(%s, %s, %s, 'bob', %s)", [*where, seen])


def test_the_key_of_a_limit_that_is_secret_is_masked_in_what_its_steps_wait_for(conn: Conn) -> None:
    """Also when it is called so only when the same version is registered again."""
    content = definition("a", steps={"a": {"limit": {"at_once": 1, "key": "card"}}})
    known = register(conn, content)
    task = tasks_of(conn, (known, ["a"]), {"card": "4111"}, {"card": "4111"})[1]
    assert len(claim(conn, want=9)) == 1
    assert waits_for(conn, task, "a").endswith(", for card 4111")
    content["steps"][0]["limit"]["secret"] = True
    register(conn, content)
    assert waits_for(conn, task, "a").endswith(", for card ***")


def test_limits_apply_to_the_items_of_a_map_step(conn: Conn) -> None:
    known, names = given(conn, "list -> each", steps={"each": {"for_each": "list", "handler_class": "x.y", "limit": {"at_once": 2}}})
    [task] = tasks_of(conn, (known, names), {})
    report(conn, claim(conn, want=1), results=[[1, 2, 3, 4, 5]])
    held = start(conn, task, "each")
    conn.execute("select tasker_expand_step(tasker_own.worker_id, %s, %s, %s::smallint) from (select worker_id from tasker_step where task_no = %s and step_no = %s) tasker_own",
                 [held.task_no, held.step_no, held.attempt, held.task_no, held.step_no])
    assert len(claim(conn, want=9)) == 2


def test_a_limited_flood_waits_outside_the_queue(conn: Conn) -> None:
    known = given(conn, "a", steps={"a": {"limit": {"at_once": 1}}})
    create(conn, *[request(known[0], context={}) for _ in range(2000)])
    assert len(claim(conn, want=50)) == 1
    assert len(claim(conn, want=50)) == 0
    other = given(conn, "z")
    tasks_of(conn, other, {})
    assert len(claim(conn, want=50)) == 1
    assert value(conn, "select count(*) from tasker_ready where definition_id > 0") == 0
