"""Every statement with which the product writes is interrupted before it is sent, after it was carried out, and after its reply was read.

Whoever sent it is gone then, and somebody else does what the product has others do: asks again, takes over, looks anew. Whatever had become
of the statement, the outcome is the same. The statements are found in the code: one without a scenario here fails a test.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString

import account_points
import archive_points
import notice_points
import psycopg
import pytest
import writes
from proxy import MOMENTS, Moment, Proxy

from engine import (
    EventSubscriber,
    PermanentError,
    RetryableError,
    TaskRequest,
    Workflow,
    batches,
    events,
    leases,
    limits,
    presets,
    rollups,
    schedules,
    steps,
    tasks,
    timing,
)
from engine.borrowed import Borrowed
from engine.db import Database, connect
from engine.deliveries import Deliveries, Posts
from engine.errors import NotFound, TaskerError, WrongState
from engine.events import EventDelivery
from engine.finding import failures, words
from engine.journal import Line
from engine.keeping import retention
from engine.leases import WorkerIdentity
from engine.registry import HandlerRegistry

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sql"))

from invariants import assert_invariants

pytestmark = pytest.mark.final

LEASE = timedelta(seconds=30)
ACTOR = "tests"
PATIENCE_SECONDS = 10.0

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Point:
    """`act` sends the statement and is interrupted at it; `after` is what others do then; `holds` must be true at last."""

    act: Callable[[str], object]
    after: Callable[[], object]
    holds: Callable[[], bool]


class World:
    """The test's database: by the proxy for the one who is interrupted, straight for everybody else."""

    def __init__(self, url: str, proxied: str, conn: psycopg.Connection[Any]) -> None:
        self.url, self.proxied, self.conn = url, proxied, conn
        self.db = Database(url, max_size=2)
        self.pair = Workflow("pair", namespace="crash", version="1.0.0")
        self.pair.define("first", retry_limit=3)
        self.pair.define("second", depends_on_step="first", retry_limit=3)
        self.definition_id = tasks.register_definition(self.db, self.pair.definition)
        self.heard: list[tuple[int, str]] = []

    def launch(self, key: str | None = None) -> str:
        return tasks.submit(self.db, TaskRequest("pair", "crash", idempotency_key=key))

    def worker(self, connection: psycopg.Connection[Any] | None = None) -> WorkerIdentity:
        return leases.register_worker(
            connection or self.conn, name="crash", runner="none", concurrency=8, definitions=[self.definition_id], lease=LEASE
        )

    def claim(self, who: WorkerIdentity, number: int = 1) -> list[leases.Held]:
        rows = leases.complete_and_claim(self.conn, who, claim_no=number, done=(), want=8, definitions=f"{{{self.definition_id}}}")
        return [(row[0], row[1], row[3]) for row in rows]

    def fail_first(self) -> str:
        """A task that has failed in its first step."""
        task = self.launch()
        who = self.worker()
        held = self.claim(who)
        leases.fail_steps(self.conn, who, [(*one, '{"type": "x", "message": "x", "code": null, "retryable": false, "delay": null}') for one in held])
        return task

    def finish(self) -> None:
        """Every engine there was is dead; another one takes its steps over and does what is to be done."""
        who = self.take_over()
        held, number = self.claim(who), 1
        while held:
            number += 1
            done = [(*one, '"done"') for one in sorted(held)]
            rows = leases.complete_and_claim(self.conn, who, claim_no=number, done=done, want=8, definitions=f"{{{self.definition_id}}}")
            held = [(row[0], row[1], row[3]) for row in rows]

    def launch_of(self, name: str, *, decision: bool) -> str:
        """A task of another workflow, which is what is claimed from now on: a decision between left and right, or a fan over a list."""
        flow = Workflow(name, namespace="crash", version="1.0.0")
        flow.define("choose" if decision else "list", decision=decision, handler_class="flows.first")
        if decision:
            flow.define("left", depends_on_step="choose")
            flow.define("right", depends_on_step="choose")
        else:
            flow.define("each", depends_on_step="list", for_each="list", handler_class="flows.work")
        self.definition_id = tasks.register_definition(self.db, flow.definition)
        return tasks.submit(self.db, TaskRequest(name, "crash"))

    def take_over(self) -> WorkerIdentity:
        """Every engine there was is dead; the steps they held may be claimed by the one that is returned."""
        self.conn.execute("update tasker_worker set lease_until = tasker_clock() - interval '1 second'")
        who = self.worker()
        while leases.reap_workers(self.conn, who):
            pass
        self.conn.execute("update tasker_delayed set run_at = tasker_clock() - interval '1 second'")
        return who

    def notes(self, task: str) -> int:
        query = "select count(*) from tasker_history h join tasker_task t using (task_no) where t.task_id = %s and h.step_no is null and h.from_state = h.to_state"
        return self.count(query, task)

    def count(self, query: str, *parameters: Any) -> int:
        row = self.conn.execute(query.encode(), parameters).fetchone()
        assert row is not None
        return int(row[0])

    def all_completed_once(self, steps_of_task: int = 2) -> bool:
        total = self.count("select count(*) from tasker_task")
        completed = "select count(*) from tasker_history where to_state = 4 and step_no is "
        return (
            self.count("select count(*) from tasker_task where state = 4") == total
            and self.count(completed + "not null") == total * steps_of_task
            and self.count(completed + "null") == total
        )

    def ended_once(self, task: str, state: int) -> bool:
        query = "select count(*) from tasker_history h join tasker_task t using (task_no) where t.task_id = %s and h.step_no is null and h.to_state = %s"
        return self.count("select state from tasker_task where task_id = %s", task) == state and self.count(query, task, state) == 1

    def move(self, name: str, task: str, step_no: int) -> int:
        query = "select count(*) from tasker_history h join tasker_task t using (task_no) where t.task_id = %s and h.step_no = %s and h.actor is not null"
        return self.count(query, task, step_no)


