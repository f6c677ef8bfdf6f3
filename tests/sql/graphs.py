"""Graphs in a notation of their own, and one word for each thing that can happen to a task: the vocabulary of the tests beside it.

`"a -> c, b -> c"` is a task in which c waits for a and b. Words act on the connection they are given, as one worker of its own
unless another is named, and by its clock, which only `move_clock` moves.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import psycopg
import pytest

from engine.definition import StepTemplate, TaskDefinition

Conn = psycopg.Connection[Any]

_TABLES = ("batch_item", "batch", "waiting", "place", "line", "limit", "lane", "task_rollup", "step_rollup", "rollup_wait", "task_words", "step_words", "log", "progress", "history", "claim", "worker", "request_key", "delayed", "ready", "step", "task", "template", "definition", "namespace")

_numbers = itertools.count(1)
_own_workers: "WeakKeyDictionary[Conn, int]" = WeakKeyDictionary()
_offsets: "WeakKeyDictionary[Conn, timedelta]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Task:
    """A task as the tests name it: steps by name here, by number in the tables."""

    no: int
    id: str
    definition_id: int
    names: tuple[str, ...]
    items: dict[str, int] = field(default_factory=dict, compare=False)   # known once `expand` has made them

    def step_no(self, name: str) -> int:
        return self.items[name] if name in self.items else self.names.index(name)

    def name_of(self, step_no: int) -> str:
        return self.names[step_no] if step_no >= 0 else next(name for name, no in self.items.items() if no == step_no)

    def step_id(self, name: str) -> int:
        return self.no * 1048576 + self.step_no(name)


class Held(NamedTuple):
    """A step one worker holds."""

    task_no: int
    step_no: int
    attempt: int


def empty(conn: Conn) -> None:
    """Nothing is left of what happened before but the numbers it used up, and the clock goes right."""
    _own_workers.pop(conn, None)
    _offsets.pop(conn, None)
    move_clock(conn, seconds=0)
    conn.execute(";".join(f"delete from tasker_{table}" for table in _TABLES).encode())


# ---- definitions and tasks


def definition(graph: str, *, namespace: str = "tests", name: str | None = None, version: str = "1.0.0", workflow_limit: dict[str, Any] | None = None, steps: dict[str, dict[str, Any]] | None = None, **every_step: Any) -> dict[str, Any]:
    """What `tasker_register_definition` takes. `every_step` are options of all templates, `steps` those of single ones."""
    parents: dict[str, list[str]] = {}
    for part in graph.split(","):
        *before, last = [word.strip() for word in part.split("->")]
        for word in (*before, last):
            parents.setdefault(word, [])
        for parent, child in itertools.pairwise([*before, last]):
            if parent not in parents[child]:
                parents[child].append(parent)
    templates = [StepTemplate(step, depends_on_steps=found, **{**every_step, **(steps or {}).get(step, {})}) for step, found in parents.items()]
    return TaskDefinition(namespace=namespace, name=name or f"graph{next(_numbers)}", version=version, steps=tuple(templates), limit=workflow_limit).to_json()


def register(conn: Conn, content: dict[str, Any]) -> int:
    return int(value(conn, "select tasker_register_definition(%s::jsonb)", json.dumps(content)))


def request(definition_id: int, **fields: Any) -> dict[str, Any]:
    return {"definition_id": definition_id, **{name: found.isoformat() if isinstance(found, datetime) else found for name, found in fields.items()}}


def create(conn: Conn, *requests: dict[str, Any]) -> list[tuple[str, bool]]:
    """(task id, whether it is new) of each request in its order."""
    rows = conn.execute("select task_id::text, created from tasker_create_tasks(%s::jsonb) order by place", [json.dumps(requests)]).fetchall()
    return [(row[0], row[1]) for row in rows]


_REQUEST_FIELDS = ("context", "priority", "bypass_steps", "run_at", "tags", "reason")


def given_task(conn: Conn, graph: str, **options: Any) -> Task:
    """A new task of a new definition; fields of the request (priority, bypass_steps, run_at, ...) and options of templates may be mixed."""
    fields = {field: options.pop(field) for field in _REQUEST_FIELDS if field in options}
    content = definition(graph, **options)
    return task_of(conn, register(conn, content), [step["name"] for step in content["steps"]], **fields)


def task_of(conn: Conn, definition_id: int, names: Iterable[str], **fields: Any) -> Task:
    [(task_id, _)] = create(conn, request(definition_id, **fields))
    return Task(value(conn, "select tasker_task_no(%s)", task_id), task_id, definition_id, tuple(names))


# ---- workers and what they report


def given_worker(conn: Conn, *, lease: timedelta = timedelta(days=10_000), definitions: Iterable[int] = (), session_lock: bool = False) -> int:
    return int(value(conn, "select tasker_register_worker('test', 'threads', 10, %s, %s, %s)", list(definitions), lease, session_lock))


def own_worker(conn: Conn) -> int:
    """The worker of this connection."""
    if conn not in _own_workers:
        _own_workers[conn] = given_worker(conn)
    return _own_workers[conn]


def claim(conn: Conn, *, want: int = 100, worker: int | None = None, definitions: list[int] | None = None) -> list[Held]:
    """What the worker is leased: the best ready steps of the given definitions, of all when none are named, whatever an earlier look has found."""
    conn.execute("select set_config('tasker.heads', '', false)")
    return report(conn, [], want=want, worker=worker, definitions=definitions)


def report(
    conn: Conn, done: Iterable[Held], *, results: list[Any] | None = None, want: int = 0, worker: int | None = None, definitions: list[int] | None = None
) -> list[Held]:
    """One round trip: these steps ended well, and up to `want` others are leased."""
    held = sorted(done)
    served = definitions if definitions is not None else [row[0] for row in conn.execute("select definition_id from tasker_definition").fetchall()]
    rows = conn.execute(
        "select task_no, step_no, attempt from tasker_complete_and_claim(%s, %s, %s::bigint[], %s::int[], %s::smallint[], %s::jsonb, %s, %s::int[], null)",
        [worker or own_worker(conn), next(_numbers), *columns(held), json.dumps(results or [None] * len(held)), want, served],
    ).fetchall()
    return [Held(*row) for row in rows]


def start(conn: Conn, task: Task, name: str, *, worker: int | None = None) -> Held:
    """A ready step runs: it goes to the head of the queue, and one step is claimed."""
    conn.execute("select tasker_wake_due(1000)")
    moved = conn.execute("update tasker_ready set rank = '-infinity' where task_no = %s and step_no = %s", [task.no, task.step_no(name)])
    assert moved.rowcount == 1, f"{name} is not ready: {states(conn, task)}"
    [held] = claim(conn, want=1, worker=worker)
    assert held[:2] == (task.no, task.step_no(name))
    return held


def running(conn: Conn, task: Task, name: str) -> Held:
    """The step as its worker holds it; started first when it is ready."""
    if states(conn, task)[name] != "running":
        start(conn, task, name)
    return Held(task.no, task.step_no(name), attempts(conn, task)[name])


def complete(conn: Conn, task: Task, *names: str, result: Any = None) -> None:
    """These steps end well, one by one; those that are ready run first. No child is handed over."""
    for name in names:
        held = running(conn, task, name)
        report(conn, [held], results=[result], worker=holder(conn, held))


def fail(conn: Conn, task: Task, name: str, *, retryable: bool = False, delay: float | None = None, **error: Any) -> None:
    """The step's attempt fails; a ready step runs first."""
    held = running(conn, task, name)
    fail_all(conn, [held], worker=holder(conn, held), retryable=retryable, delay=delay, **error)


