"""Workers and operators act at once on the same tasks: no deadlock, nothing lost, nothing twice, and every task can be brought to its end."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import graphs
import psycopg
import pytest
from graphs import Conn, Held, Task, definition, given_worker, register, task_of, value
from invariants import assert_invariants

from engine import leases

THREADS = 6
TURNS = 250
# A report that counts off one task and starts another may meet its like: rarer than once in ten thousand calls, and tried again.
RARE = 2
ENGINE_SESSION = leases.SESSION + " -c statement_timeout=30s"


@dataclass
class Actor:
    """One session that does random things; what it is refused or has to try again is counted, anything else is an error."""

    conn: Conn
    tasks: list[Task]
    dice: random.Random
    worker: int
    held: list[Held] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def run(self, turns: int, acts: list[Callable[["Actor"], object]], weights: list[int]) -> None:
        for act in self.dice.choices(acts, weights, k=turns):
            self.tried(act)

    def tried(self, act: Callable[["Actor"], object]) -> None:
        for _ in range(20):
            try:
                act(self)
                return
            except psycopg.Error as error:
                if error.sqlstate in ("40P01", "40001"):
                    self.conflicts.append(f"{act.__name__}: {error.diag.context}")
                    continue
                if error.sqlstate != "WF002":
                    self.errors.append(f"{act.__name__}: {error}")
                return
        self.errors.append(f"{act.__name__}: a conflict again and again")

    def some(self) -> list[Held]:
        self.dice.shuffle(self.held)
        return sorted(self.held[: self.dice.randint(1, 6)])

    def drop(self, done: list[Held]) -> None:
        self.held = [one for one in self.held if one not in done]

    def task(self) -> Task:
        return self.dice.choice(self.tasks)


def complete_and_claim(actor: Actor) -> None:
    done, want = actor.some() if actor.held else [], actor.dice.choice([0, 1, 4, 8])
    taken = graphs.report(actor.conn, done, want=want, worker=actor.worker)
    actor.drop(done)
    actor.held += taken


def fail(actor: Actor) -> None:
    if actor.held:
        done = actor.some()
        graphs.fail_all(actor.conn, done, worker=actor.worker, retryable=actor.dice.random() < 0.7, delay=0)
        actor.drop(done)


def release(actor: Actor) -> None:
    if actor.held:
        done = actor.some()
        graphs.release(actor.conn, done, worker=actor.worker)
        actor.drop(done)


def on_a_step(action: Callable[[Conn, Task, str], object]) -> Callable[[Actor], None]:
    def act(actor: Actor) -> None:
        task = actor.task()
        action(actor.conn, task, actor.dice.choice(task.names))

    act.__name__ = action.__name__
    return act


def create(actor: Actor) -> None:
    like = actor.task()
    actor.tasks.append(task_of(actor.conn, like.definition_id, like.names, bypass_steps=actor.dice.sample(like.names, actor.dice.choice([0, 0, 1]))))


def retry_task(actor: Actor) -> None:
    graphs.retry_task(actor.conn, actor.task())


def cancel_task(actor: Actor) -> None:
    graphs.cancel_task(actor.conn, actor.task())


def resolve_dependencies(actor: Actor) -> None:
    graphs.resolve_dependencies(actor.conn, actor.task())


def crash(actor: Actor) -> None:
    """This worker begins anew and forgets what it held; a later reaper takes that back."""
    actor.conn.execute("update tasker_worker set lease_until = tasker_clock() where worker_id = %s", [actor.worker])
    actor.worker, actor.held = given_worker(actor.conn), []
    graphs.reap(actor.conn, worker=actor.worker)


ENGINE = {create: 2, complete_and_claim: 12, fail: 2, release: 1, crash: 1}
OPERATORS = {
    retry_task: 2,
    on_a_step(graphs.retry_step): 2,
    on_a_step(graphs.skip_step): 1,
    on_a_step(graphs.resolve_step): 1,
    on_a_step(graphs.cancel_step): 1,
    resolve_dependencies: 1,
}


def given_tasks(conn: Conn, dice: random.Random, count: int, *, bypass: bool = True) -> list[Task]:
    tasks = []
    for _ in range(count):
        names = [f"s{no:02}" for no in range(dice.randint(4, 14))]
        edges = [f"{names[dice.randrange(no)]} -> {names[no]}" for no in range(1, len(names)) for _ in range(dice.randint(0, 3))]
        known = register(conn, definition(", ".join([*names, *edges]), retry_limit=dice.randint(1, 3), backoff={"base": 0.001, "cap": 0.001}))
        order = [row[0] for row in conn.execute("select name from tasker_template where definition_id = %s order by step_no", [known]).fetchall()]
        tasks += [task_of(conn, known, order, bypass_steps=dice.sample(names, 2 if bypass and dice.random() < 0.4 else 0)) for _ in range(3)]
    return tasks


def act_at_once(connect: Callable[..., Conn], conn: Conn, tasks: list[Task], seed: int, acts: dict[Callable[[Actor], Any], int]) -> list[Actor]:
    actors = []
    for number in range(THREADS):
        session = connect(ENGINE_SESSION)
        actors.append(Actor(session, tasks, random.Random(seed * 100 + number), given_worker(session)))
    threads = [threading.Thread(target=actor.run, args=[TURNS, list(acts), list(acts.values())]) for actor in actors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=100)
    assert not [thread for thread in threads if thread.is_alive()]
    return actors


def work_off(conn: Conn, tasks: list[Task]) -> None:
    """Every worker is dead, one takes over: what can still run ends well."""
    own = given_worker(conn)
    conn.execute("update tasker_worker set lease_until = tasker_clock() where worker_id <> %s", [own])
    while graphs.reap(conn, worker=own):
        pass
    graphs.move_clock(conn, hours=1)
    while held := graphs.claim(conn, worker=own):
        graphs.report(conn, held, worker=own)
        graphs.move_clock(conn, hours=1)
    open_tasks = value(conn, "select count(*) from tasker_task where finished_at is null and task_no = any(%s)", [task.no for task in tasks])
    assert open_tasks == 0


def check(conn: Conn, tasks: list[Task], actors: list[Actor]) -> None:
    assert [error for actor in actors for error in actor.errors] == []
    # A deadlock is only tried again, but each costs a second: the order of locks must not allow them.
    conflicts = [conflict for actor in actors for conflict in actor.conflicts]
    assert len(conflicts) <= RARE, conflicts
    assert_invariants(conn)
    work_off(conn, tasks)
    assert_invariants(conn)
    starts = conn.execute(
        "select task_no, step_no, attempt from tasker_history where to_state = 2 and from_state <> 2 and step_no is not null"
        " and not exists (select from tasker_history r where r.task_no = tasker_history.task_no and r.step_no = tasker_history.step_no and r.to_state = 1 and r.from_state = 2)"
        " group by 1, 2, 3 having count(*) > 1"
    ).fetchall()
    assert starts == [], "an attempt was started twice without having been handed back"


@pytest.mark.parametrize("seed", range(2))
def test_workers_alone(connect: Callable[..., Conn], conn: Conn, seed: int) -> None:
    # Forbids: two reports on one task, one counting it off while it claims from it, the other counting it anew after a failure.
    tasks = given_tasks(conn, random.Random(seed), 10)
    check(conn, tasks, act_at_once(connect, conn, tasks, seed, ENGINE))


@pytest.mark.parametrize("seed", range(2, 5))
def test_workers_and_operators(connect: Callable[..., Conn], conn: Conn, seed: int) -> None:
    # Forbids: an operator who holds a child and waits for its running parent, whose report waits for the child.
    tasks = given_tasks(conn, random.Random(seed), 5)
    check(conn, tasks, act_at_once(connect, conn, tasks, seed, ENGINE | OPERATORS))


def test_cancellation_of_tasks_that_are_being_worked_on(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: a child unlocked or claimed behind the back of the cancellation that is just going through its task.
    tasks = given_tasks(conn, random.Random(9), 20)
    check(conn, tasks, act_at_once(connect, conn, tasks, 9, {**ENGINE, cancel_task: 3}))
    cancelled = [task for task in tasks if value(conn, "select cancel_requested_at from tasker_task where task_no = %s", task.no)]
    assert cancelled
    assert {graphs.task_state(conn, task) for task in cancelled} == {"cancelled"}


def test_two_parents_that_end_at_once_unlock_their_child_once(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: both reports see the other's parent open, or both see it done.
    known = register(conn, definition("a -> c, b -> c"))
    tasks = [task_of(conn, known, ["a", "b", "c"]) for _ in range(40)]
    sessions = [connect(ENGINE_SESSION) for _ in range(2)]
    held = {name: [graphs.start(conn, task, name) for task in tasks] for name in ("a", "b")}
    gate = threading.Barrier(2)
    worker = graphs.own_worker(conn)

    def end(session: Conn, mine: list[Held]) -> None:
        for one in mine:
            gate.wait(timeout=30)
            graphs.report(session, [one], worker=worker)

    threads = [threading.Thread(target=end, args=[session, mine]) for session, mine in zip(sessions, held.values(), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [graphs.ready(conn, task) for task in tasks] == [{"c"}] * 40
    assert_invariants(conn)