KEPT = "schema_version|definition|template|limit|lane|namespace|audit"
FILLED: LiteralString = """
    select relname from pg_class
     where relkind = 'r' and relname ~ '^tasker_' and relname !~ %s and pg_relation_size(oid) > 0"""


@pytest.fixture(scope="module")
def kept_url(admin: psycopg.Connection[Any], server: Any, template: str, warm_sessions: Any) -> Iterator[str]:
    """One database for all points, emptied of all but definitions before each: cheaper than a new one."""
    name = f"crash_{os.getpid()}"
    admin.execute(f"create database {name} template {template} strategy file_copy owner tasker".encode())
    url = f"{server.url.rpartition('/')[0]}/{name}"
    with warm_sessions.of(url):
        yield url
    admin.execute(f"drop database {name} with (force)".encode())


@pytest.fixture(scope="module")
def keeper(kept_url: str, server: Any) -> Iterator[psycopg.Connection[Any]]:
    """Empties that database: for it the triggers do not hold that refuse to forget anything."""
    url = f"{server.admin_url.rpartition('/')[0]}/{kept_url.rpartition('/')[2]}"
    with psycopg.connect(url, autocommit=True, options="-c session_replication_role=replica") as connection:
        yield connection


@pytest.fixture
def database_url(kept_url: str, keeper: psycopg.Connection[Any]) -> str:
    filled = [row[0] for row in keeper.execute(FILLED, [KEPT])]
    if filled:  # deleted, not truncated: after that every session would make its plans anew
        keeper.execute("; ".join(f"delete from {table}" for table in filled).encode())
    return kept_url


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is defined here is registered with nobody else."""
    monkeypatch.setattr(HandlerRegistry, "_instance", HandlerRegistry())


@pytest.fixture
def world(database_url: str, proxied_url: str, conn: psycopg.Connection[Any]) -> Iterator[World]:
    stage = World(database_url, proxied_url, conn)
    yield stage
    stage.db.close()


def in_pool(call: Callable[[Database], object]) -> Callable[[str], None]:
    """The call by a process with a pool of its own."""

    def act(url: str) -> None:
        database = Database(url, max_size=1)
        try:
            call(database)
        finally:
            database.close()

    return act


def in_session(call: Callable[[psycopg.Connection[Any]], object]) -> Callable[[str], None]:
    """The call by an engine's own connection."""

    def act(url: str) -> None:
        with connect(url, options=leases.SESSION) as connection:
            call(connection)

    return act


def again(world: World, call: Callable[[Database], object]) -> Callable[[], None]:
    """The same is asked once more; that it was done already is an answer."""

    def after() -> None:
        with suppress(WrongState, NotFound):
            call(world.db)

    return after


# ---- what clients and operators ask for


def create_tasks(world: World) -> Point:
    def ask(db: Database) -> str:
        return tasks.submit(db, TaskRequest("pair", "crash", idempotency_key="k"))

    return Point(in_pool(ask), again(world, ask), lambda: world.count("select count(*) from tasker_task") == 1)


def create_tasks_with_the_callers_own(world: World) -> Point:
    request = TaskRequest("pair", "crash", idempotency_key="k")

    def act(url: str) -> None:
        with connect(url, autocommit=False) as connection:
            tasks.submit(Borrowed(connection), request)

    return Point(act, again(world, lambda db: tasks.submit(db, request)), lambda: world.count("select count(*) from tasker_task") == 1)


def register_definition(world: World) -> Point:
    fresh = Workflow(f"fresh_{next(_numbers)}", namespace="crash", version="1.0.0")
    fresh.define("only")

    def ask(db: Database) -> int:
        return tasks.register_definition(db, fresh.definition)

    counts = "select count(*) from tasker_definition d join tasker_template p using (definition_id) where d.name = %s"
    return Point(in_pool(ask), again(world, ask), lambda: world.count(counts, fresh.name) == 1)


def cancel_task(world: World) -> Point:
    task = world.launch()

    def ask(db: Database) -> object:
        return tasks.cancel_task(db, task, actor=ACTOR)

    return Point(in_pool(ask), again(world, ask), lambda: world.ended_once(task, 6))