def fail_all(conn: Conn, held: list[Held], *, worker: int, retryable: bool = False, delay: float | None = None, **error: Any) -> None:
    content = {"type": "ValueError", "message": "no", "code": None, "traceback": "", "retryable": retryable, "delay": delay, **error}
    conn.execute(
        "select tasker_fail_steps(%s, %s::bigint[], %s::int[], %s::smallint[], %s::jsonb)", [worker, *columns(held), json.dumps([content] * len(held))]
    )


def decide(conn: Conn, task: Task, name: str, *chosen: str) -> None:
    """The decision ends well with what it chose; a ready one runs first."""
    held = running(conn, task, name)
    decide_all(conn, [held], [list(chosen)], worker=holder(conn, held))


def decide_all(conn: Conn, held: list[Held], choices: list[Any], *, worker: int) -> None:
    query = "select tasker_decide_steps(%s, %s::bigint[], %s::int[], %s::smallint[], %s::jsonb)"
    conn.execute(query, [worker, *columns(held), json.dumps(choices)])


def expand(conn: Conn, task: Task, name: str) -> list[str]:
    """A map step makes its items or ends with their results; a ready one runs first. Returns the items' names, in order."""
    held = running(conn, task, name)
    expand_held(conn, held, worker=holder(conn, held))
    rows = conn.execute("select name, step_no from tasker_steps where task_no = %s and map_no = %s order by item_no", [task.no, held.step_no]).fetchall()
    task.items.update(rows)
    return [row[0] for row in rows]


