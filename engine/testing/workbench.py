"""What the `tasker` fixture gives: whole tasks run to their end in the test's own thread, on a real PostgreSQL, by a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection

from engine import events, models, queries, steps, tasks
from engine.definition import TaskDefinition, nearest
from engine.errors import TaskerError
from engine.registry import Handler, HandlerRegistry
from engine.requests import TaskRequest
from engine.rows import StepRow
from engine.states import FINAL_TASK
from engine.submission import standing_in
from engine.testing.foreground import ForegroundWorker
from engine.testing.one_session import OneSession
from engine.testing.said import SaidLine, SaidProgress
from engine.testing.stubs import Stub, Stubs

ACTOR = "test"
LINES_READ = 10_000


@dataclass(frozen=True, slots=True)
class FinishedStep:
    """A step as it stands: `error` is None or {"type", "message", "code"}; `attempts` counts those that started.

    `lines` are what all its attempts logged, `progress` is how far the latest of them came.
    """

    name: str
    state: str
    attempts: int
    result: Any
    error: dict[str, Any] | None
    lines: tuple[SaidLine, ...] = ()
    progress: SaidProgress | None = None

    @property
    def messages(self) -> list[str]:
        """The texts of the lines."""
        return [line.message for line in self.lines]


@dataclass(frozen=True, slots=True)
class FinishedTask:
    """A task when nothing of it can go on by itself; `str()` tells how every step ended, for a failing assertion to show."""

    task_id: str
    state: str
    context: dict[str, Any]
    steps: dict[str, FinishedStep]

    def result(self, step: str) -> Any:
        """The step's result. Raises AssertionError with the whole task when the step did not end well."""
        found = self._step(step)
        self._expect(found.state in ("completed", "resolved"), f"{step} is {found.state}")
        return found.result

    def assert_completed(self) -> None:
        """Raises AssertionError, telling how every step ended, unless the task completed."""
        self._expect(self.state == "completed", "expected the task to complete")

    def assert_failed(self, step: str, *, message: str = "") -> None:
        """Raises AssertionError unless this step failed with an error whose text has `message` in it."""
        found = self._step(step)
        text = f"{found.error['type']}: {found.error['message']}" if found.error else ""
        self._expect(found.state == "failed", f"expected {step} to fail")
        self._expect(message in text, f"expected {step} to fail with {message!r}")

    def _step(self, name: str) -> FinishedStep:
        self._expect(name in self.steps, f"the task has no step {name!r}{nearest(name, self.steps)}")
        return self.steps[name]

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise AssertionError(f"{otherwise}\n{self}")

    def __str__(self) -> str:
        return "\n".join([f"task {self.task_id} is {self.state}", *map(_line, self.steps.values())])


