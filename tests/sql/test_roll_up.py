"""`tasker_roll_up`: every move is counted exactly once, and what the roll-ups say is what plain SQL says of the history, the steps and the tasks."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import graphs
import psycopg
import pytest
import test_plans
from graphs import (
    Conn,
    Task,
    cancel_task,
    complete,
    decide,
    expand,
    fail,
    given_task,
    move_clock,
    release,
    resolve_step,
    retry_downstream,
    retry_step,
    retry_task,
    roll_up,
    skip_step,
    start,
    task_of,
    value,
)

MINUTE, HOUR, DAY, EVER = range(4)


def tasks_counted(conn: Conn, grain: int = EVER) -> dict[str, tuple[int, int]]:
    """(moves, undone) by state."""
    rows = conn.execute(
        "select tasker_state_name(state), sum(move_count)::int, sum(undone_count)::int from tasker_task_rollup where grain = %s group by 1", [grain]
    ).fetchall()
    return {row[0]: row[1:] for row in rows}


def steps_counted(conn: Conn, task: Task, grain: int = EVER) -> dict[str, dict[str, tuple[int, int]]]:
    """(moves, undone) by step and state."""
    rows = conn.execute(
        "select step_no, tasker_state_name(state), sum(move_count)::int, sum(undone_count)::int from tasker_step_rollup"
        " where grain = %s and definition_id = %s and step_no >= 0 group by 1, 2", [grain, task.definition_id]
    ).fetchall()
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for step_no, state, *counts in rows:
        found.setdefault(task.names[step_no], {})[state] = (counts[0], counts[1])
    return found


def seconds(conn: Conn, task: Task, name: str, state: str) -> float:
    """How long all moves of the step into the state took together."""
    query = "select extract(epoch from took)::float8 from tasker_step_rollup where grain = 3 and definition_id = %s and step_no = %s and state = tasker_state_code(%s)"
    return float(value(conn, query, task.definition_id, task.step_no(name), state))


def everything(conn: Conn) -> list[tuple[Any, ...]]:
    return conn.execute("select r::text from tasker_step_rollup r union all select r::text from tasker_task_rollup r order by 1").fetchall()


def an_eventful_day(conn: Conn) -> Task:
    """A task of each kind of life: good, failed, repaired, cancelled, resolved, with items, a decision and retries."""
    task = given_task(conn, "a -> b -> d, a -> c -> d", retry_limit=2)
    for pause in (1, 70, 4000):
        complete(conn, task, "a")
        move_clock(conn, seconds=pause)
        fail(conn, task, "b", retryable=True, type="timeout")
        move_clock(conn, minutes=3)
        held = start(conn, task, "b")
        move_clock(conn, seconds=2 * pause)
        release(conn, [held])
        complete(conn, task, "c")
        move_clock(conn, seconds=pause / 7)
        complete(conn, task, "b", "d")
        task = task_of(conn, task.definition_id, task.names)
    for repair in (lambda it: retry_task(conn, it), lambda it: skip_step(conn, it, "a"), lambda it: resolve_step(conn, it, "a")):
        fail(conn, task, "a")
        move_clock(conn, hours=5)
        repair(task)
        complete(conn, task, *(name for name in ("a", "b", "c", "d") if graphs.states(conn, task)[name] not in ("skipped", "resolved")))
        move_clock(conn, minutes=1)
        retry_downstream(conn, task, "d")
        complete(conn, task, "d")
        task = task_of(conn, task.definition_id, task.names)
    start(conn, task, "a")
    cancel_task(conn, task)
    fail(conn, task, "a")
    fail(conn, task_of(conn, task.definition_id, task.names), "a", type="worker_crashed")
    return task


# the net count of a state, by when it was reached, is what the rows themselves say
TASKS_BY_ROW = """
  select t.definition_id, t.state, date_trunc('hour', t.finished_at, 'UTC') as begins_at, count(*) from tasker_task t where t.finished_at is not null group by 1, 2, 3
"""
TASKS_BY_ROLLUP = """
  select r.definition_id, r.state, r.begins_at, r.move_count - r.undone_count from tasker_task_rollup r where r.grain = 1 and r.state > 2 and r.move_count > r.undone_count
"""
STEPS_BY_ROW = """
  select s.definition_id, coalesce(s.map_no, s.step_no), s.state, date_trunc('minute', s.finished_at, 'UTC'), count(*) from tasker_step s where s.finished_at is not null group by 1, 2, 3, 4
"""
STEPS_BY_ROLLUP = """
  select r.definition_id, r.step_no, r.state, r.begins_at, r.move_count - r.undone_count from tasker_step_rollup r
   where r.grain = 0 and r.step_no >= 0 and r.state > 3 and r.move_count > r.undone_count
