"""What a ready step may have to wait for: an engine with its labels, a free place, its turn. Told by states, and by what a claim gets."""

import random
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
    cancel_step,
    cancel_task,
    claim,
    create,
    definition,
    fail_all,
    given_worker,
    insisting,
    meanwhile,
    move_clock,
    names_of,
    own_worker,
    pause_task,
    register,
    release,
    report,
    request,
    resolve_step,
    resume_task,
    retry_downstream,
    retry_step,
    retry_task,
    skip_step,
    start,
    states,
    task_of,
    task_state,
    update_status,
    value,
)
from invariants import assert_invariants, stale_rows


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


def given_line(conn: Conn, count: int = 3, **options: Any) -> tuple[list[Task], Held]:
    """Tasks whose first step has one place, and what has it: the first task's; the others stand in line."""
    made = tasks_of(conn, given(conn, "a", steps={"a": {"limit": {"at_once": 1, **options}}}), *[{}] * count)
    [held] = claim(conn, want=9)
    return made, held


def let_go(conn: Conn, held: Held) -> None:
    """It ends well, and its engine says so."""
    report(conn, [held])
    value(conn, "select tasker_free_places(%s)", [held.task_no])


def waiting_count(conn: Conn) -> int:
    return int(value(conn, "select count(*) from tasker_waiting"))


def test_a_step_that_is_paused_in_a_line_is_not_let_in_and_lines_up_anew_when_its_task_goes_on(conn: Conn) -> None:
    (_, second, third), first = given_line(conn)
    pause_task(conn, second)
    assert waiting_count(conn) == 1
    let_go(conn, first)
    [held] = claim(conn, want=9)
    assert (held.task_no, states(conn, second)["a"]) == (third.no, "ready")
    resume_task(conn, second)
    assert claim(conn, want=9) == []
    assert waits_for(conn, second, "a").startswith("a free place: 1 of 1 taken by ")
    let_go(conn, held)
    assert [one.task_no for one in claim(conn, want=9)] == [second.no]
    assert_invariants(conn)


def test_a_step_that_is_paused_while_its_line_is_looked_at_is_not_let_in(conn: Conn) -> None:
    # Forbids: a claim that read the line before the pause and takes the parked step for one that stands there.
    (_, second, _), first = given_line(conn)
    looked = "select l::text, w.key, w.rank, w.task_no, w.step_no, w.lane from tasker_waiting w join tasker_limit l using (limit_id) where w.task_no = %s"
    seen = conn.execute(looked.encode(), [second.no]).fetchone()
    assert seen is not None
    let_go(conn, first)
    pause_task(conn, second)
    assert value(conn, "select tasker_leave_line(%s::tasker_limit, %s, %s, %s, %s, %s)", *seen) == 0
    assert value(conn, "select count(*) from tasker_place where task_no = %s", second.no) == 0
    assert_invariants(conn)


LEAVING: dict[str, Callable[[Conn, Task], object]] = {
    "pause": pause_task,
    "cancel": cancel_task,
    "cancel the step": lambda conn, task: cancel_step(conn, task, "a"),
    "skip": lambda conn, task: skip_step(conn, task, "a"),
    "resolve": lambda conn, task: resolve_step(conn, task, "a"),
    "by hand": lambda conn, task: update_status(conn, task, "a", "ready", "cancelled"),
}


@pytest.mark.parametrize("leave", LEAVING.values(), ids=LEAVING)
def test_what_leaves_the_queue_leaves_its_line_and_holds_up_nobody_behind_it(conn: Conn, leave: Callable[[Conn, Task], object]) -> None:
    made, first = given_line(conn, 12)
    for task in made[1:-1]:
        leave(conn, task)
    assert waiting_count(conn) == 1
    assert stale_rows(conn) == 0
    let_go(conn, first)
    assert [one.task_no for one in claim(conn, want=1)] == [made[-1].no]


