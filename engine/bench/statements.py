"""What single statements cost, whatever the size of what stands around them: creating, claiming, finding out what is ready."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from psycopg import Connection

from engine import leases, tasks
from engine.bench import flows
from engine.bench.place import BULK_SECONDS
from engine.bench.sizes import Sizes
from engine.db import Database, connect
from engine.requests import TaskRequest

LEASE = timedelta(hours=1)
CHUNK = 20_000
REPEATS = 21


def empty(db: Database) -> None:
    """No task is there, and no history."""
    with db.connection() as connection:
        connection.execute("truncate tasker_task, tasker_step, tasker_ready, tasker_delayed, tasker_history, tasker_claim, tasker_worker")


Clear = Callable[[Database], None]
"""Takes away what a measurement has made."""


def creation_rate(url: str, sizes: Sizes, rounds: int, clear: Clear = empty) -> dict[str, Any]:
    """Tasks and steps per second through `submit_many`, chains of five, one transaction."""
    db = Database(url, max_size=1, call_seconds=BULK_SECONDS)
    tasks.register_definition(db, flows.w1.definition)
    rates = []
    for _ in range(rounds):
        begin = time.perf_counter()
        tasks.submit_many(db, [TaskRequest("chain_of_5", flows.NAMESPACE)] * sizes.created)
        rates.append(sizes.created / (time.perf_counter() - begin))
    clear(db)
    db.close()
    rate = statistics.median(rates)
    return {"tasks_per_s": round(rate), "steps_per_s": round(rate * 5)}


def claim_latency(url: str, sizes: Sizes, clear: Clear = empty) -> list[dict[str, Any]]:
    """Milliseconds of one durable claim of one step, with so many ready."""
    db = Database(url, max_size=1, call_seconds=BULK_SECONDS)
    definition_id = tasks.register_definition(db, flows.single.definition)
    found = []
    for backlog in sizes.backlogs:
        _fill(db, definition_id, backlog)
        with connect(url, options=leases.SESSION, call_seconds=BULK_SECONDS) as connection:
            found.append({"ready": backlog} | _claims(connection, definition_id, sizes.claims))
        clear(db)
    db.close()
    smallest = found[0]["p50_ms"]
    return [row | {"ratio": round(row["p50_ms"] / smallest, 2)} for row in found]


def readiness(url: str, sizes: Sizes, clear: Clear = empty) -> list[dict[str, Any]]:
    """Milliseconds in the server, for tasks of so many steps: what is ready (in a half-done chain, in a fan with ten steps open), and
    to complete a step and hand over the one it unlocks."""
    db = Database(url, max_size=1, call_seconds=BULK_SECONDS)
    found = []
    for steps in sizes.task_steps:
        with connect(url, options=leases.SESSION, call_seconds=BULK_SECONDS) as connection:
            found.append({"steps": steps} | _chain_times(db, connection, steps) | _fan_times(db, connection, steps))
        clear(db)
    db.close()
    return found


def _claims(connection: Connection[Any], definition_id: int, count: int) -> dict[str, float]:
    who = _worker(connection, definition_id)
    times = []
    for number in range(count + 10):
        begin = time.perf_counter()
        rows = leases.complete_and_claim(connection, who, claim_no=number, done=(), want=1, definitions=f"{{{definition_id}}}")
        times.append((time.perf_counter() - begin) * 1000)
        assert len(rows) == 1
    ordered = sorted(times[10:])
    return {"p50_ms": round(statistics.median(ordered), 3), "p99_ms": round(ordered[int(0.99 * (len(ordered) - 1))], 3)}


def _chain_times(db: Database, connection: Connection[Any], steps: int) -> dict[str, float]:
    definition_id, name = _register(db, f"chain_of_{steps}_steps", [[number - 1] if number else [] for number in range(steps)])
    task_id, task_no = _create(connection, definition_id)
    who = _worker(connection, definition_id)
    half = steps // 2
    # the first half is done: set at once, as walking there one by one would take minutes for the longest
    connection.execute("delete from tasker_ready where task_no = %s", (task_no,))
    connection.execute("update tasker_step set state = 4, pending = 0, finished_at = now() where task_no = %s and step_no < %s", (task_no, half))
    connection.execute("update tasker_step set state = 1, pending = 0 where task_no = %s and step_no = %s", (task_no, half))
    connection.execute("insert into tasker_ready (rank, task_no, step_no, definition_id) values (now(), %s, %s, %s)", (task_no, half, definition_id))
    ready = _server_ms(connection, "select * from tasker_get_ready_steps(%s, %s, %s)", (flows.NAMESPACE, name, task_id))
    leases.complete_and_claim(connection, who, claim_no=0, done=(), want=1, definitions=f"{{{definition_id}}}")
    hand_over = _hand_over_ms(connection, who, task_no, half, min(steps - half - 1, REPEATS), definition_id)
    return {"ready_in_chain_ms": ready, "hand_over_ms": hand_over}


def _fan_times(db: Database, connection: Connection[Any], steps: int) -> dict[str, float]:
    definition_id, name = _register(db, f"fan_of_{steps}_steps", [[] for _ in range(steps - 1)] + [list(range(steps - 1))])
    task_id, task_no = _create(connection, definition_id)
    connection.execute("update tasker_step set state = 4, finished_at = now() where task_no = %s and step_no < %s", (task_no, steps - 11))
    connection.execute("delete from tasker_ready where task_no = %s and step_no < %s", (task_no, steps - 11))
    connection.execute("vacuum tasker_ready")
    return {"ready_in_fan_ms": _server_ms(connection, "select * from tasker_get_ready_steps(%s, %s, %s)", (flows.NAMESPACE, name, task_id))}


def _hand_over_ms(connection: Connection[Any], who: leases.WorkerIdentity, task_no: int, first: int, count: int, definition_id: int) -> float:
    statement = (
        "select * from tasker_complete_and_claim(%s, %s, array[%s]::bigint[], array[%s]::int[], array[1]::smallint[], '[{\"ok\": 1}]', 1, array[%s]::int[], null)"
    )
    times = [
        _explained_ms(connection, statement, (who.worker_id, 1 + number, task_no, first + number, definition_id)) for number in range(count)
    ]
    return round(statistics.median(times), 3)


def _server_ms(connection: Connection[Any], statement: str, parameters: tuple[Any, ...]) -> float:
    return round(statistics.median(_explained_ms(connection, statement, parameters) for _ in range(REPEATS)), 4)


def _explained_ms(connection: Connection[Any], statement: str, parameters: tuple[Any, ...]) -> float:
    cursor = connection.execute(f"explain (analyze, timing off, format json) {statement}".encode(), parameters)
    row = cursor.fetchone()
    assert row is not None
    return float(row[0][0]["Execution Time"])


def _worker(connection: Connection[Any], definition_id: int) -> leases.WorkerIdentity:
    return leases.register_worker(connection, name="bench", runner="none", concurrency=1, definitions=[definition_id], lease=LEASE)


def _register(db: Database, name: str, parents: list[list[int]]) -> tuple[int, str]:
    children: list[list[int]] = [[] for _ in parents]
    for number, above in enumerate(parents):
        for parent in above:
            children[parent].append(number)
    steps = [
        {"name": f"s{number}", "parents": above, "children": children[number], "retryable": True, "retry_limit": 3, "handler": None,
         "backoff": {"base": 1, "multiplier": 2, "cap": 60, "jitter": 0.1}}
        for number, above in enumerate(parents)
    ]  # fmt: skip
    definition = {"namespace": flows.NAMESPACE, "name": name, "version": "1.0.0", "fingerprint": name, "schema": None, "steps": steps}
    return int(db.value("select tasker_register_definition(%(definition)s::jsonb)", {"definition": json.dumps(definition)})), name


def _create(connection: Connection[Any], definition_id: int) -> tuple[str, int]:
    row = connection.execute("select task_id from tasker_create_tasks(%s::jsonb)", (json.dumps([{"definition_id": definition_id}]),)).fetchone()
    assert row is not None
    number = connection.execute("select task_no from tasker_task where task_id = %s", (row[0],)).fetchone()
    assert number is not None
    return str(row[0]), int(number[0])


def _fill(db: Database, definition_id: int, count: int) -> None:
    """So many steps ready, and the server at rest again: what it does after a bulk load is no part of a claim."""
    for first in range(0, count, CHUNK):
        db.rows(
            """select count(*) from tasker_create_tasks((select jsonb_agg(jsonb_build_object('definition_id', %(id)s::int))
                                                          from generate_series(1, %(count)s::int)))""",
            {"id": definition_id, "count": min(CHUNK, count - first)},
        )
    with db.connection() as connection:
        connection.execute("set statement_timeout = 0")
        connection.execute("vacuum analyze tasker_task, tasker_step, tasker_ready")
        connection.execute("reset statement_timeout")
