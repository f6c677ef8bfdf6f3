"""The engine's own worker without its threads: it claims, runs and reports in the caller's thread, one round trip at a time."""

from __future__ import annotations

import bdb
import sys
import threading
from datetime import timedelta
from functools import partial
from typing import Any

from psycopg import Connection

from engine import logs
from engine.definition import TaskDefinition
from engine.runners import CANCELLED, Deliver, Hear, Lookup, StepCall, nobody
from engine.runners.invoke import invoke
from engine.testing.said import Contact
from engine.testing.stubs import Stubs
from engine.worker import Worker, _Place

CLAIMED_AT_ONCE = 100
FOR_EVER = timedelta(days=36_500)  # the clock is moved by whole days


class InlineRunner:
    """Runs every call at once, where it was submitted; a step's time limit is not watched, as nothing could end it.

    What ends the whole run, such as Ctrl-C, is raised where the call was submitted; its step stays running.
    """

    may_wait = False
    may_start_until = 0.0  # nobody else is there to whom a step could go meanwhile

    def __init__(self, stubs: Stubs) -> None:
        self._stubs = stubs

    def start(self, deliver: Deliver, lookup: Lookup, hear: Hear = nobody) -> None:
        """Outcomes go to `deliver`, results of farther ancestors come from `lookup`, `hear` is told what attempts say."""
        self._deliver, self._lookup, self._hear = deliver, lookup, hear

    def submit(self, calls: list[StepCall]) -> None:
        """The calls are done, one after the other."""
        for call in calls:
            self._deliver([(call, *self._run(call))])

    def room(self) -> int:
        """As many as are claimed at once."""
        return CLAIMED_AT_ONCE

    def cancel(self, call: StepCall) -> None:
        """Nothing runs between two calls of `submit`."""
        self._deliver([(call, CANCELLED, "null")])

    def standing(self) -> None:
        """Handlers run here."""

    def stop(self, grace: float) -> None:
        """Nothing is running."""

    def _run(self, call: StepCall) -> tuple[int, str]:
        task = call.task
        contact = Contact(lambda said: self._hear(call, said))
        with self._stubs.in_place(task.definition, call.template_no) as stub, logs.captured():
            return stub or invoke(
                task.definition, call.template_no, call.attempt, call.retry_limit, task.public_id, task.context_json,
                task.correlation_id, call.inputs, partial(self._lookup, call), contact, call.item, task.traceparent, _escapes(),
            )  # fmt: skip


def _escapes() -> tuple[type[BaseException], ...]:
    """What somebody at the terminal, or the test around the run, wants ended: not the step but the run."""
    pytest = sys.modules.get("pytest")  # which `tasker run` does without
    return KeyboardInterrupt, bdb.BdbQuit, *((pytest.fail.Exception, pytest.skip.Exception, pytest.exit.Exception) if pytest else ())


class ForegroundWorker(Worker):
    """A worker that moves only when it is told to; `serve` adds to what it has handlers for."""

    def __init__(self, url: str, stubs: Stubs, session: Connection[Any] | None) -> None:
        runner = InlineRunner(stubs)
        super().__init__(url, runner, {}, name="test", runner_name="inline", concurrency=1, lease=FOR_EVER)
        self._lent = session

    def start(self) -> None:
        """Registered and connected; nothing was claimed."""
        self.runner.start(self._deliver, self._look_up, self.backlog.hear)
        self._own = _Place(0, threading.Event(), self._registered())

    @property
    def connection(self) -> Connection[Any]:
        """The session that claims and reports."""
        assert self._own.connection is not None
        return self._own.connection

    def serve(self, definition_id: int, definition: TaskDefinition) -> None:
        """Steps of this definition are claimed too, whatever labels they need."""
        self.definitions[definition_id] = definition
        self._labels = tuple({*self._labels, *(label for step in definition.steps for label in step.needs)})
        self._is_limited = self._is_limited or definition.is_limited
        self._know_lanes(self.connection)

    def run_ready(self) -> bool:
        """Everything that may run now has run, and what that unlocked; whether there was anything."""
        before = self._claim_no
        self.wake()
        while self._flush(self._own):
            pass
        self.keep_journal(self.connection)
        return self._claim_no > before + 1  # the first call claims; another reports what came of it

    def close(self) -> None:
        """Nothing of it is left open, but for a session that it was lent."""
        if self._lent is None:
            self.connection.close()
        self._results.close()

    def _connect(self) -> Connection[Any]:
        return self._lent or super()._connect()