def test_a_step_that_is_led_back_with_another_context_stands_in_the_line_of_that(conn: Conn) -> None:
    known = given(conn, "p -> s", steps={"s": {"limit": {"at_once": 1, "key": "k"}}})
    one, led_back, two = tasks_of(conn, known, {"k": 1}, {"k": 1}, {"k": 2})
    report(conn, claim(conn, want=3))
    held = {step.task_no: step for step in claim(conn, want=9)}
    assert set(held) == {one.no, two.no}
    retry_downstream(conn, led_back, "p", {"k": 2})
    assert waiting_count(conn) == 0
    report(conn, claim(conn, want=1))
    assert claim(conn, want=9) == []
    let_go(conn, held[one.no])
    assert claim(conn, want=9) == [], "the line of 1, where it stood before"
    let_go(conn, held[two.no])
    assert [step.task_no for step in claim(conn, want=9)] == [led_back.no]
    assert_invariants(conn)


def test_a_new_context_leads_what_else_of_the_task_waits_to_its_line(conn: Conn) -> None:
    known = given(conn, "p, s", steps={"s": {"limit": {"at_once": 1, "key": "k"}}})
    one, other = tasks_of(conn, known, {"k": 1}, {"k": 1})
    report(conn, [step for step in claim(conn, want=9) if step.step_no == one.step_no("p")])
    assert waits_for(conn, other, "s").endswith(", for k 1")
    retry_downstream(conn, other, "p", {"k": 2})
    assert names_of(other, claim(conn, want=9)) == {"p", "s"}
    assert_invariants(conn)


# ---- a workflow's limit, and tasks with several first steps


def test_every_first_step_of_a_task_that_has_its_place_goes_on_whichever_engine_it_is_for(conn: Conn) -> None:
    known, names = given(conn, "a, c", limit={"at_once": 1}, steps={"c": {"needs": "gpu"}})
    [task] = tasks_of(conn, (known, names), {})
    first = claim(conn, want=9, definitions=[known])
    assert names_of(task, first) == {"a"}
    assert names_of(task, claim(conn, want=9, definitions=lanes(conn, known, "gpu"))) == {"c"}
    assert_invariants(conn)


def test_a_first_step_of_a_task_that_has_its_place_does_not_wait_behind_other_tasks(conn: Conn) -> None:
    known, names = given(conn, "a, c", limit={"at_once": 1}, steps={"c": {"needs": "gpu"}})
    before = task_of(conn, known, names, context={}, bypass_steps=["a"])
    move_clock(conn, seconds=1)
    [task] = tasks_of(conn, (known, names), {})
    gpu = lanes(conn, known, "gpu")
    held = claim(conn, want=9, definitions=[known])
    assert names_of(task, held) == {"a"}
    held += claim(conn, want=9, definitions=gpu)
    assert names_of(task, held) == {"a", "c"}
    report(conn, held)
    swept(conn)
    assert names_of(before, claim(conn, want=9, definitions=gpu)) == {"c"}
    assert_invariants(conn)