def retry_task(world: World) -> Point:
    task = world.fail_first()

    def ask(db: Database) -> object:
        return tasks.retry_task(db, task, actor=ACTOR)

    def after() -> None:
        again(world, ask)()
        world.finish()

    return Point(in_pool(ask), after, lambda: world.ended_once(task, 4) and world.move("retry", task, 0) == 1)


def step_action(ask: Callable[[Database, str], object], *, failed: bool, state: int) -> Callable[[World], Point]:
    """An operator's action on the first step of a task."""

    def scenario(world: World) -> Point:
        task = world.fail_first() if failed else world.launch()

        def after() -> None:
            again(world, lambda db: ask(db, task))()
            world.finish()

        return Point(in_pool(lambda db: ask(db, task)), after, lambda: world.ended_once(task, state) and world.move("", task, 0) == 1)

    return scenario


def pause_task(world: World) -> Point:
    task = world.launch()

    def ask(db: Database) -> object:
        return tasks.pause_task(db, task, actor=ACTOR)

    return Point(in_pool(ask), again(world, ask), lambda: world.notes(task) == 1 and world.count("select count(*) from tasker_task where paused") == 1)


def resume_task(world: World) -> Point:
    task = world.launch()
    tasks.pause_task(world.db, task, actor=ACTOR)

    def ask(db: Database) -> object:
        return tasks.resume_task(db, task, actor=ACTOR)

    def after() -> None:
        again(world, ask)()
        world.finish()

    return Point(in_pool(ask), after, lambda: world.ended_once(task, 4) and world.notes(task) == 2)


def retry_downstream(world: World) -> Point:
    task = world.launch()
    world.finish()

    def ask(db: Database) -> object:
        return steps.retry_downstream(db, task, "first", actor=ACTOR)

    def after() -> None:
        again(world, ask)()
        world.finish()

    ends = "select count(*) from tasker_history where step_no is not null and to_state = 4"
    return Point(in_pool(ask), after, lambda: world.count(ends) == 4 and world.count("select count(*) from tasker_task where state = 4") == 1)


def cancel_as_seen(world: World) -> Point:
    """Whoever asks again with what he saw is told that it has changed, or does it now."""
    task = world.launch()
    seen = tasks.preview(world.db, "cancel", task).seen

    def ask(db: Database) -> object:
        return tasks.cancel_task(db, task, actor=ACTOR, seen=seen)

    return Point(in_pool(ask), again(world, ask), lambda: world.ended_once(task, 6))


def preview(world: World) -> Point:
    """What was only looked at goes on as if nobody had."""
    task = world.launch()

    def ask(db: Database) -> object:
        return tasks.preview(db, "cancel", task)

    def goes_on() -> bool:
        world.finish()  # the server may hold the task until it notices that nobody listens
        return world.ended_once(task, 4) and world.move("", task, 0) == 0

    return Point(in_pool(ask), world.finish, goes_on)


def note_task(world: World) -> Point:
    """A note that is written again is another one."""
    task = world.launch()

    def ask(db: Database) -> None:
        tasks.note_task(db, task, actor=ACTOR, note="see ticket 7")

    return Point(in_pool(ask), again(world, ask), lambda: world.notes(task) in (1, 2))


def setting(ask: Callable[[Database], object], holds: Callable[[Database], bool], *before: Callable[[Database], object]) -> Callable[[World], Point]:
    """Something that is so afterwards however often it is asked for."""

    def scenario(world: World) -> Point:
        for prepare in before:
            prepare(world.db)
        return Point(in_pool(ask), again(world, ask), lambda: holds(world.db))

    return scenario


def keep_preset(db: Database) -> None:
    presets.keep_preset(db, "crash", "pair", "usual", {"n": 1}, actor=ACTOR)


def set_retention(db: Database) -> None:
    retention.set_retention(db, "crash", timedelta(days=1), actor=ACTOR)


def keep_objects(world: World) -> Point:
    """The engine that was about to report a large result is gone; the step runs again, and leads to no object that it does not report."""
    world.launch()
    who = world.worker()
    stored = [(*held, "key", 1) for held in world.claim(who)]
    act = in_session(lambda connection: leases.keep_objects(connection, who, stored))
    return Point(act, world.finish, lambda: world.count("select count(*) from tasker_step where state = 4 and result = '\"done\"'") == 2)


def drop_tasks(world: World) -> Point:
    """The engine that was dropping is gone; the next sweep drops what is left, and never what is open."""
    world.launch()
    world.finish()
    world.conn.execute("update tasker_task set created_at = created_at - interval '9 days', finished_at = finished_at - interval '9 days'")
    world.launch()
    set_retention(world.db)

    def sweep(db: Database) -> None:
        retention.Sweep(db).finish()

    def holds() -> bool:
        retention.follow_default(world.db, "crash")
        return world.count("select count(*) from tasker_task") == 1 and world.count("select count(*) from tasker_step") == 2

    return Point(in_pool(sweep), again(world, sweep), holds)


def roll_up(world: World) -> Point:
    """The engine that was counting is gone; the next one counts the rest, and nothing twice."""
    world.launch()
    world.finish()
    rollups.roll_up(world.db)  # the first look, after which there is something to count

    def holds() -> bool:
        return rollups.catch_up(world.db) and world.count("select sum(move_count)::int from tasker_task_rollup where grain = 3 and state = 4") == 1

    return Point(in_pool(rollups.roll_up), again(world, rollups.roll_up), holds)


