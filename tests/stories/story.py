"""The stage of every story: a database, a folder of handlers, engines as real processes, and a ledger in which handlers note what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from engine import queries, tasks
from engine.db import Database
from engine.requests import TaskRequest
from engine.states import FINAL_TASK

ROOT = Path(__file__).resolve().parents[2]
LOOK_SECONDS = 0.01
PATIENCE_SECONDS = 60.0

# What every handler file of a story begins with. A gate is a file: the test opens it, the handler waits for it.
PRELUDE = '''
import os
import time
from pathlib import Path

from engine import PermanentError, RetryableError, StepHandler, TaskHandler, Workflow, register_handler

HERE = Path(__file__).parent


def note(*facts):
    line = " ".join(map(str, (*facts, os.getpid(), time.monotonic_ns()))) + "\\n"
    ledger = os.open(HERE / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(ledger, line.encode())
    os.close(ledger)


def wait_for(gate):
    while not (HERE / gate).exists():
        time.sleep(0.005)
'''

T = TypeVar("T")


def until(look: Callable[[], T], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """The first true answer; the test fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(LOOK_SECONDS)
    return answer


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that is dead but not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def below(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    try:
        children = [int(child) for thread in Path(f"/proc/{pid}/task").iterdir() for child in (thread / "children").read_text().split()]
    except OSError:
        return []
    return [*children, *(deep for child in children for deep in below(child))]


class EngineProcess:
    """`tasker engine` as a user starts it."""

    def __init__(self, url: str, folder: Path, log: Path, arguments: list[str]) -> None:
        self.log = log
        environment = {**os.environ, "TASKER_DATABASE_URL": url, "TASKER_HANDLERS": str(folder)}
        command = [sys.executable, "-m", "engine.cli", "engine", *arguments]
        with log.open("ab") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True)
        self.pid = self.process.pid

    def send(self, number: signal.Signals) -> None:
        """The signal is sent to the engine alone."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """The engine is gone, without a word."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def drained(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Asked to stop, and its exit status."""
        self.process.terminate()
        return self.process.wait(seconds)

    def said(self) -> str:
        """Everything it printed."""
        return self.log.read_text(errors="replace")

    def end(self) -> None:
        """Nothing of it is left."""
        rest = below(self.pid)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        until(lambda: not any(map(is_alive, rest)), f"the children of a killed engine to be gone:\n{self.said()}")


class Story:
    """One database and the engines that work on it; handlers are written by the test."""

    def __init__(self, url: str, db: Database, folder: Path) -> None:
        self.url, self.db, self.folder = url, db, folder
        self.handlers = folder / "handlers"
        self.handlers.mkdir()
        self.engines: list[EngineProcess] = []

    # ---- the stage

    def write(self, code: str, name: str = "flows.py", folder: str = "handlers") -> Path:
        """A handler file in the folder that engines load."""
        place = self.folder / folder
        place.mkdir(exist_ok=True)
        text = textwrap.dedent(code)
        (place / name).write_text(PRELUDE + text if name.endswith(".py") else text)
        return place

    def start(self, *arguments: str, runner: str = "processes", concurrency: int = 4, folder: str = "handlers", wait: bool = True) -> EngineProcess:
        """An engine that has begun to claim."""
        log = self.folder / f"engine-{len(self.engines)}.log"
        options = ["--runner", runner, "--concurrency", str(concurrency), *arguments]
        engine = EngineProcess(self.url, self.folder / folder, log, options)
        self.engines.append(engine)
        if wait:
            until(lambda: self.worker_of(engine) or engine.process.poll() is not None, f"an engine to come up:\n{engine.said()}")
            assert engine.process.poll() is None, engine.said()
        return engine

    def end(self) -> None:
        """No engine is left."""
        for engine in self.engines:
            engine.end()

    def open(self, gate: str) -> None:
        """Handlers that wait for the gate go on."""
        (self.handlers / gate).touch()

    # ---- tasks

    def launch(self, name: str, context: Mapping[str, Any] | None = None, **fields: Any) -> str:
        """A new task's id."""
        return tasks.submit(self.db, TaskRequest(name, context=dict(context or {}), **fields))

    def launch_many(self, name: str, count: int) -> list[str]:
        """So many new tasks' ids."""
        return tasks.submit_many(self.db, [TaskRequest(name) for _ in range(count)])

    def outcome(self, task: str) -> dict[str, Any]:
        """The task as `tasker show --json` prints it."""
        return queries.outcome(self.db, task)

    def step(self, task: str, name: str) -> dict[str, Any]:
        """One step of it."""
        return self.outcome(task)["steps"][name]

    def ended(self, task: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The task's outcome once it has one."""
        self.all_ended([task], seconds)
        return self.outcome(task)

    def run(self, name: str, context: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """The outcome of a new task."""
        return self.ended(self.launch(name, context, **fields))

    def all_ended(self, ids: list[str], seconds: float = PATIENCE_SECONDS) -> list[str]:
        """The states the tasks ended in."""
        query = "select count(*) from tasker_task where finished_at is null and task_id = any(%(ids)s::uuid[])"
        until(lambda: self.db.value(query, {"ids": ids}) == 0, f"tasks to end; engines said:\n{self._said()}", seconds)
        found = dict(self.db.rows("select task_id::text, state from tasker_tasks where task_id = any(%(ids)s::uuid[])", {"ids": ids}))
        assert all(state in FINAL_TASK for state in found.values())
        return [found[task] for task in ids]

    def until_state(self, task: str, step: str, state: str) -> None:
        """Returns when the step is in the state."""
        until(lambda: self.step(task, step)["state"] == state, f"{step} to be {state}; engines said:\n{self._said()}")

    # ---- what happened

    def ledger(self, *begins: str) -> list[list[str]]:
        """What handlers noted, in order: their facts, the process and the nanosecond; only lines that begin so."""
        try:
            lines = [line.split() for line in (self.handlers / "ledger").read_text().splitlines()]
        except FileNotFoundError:
            return []
        return [line for line in lines if line[: len(begins)] == list(begins)]

    def noted(self, *begins: str, times: int = 1) -> list[list[str]]:
        """The same, once there are so many."""
        return until(lambda: found if len(found := self.ledger(*begins)) >= times else [], f"{times} notes {begins}; engines said:\n{self._said()}")

    def worker_of(self, engine: EngineProcess) -> int | None:
        """The id under which the process works now."""
        query = "select max(worker_id) from tasker_worker where name like %(name)s and lease_until > tasker_clock()"
        found: int | None = self.db.value(query, {"name": f"%:{engine.pid}"})
        return found

    def held(self) -> int:
        """How many steps are running, by the database's word."""
        return int(self.db.value("select count(*) from tasker_step where state = 2"))

    def _said(self) -> str:
        return "\n".join(engine.said() for engine in self.engines)
