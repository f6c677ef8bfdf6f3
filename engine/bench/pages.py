"""How fast the dashboard answers when there is much to show and much going on: `make bench-web`, apart from `tasker bench` because it fills gigabytes.

100,000 ended tasks with 1,000,000 steps lie in the database, an engine, as nice as that of `tasker up`, works as fast as it can beside the dashboard's own process, and simulated
users look at one page after the other, each resting a second between two. Then the same with 50 pages open that follow live.
"""

from __future__ import annotations

import gzip
import itertools
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from engine import queries, tasks
from engine.access import accounts
from engine.bench import flows
from engine.bench.document import publish, quantiles, say
from engine.bench.past import end_all
from engine.bench.place import bulk_database
from engine.db import Database
from engine.requests import TaskRequest

TASKS, LENGTH = int(os.environ.get("BENCH_TASKS", "100000")), 10
USERS, STREAMS = 20, 50
STREAMS_EACH = 5  # of one account the dashboard carries no more
FIRST_SECONDS, SECONDS = 15.0, 30.0
"""What a dashboard that has just started answers first is told apart: each of its connections learns every statement once."""
REST_SECONDS = (0.5, 1.5)
OPEN_TASKS = 500
EVENTS = 40
WIDE_ROUNDS = 20
USABLE_ROUNDS = 7

SIGNED_IN: dict[str, str] = {}
"""The header of a session, once there is one."""
Times = dict[str, list[float]]
"""Milliseconds by page."""


def main() -> None:
    """Prints what was measured."""
    publish(_measured)


def _measured() -> dict[str, Any]:
    with bulk_database() as db:
        return _measured_on(db)