def prune_rollups(world: World) -> Point:
    """What is too old goes at the next round."""
    world.launch()
    world.finish()
    rollups.catch_up(world.db)
    world.conn.execute("update tasker_task_rollup set begins_at = begins_at - interval '9 days' where grain = 0")
    return Point(in_pool(rollups.prune), again(world, rollups.prune), lambda: world.count("select count(*) from tasker_task_rollup where grain = 0") == 0)


def index_words(world: World) -> Point:
    """The engine that was at it is gone; the next one does the rest."""
    words.index_words(world.db)
    world.launch()
    words.index_words(world.db)  # the first look, after which there is something to do

    def holds() -> bool:
        words.index_words(world.db)
        return world.count("select count(*) from tasker_task_words") == 1

    return Point(in_pool(words.index_words), again(world, words.index_words), holds)


def publish_event(world: World) -> Point:
    """An event that is published again is another one: at least once is what is promised."""
    task = world.launch()

    def ask(db: Database) -> int:
        return events.publish_event(db, "crash.happened", {"n": 1}, task=task)

    return Point(in_pool(ask), again(world, ask), lambda: world.count("select count(*) from tasker_custom_event") in (1, 2))


# ---- schedules


def scheduled(world: World) -> int:
    row = schedules.add_schedule(world.db, timing.every("1h"), name="pair", namespace="crash", actor=ACTOR)
    world.conn.execute("update tasker_schedule set next_run_at = tasker_clock() - interval '1 second'")
    return row.schedule_id


def fire_due(world: World) -> Point:
    """The engine that was firing is gone; when its lease is over another one makes the same task, or finds it made."""
    scheduled(world)

    def holds() -> bool:
        # asked again and again, as engines do: what the dead one had sent may be carried out after the first of them has looked
        world.conn.execute("update tasker_schedule set claimed_until = tasker_clock() where claimed_until is not null")
        schedules.fire_due(world.db)
        waits = "select count(*) from tasker_schedule where next_run_at > tasker_clock() and claimed_until is null"
        return world.count("select count(*) from tasker_task") == 1 and world.count(waits) == 1

    return Point(in_pool(schedules.fire_due), lambda: None, holds)


def note_schedule_run(world: World) -> Point:
    """The task an operator asked for is there; whether the schedule lists it is for display alone."""
    schedule = scheduled(world)

    def ask(db: Database) -> str:
        return schedules.run_schedule(db, schedule, actor=ACTOR)

    def holds() -> bool:
        listed = world.count("select cardinality(recent_task_ids) from tasker_schedule")
        return world.count("select count(*) from tasker_task") == 1 and listed in (0, 1)

    return Point(in_pool(ask), lambda: None, holds)


def add_schedule(world: World) -> Point:
    """Nobody asks again by himself: the schedule is there once or not at all, and then whole."""

    def ask(db: Database) -> object:
        return schedules.add_schedule(db, timing.every("1h"), name="pair", namespace="crash", actor=ACTOR)

    return Point(in_pool(ask), lambda: None, lambda: world.count("select count(*) from tasker_schedule") in (0, 1))


def schedule_action(ask: Callable[[Database, int], object], holds: str) -> Callable[[World], Point]:
    def scenario(world: World) -> Point:
        schedule = scheduled(world)
        if "not paused" in holds:
            schedules.pause_schedule(world.db, schedule, actor=ACTOR)
        return Point(in_pool(lambda db: ask(db, schedule)), again(world, lambda db: ask(db, schedule)), lambda: world.count(holds) == 1)

    return scenario


# ---- engines


def register_worker(world: World) -> Point:
    """An engine that was not told its id starts anew under another; the first holds nothing and is forgotten."""
    task = world.launch()
    return Point(in_session(lambda connection: world.worker(connection)), world.finish, lambda: world.ended_once(task, 4))


def heartbeat(world: World) -> Point:
    task = world.launch()
    who = world.worker()
    world.claim(who)
    act = in_session(lambda connection: leases.heartbeat(connection, who, definitions=[world.definition_id], draining=False))
    return Point(act, world.finish, lambda: world.ended_once(task, 4) and world.all_completed_once())


def claim(world: World) -> Point:
    world.launch()
    who = world.worker()
    act = in_session(lambda one: leases.complete_and_claim(one, who, claim_no=1, done=(), want=8, definitions=f"{{{world.definition_id}}}"))
    return Point(act, world.finish, world.all_completed_once)


def complete(count: int, *, asks: bool = True) -> Callable[[World], Point]:
    """Reports of a few steps and of many take different ways, and so does one that asks nothing of the queue."""

    def scenario(world: World) -> Point:
        for _ in range(count):
            world.launch()
        who = world.worker()
        done = [(*one, '"done"') for one in sorted(world.claim(who))]
        asked = f"{{{world.definition_id}}}" if asks else None
        act = in_session(lambda one: leases.complete_and_claim(one, who, claim_no=2, done=done, want=8, definitions=asked))
        return Point(act, world.finish, world.all_completed_once)

    return scenario