"""


def difference(conn: Conn, one: str, other: str) -> list[tuple[Any, ...]]:
    return conn.execute(f"(({one}) except ({other})) union all (({other}) except ({one}))".encode()).fetchall()


@pytest.mark.parametrize("limit", [3, 10_000])
def test_the_roll_ups_say_what_the_rows_say(conn: Conn, limit: int) -> None:
    an_eventful_day(conn)
    roll_up(conn, limit=limit)
    assert difference(conn, TASKS_BY_ROW, TASKS_BY_ROLLUP) == []
    assert difference(conn, STEPS_BY_ROW, STEPS_BY_ROLLUP) == []
    # attempts and their lengths, from the history alone: from each start to the end that bears the same attempt
    attempts = """
      select e.to_state, count(*), sum(e.at - (select max(b.at) from tasker_history b
                where b.task_no = e.task_no and b.step_no = e.step_no and b.to_state = 2 and b.attempt = e.attempt and b.event_id < e.event_id))
        from tasker_history e where e.step_no is not null and e.from_state = 2 and e.to_state between 3 and 6 group by 1
    """
    counted = "select r.state, sum(r.timed_count), sum(r.took) from tasker_step_rollup r where r.grain = 3 and r.step_no = -1 and r.state between 3 and 6 and r.timed_count > 0 group by 1"
    assert difference(conn, attempts, counted) == []
    assert value(conn, "select sum(timeout_count)::int from tasker_step_rollup where grain = 2 and step_no = -1") == 3
    assert value(conn, "select sum(crash_count)::int from tasker_step_rollup where grain = 2 and step_no = -1") == 1


def test_every_grain_and_the_steps_together_say_the_same(conn: Conn) -> None:
    task = an_eventful_day(conn)
    roll_up(conn)
    sums = "state, sum(move_count), sum(undone_count), sum(timed_count), sum(took), max(longest), sum(timeout_count), sum(crash_count)"
    by_grain = [
        conn.execute(f"select {sums} from tasker_step_rollup where grain = {grain} and {which} group by 1 order by 1".encode()).fetchall()
        for grain in (MINUTE, HOUR, DAY, EVER) for which in ("step_no >= 0", "step_no = -1")
    ]
    assert all(one == by_grain[0] for one in by_grain)
    assert all(tasks_counted(conn, grain) == tasks_counted(conn) for grain in (MINUTE, HOUR, DAY))
    assert steps_counted(conn, task, MINUTE) == steps_counted(conn, task)
    # each bin holds what is at least its lower limit and less than its upper one
    bins = value(conn, "select bins from tasker_step_rollup where grain = 3 and step_no = -1 and state = 4")
    lengths = conn.execute("select took from tasker_measure_moves(0, 1000000000) where step_no is not null and state = 4 and not undone and took is not null").fetchall()
    limits = value(conn, "select tasker_bin_limits()")
    placed = [sum(limit <= took.total_seconds() for limit in limits) for (took,) in lengths]
    assert bins == [placed.count(number) for number in range(max(placed) + 1)]
    assert limits == sorted(set(limits))
    assert max(after / before for before, after in itertools.pairwise(limits)) < 1.29


def test_a_step_waits_from_when_it_could_run_to_its_start(conn: Conn) -> None:
    task = given_task(conn, "a -> c, b -> c", retry_limit=3)
    move_clock(conn, seconds=100)
    start(conn, task, "a")                                   # since the task was made: 100
    complete(conn, task, "a", "b")
    move_clock(conn, seconds=1000)
    held = start(conn, task, "c")                            # since its last parent ended: 1,000
    release(conn, [held])
    move_clock(conn, seconds=10)
    fail(conn, task, "c", retryable=True, delay=60)          # since it was handed back: 10
    move_clock(conn, seconds=65)
    roll_up(conn)
    fail(conn, task, "c", retryable=True, delay=60)          # since its retry was due: 5
    roll_up(conn)
    move_clock(conn, seconds=68)
    start(conn, task, "c")                                   # 8
    roll_up(conn)
    assert 100 <= seconds(conn, task, "a", "running") < 110
    assert 1023 <= seconds(conn, task, "c", "running") < 1050
    assert steps_counted(conn, task)["c"] == {"running": (4, 0), "retrying": (2, 0)}
    assert value(conn, "select count(*)::int from tasker_rollup_wait where task_no = %s", task.no) == 0


def test_a_handed_over_step_waited_for_nothing(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    held = start(conn, task, "a")
    move_clock(conn, seconds=30)
    graphs.report(conn, [held], want=1)
    roll_up(conn)
    assert seconds(conn, task, "b", "running") == 0


@pytest.mark.parametrize("often", [False, True])
def test_items_wait_since_they_were_made_and_count_for_their_map_step(conn: Conn, often: bool) -> None:
    task = given_task(conn, "list -> each", steps={"each": {"for_each": "list", "handler_class": "shop.Each"}})
    complete(conn, task, "list", result=[1, 2])
    items = expand(conn, task, "each")
    for item in items:
        if often:
            roll_up(conn)
        move_clock(conn, seconds=50)
        held = start(conn, task, item)
        move_clock(conn, seconds=7)
        graphs.report(conn, [held], worker=graphs.holder(conn, held))
    if often:
        roll_up(conn)
    move_clock(conn, seconds=20)
    expand(conn, task, "each")
    roll_up(conn)
    counted = steps_counted(conn, task)["each"]
    assert counted == {"running": (3, 0), "completed": (3, 0)}, "the map step once, and each item; its second start is none"
    assert 157 <= seconds(conn, task, "each", "running") < 175    # 50, and 57 + 50
    assert 148 <= seconds(conn, task, "each", "completed") < 175  # 7, 7, and the whole of the map step
    assert value(conn, "select count(*)::int from tasker_rollup_wait where task_no = %s", task.no) == 0


def test_a_repaired_task_counts_once_as_what_it_has_become(conn: Conn) -> None:
    task = given_task(conn, "a")
    fail(conn, task, "a")
    roll_up(conn)
    assert tasks_counted(conn) == {"running": (1, 0), "failed": (1, 0)}
    move_clock(conn, hours=2)
    retry_step(conn, task, "a")
    complete(conn, task, "a")
    roll_up(conn)
    assert tasks_counted(conn) == {"running": (1, 0), "failed": (1, 1), "completed": (1, 0)}
    hours = conn.execute("select move_count, undone_count from tasker_task_rollup where grain = 1 and state = 5").fetchall()
    assert hours == [(1, 1)], "it is taken back in the hour in which it had failed"


def test_a_passed_over_step_is_skipped_once(conn: Conn) -> None:
    task = given_task(conn, "a -> b, a -> c", steps={"a": {"decision": True, "handler_class": "shop.Decide"}})
    decide(conn, task, "a", "b")
    complete(conn, task, "b")
    roll_up(conn)
    assert steps_counted(conn, task) == {"a": {"running": (1, 0), "completed": (1, 0)}, "b": {"running": (1, 0), "completed": (1, 0)}, "c": {"skipped": (1, 0)}}


# ---- exactly once


def test_a_move_is_counted_once_however_often_it_is_rolled_up(conn: Conn) -> None:
    an_eventful_day(conn)
    roll_up(conn)
    counted = everything(conn)
    for _ in range(3):
        conn.execute("select * from tasker_roll_up()")
    assert everything(conn) == counted


def test_a_move_that_commits_late_is_counted_then(conn: Conn, connect: Callable[..., Conn]) -> None:
    # Forbids that the place goes past a number whose transaction is still open while higher ones are visible.
    early, late = given_task(conn, "a"), given_task(conn, "a")
    conn.execute("select * from tasker_roll_up()")
    other = connect()
    with other.transaction():
        complete(other, early, "a")
        complete(conn, late, "a")
        for _ in range(5):
            conn.execute("select * from tasker_roll_up()")
        assert value(conn, "select counted_to < (select min(event_id) from tasker_history) from tasker_rollup_place")
    roll_up(conn)
    assert tasks_counted(conn)["completed"] == (2, 0)


def test_a_roll_up_that_dies_midway_has_counted_nothing(conn: Conn, connect: Callable[..., Conn]) -> None:
    complete(conn, given_task(conn, "a"), "a")
    conn.execute("select * from tasker_roll_up()")   # the first look, which counts nothing yet
    doomed = connect()
    with doomed.transaction(force_rollback=True):
        doomed.execute("select tasker_count_moves(p.counted_to, (select max(h.event_id) from tasker_history h)) from tasker_rollup_place p")
        assert tasks_counted(doomed)["completed"] == (1, 0)
    assert tasks_counted(conn) == {}
    roll_up(conn)
    assert tasks_counted(conn)["completed"] == (1, 0)


def test_of_two_at_once_one_counts_and_the_other_goes_on(conn: Conn, connect: Callable[..., Conn]) -> None:
    # Forbids that both count the same moves, and that one waits for the other.
    complete(conn, given_task(conn, "a"), "a")
    other = connect()
    with other.transaction():
        other.execute("select from tasker_rollup_place for update")
        conn.execute("set lock_timeout = '2s'")
        before = value(conn, "select counted_to from tasker_roll_up()")
        assert before < value(conn, "select max(event_id) from tasker_history")
    task = an_eventful_day(conn)
    threads = [threading.Thread(target=roll_up, args=(connect(),), kwargs={"limit": 5}) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert difference(conn, TASKS_BY_ROW, TASKS_BY_ROLLUP) == []
    assert difference(conn, STEPS_BY_ROW, STEPS_BY_ROLLUP) == []
    assert task.names == ("a", "b", "c", "d")


def test_a_look_that_began_before_another_leads_the_place_no_way_back(new_database_url: str) -> None:
    # Forbids: one session reads the newest number, another makes its whole call, and the first writes down the older number, so that what lies between counts twice.
    with psycopg.connect(new_database_url, autocommit=True) as conn, psycopg.connect(new_database_url, autocommit=True) as early:
        horizon = value(conn, "select pg_get_functiondef('tasker_event_horizon'::regproc)")
        waiting = horizon.replace("  high_xid := case", "  perform pg_advisory_xact_lock(4711);\n  high_xid := case")
        assert waiting != horizon
        conn.execute(waiting.encode())
        task = given_task(conn, "a -> b -> c")
        complete(conn, task, "a")
        roll_up(conn)
        complete(conn, task, "b")
        conn.execute("select pg_advisory_lock(4711)")   # this session passes nevertheless
        calling, patience = threading.Thread(target=early.execute, args=("select * from tasker_roll_up()",)), threading.Event()
        calling.start()
        while not value(conn, "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s", early.info.backend_pid):
            assert calling.is_alive(), "it did not wait"
            patience.wait(0.005)
        complete(conn, task, "c")
        last = value(conn, "select max(event_id) from tasker_history")
        while value(conn, "select known_to from tasker_rollup_place") < last:
            conn.execute("select * from tasker_roll_up()")
        conn.execute("select pg_advisory_unlock(4711)")
        calling.join(30)
        complete(conn, task_of(conn, task.definition_id, task.names), *task.names)
        roll_up(conn)
        assert difference(conn, TASKS_BY_ROW, TASKS_BY_ROLLUP) == []
        assert difference(conn, STEPS_BY_ROW, STEPS_BY_ROLLUP) == []


def test_what_is_counted_outlives_the_tasks(conn: Conn) -> None:
    task = an_eventful_day(conn)
    roll_up(conn)
    counted = everything(conn)
    conn.execute("select tasker_set_retention('tests', '1 day', 'ann')")
    move_clock(conn, days=30)
    [(dropped,)] = conn.execute("select task_count from tasker_drop_tasks(%s, 0, 1000, '0')", [task.definition_id]).fetchall()
    assert dropped == 8
    roll_up(conn)
    assert everything(conn) == counted


def test_where_nothing_is_new_a_look_costs_no_transaction_number(conn: Conn) -> None:
    complete(conn, given_task(conn, "a"), "a")
    roll_up(conn)
    with conn.transaction():
        conn.execute("select * from tasker_roll_up()")
        assert value(conn, "select pg_current_xact_id_if_assigned()") is None


def test_minutes_and_hours_go_when_they_are_old_and_days_stay(conn: Conn) -> None:
    task = given_task(conn, "a")
    complete(conn, task, "a")
    move_clock(conn, days=3)
    complete(conn, task_of(conn, task.definition_id, task.names), "a")
    roll_up(conn)
    conn.execute("select tasker_prune_rollups(tasker_clock() - interval '2 days', tasker_clock() - interval '2 days')")
    assert tasks_counted(conn, MINUTE)["completed"] == tasks_counted(conn, HOUR)["completed"] == (1, 0)
    assert tasks_counted(conn, DAY)["completed"] == tasks_counted(conn, EVER)["completed"] == (2, 0)
    assert steps_counted(conn, task, MINUTE)["a"] == {"running": (1, 0), "completed": (1, 0)}


def test_a_batch_reads_what_it_counts_and_not_the_tables(new_database_url: str) -> None:
    # Plans are made while the tables are tiny, never analysed, and kept.
    with psycopg.connect(new_database_url, autocommit=True) as conn:
        conn.execute("set plan_cache_mode = force_generic_plan")
        task = given_task(conn, "a -> b -> c")
        complete(conn, task, "a")
        roll_up(conn)
        test_plans.fill(conn, task.definition_id, 1_000)
        worker = graphs.given_worker(conn, definitions=[task.definition_id])
        held = graphs.claim(conn, want=5_000, worker=worker)
        while held:
            held = graphs.report(conn, held, want=5_000, worker=worker)
        roll_up(conn)
        complete(conn, task_of(conn, task.definition_id, task.names), *task.names)
        last = value(conn, "select max(event_id) from tasker_history")
        while value(conn, "select known_to from tasker_rollup_place") < last:
            conn.execute("select * from tasker_roll_up()")
        found = test_plans.rows_read(conn, lambda: roll_up(conn))
        del found["tasker_rollup_place"]  # one row, read at each look, of which there are many while others on this server have transactions open
        assert {table: rows for table, rows in found.items() if rows > 300} == {}
        assert value(conn, "select move_count from tasker_task_rollup where grain = 3 and state = 4") == 1_002
