"""`tasker demo`: `up` with the example workflows and something for them to do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from engine import queries, tasks
from engine.cli.output import print_json, print_table
from engine.cli.place import Local
from engine.cli.serve import Parts, need_port, running
from engine.cli.setting import loaded_registry, register_all
from engine.cli.workflows import follow
from engine.db import Database
from engine.rows import TaskDetail
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.examples.demo import Expected

ONCE_SECONDS = 120.0


@click.command()
@click.option("--once", is_flag=True, help="Run the examples to their end, print what became of them, and exit.")
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 8080, or the next free one.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="With --once: print one JSON document.")
def demo(once: bool, port: int | None, host: str, as_json: bool) -> None:
    """Everything with example workflows, to look at and to play with. Example: tasker demo --once"""
    from engine.examples import demo_requests, prepared

    if as_json and not once:
        raise click.UsageError("--json goes with --once")
    settings = Settings.from_environ()
    if not once:
        need_port(host, port)
    sources = ("engine.examples", *settings.handlers)
    registry = loaded_registry(sources, settings)
    with prepared(settings.data_dir) as environment:
        os.environ.update(environment)
        with running(settings, sources, port=port, host=host, web=not once) as parts:
            db = Database(parts.url, max_size=2, application_name="tasker demo")
            register_all(db, registry)
            expected = demo_requests()
            submitted = [tasks.submit(db, one.request) for one in expected]
            as_expected = _report(db, parts, submitted, expected, _print_json if as_json else _print_tables) if once else _stay(parts, len(submitted))
            db.close()
    if not as_expected:
        raise click.exceptions.Exit(1)


def _stay(parts: Parts, count: int) -> bool:
    click.echo(f"{count} example tasks are under way; Ctrl-C stops everything.", err=True)
    parts.wait()
    return True


def _report(db: Database, parts: Parts, submitted: Sequence[str], expected: Sequence[Expected], show: Callable[[Database, Sequence[TaskDetail], Sequence[str]], None]) -> bool:
    """Whether every task ended in its state; `show` prints what became of them."""
    deadline = time.monotonic() + ONCE_SECONDS
    for task_id in submitted:
        parts.check()
        follow(Local(db), task_id, max(0.0, deadline - time.monotonic()))
    details = [queries.task(db, task_id) for task_id in submitted]
    wanted = [one.state for one in expected]
    show(db, details, wanted)
    return [detail.task.state for detail in details] == wanted


def _print_json(db: Database, details: Sequence[TaskDetail], wanted: Sequence[str]) -> None:
    print_json({"tasks": [queries.outcome(db, detail.task.task_id) | {"expected": state} for detail, state in zip(details, wanted, strict=True)]})


def _print_tables(_: Database, details: Sequence[TaskDetail], wanted: Sequence[str]) -> None:
    rows = [(*_line(detail), state) for detail, state in zip(details, wanted, strict=True)]
    print_table(("workflow", "task", "steps", "state", "expected"), rows, title="Tasks")
    print_table(("workflow", "step", "state", "attempts"), [row for detail in details for row in _step_lines(detail)], title="\nSteps")


def _line(detail: TaskDetail) -> tuple[str, str, str, str]:
    task = detail.task
    return f"{task.namespace}/{task.name}@{task.version}", task.task_id, f"{task.done_count}/{task.step_count}", task.state


def _step_lines(detail: TaskDetail) -> list[tuple[str, str, str, str]]:
    return [(detail.task.name, step.name, step.state, f"{step.attempts}/{step.retry_limit}") for step in detail.steps]
