"""`tasker_drop_tasks` and the functions around it: what is older than its namespace keeps it is gone whole, and nothing else is."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import graphs
import psycopg
import pytest
import test_plans
from graphs import (
    Conn,
    Task,
    complete,
    create,
    fail,
    given_task,
    move_clock,
    now,
    refused,
    request,
    retry_task,
    roll_up,
    start,
    task_of,
    task_state,
    value,
)

DAY = timedelta(days=1)
HOLD = timedelta(days=7)


@pytest.fixture(autouse=True)
def nothing_else(conn: Conn) -> None:
    for table in ("subscription", "undelivered", "custom_event", "retention_default"):
        conn.execute(f"delete from tasker_{table}".encode())


def keep(conn: Conn, retention: timedelta | None = 30 * DAY, namespace: str = "tests") -> None:
    conn.execute("select tasker_set_retention(%s, %s, 'ann')", [namespace, retention])


def later(conn: Conn, **ahead: float) -> None:
    """So much time passes, in which what has happened is counted in the roll-ups."""
    roll_up(conn)
    move_clock(conn, **ahead)


def drop(conn: Conn, task: Task, *, after: int = 0, limit: int = 100) -> tuple[int | None, int, int]:
    found = conn.execute("select looked_to, task_count, step_count from tasker_drop_tasks(%s, %s, %s, %s)", [task.definition_id, after, limit, HOLD]).fetchone()
    assert found is not None
    return found[0], found[1], found[2]


def old(conn: Conn, task: Task) -> dict[int, str | None]:
    return dict(conn.execute("select task_no, kept_for from tasker_old_tasks(%s, 0, 100, %s)", [task.definition_id, HOLD]).fetchall())


def exists(conn: Conn, task: Task) -> bool:
    return bool(value(conn, "select exists (select from tasker_task where task_no = %s)", task.no))


def given_ended_task(conn: Conn, graph: str = "a -> b, a -> c") -> Task:
    task = given_task(conn, graph)
    keep(conn)
    complete(conn, task, *task.names)
    return task


def given_siblings(conn: Conn, count: int) -> list[Task]:
    """Ended tasks of one definition, one step each."""
    first = given_ended_task(conn, "a")
    others = [task_of(conn, first.definition_id, first.names) for _ in range(count - 1)]
    for task in others:
        complete(conn, task, "a")
    return [first, *others]


def subscribe(conn: Conn, event_id: int) -> None:
    conn.execute(
        "insert into tasker_subscription (name, event_id, created_at) values ('shop.Monitor', %s, now())"
        " on conflict (name) do update set event_id = excluded.event_id", [event_id]
    )


def test_what_is_older_than_it_is_kept_is_gone_whole(conn: Conn) -> None:
    task = given_task(conn, "a -> b, a -> c")
    keep(conn)
    [(keyed_id, _)] = create(conn, request(task.definition_id, idempotency_key="k", fingerprint="f"))
    keyed = Task(value(conn, "select tasker_task_no(%s)", keyed_id), keyed_id, task.definition_id, task.names)
    conn.execute("select tasker_publish_event('order.priced', %s, 'a', '{}')", [keyed.id])
    conn.execute("insert into tasker_undelivered values ('shop.Monitor', 1, %s, 10, 'no', now())", [json.dumps({"task_id": keyed.id})])
    for one in (task, keyed):
        complete(conn, one, *one.names)
    later(conn, days=31)
    assert drop(conn, task) == (None, 2, 6)
    # Whatever table will ever be keyed by a task: nothing of it is left. Queues hold what has not ended.
    tables = [row[0] for row in conn.execute(
        "select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid where c.relkind = 'r' and c.relname like 'tasker%' and a.attname = 'task_no'"
    ).fetchall()]
    assert {"tasker_task", "tasker_step", "tasker_history", "tasker_custom_event"} <= set(tables)
    for table in (*tables, "tasker_request_key", "tasker_undelivered"):
        assert value(conn, f"select count(*) from {table}") == 0, table


def test_a_batch_ends_where_the_items_of_its_tasks_are_as_many_steps_as_it_may_have(conn: Conn) -> None:
    tasks = given_siblings(conn, 6)
    conn.execute("update tasker_task set item_count = 5 where task_no = any(%s)", [[one.no for one in tasks[1:3]]])
    later(conn, days=31)
    assert drop(conn, tasks[0], limit=4) == (tasks[1].no, 2, 2)   # the second brings five more
    assert drop(conn, tasks[0], after=tasks[1].no, limit=4) == (tasks[2].no, 1, 1)
    assert drop(conn, tasks[0], after=tasks[2].no, limit=4) == (None, 3, 3)
    assert not any(exists(conn, one) for one in tasks)


def test_without_a_retention_everything_is_kept(conn: Conn) -> None:
    task = given_ended_task(conn)
    keep(conn, None)
    later(conn, days=10_000)
    assert drop(conn, task) == (None, 0, 0)
    assert old(conn, task) == {}
    assert exists(conn, task)


def test_the_retention_counts_from_the_end_of_the_task(conn: Conn) -> None:
    task = given_task(conn, "a")
    keep(conn)
    later(conn, days=100)
    complete(conn, task, "a")
    later(conn, days=29)
    assert drop(conn, task) == (None, 0, 0)
    assert old(conn, task) == {task.no: "open"}
    later(conn, days=2)
    assert drop(conn, task) == (None, 1, 1)


def test_what_has_not_ended_is_never_dropped(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    keep(conn)
    running = task_of(conn, task.definition_id, task.names)
    waiting = task_of(conn, task.definition_id, task.names, run_at=now(conn) + 1000 * DAY)
    start(conn, running, "a")
    later(conn, days=900)
    assert drop(conn, task) == (None, 0, 0)
    assert all(exists(conn, one) for one in (task, running, waiting))


def test_failed_and_cancelled_tasks_are_dropped_too(conn: Conn) -> None:
    failed = given_task(conn, "a -> b, c")
    keep(conn)
    fail(conn, failed, "a")
    complete(conn, failed, "c")
    cancelled = task_of(conn, failed.definition_id, failed.names)
    graphs.cancel_task(conn, cancelled)
    assert (task_state(conn, failed), task_state(conn, cancelled)) == ("failed", "cancelled")
    later(conn, days=31)
    assert drop(conn, failed) == (None, 2, 6)


def test_a_failed_task_that_was_retried_in_time_is_kept(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    keep(conn)
    fail(conn, task, "a")
    later(conn, days=31)
    retry_task(conn, task)
    assert drop(conn, task) == (None, 0, 0)
    complete(conn, task, "a", "b")


def test_a_batch_looks_at_no_more_than_the_limit_and_says_where_to_go_on(conn: Conn) -> None:
    tasks = given_siblings(conn, 5)
    later(conn, days=31)
    assert drop(conn, tasks[0], limit=2) == (tasks[1].no, 2, 2)
    assert drop(conn, tasks[0], after=tasks[1].no, limit=2) == (tasks[3].no, 2, 2)
    assert drop(conn, tasks[0], after=tasks[3].no, limit=2) == (None, 1, 1)


def test_an_old_task_that_is_open_does_not_stand_in_the_way(conn: Conn) -> None:
    open_task = given_task(conn, "a")
    keep(conn)
    ended = task_of(conn, open_task.definition_id, open_task.names)
    complete(conn, ended, "a")
    later(conn, days=31)
    looked_to, *dropped = drop(conn, open_task, limit=1)
    assert (looked_to, dropped) == (open_task.no, [0, 0])
    assert drop(conn, open_task, after=open_task.no, limit=1) == (ended.no, 1, 1)


# ---- subscribers


def test_a_task_waits_for_every_subscriber_that_has_not_read_it(conn: Conn) -> None:
    task = given_ended_task(conn)
    last = 2 * value(conn, "select max(event_id) from tasker_history where task_no = %s", task.no)
    subscribe(conn, last - 1)
    later(conn, days=31)
    assert old(conn, task) == {task.no: "unread"}
    assert drop(conn, task) == (None, 0, 0)
    subscribe(conn, last)
    assert drop(conn, task) == (None, 1, 3)


def test_a_handlers_own_event_is_read_first_too(conn: Conn) -> None:
    task = given_ended_task(conn)
    published = value(conn, "select tasker_publish_event('order.priced', %s, null, '{}')", task.id)
    subscribe(conn, published - 1)
    later(conn, days=31)
    assert drop(conn, task) == (None, 0, 0)


def test_a_subscriber_that_never_comes_back_holds_a_task_for_a_while_only(conn: Conn) -> None:
    task = given_ended_task(conn)
    subscribe(conn, 0)
    later(conn, days=36)
    assert drop(conn, task) == (None, 0, 0)
    later(conn, days=2)
    assert drop(conn, task) == (None, 1, 3)


def test_a_subscriber_that_is_forgotten_holds_nothing(conn: Conn) -> None:
    task = given_ended_task(conn)
    subscribe(conn, 0)
    later(conn, days=31)
    assert drop(conn, task) == (None, 0, 0)
    conn.execute("select tasker_forget_subscription('shop.Monitor')")
    assert drop(conn, task) == (None, 1, 3)


def test_a_task_waits_until_its_moves_are_counted(conn: Conn) -> None:
    task = given_ended_task(conn)
    move_clock(conn, days=1000)
    assert old(conn, task) == {task.no: "unread"}
    assert drop(conn, task) == (None, 0, 0)
    roll_up(conn)
    assert drop(conn, task) == (None, 1, 3)


# ---- beside others


def test_what_another_engine_is_dropping_is_passed_by(conn: Conn, connect: Callable[..., Conn]) -> None:
    # Forbids that the second engine waits for the first, or counts what the first one drops.
    tasks = given_siblings(conn, 4)
    later(conn, days=31)
    other = connect()
    later(other, days=31)
    with other.transaction():
        assert drop(other, tasks[0], limit=2)[1:] == (2, 2)
        conn.execute("set lock_timeout = '2s'")
        assert drop(conn, tasks[0]) == (None, 2, 2)


@pytest.mark.parametrize("act", [retry_task, lambda conn, task: graphs.skip_step(conn, task, "a"), lambda conn, task: graphs.retry_step(conn, task, "a")])
def test_a_task_that_an_operator_is_acting_on_is_passed_by(conn: Conn, connect: Callable[..., Conn], act: Callable[[Conn, Task], object]) -> None:
    # Forbids that the steps go while the action stands between its locks and its commit.
    task = given_task(conn, "a -> b")
    keep(conn)
    fail(conn, task, "a")
    later(conn, days=31)
    operator = connect()
    with operator.transaction():
        act(operator, task)
        conn.execute("set lock_timeout = '2s'")
        assert drop(conn, task) == (None, 0, 0)
    assert task_state(conn, task) == "running"


@pytest.mark.parametrize("end", ["failed", "completed"])
def test_an_operator_who_holds_steps_and_waits_for_the_task_is_passed_by(conn: Conn, connect: Callable[..., Conn], end: str) -> None:
    # Forbids the deadlock of two that lock steps and task in opposite orders.
    task = given_task(conn, "a -> b")
    keep(conn)
    if end == "failed":
        fail(conn, task, "a")
    else:
        complete(conn, task, "a", "b")
    later(conn, days=31)
    operator = connect()
    with operator.transaction():
        operator.execute("select tasker_hold_tasks(array[%s]::bigint[])", [task.no])
        conn.execute("set lock_timeout = '2s'")
        assert drop(conn, task) == (None, 0, 0)
    assert exists(conn, task)


@pytest.mark.parametrize(
    "act",
    [
        lambda conn, task: graphs.retry_step(conn, task, "a"),
        lambda conn, task: graphs.skip_step(conn, task, "a"),
        lambda conn, task: graphs.resolve_step(conn, task, "a"),
        lambda conn, task: graphs.update_status(conn, task, "a", "failed", "ready"),
        graphs.cancel_task,
        graphs.retry_task,
    ],
)
def test_an_action_that_meets_a_task_being_dropped_is_refused_and_leaves_nothing(
    conn: Conn, connect: Callable[..., Conn], act: Callable[[Conn, Task], object]
) -> None:
    # The action has found the task, and waits for its steps while these are being deleted.
    task = given_task(conn, "a -> b")
    keep(conn)
    fail(conn, task, "a")
    later(conn, days=31)
    operator, raised = connect(), []

    def try_it() -> None:
        try:
            act(operator, task)
        except psycopg.Error as error:
            raised.append(error.sqlstate)

    with conn.transaction():
        assert drop(conn, task) == (None, 1, 2)
        thread = threading.Thread(target=try_it)
        thread.start()
        waiting = "select count(*) from pg_locks where not granted and pid = %s"
        with connect() as watch:
            while not value(watch, waiting, operator.info.backend_pid):
                assert thread.is_alive()
    thread.join(20)
    assert len(raised) == 1
    assert raised[0] in ("WF001", "WF002")
    assert value(conn, "select count(*) from tasker_history where task_no = %s", task.no) == 0
    assert value(conn, "select count(*) from tasker_ready where task_no = %s", task.no) == 0


# ---- the settings


def test_a_namespace_follows_the_default_until_it_has_its_own(conn: Conn) -> None:
    given_task(conn, "a")
    find = "select retention, by_default, set_by from tasker_retentions where namespace = 'tests'"
    assert conn.execute(find).fetchone() == (None, True, None)
    conn.execute("select tasker_set_default_retention('90 days', 'ann')")
    assert conn.execute(find).fetchone() == (90 * DAY, True, "ann")
    conn.execute("select tasker_set_retention('tests', null, 'bob')")
    assert conn.execute(find).fetchone() == (None, False, "bob")
    conn.execute("select tasker_follow_retention('tests')")
    conn.execute("select tasker_set_default_retention('5 days', 'cyd')")
    assert conn.execute(find).fetchone() == (5 * DAY, True, "cyd")


def test_an_unknown_namespace_is_told_so(conn: Conn) -> None:
    with refused("WF001"):
        keep(conn, namespace="nowhere")
    with refused("WF001"):
        conn.execute("select tasker_follow_retention('nowhere')")


def test_a_key_is_kept_as_long_as_its_task(conn: Conn) -> None:
    task = given_task(conn, "a")
    keep(conn)
    keyed = request(task.definition_id, idempotency_key="k", fingerprint="f")
    [(first, _)] = create(conn, keyed)
    complete(conn, Task(value(conn, "select tasker_task_no(%s)", first), first, task.definition_id, ("a",)), "a")
    later(conn, days=29)
    assert create(conn, keyed) == [(first, False)]
    later(conn, days=2)
    drop(conn, task)
    [(second, new)] = create(conn, keyed)
    assert new
    assert second != first


# ---- plans


@pytest.fixture
def fresh(new_database_url: str) -> Iterator[Conn]:
    with psycopg.connect(new_database_url, autocommit=True) as one:
        for (table,) in one.execute("select relname from pg_class where relkind = 'r' and relname like 'tasker%'").fetchall():
            one.execute(f"alter table {table} set (autovacuum_enabled = false)".encode())
        yield one


@pytest.mark.parametrize("when", ["never", "empty", "full"])
@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
def test_a_batch_reads_what_it_drops_and_not_the_tables(fresh: Conn, when: str, mode: str) -> None:
    # Plans are made while the tables are tiny, and kept.
    fresh.execute(f"set plan_cache_mode = {mode}".encode())
    if when == "empty":
        fresh.execute("analyze")
    conn, task = fresh, given_task(fresh, "a -> b -> c")
    keep(conn)
    subscribe(conn, 10**12)
    for _ in range(10):
        drop(conn, task)
    test_plans.fill(conn, task.definition_id, 1_000)
    worker = graphs.given_worker(conn, definitions=[task.definition_id])
    held = graphs.claim(conn, want=5_000, worker=worker)
    while held:
        held = graphs.report(conn, held, want=5_000, worker=worker)
    recent = given_task(conn, "a")
    test_plans.fill(conn, task.definition_id, 1_000)
    if when == "full":
        conn.execute("analyze")
    later(conn, days=31)
    found = test_plans.rows_read(conn, lambda: drop(conn, task, limit=20))
    assert {table: rows for table, rows in found.items() if rows > 20 * 3 * 10} == {}
    assert exists(conn, recent)
    assert value(conn, "select count(*) from tasker_task where finished_at is not null") == 981