def test_a_first_step_that_somebody_is_at_work_on_is_looked_at_again(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: a look at the line that finds the row held, and no other look until the task has ended, which waits for that step.
    known, names = given(conn, "a, c", limit={"at_once": 1})
    one, two = tasks_of(conn, (known, names), {}, {})
    held = claim(conn, want=9)
    assert claim(conn, want=9) == []
    with connect() as operator, operator.transaction():
        operator.execute("select from tasker_ready where task_no = %s and step_no = %s for update", [two.no, two.step_no("c")])
        report(conn, held)
        value(conn, "select tasker_free_places(%s)", [one.no])
        assert names_of(two, claim(conn, want=9)) == {"a"}
    assert names_of(two, claim(conn, want=9)) == {"c"}
    assert_invariants(conn)


# ---- a place that is let go, but kept for its period


def test_a_task_that_begins_anew_takes_a_place_anew(conn: Conn) -> None:
    known = given(conn, "a", limit={"at_once": 1, "per_day": 100})
    one, two, three = tasks_of(conn, known, {}, {}, {})
    fail_all(conn, claim(conn, want=9), worker=own_worker(conn))
    swept(conn)
    [held] = claim(conn, want=9)
    retry_task(conn, one)
    assert (held.task_no, claim(conn, want=9)) == (two.no, [])
    cancel_task(conn, three)
    let_go(conn, held)
    [held] = claim(conn, want=9)
    assert held.task_no == one.no
    tasks_of(conn, known, {})
    swept(conn)
    assert claim(conn, want=9) == [], "its place is held again"
    assert value(conn, "select count(*) from tasker_place") == 2, "and counts once within the period"
    assert_invariants(conn)


def test_a_step_that_was_handed_back_and_paused_takes_its_place_anew(conn: Conn) -> None:
    (one, two, three), first = given_line(conn, per_day=100)
    value(conn, "select tasker_free_places(%s)", [one.no])
    assert claim(conn, want=9) == [], "it is seen that it has begun"
    release(conn, [first])
    pause_task(conn, one)
    swept(conn)
    [held] = claim(conn, want=9)
    assert held.task_no == two.no
    resume_task(conn, one)
    cancel_task(conn, three)
    let_go(conn, held)
    assert claim(conn, want=9) == [first]
    tasks_of(conn, (one.definition_id, list(one.names)), {})
    swept(conn)
    assert claim(conn, want=9) == [], "its place is held again"
    assert_invariants(conn)


def later(connect: Callable[..., Conn]) -> Conn:
    """A session for which everything that has happened is past."""
    session = connect()
    move_clock(session, minutes=1)
    return session


def test_a_task_that_begins_anew_while_its_place_is_given_away_does_not_go_on_beside_the_other(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: a claim that still sees the place which another, not yet committed, has seen to be free.
    known = given(conn, "a", limit={"at_once": 1})
    one, two = tasks_of(conn, known, {}, {})
    fail_all(conn, claim(conn, want=9), worker=own_worker(conn))
    swept(conn)
    slow, quick = later(connect), later(connect)
    workers = given_worker(slow), given_worker(quick)
    found: list[Held] = []
    with slow.transaction():
        assert [step.task_no for step in claim(slow, want=9, worker=workers[0])] == [two.no]
        retry_task(conn, one)
        other = meanwhile(lambda: found.extend(claim(quick, want=9, worker=workers[1])))
        other.join(0.5)
    other.join(10)
    assert found == []
    assert waits_for(conn, one, "a").startswith("a free place: 1 of 1 taken by ")
    assert_invariants(conn)


def test_a_step_that_was_handed_back_keeps_its_place_though_its_line_is_being_looked_at(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: that it stands in the line before a place that it holds itself.
    (one, *_), first = given_line(conn)
    release(conn, [first])
    slow, quick = later(connect), later(connect)
    worker = given_worker(quick)
    found: list[Held] = []
    with slow.transaction():
        slow.execute("select from tasker_line for update")
        other = meanwhile(lambda: found.extend(claim(quick, want=9, worker=worker)))
        other.join(0.5)
    other.join(10)
    assert [step.task_no for step in [*found, *claim(conn, want=9)]] == [one.no]
    assert_invariants(conn)


def test_who_lines_up_while_a_limit_is_being_raised_is_let_in(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: a new line, looked at by the numbers of before, that the operator's look at all lines did not see.
    content = definition("a", steps={"a": {"limit": {"at_once": 1, "key": "k"}}})
    known, where = register(conn, content), [content["namespace"], content["name"], "a"]
    conn.execute("select tasker_set_limit(%s, %s, %s, 0, null, 'ann')", where)
    [task] = tasks_of(conn, (known, ["a"]), {"k": 1})
    slow = later(connect)
    worker = given_worker(slow)
    with slow.transaction():
        assert claim(slow, want=9, worker=worker) == []
        other = meanwhile(lambda: conn.execute("select tasker_set_limit(%s, %s, %s, 1, null, 'ann')", where))
        other.join(0.5)
    other.join(10)
    swept(conn)
    assert [one.task_no for one in claim(conn, want=9)] == [task.no]
    assert_invariants(conn)


def test_who_comes_to_a_line_while_it_is_being_tidied_up_is_let_in(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: a sweep that sees a place let go, which it had not expected, and leaves the line as it is.
    known = given(conn, "a", steps={"a": {"limit": {"at_once": 1, "key": "k"}}})

    def used_up(key: str) -> None:
        tasks_of(conn, known, {"k": key})
        [held] = claim(conn, want=1)
        let_go(conn, held)

    for key in (*(f"{number:02}" for number in range(11)), "z"):
        used_up(key)
    assert claim(conn, want=1) == []
    sweeper, blocker = later(connect), connect()
    with blocker.transaction():
        blocker.execute("select from tasker_place where key = '00' for update")
        blocker.execute("select from tasker_line where key = '05' for share")
        sweep = meanwhile(lambda: swept(sweeper))
        sweep.join(0.5)
        one, two = tasks_of(conn, known, {"k": "z"}, {"k": "z"})
        [held] = claim(conn, want=1)
        assert held.task_no == one.no
        report(conn, [held])  # and nobody says so, as when its engine dies
    sweep.join(10)
    swept(conn)
    assert [step.task_no for step in claim(conn, want=9)] == [two.no]
    assert_invariants(conn)


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


ACTS: list[Callable[[Conn, Task], object]] = [
    pause_task,
    resume_task,
    cancel_task,
    retry_task,
    *(lambda conn, task, act=act, name=name: act(conn, task, name) for act in (cancel_step, skip_step, resolve_step, retry_step, retry_downstream) for name in ("a", "c")),
    *(lambda conn, task, k=k: retry_downstream(conn, task, "c", {"k": k}) for k in (1, 2)),
]


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_no_limit_is_exceeded_and_nobody_is_left_standing(conn: Conn, seed: int) -> None:
    """Random moves of two engines and an operator; one engine has the label that half of the steps need."""
    chance = random.Random(seed)
    step_limit: dict[str, Any] = chance.choice([{"at_once": 1, "key": "k"}, {"at_once": 2, "per_day": 1000}])
    whole_limit: dict[str, Any] | None = chance.choice([None, {"at_once": 1}, {"at_once": 2, "per_day": 1000}])
    known, names = given(conn, "a, c", limit=whole_limit, steps={"a": {"limit": step_limit}, "c": {"needs": "gpu"}}, retry_limit=2)
    engines = {own_worker(conn): [known], given_worker(conn): lanes(conn, known, "gpu")}
    made: list[Task] = []
    held: list[tuple[int, Held]] = []

    def claimed(worker: int) -> bool:
        taken = claim(conn, want=chance.randint(1, 4), worker=worker, definitions=engines[worker])
        held.extend((worker, one) for one in taken)
        return bool(taken)

    def ended(worker: int, one: Held, *, well: bool) -> None:
        held.remove((worker, one))
        if well:
            report(conn, [one], worker=worker)
        else:
            fail_all(conn, [one], worker=worker, retryable=chance.random() < 0.5, delay=0)
        if chance.random() < 0.5:
            value(conn, "select tasker_free_places(%s)", [one.task_no])

    def hold_to_the_limits() -> None:
        # what was let in before an operator changed its context has its place where it stood
        running = """select count(*) from tasker_step s join tasker_task t using (task_no)
            left join tasker_place h on h.task_no = s.task_no and h.step_no = s.step_no and h.attempt = s.attempts and not h.ended
           where s.state = 2 and s.step_no = %s and (%s or coalesce(h.key, t.context ->> 'k') = %s)"""
        for k in ("1", "2"):
            assert value(conn, running, names.index("a"), "key" not in step_limit, k) <= step_limit["at_once"]
        assert value(conn, "select count(distinct task_no) from tasker_step where state = 2") <= (whole_limit or {"at_once": 99})["at_once"]
        assert stale_rows(conn) == 0
        assert_invariants(conn)

    for _ in range(120):
        move = chance.random()
        if move < 0.15:
            made += tasks_of(conn, (known, names), {"k": chance.randint(1, 2)})
        elif move < 0.45:
            claimed(chance.choice(list(engines)))
        elif move < 0.65 and held:
            ended(*chance.choice(held), well=chance.random() < 0.6)
        elif move < 0.7 and held:
            worker, one = held.pop()
            release(conn, [one], worker=worker)
        elif move < 0.8:
            swept(conn)
        elif made:
            try:
                chance.choice(ACTS)(conn, chance.choice(made))
            except psycopg.Error as refusal:
                if refusal.sqlstate != "WF002":
                    raise
        hold_to_the_limits()

    for task in made:
        if value(conn, "select paused and finished_at is null from tasker_task where task_no = %s", task.no):
            resume_task(conn, task)
    while held or sum(claimed(worker) for worker in engines for _ in range(2)):
        for worker, one in list(held):
            ended(worker, one, well=True)
        swept(conn)
        hold_to_the_limits()
    assert {task_state(conn, task) for task in made} <= {"completed", "failed", "cancelled"}


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


def next_version(conn: Conn, content: dict[str, Any], version: str, **changed: Any) -> int:
    """Another version of the workflow, in which the step `a` has just these options."""
    step = {name: option for name, option in content["steps"][0].items() if name not in ("limit", "needs")}
    return register(conn, {**{name: option for name, option in content.items() if name != "limit"}, "version": version, "fingerprint": version * 12, "steps": [{**step, **changed}]})


def test_a_limit_that_a_new_version_leaves_out_is_no_longer_in_force(conn: Conn) -> None:
    content = definition("a", workflow_limit={"at_once": 1}, steps={"a": {"limit": {"at_once": 1}}})
    old = register(conn, content)
    made = tasks_of(conn, (old, ["a"]), *[{}] * 3)
    assert len([*claim(conn, want=9), *claim(conn, want=9)]) == 1
    known = next_version(conn, content, "1.1.0", needs=["gpu"])
    assert value(conn, "select array_agg(at_once) from tasker_limit") == [None, None]
    assert {one.task_no for one in [*claim(conn, want=9), *claim(conn, want=9)]} == {made[1].no, made[2].no}, "what stood in line goes on at once"
    made = tasks_of(conn, (known, ["a"]), *[{}] * 3)
    assert len(claim(conn, want=9, definitions=lanes(conn, known, "gpu"))) == 3
    assert_invariants(conn)


def test_a_limit_that_an_operator_has_set_is_in_force_also_where_a_new_version_leaves_it_out(conn: Conn) -> None:
    content = definition("a", steps={"a": {"limit": {"at_once": 1}}})
    register(conn, content)
    where = [content["namespace"], content["name"], "a"]
    conn.execute("select tasker_set_limit(%s, %s, %s, 2, null, 'ann')", where)
    known = next_version(conn, content, "1.1.0", needs=["gpu"])
    tasks_of(conn, (known, ["a"]), *[{}] * 3)
    assert len(claim(conn, want=9, definitions=lanes(conn, known, "gpu"))) == 2
    conn.execute("select tasker_reset_limit(%s, %s, %s, 'ann')", where)
    assert len(claim(conn, want=9, definitions=lanes(conn, known, "gpu"))) == 1
    assert_invariants(conn)


def test_a_limit_on_a_step_that_a_new_version_does_not_have_holds_for_tasks_of_the_old(conn: Conn) -> None:
    content = definition("a", steps={"a": {"limit": {"at_once": 1}}})
    tasks_of(conn, (register(conn, content), ["a"]), *[{}] * 3)
    next_version(conn, content, "1.1.0", name="b", limit={"at_once": 3})
    assert len(claim(conn, want=9)) == 1


def test_a_new_version_that_allows_more_lets_in_what_waits(conn: Conn) -> None:
    content = definition("a", steps={"a": {"limit": {"at_once": 1}}})
    tasks_of(conn, (register(conn, content), ["a"]), *[{}] * 3)
    assert len(claim(conn, want=9)) == 1
    next_version(conn, content, "1.1.0", limit={"at_once": 2})
    assert len(claim(conn, want=9)) == 1


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