class Workbench:
    """One test's Tasker: a database of its own, the engine in the foreground, stubs and a clock. A `session` that it is lent stays open."""

    def __init__(self, url: str, registry: HandlerRegistry, session: Connection[Any] | None = None) -> None:
        self.url = url
        self._registry, self._stubs, self._moved = registry, Stubs(), timedelta()
        self._served: dict[str, int] = {}
        self._worker = ForegroundWorker(url, self._stubs, session)
        self._worker.start()
        self.db = OneSession(url, self._worker.connection, self._moved)

    # ---- running tasks

    def run(self, workflow: Handler | type[Any] | str, context: Mapping[str, Any] | models.Dumped | None = None, **request_fields: Any) -> FinishedTask:
        """Launch a task and run everything until it has ended, or only a person could help it on.

        `workflow` is a Workflow, a TaskHandler or its class, or "namespace/name" with or without "@version"; the context may be a pydantic model;
        `request_fields` are those of TaskRequest. Back-offs, a later `run_at` and the period of a limit cost no time: the clock is moved to when the
        next one is over. Ctrl-C, the end of a debugger and pytest's own outcomes in a handler end the run and are raised.
        Raises RequestError and NotFound as `submit` does.
        """
        return self.finish(self.submit(workflow, context, **request_fields))

    def submit(self, workflow: Handler | type[Any] | str, context: Mapping[str, Any] | models.Dumped | None = None, **request_fields: Any) -> str:
        """A task that has not begun; returns its id."""
        definition = self._definition(workflow)
        self._stubs.check([definition, *self._known()])
        self._serve(definition)
        request = TaskRequest(definition.name, definition.namespace, definition.version, context=models.context_of(context), **request_fields)
        return tasks.submit(self.db, request)

    def finish(self, task_id: str) -> FinishedTask:
        """Run everything, and wait out every back-off and period of a limit that this task waits for, by moving the clock; how the task stands then."""
        self.run_ready()
        while (wait := self._next_due(task_id)) is not None:
            self.move_clock(wait)
            self.run_ready()
        return self.task(task_id)

    def run_ready(self) -> None:
        """Everything that may run now has run, of every task; the clock stays where it is."""
        with standing_in(self.db):  # what handlers submit takes no session of its own
            self._serve_all()
            while self._worker.run_ready():
                self._serve_all()

    def task(self, task_id: str) -> FinishedTask:
        """How the task stands."""
        found, results, said = queries.task(self.db, task_id), queries.stored_results(self.db, task_id), self._lines(task_id)
        steps = {
            row.name: FinishedStep(
                row.name, row.state, row.attempts, results.get(row.name), queries.plain_error(row.error), tuple(said.get(row.name, ())), _progress(row)
            )
            for row in found.steps
        }
        return FinishedTask(task_id, found.task.state, queries.stored_context(self.db, task_id), steps)

    # ---- what a person would do

    def retry(self, task_id: str, step: str | None = None) -> FinishedTask:
        """An operator retries the step, or all failed ones, and the task is run on."""
        if step:
            steps.retry_step(self.db, task_id, step, actor=ACTOR)
        else:
            tasks.retry_task(self.db, task_id, actor=ACTOR)
        return self.finish(task_id)

    def skip(self, task_id: str, step: str) -> FinishedTask:
        """An operator goes on without the step, and the task is run on."""
        steps.skip_step(self.db, task_id, step, actor=ACTOR)
        return self.finish(task_id)

    def resolve(self, task_id: str, step: str, result: Any) -> FinishedTask:
        """An operator supplies the step's result, and the task is run on."""
        steps.resolve_step(self.db, task_id, step, result=result, actor=ACTOR)
        return self.finish(task_id)

    def cancel(self, task_id: str) -> FinishedTask:
        """An operator cancels the task."""
        tasks.cancel_task(self.db, task_id, actor=ACTOR)
        return self.finish(task_id)

    # ---- instead of the world

    def stub(self, step: str, *script: Any) -> Stub:
        """The step's handler is not called; it answers by the script, one entry per attempt, the last one again and again.

        An exception is raised, `TimedOut` ends the attempt at its time limit, a function is called as the handler would be, anything else is the
        result. `step` may be "namespace/workflow:step" where two workflows share the name. The stub's `calls` counts.
        """
        return self._stubs.add(step, script)

    def events(self, task_id: str | None = None) -> list[events.Event]:
        """What has happened so far, in order; of one task, or of all."""
        found, cursor, newest = [], 0, events.newest_event(self.db)
        while cursor < newest:
            some, cursor = events.read_events(self.db, cursor, until=newest)
            found += [event for event in some if task_id in (None, event["task_id"])]
        return found

    # ---- the clock

    @property
    def now(self) -> datetime:
        """The time by the database's clock."""
        return self._worker.connection.execute("select tasker_clock()").fetchone()[0]  # type: ignore[index,no-any-return]

    def move_clock(self, by: timedelta | None = None, **duration: float) -> None:
        """It is later by so much: a timedelta, or its parts, as in `move_clock(hours=1)`. What has become due runs with the next call."""
        self._moved += by if by is not None else timedelta(**duration)
        self.db.close()
        self.db = OneSession(self.url, self._worker.connection, self._moved)

    def close(self) -> None:
        """No connection is left open, but for a session that it was lent."""
        self._worker.close()
        self.db.close()

    # ---- inside

    def _lines(self, task_id: str) -> dict[str, list[SaidLine]]:
        found: dict[str, list[SaidLine]] = {}
        for line in queries.lines(self.db, task_id, limit=LINES_READ).items:
            found.setdefault(line.step_name, []).append(SaidLine(line.level, line.message, line.fields or {}))
        return found

    def _next_due(self, task_id: str) -> timedelta | None:
        if queries.task_row(self.db, task_id).state in FINAL_TASK:
            return None
        query = """
            select least((select min(d.run_at) from tasker_delayed d where d.task_no = known.task_no),
                         (select min(n.due_at) from tasker_waiting w join tasker_line n using (limit_id, key)
                           where w.task_no = known.task_no and n.due_at < 'infinity')) - tasker_clock()
              from (select tasker_task_no(%s)) as known (task_no)"""
        found = self._worker.connection.execute(query, (task_id,)).fetchone()
        wait: timedelta | None = found[0] if found else None
        return None if wait is None else max(wait, timedelta()) + timedelta(milliseconds=1)

    def _definition(self, workflow: Handler | type[Any] | str) -> TaskDefinition:
        if isinstance(workflow, str):
            path, _, version = workflow.partition("@")
            namespace, _, name = path.rpartition("/")
            return self._registry.get(name, namespace or "default", version or None).definition
        return (workflow() if isinstance(workflow, type) else workflow).definition

    def _known(self) -> Iterator[TaskDefinition]:
        """What the registry can give; a workflow that is wrong is none of this test's business."""
        for key, versions in self._registry.registered_handlers().items():
            namespace, _, name = key.partition("/")
            for version in versions:
                with suppress(TaskerError):
                    yield self._registry.get(name, namespace, version).definition

    def _serve(self, definition: TaskDefinition) -> None:
        if definition.key not in self._served:
            self._served[definition.key] = tasks.register_definition(self.db, definition)
            self._worker.serve(self._served[definition.key], definition)

    def _serve_all(self) -> None:
        """Also what a handler has submitted tasks of."""
        for namespace, name, version in self.db.rows("select d.namespace, d.name, d.version from tasker_definition d where d.used"):
            if f"{namespace}/{name}@{version}" not in self._served:
                self._serve(self._registry.get(name, namespace, version).definition)


def _progress(step: StepRow) -> SaidProgress | None:
    return None if step.progress is None else SaidProgress(step.progress.done, step.progress.total, step.progress.note)


def _line(step: FinishedStep) -> str:
    error = f"  {step.error['type']}: {step.error['message']}" if step.error else ""
    return f"  {step.name}: {step.state}, {step.attempts} {'attempt' if step.attempts == 1 else 'attempts'}{error}"