def limited(world: World) -> tuple[list[str], WorkerIdentity, list[leases.Held]]:
    """Two tasks of another workflow, which is what is claimed from now on, of which one may go on at a time; and the first step in hand."""
    flow = Workflow("narrow", namespace="crash", version="1.0.0", limit={"at_once": 1})
    flow.define("first", retry_limit=3)
    world.definition_id = tasks.register_definition(world.db, flow.definition)
    limits.reset_limit(world.db, "crash", "narrow", actor=ACTOR)
    ids = [tasks.submit(world.db, TaskRequest("narrow", "crash")) for _ in range(2)]
    who = world.worker()
    held = world.claim(who)
    assert len(held) == 1
    return ids, who, held


def admit(world: World) -> Point:
    """A claim that lets a step in, and dies: the place goes with the engine."""
    ids, who, held = limited(world)
    leases.complete_and_claim(world.conn, who, claim_no=2, done=[(*held[0], '"done"')], want=0, definitions=None)
    leases.free_places(world.conn, [held[0][0]])
    act = in_session(lambda one: leases.complete_and_claim(one, who, claim_no=3, done=(), want=8, definitions=f"{{{world.definition_id}}}"))
    return Point(act, lambda: finish_limited(world), lambda: all(world.ended_once(task, 4) for task in ids))


def finish_limited(world: World) -> None:
    """As engines do it: their sweep tells that the places of the dead are free."""
    for _ in range(3):
        world.take_over()
        leases.sweep_places(world.conn)
        world.finish()


def free_places(ask: Callable[[psycopg.Connection[Any], int], object]) -> Callable[[World], Point]:
    """Who has reported an end and then dies before it could say so leaves it to the sweep."""

    def scenario(world: World) -> Point:
        ids, who, held = limited(world)
        leases.complete_and_claim(world.conn, who, claim_no=2, done=[(*held[0], '"done"')], want=0, definitions=None)
        act = in_session(lambda one: ask(one, held[0][0]))
        return Point(act, lambda: finish_limited(world), lambda: all(world.ended_once(task, 4) for task in ids))

    return scenario


def limit_number(ask: Callable[[Database], object], number: int) -> Callable[[World], Point]:
    def scenario(world: World) -> Point:
        limited(world)
        return Point(in_pool(ask), again(world, ask), lambda: limits.limits(world.db)[0].limit.at_once == number)

    return scenario


def fail_steps(world: World) -> Point:
    world.launch()
    who = world.worker()
    failed = [(*one, '{"type": "x", "message": "x", "code": null, "retryable": true, "delay": 0}') for one in world.claim(who)]
    return Point(in_session(lambda one: leases.fail_steps(one, who, failed)), world.finish, world.all_completed_once)


def release_steps(world: World) -> Point:
    world.launch()
    who = world.worker()
    held = world.claim(who)
    return Point(in_session(lambda one: leases.release_steps(one, who, held)), world.finish, world.all_completed_once)


def reap_workers(world: World) -> Point:
    """The rescuer dies in the rescue; the next one rescues."""
    world.launch()
    dead, rescuer = world.worker(), world.worker()
    world.claim(dead)
    world.conn.execute("update tasker_worker set lease_until = tasker_clock() where worker_id = %s", [dead.worker_id])
    return Point(in_session(lambda one: leases.reap_workers(one, rescuer)), world.finish, world.all_completed_once)


def retire_worker(world: World) -> Point:
    world.launch()
    who = world.worker()
    world.claim(who)
    return Point(in_session(lambda one: leases.retire_worker(one, who)), world.finish, world.all_completed_once)


def keep_journal(world: World) -> Point:
    """The engine lives and asks again, with the same batch: each line is there once."""
    task, who = world.launch(), world.worker()
    [held] = world.claim(who)

    def keep(connection: psycopg.Connection[Any]) -> None:
        leases.keep_journal(connection, who, 1, [held], '[[1, 0, 20, "one", null], [1, 0, 20, "two", null]]', "[[1, 0, 3, 10, null]]")

    def after() -> None:
        keep(world.conn)
        world.finish()

    lines, progress = "select count(*) from tasker_log", "select count(*) from tasker_progress where done = 3"
    return Point(in_session(keep), after, lambda: world.ended_once(task, 4) and world.count(lines) == 2 and world.count(progress) == 1)


def decide_steps(world: World) -> Point:
    task, who = world.launch_of("choice", decision=True), world.worker()

    def decide(connection: psycopg.Connection[Any], mine: WorkerIdentity, held: list[leases.Held]) -> None:
        if decided := [(*one, '["left"]') for one in held if one[1] == 0]:
            leases.decide_steps(connection, mine, decided)

    held = world.claim(who)

    def after() -> None:
        other = world.take_over()
        decide(world.conn, other, world.claim(other))
        world.finish()

    skipped = "select count(*) from tasker_history where to_state = 7"
    return Point(in_session(lambda one: decide(one, who, held)), after, lambda: world.ended_once(task, 4) and world.count(skipped) == 1)