def _measured_on(db: Database) -> dict[str, Any]:
    definition = tasks.register_definition(db, flows.w10.definition)
    for made in range(0, TASKS, 10_000):
        tasks.submit_many(db, [TaskRequest("chain_of_10", flows.NAMESPACE)] * min(10_000, TASKS - made))
    end_all(db.url, definition, "(t.task_no %% 43200) * interval '1 minute'")
    say(f"{TASKS:,} ended tasks with {TASKS * LENGTH:,} steps; {USERS} users, each resting {statistics.mean(REST_SECONDS):g} s between two pages, {SECONDS:g} s")
    with _process(db.url, "engine", "--nice", "5", "--handlers", "engine.bench.flows"), dashboard(db.url) as address:
        SIGNED_IN.update(_signed_in(db, "bench"))
        followers = [_signed_in(db, f"follower-{number}") for number in range(STREAMS // STREAMS_EACH)]
        wide = tasks.submit(db, TaskRequest("fan_of_1000", flows.NAMESPACE))
        pages = _pages(db)
        with _busy(db) as work:
            first = _visited(address, pages, FIRST_SECONDS)
            alone = _visited(address, pages)
            with _followed(address, followers * STREAMS_EACH):
                followed = _visited(address, pages)
            found = _pages_told(first, alone, followed)
            event = quantiles(_event_times(db, address))
            say(f"event to page: {told(event)} ms")
        _wait_for_end(db, wide)
        served = quantiles(_times(address, f"/tasks/{wide}", WIDE_ROUNDS))
        say(f"task page of 1,001 steps: {told(served)} ms in the server")
        usable = _usable(f"{address}/tasks/{wide}")
        say(f"  until it can be used in Chromium: {usable if isinstance(usable, str) else told(usable) + ' ms'}")
        sizes = {"tasks": TASKS, "steps": TASKS * LENGTH, "users": USERS, "streams": STREAMS, "first_seconds": FIRST_SECONDS, "seconds": SECONDS}
        return sizes | work | found | {"event_to_page": event, "large_task": {"served": served, "usable": usable}, "kib": _weights(address, wide)}


# ---- what is going on


def _signed_in(db: Database, name: str) -> dict[str, str]:
    """The header of a new account in a new session."""
    account = accounts.create_account(db, name, role="admin", actor="bench")
    return {"Cookie": f"tasker_sign_in={accounts.begin_session(db, account, method='bench')}"}


@contextmanager
def _process(url: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "TASKER_DATABASE_URL": url, "TASKER_ENV": "production"}
    process = subprocess.Popen([sys.executable, "-m", "engine.cli", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def dashboard(url: str) -> Iterator[str]:
    with _process(url, "web", "--port", "0") as process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().rpartition(" ")[2].strip()


@contextmanager
def _busy(db: Database) -> Iterator[dict[str, float]]:
    """The engine never runs out of work; afterwards `engine_steps_per_s` tells how much it did."""
    work: dict[str, float] = {}
    over, begun, before = threading.Event(), time.monotonic(), _ended_steps(db)

    def feed() -> None:
        while not over.is_set():
            if int(db.value("select count(*) from tasker_task where finished_at is null")) < OPEN_TASKS:
                tasks.submit_many(db, [TaskRequest("chain_of_20", flows.NAMESPACE)] * OPEN_TASKS)
            over.wait(0.05)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield work
    finally:
        over.set()
        feeder.join()
        work["engine_steps_per_s"] = (_ended_steps(db) - before) / (time.monotonic() - begun)
        say(f"meanwhile the engine ran {work['engine_steps_per_s']:,.0f} steps/s")


def _ended_steps(db: Database) -> int:
    return int(db.value("select count(*) from tasker_history where step_no is not null and to_state = 4"))


@contextmanager
def _followed(address: str, cookies: list[dict[str, str]]) -> Iterator[None]:
    """With each cookie a page is live."""
    links = [_link(address) for _ in cookies]
    for link, cookie in zip(links, cookies, strict=True):
        link.request("GET", "/live", headers=cookie)
    streams = [link.getresponse() for link in links]
    assert {stream.status for stream in streams} == {200}
    readers = [threading.Thread(target=_read_on, args=(stream,), daemon=True) for stream in streams]
    for reader in readers:
        reader.start()
    yield
    for link in links:
        link.close()


def _read_on(stream: Any) -> None:
    with suppress(OSError, ValueError, AttributeError):
        while stream.readline():
            pass


# ---- users


def _pages(db: Database) -> dict[str, str]:
    """What users look at, by name."""
    workflow = f"/workflows/{flows.NAMESPACE}/chain_of_10"
    task = queries.tasks(db, name="chain_of_10", limit=1).items[0].task_id
    return {
        "overview": "/", "workflows": "/workflows", "namespace": f"/workflows/{flows.NAMESPACE}", "workflow": workflow, "version": f"{workflow}/1.0.0",
        "launch form": f"{workflow}/1.0.0/launch", "tasks": "/tasks", "tasks, running": "/tasks?state=running", "tasks of a workflow": "/tasks?name=chain_of_10&namespace=bench",
        "tasks, failed": "/tasks?state=failed", "task": f"/tasks/{task}", "step": f"/tasks/{task}/steps/step_3", "timeline": f"/tasks/{task}/timeline", "engines": "/engines", "schedules": "/schedules",
    }  # fmt: skip


def _visited(address: str, pages: dict[str, str], seconds: float = SECONDS) -> Times:
    found: Times = defaultdict(list)
    _timed(address, "/", _link(address))
    users = [threading.Thread(target=_visit, args=(address, pages, found, random.Random(number), seconds)) for number in range(USERS)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    return found


def _visit(address: str, pages: dict[str, str], found: Times, chance: random.Random, seconds: float) -> None:
    link, end = _link(address), time.monotonic() + seconds
    time.sleep(chance.uniform(0, REST_SECONDS[1]))
    while time.monotonic() < end:
        name = chance.choice(list(pages))
        found[name].append(_timed(address, pages[name], link))
        time.sleep(chance.uniform(*REST_SECONDS))


def _link(address: str) -> HTTPConnection:
    parts = urlsplit(address)
    return HTTPConnection(str(parts.hostname), parts.port, timeout=30)


def _timed(address: str, path: str, link: HTTPConnection) -> float:
    begun = time.perf_counter()
    link.request("GET", path, headers={"Accept-Encoding": "gzip", **SIGNED_IN})
    answer = link.getresponse()
    answer.read()
    assert answer.status == 200, f"{path}: {answer.status}"
    return (time.perf_counter() - begun) * 1000


def _times(address: str, path: str, rounds: int) -> list[float]:
    link = _link(address)
    return [_timed(address, path, link) for _ in range(rounds + 1)][1:]


def _usable(url: str) -> dict[str, Any] | str:
    """How soon, or why that was not measured."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        return "not measured, Playwright is not installed"
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
            return quantiles([_usable_time(browser, url) for _ in range(USABLE_ROUNDS)])
    except Error as error:
        return f"not measured, {error.message.splitlines()[0]}"


def _usable_time(browser: Any, url: str) -> float:
    """Milliseconds from the request until the page is there, its scripts have run and the browser has nothing more to do."""
    page = browser.new_page()
    name, _, secret = SIGNED_IN["Cookie"].partition("=")
    page.context.add_cookies([{"name": name, "value": secret, "url": url}])
    page.goto(url)
    spent = page.evaluate("new Promise(done => requestIdleCallback(() => done(performance.now())))")
    page.close()
    return float(spent)


# ---- from the database to the page


def _event_times(db: Database, address: str) -> list[float]:
    """Milliseconds from the commit of an operator's action to its message at a page that follows the task."""
    return list(itertools.islice((_event_time(db, address) for _ in itertools.count()), EVENTS))


def _event_time(db: Database, address: str) -> float:
    task = tasks.submit(db, TaskRequest("single", flows.NAMESPACE, run_at=datetime.now(UTC) + timedelta(hours=1)))
    link = _link(address)
    link.request("GET", f"/live?task={task}", headers=SIGNED_IN)
    stream = link.getresponse()
    _until_message(stream)
    tasks.cancel_task(db, task, actor="bench")
    begun = time.perf_counter()
    _until_message(stream)
    link.close()
    return (time.perf_counter() - begun) * 1000


def _until_message(stream: Any) -> None:
    while not stream.readline().startswith(b"event: changed"):
        pass


def _wait_for_end(db: Database, task: str) -> None:
    while db.value("select finished_at is null from tasker_task where task_id = %(task)s", {"task": task}):
        time.sleep(0.1)


# ---- figures


def _pages_told(first: Times, alone: Times, followed: Times) -> dict[str, Any]:
    """Each page, without and with pages that follow live, and all of them together; the first seconds apart."""
    pages = {name: {"alone": quantiles(alone[name]), "followed": quantiles(followed[name])} for name in alone if followed[name]}
    every = {key: quantiles(list(itertools.chain(*found.values()))) for key, found in (("first", first), ("alone", alone), ("followed", followed))}
    say(f"\n{'page':24} {'p50':>8} {'p99':>8}   with {STREAMS} live pages")
    for name, found in pages.items():
        say(f"{name:24} {told(found['alone'])}   {told(found['followed'])}")
    say(f"{'all':24} {told(every['alone'])}   {told(every['followed'])}   ({every['alone']['count']:,} and {every['followed']['count']:,} requests)")
    say(f"{f'all, first {FIRST_SECONDS:g} seconds':24} {told(every['first'])}   ({every['first']['count']:,} requests)\n")
    return {"pages": pages, "all": every}


def told(found: dict[str, Any]) -> str:
    """p50 and p99 for a line."""
    return f"{found['p50_ms']:8.1f} {found['p99_ms']:8.1f}"


def _weights(address: str, wide: str) -> dict[str, float]:
    get: Callable[[str], str] = lambda path: urllib.request.urlopen(urllib.request.Request(address + path, headers=SIGNED_IN), timeout=30).read().decode()  # noqa: E731
    page = get("/tasks")
    assets = sorted(set(re.findall(r'(?:href|src)="(/static/[^"]+\.(?:css|js|svg)[^"]*)"', page)))
    weights = {path.partition("?")[0]: len(gzip.compress(get(path).encode())) for path in ["/tasks", *assets]}
    kib = {"list": sum(weights.values()) / 1024, "large_task": len(gzip.compress(get(f"/tasks/{wide}").encode())) / 1024}
    say(f"weight of the list with all it loads: {kib['list']:.0f} KiB compressed; of the page of 1,001 steps: {kib['large_task']:.0f} KiB")
    return kib


if __name__ == "__main__":
    main()
