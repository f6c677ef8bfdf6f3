"""How fast the API answers with 100,000 tasks in the database: `python -m engine.bench.api`.

20 clients show a task, then create one, each resting a little between two requests; then one client creates in batches as fast as it is answered.
The clients run beside the server on the same machine, and take their share of it.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
import time
from collections import defaultdict
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from engine import queries, tasks
from engine.access import accounts, tokens
from engine.bench import flows
from engine.bench.document import publish, quantiles, say
from engine.bench.pages import Times, dashboard, told
from engine.bench.past import end_all
from engine.bench.place import bulk_database
from engine.client import PREFIX
from engine.db import Database
from engine.requests import TaskRequest

TASKS = int(os.environ.get("BENCH_TASKS", "100000"))
CLIENTS = 20
FIRST_SECONDS, SECONDS = 5.0, 20.0
"""What a dashboard that has just started answers first is told apart: each of its connections learns every statement once."""
REST_SECONDS = (0.1, 0.3)
BATCH, BATCHES = 100, 50
SIGNED_IN: dict[str, str] = {}
NEW = {"namespace": flows.NAMESPACE, "name": "single", "context": {}}


def main() -> None:
    """Prints what was measured."""
    os.environ |= {"TASKER_API_RATE": "0", "TASKER_API_BACKLOG": "0"}
    publish(_measured)


def _measured() -> dict[str, Any]:
    with bulk_database() as db:
        return _measured_on(db)


def _measured_on(db: Database) -> dict[str, Any]:
    definition = tasks.register_definition(db, flows.w10.definition)
    tasks.register_definition(db, flows.single.definition)
    for made in range(0, TASKS, 10_000):
        tasks.submit_many(db, [TaskRequest("chain_of_10", flows.NAMESPACE)] * min(10_000, TASKS - made))
    end_all(db.url, definition, "(t.task_no %% 43200) * interval '1 minute'")
    known = [row.task_id for row in queries.tasks(db, limit=200).items]
    say(f"{TASKS:,} tasks of 10 steps; {CLIENTS} clients, each resting {REST_SECONDS[0]:g} to {REST_SECONDS[1]:g} s between two requests, {FIRST_SECONDS:g} and {SECONDS:g} s")
    accounts.create_account(db, "bench", role="admin", actor="bench")
    SIGNED_IN["Authorization"] = f"Bearer {tokens.make_token(db, 'bench', 'bench', actor='bench')}"
    with dashboard(db.url) as address:
        found = {name: quantiles(times) for name, times in sorted(_asked(address, known).items())}
        for name, times in found.items():
            say(f"{name:28} p50, p99: {told(times)} ms   of {times['count']:,} requests")
        rate = _created_per_second(address)
        say(f"batch    {rate:,.0f} creates/s in batches of {BATCH}")
    return {"tasks": TASKS, "clients": CLIENTS, "first_seconds": FIRST_SECONDS, "seconds": SECONDS, "asked": found, "batch": BATCH, "creates_per_s": rate}


def _asked(address: str, known: list[str]) -> Times:
    found: Times = defaultdict(list)
    clients = [threading.Thread(target=_ask, args=(address, known, found, random.Random(number))) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return found


def _ask(address: str, known: list[str], found: Times, chance: random.Random) -> None:
    with closing(_link(address)) as link:
        first = time.monotonic() + FIRST_SECONDS
        end = first + SECONDS
        for name in itertools.cycle(("show", "create")):
            time.sleep(chance.uniform(*REST_SECONDS))
            if time.monotonic() > end:
                return
            begun = time.perf_counter()
            status, answer = _answer(link, "GET", f"/tasks/{chance.choice(known)}") if name == "show" else _answer(link, "POST", "/tasks", NEW)
            when = "" if time.monotonic() > first else f", first {FIRST_SECONDS:g} seconds"
            found[name + when].append((time.perf_counter() - begun) * 1000)
            assert status in (200, 201), answer


def _created_per_second(address: str) -> float:
    body: dict[str, Any] = {"tasks": [NEW] * BATCH}
    with closing(_link(address)) as link:
        begun = time.perf_counter()
        for _ in range(BATCHES):
            status, answer = _answer(link, "POST", "/tasks/batch", body)
            assert status == 201, answer
        return BATCH * BATCHES / (time.perf_counter() - begun)


def _link(address: str) -> HTTPConnection:
    return HTTPConnection(urlsplit(address).netloc, timeout=30)


def _answer(link: HTTPConnection, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    """By the plainest client there is: a heavier one would take the processor that is measured."""
    sent = None if body is None else json.dumps(body).encode()
    link.request(method, PREFIX + path, sent, SIGNED_IN | {"Content-Type": "application/json"})
    response = link.getresponse()
    return response.status, response.read()


if __name__ == "__main__":
    main()