def expand_step(world: World) -> Point:
    task, who = world.launch_of("fan", decision=False), world.worker()
    listed = [(*one, "[1, 2, 3]") for one in world.claim(who)]
    rows = leases.complete_and_claim(world.conn, who, claim_no=2, done=listed, want=8, definitions=f"{{{world.definition_id}}}")
    [due] = [(row[0], row[1], row[3]) for row in rows]

    def after() -> None:
        other = world.take_over()
        number = 1
        while held := world.claim(other, number):
            number += 2
            for one in [one for one in held if one[1] == 1]:
                leases.expand_step(world.conn, other, one)
            done = [(*one, "7") for one in sorted(held) if one[1] != 1]
            leases.complete_and_claim(world.conn, other, claim_no=number - 1, done=done, want=0, definitions=None)

    made = "select count(*) from tasker_step where item_no is not null"
    joined = "select count(*) from tasker_step where result = '[7, 7, 7]'"
    return Point(
        in_session(lambda one: leases.expand_step(one, who, due)),
        after,
        lambda: world.ended_once(task, 4) and world.count(made) == 3 and world.count(joined) == 1,
    )


# ---- many at once


def a_batch(world: World, db: Database, *, key: str = "k") -> int:
    task = world.fail_first()
    return batches.make_batch(db, "retry", [(task, "first")], about="one", actor=ACTOR, key=key)


def make_batch(world: World) -> Point:
    task = world.fail_first()

    def ask(db: Database) -> object:
        return batches.make_batch(db, "retry", [(task, "first")], about="one", actor=ACTOR, key="k")

    return Point(in_pool(ask), again(world, ask), lambda: world.count("select count(*) from tasker_batch") == world.count("select count(*) from tasker_batch_item") == 1)


def run_batches(world: World) -> Point:
    """Another engine does what is left; nothing is done twice."""
    a_batch(world, world.db)

    def work(db: Database) -> object:
        return batches.run_due(db, threading.Event())

    done = "select count(*) from tasker_batch where done_count = 1 and refused_count = 0 and finished_at is not null"
    retried = "select count(*) from tasker_history where step_no = 0 and from_state = 5 and to_state = 1"
    return Point(in_pool(work), lambda: work(world.db), lambda: world.count(done) == world.count(retried) == 1)


def stop_batch(world: World) -> Point:
    number = a_batch(world, world.db)

    def ask(db: Database) -> object:
        return batches.stop_batch(db, number, actor=ACTOR)

    return Point(in_pool(ask), again(world, ask), lambda: world.count("select count(*) from tasker_batch where stopped_by is not null and done_count = 0") == 1)


def keep_failure_note(world: World) -> Point:
    world.fail_first()
    [group] = failures.failure_groups(world.db)

    def ask(db: Database) -> object:
        return failures.keep_note(db, group, failures.FailureNote(owner="us"), actor=ACTOR)

    return Point(in_pool(ask), again(world, ask), lambda: world.count("select count(*) from tasker_failure_note where owner = 'us'") == 1)


# ---- subscribers


def until_delivered(world: World, db: Database, registry: HandlerRegistry) -> None:
    """One engine's delivery has come by all that has happened."""
    one = EventDelivery(db, registry)
    one.subscribe()
    newest, deadline = events.newest_event(world.db), time.monotonic() + PATIENCE_SECONDS
    while True:  # others on this server may hold the horizon for a moment
        one.deliver_due()
        one.settle(PATIENCE_SECONDS)
        if one.reached >= newest or time.monotonic() > deadline:
            break
    one.stop(PATIENCE_SECONDS)


def delivery(world: World, refuse: Exception | None = None) -> Point:
    """The engine that delivered is gone; another takes the subscription over and the event arrives, at least once."""
    heard: list[int] = []
    refusals = [refuse] if refuse else []

    class Listener(EventSubscriber):
        subscribe_to = ["task.completed"]
        from_start = True

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            if refusals:
                raise refusals[0]
            heard.append(event["event_id"])

    registry = HandlerRegistry()
    registry.add_subscriber(Listener)
    task = world.launch()
    world.finish()

    def deliver(db: Database) -> None:
        until_delivered(world, db, registry)

    def after() -> None:
        refusals.clear()
        world.conn.execute("update tasker_subscription set lease_until = tasker_clock() where owner is not null")
        world.conn.execute("update tasker_subscription set next_try_at = tasker_clock() where next_try_at is not null")
        deliver(world.db)

    def holds() -> bool:
        laid_aside = world.count("select count(*) from tasker_undelivered")
        return world.ended_once(task, 4) and len(set(heard)) + laid_aside >= 1

    return Point(in_pool(deliver), after, holds)


def forget_subscription(world: World) -> Point:
    """It is forgotten with what was laid aside for it, or not at all; whoever asks again is told that it is gone."""
    world.conn.execute("select tasker_subscribe('gone.Monitor', true)")
    world.conn.execute("insert into tasker_undelivered (name, event_id, event, attempts, error, at) values ('gone.Monitor', 1, '{}', 1, 'never', tasker_clock())")

    def ask(db: Database) -> None:
        with suppress(NotFound):
            events.forget(db, "gone.Monitor")

    return Point(in_pool(ask), again(world, ask), lambda: world.count("select (select count(*) from tasker_subscription) + (select count(*) from tasker_undelivered)") == 0)