def expand_held(conn: Conn, held: Held, *, worker: int) -> None:
    conn.execute("select tasker_expand_step(%s, %s, %s, %s::smallint)", [worker, *held])


def release(conn: Conn, held: list[Held], *, worker: int | None = None) -> int:
    query = "select tasker_release_steps(%s, %s::bigint[], %s::int[], %s::smallint[])"
    return int(value(conn, query, worker or own_worker(conn), *columns(held)))


def reap(conn: Conn, *, worker: int | None = None) -> int:
    return int(value(conn, "select tasker_reap_workers(%s)", worker or own_worker(conn)))


def holder(conn: Conn, held: Held) -> int:
    return int(value(conn, "select worker_id from tasker_step where task_no = %s and step_no = %s", held.task_no, held.step_no))


def columns(held: Iterable[Held]) -> tuple[list[int], list[int], list[int]]:
    rows = list(held)
    return [row.task_no for row in rows], [row.step_no for row in rows], [row.attempt for row in rows]


def roll_up(conn: Conn, *, limit: int = 10_000) -> None:
    """Every move made so far is counted in the roll-ups."""
    last = value(conn, "select coalesce(max(event_id), 0) from tasker_history")
    while value(conn, "select counted_to from tasker_roll_up(%s)", limit) < last:
        pass  # transactions of others on this server may hold it for a moment


# ---- operators


def cancel_task(conn: Conn, task: Task) -> str:
    return str(value(conn, "select tasker_cancel_task(%s, 'ann', 'why not')", task.id))


def retry_task(conn: Conn, task: Task) -> str:
    return str(value(conn, "select tasker_retry_task(%s, 'ann', 'again')", task.id))


def cancel_step(conn: Conn, task: Task, name: str) -> str:
    return str(value(conn, "select tasker_cancel_step(%s, %s, 'ann', 'why not')", task.id, name))


def retry_step(conn: Conn, task: Task, name: str) -> str:
    return str(value(conn, "select tasker_retry_step(%s, %s, 'ann', 'again')", task.id, name))


def retry_downstream(conn: Conn, task: Task, name: str, context: Any = None) -> str:
    given = None if context is None else json.dumps(context)
    return str(value(conn, "select tasker_retry_downstream(%s, %s, %s::jsonb, 'ann', 'all of it')", task.id, name, given))


def pause_task(conn: Conn, task: Task) -> str:
    return str(value(conn, "select tasker_pause_task(%s, 'ann', 'wait')", task.id))


def resume_task(conn: Conn, task: Task) -> str:
    return str(value(conn, "select tasker_resume_task(%s, 'ann', 'go on')", task.id))


def skip_step(conn: Conn, task: Task, name: str) -> str:
    return str(value(conn, "select tasker_skip_step(%s, %s, 'ann', 'not needed')", task.id, name))


def resolve_step(conn: Conn, task: Task, name: str, result: Any = None) -> str:
    return str(value(conn, "select tasker_resolve_step(%s, %s, %s::jsonb, 'ann', 'by hand')", task.id, name, json.dumps(result)))


def make_batch(conn: Conn, *tasks: Task, action: str = "pause", key: str | None = None) -> int:
    """The number of a batch: the action on each of the tasks."""
    query = "select tasker_make_batch(%s, %s::uuid[], array_fill(null::text, array[%s]), 'these', 'ann', 'why not', %s)"
    return int(value(conn, query, action, [task.id for task in tasks], len(tasks), key))


class Effect(NamedTuple):
    """What a preview says of a step, or of the task."""

    effect: str
    from_state: str
    to_state: str


def preview(conn: Conn, task: Task, action: str, name: str | None = None, given: Any = None) -> tuple[dict[str | None, Effect], str]:
    """What the action would do to each step, and to the task by the name None; and the token of that."""
    query = "select step_name, effect, from_state, to_state, seen from tasker_preview(%s, %s, %s, %s::jsonb)"
    rows = conn.execute(query, [task.id, action, name, None if given is None else json.dumps(given)]).fetchall()
    return {row[0]: Effect(*row[1:4]) for row in rows}, rows[-1][4]


def act(conn: Conn, task: Task, action: str, name: str | None = None, given: Any = None, seen: str | None = None) -> str:
    """The action by its name, if it does what was seen."""
    query = "select tasker_act(%s, %s, %s, %s::jsonb, 'ann', 'as shown', %s)"
    return str(value(conn, query, task.id, action, name, None if given is None else json.dumps(given), seen))