def accept_undelivered(world: World) -> Point:
    """What was laid aside is handed over again, and once more by whoever asks again; it counts as delivered once."""
    heard: list[int] = []
    willing: list[bool] = []

    class Listener(EventSubscriber):
        subscribe_to = ["task.completed"]
        from_start = True

        def handle_task_completed(self, event: dict[str, Any]) -> None:
            if not willing:
                raise PermanentError("never")
            heard.append(event["event_id"])

    registry = HandlerRegistry()
    registry.add_subscriber(Listener)
    world.launch()
    world.finish()
    until_delivered(world, world.db, registry)
    willing.append(True)

    def redeliver(db: Database) -> object:
        return list(events.redeliver(db, Listener))

    def holds() -> bool:
        left = world.count("select count(*) from tasker_undelivered")
        return len(set(heard)) == 1 and left == 0 and world.count("select delivered_count from tasker_subscription") == 1

    return Point(in_pool(redeliver), again(world, redeliver), holds)


def refused(error: Exception) -> Callable[[World], Point]:
    return lambda world: delivery(world, error)


# ---- steps that wait for a worker of a message broker


class Broker:
    """An order's engine and the worker that is to do it, on the way through one another's hands."""

    def __init__(self, url: str, held: leases.Held, token: str = "") -> None:
        self.posts, self.worker, self.held, self.token = Posts(url, SENDER, call_seconds=10), Deliveries(url, "w1", contact=30), held, token

    def post(self) -> None:
        self.token = self.posts.post([(1, *self.held)])[1]

    def begin(self) -> None:
        self.worker.begin(self.token)

    def beat(self) -> None:
        self.worker.beat(1, [self.token])

    def say(self) -> None:
        self.worker.say([(self.token, Line(time.time(), 20, "flows", "words"), 0.0)])

    def end(self) -> None:
        self.worker.end(self.token, 4, '"done"')

    def take(self) -> None:
        self.posts.take([1])

    def withdraw(self) -> None:
        self.posts.withdraw([1])

    def drop(self) -> None:
        self.posts.drop()

    def close(self) -> None:
        self.posts.close()
        self.worker.close()


SENDER = "5f0e7f4c-7c41-4b0e-9a55-1c43ad0c6a11"
BROKER_CALLS = {
    "tasker_post_deliveries": ("post",),
    "tasker_begin_delivery": ("post", "begin"),
    "tasker_beat_place": ("post", "begin", "beat"),
    "tasker_say_delivery": ("post", "begin", "say"),
    "tasker_end_delivery": ("post", "begin", "end"),
    "tasker_take_deliveries": ("post", "begin", "end", "take"),
    "tasker_take_delivery_words": ("post", "begin", "say", "take"),
    "tasker_withdraw_deliveries": ("post", "withdraw"),
    "tasker_drop_deliveries": ("post", "begin", "drop"),
}


def broker(*calls: str) -> Callable[[World], Point]:
    """The engine and the worker are gone after the last call; what they had in hand runs elsewhere, and a message that comes late finds nothing to do."""

    def scenario(world: World) -> Point:
        task = world.launch()
        [held] = world.claim(world.worker())
        before = Broker(world.url, held)
        for call in calls[:-1]:
            getattr(before, call)()

        def act(url: str) -> None:
            during = Broker(url, held, before.token)
            try:
                getattr(during, calls[-1])()
            finally:
                during.close()

        def holds() -> bool:
            late = before.worker.begin(before.token) if before.token else None
            return late is None and world.ended_once(task, 4) and world.all_completed_once()

        return Point(act, world.finish, holds)

    return scenario


SCENARIOS: dict[str, list[Callable[[World], Point]]] = {
    "tasker_submit_tasks": [create_tasks, fire_due],
    "tasker_create_tasks": [create_tasks_with_the_callers_own],
    "tasker_register_definition": [register_definition],
    "tasker_act": [
        cancel_task,
        retry_task,
        pause_task,
        resume_task,
        retry_downstream,
        step_action(lambda db, task: steps.cancel_step(db, task, "first", actor=ACTOR), failed=False, state=6),
        step_action(lambda db, task: steps.retry_step(db, task, "first", actor=ACTOR), failed=True, state=4),
        step_action(lambda db, task: steps.skip_step(db, task, "first", actor=ACTOR), failed=True, state=4),
        step_action(lambda db, task: steps.resolve_step(db, task, "first", result=1, actor=ACTOR), failed=True, state=4),
        cancel_as_seen,
    ],
    "tasker_preview": [preview],
    "tasker_note_task": [note_task],
    "tasker_make_batch": [make_batch],
    "tasker_run_batches": [run_batches],
    "tasker_stop_batch": [stop_batch],
    "tasker_keep_failure_note": [keep_failure_note],
    "tasker_keep_preset": [setting(keep_preset, lambda db: presets.presets(db, "crash", "pair") == ["usual"])],
    "tasker_remove_preset": [
        setting(lambda db: presets.remove_preset(db, "crash", "pair", "usual"), lambda db: presets.presets(db, "crash", "pair") == [], keep_preset)
    ],
    "tasker_set_retention": [setting(set_retention, lambda db: retention.retention_of(db, "crash").retention == timedelta(days=1))],
    "tasker_follow_retention": [
        setting(lambda db: retention.follow_default(db, "crash"), lambda db: retention.retention_of(db, "crash").by_default, set_retention)
    ],
    "tasker_set_default_retention": [
        setting(lambda db: retention.set_default(db, None, actor=ACTOR), lambda db: retention.default_retention(db) is None, set_retention)
    ],
    "tasker_drop_tasks": [drop_tasks],
    "tasker_keep_objects": [keep_objects],
    "tasker_roll_up": [roll_up],
    "tasker_prune_rollups": [prune_rollups],
    "tasker_index_words": [index_words],
    "tasker_decide_steps": [decide_steps],
    "tasker_expand_step": [expand_step],
    "tasker_publish_event": [publish_event],
    "tasker_add_schedule": [add_schedule],
    "tasker_pause_schedule": [
        schedule_action(lambda db, one: schedules.pause_schedule(db, one, actor=ACTOR), "select count(*) from tasker_schedule where paused")
    ],
    "tasker_resume_schedule": [
        schedule_action(lambda db, one: schedules.resume_schedule(db, one, actor=ACTOR), "select count(*) from tasker_schedule where not paused")
    ],
    "tasker_remove_schedule": [schedule_action(schedules.remove_schedule, "select 1 - count(*) from tasker_schedule")],
    "tasker_claim_due_schedules": [fire_due],
    "tasker_advance_schedule": [fire_due],
    "tasker_note_schedule_run": [note_schedule_run],
    "tasker_register_worker": [register_worker],
    "tasker_heartbeat": [heartbeat],
    "tasker_complete_and_claim": [claim, complete(1), complete(6), admit],
    "tasker_complete_few": [complete(1, asks=False)],
    "tasker_free_places": [free_places(lambda connection, task_no: leases.free_places(connection, [task_no]))],
    "tasker_sweep_places": [free_places(lambda connection, _: leases.sweep_places(connection))],
    "tasker_set_limit": [limit_number(lambda db: limits.set_limit(db, "crash", "narrow", at_once=4, actor=ACTOR), 4)],
    "tasker_reset_limit": [limit_number(lambda db: limits.reset_limit(db, "crash", "narrow", actor=ACTOR), 1)],
    "tasker_fail_steps": [fail_steps],
    "tasker_keep_journal": [keep_journal],
    "tasker_release_steps": [release_steps],
    "tasker_reap_workers": [reap_workers],
    "tasker_retire_worker": [retire_worker],
    "tasker_subscribe": [delivery],
    "tasker_take_subscription": [delivery],
    "tasker_record_delivery": [delivery],
    "tasker_postpone_event": [refused(RetryableError("not now"))],
    "tasker_lay_aside_event": [refused(PermanentError("never"))],
    "tasker_accept_undelivered": [accept_undelivered],
    "tasker_leave_subscriptions": [delivery],
    "tasker_forget_subscription": [forget_subscription],
    **{statement: [broker(*calls)] for statement, calls in BROKER_CALLS.items()},
    **{statement: [setting(*point)] for statement, point in (account_points.POINTS | notice_points.POINTS).items()},
    **{statement: [setting(*point) for point in points] for statement, points in archive_points.POINTS.items()},
}
POINTS = [(statement, number, moment) for statement, found in SCENARIOS.items() for number in range(len(found)) for moment in MOMENTS]


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it holds, soon: what had been sent before the cut may still be under way in the server."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := holds()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


def test_every_statement_that_writes_has_its_crash_points() -> None:
    found = writes.statements()
    assert set(found) == set(SCENARIOS), {name: found[name] for name in set(found) - set(SCENARIOS)}


def test_a_plain_statement_is_known_by_the_table_that_it_changes() -> None:
    """Forbids: a second one that changes another table, and passes for the one that has its points."""
    for statement in ("delete from tasker_audit", "insert into tasker_audit", "update tasker_audit"):
        assert writes._writes_of(f"{statement} where tasker_clock() is not null") == [statement]


@pytest.mark.parametrize(("statement", "number", "moment"), POINTS)
def test_whoever_dies_there_loses_and_doubles_nothing(
    world: World, proxy: Proxy, conn: psycopg.Connection[Any], statement: str, number: int, moment: Moment
) -> None:
    point = SCENARIOS[statement][number](world)
    snare = proxy.set_snare(rf"\b{statement}\b", moment)
    with suppress(TaskerError, psycopg.Error):
        point.act(world.proxied)
    assert snare.sprung.wait(PATIENCE_SECONDS), "the statement never came by"
    # until the server has seen the cut, that session's locks hide from the next claim what it held
    assert eventually(lambda: not world.count("select count(*) from pg_stat_activity where client_port = any(%s)", snare.ports))
    point.after()
    assert eventually(point.holds)
    assert_invariants(conn)