def update_status(conn: Conn, task: Task, name: str, from_state: str, to_state: str) -> bool:
    return bool(value(conn, "select tasker_update_step_status(%s, %s, %s)", task.step_id(name), from_state, to_state))


def resolve_dependencies(conn: Conn, task: Task) -> set[str]:
    """The steps that became ready."""
    return {row[0] for row in conn.execute("select step_name from tasker_resolve_dependencies(%s)", [task.id]).fetchall()}


# ---- what is asked


def value(conn: Conn, query: str, *parameters: Any) -> Any:
    row = conn.execute(query.encode(), parameters).fetchone()
    return row[0] if row else None


def states(conn: Conn, task: Task) -> dict[str, str]:
    rows = conn.execute("select name, state from tasker_steps where task_no = %s", [task.no]).fetchall()
    return {row[0]: row[1] for row in rows}


def given_attempts(conn: Conn, task: Task, name: str, attempts: int) -> None:
    """The step has been tried so often."""
    conn.execute("update tasker_step set attempts = %s where task_no = %s and step_no = %s", [attempts, task.no, task.step_no(name)])


def attempts(conn: Conn, task: Task) -> dict[str, int]:
    return dict(conn.execute("select name, attempts from tasker_steps where task_no = %s", [task.no]).fetchall())


def task_state(conn: Conn, task: Task) -> str:
    return str(value(conn, "select state from tasker_tasks where task_no = %s", task.no))


def ready(conn: Conn, task: Task) -> set[str]:
    rows = conn.execute(
        "select r.step_name from tasker_tasks t, tasker_get_ready_steps(t.namespace, t.name, t.task_id) r where t.task_no = %s", [task.no]
    ).fetchall()
    return {row[0] for row in rows}


def readiness(conn: Conn, task: Task) -> dict[str, dict[str, Any]]:
    with conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return {row["step_name"]: row for row in cursor.execute("select * from tasker_step_readiness(%s)", [task.id])}


def waiting_for(conn: Conn, task: Task, name: str) -> str:
    return str(readiness(conn, task)[name]["waiting_for"])


def retry_wait(conn: Conn, task: Task, name: str) -> float:
    """Seconds until a retrying step is due, by the connection's clock."""
    query = "select extract(epoch from run_at - tasker_clock())::float8 from tasker_delayed where task_no = %s and step_no = %s"
    return float(value(conn, query, task.no, task.step_no(name)))


def history(conn: Conn, task: Task, name: str | None = None) -> list[tuple[str, str]]:
    """(from, to) of every recorded move of one step, or of the task itself, in order."""
    rows = conn.execute(
        "select tasker_state_name(from_state), tasker_state_name(to_state) from tasker_history"
        " where task_no = %s and step_no is not distinct from %s order by event_id",
        [task.no, None if name is None else task.step_no(name)],
    ).fetchall()
    return [(row[0], row[1]) for row in rows]


def names_of(task: Task, held: Iterable[Held]) -> set[str]:
    """The steps of this task among those held."""
    return {task.name_of(one.step_no) for one in held if one.task_no == task.no}


# ---- what happens at once


def meanwhile(call: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def insisting(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """As engines do: what a deadlock has undone is asked again."""
    while True:
        try:
            return call(*arguments, **named)
        except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
            pass


def until(reached: Callable[[], bool]) -> None:
    """Comes back when it is so, and soon: other sessions lead there."""
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def blocks(holder: Conn, waiter: Conn, *, seen_by: Conn) -> bool:
    """Whether one session waits for another at this moment."""
    return bool(value(seen_by, "select %s = any(pg_blocking_pids(%s))", holder.info.backend_pid, waiter.info.backend_pid))


# ---- time and refusals


def move_clock(conn: Conn, **ahead: float) -> None:
    """The connection's clock goes on by so many hours, minutes, seconds ..., at once."""
    _offsets[conn] = _offsets.get(conn, timedelta()) + timedelta(**ahead)
    conn.execute("select set_config('tasker.clock_offset', %s, false)", [f"{_offsets[conn].total_seconds()} seconds"])


def now(conn: Conn) -> datetime:
    found: datetime = value(conn, "select tasker_clock()")
    return found


@contextmanager
def refused(sqlstate: str) -> Iterator[None]:
    """The call in the block is refused with our own SQLSTATE."""
    with pytest.raises(psycopg.Error) as raised:
        yield
    assert raised.value.sqlstate == sqlstate, raised.value
