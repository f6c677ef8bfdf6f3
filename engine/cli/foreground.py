"""`tasker run`: a workflow or one of its steps in this very process, without an engine, so that a debugger stops in handlers."""

from __future__ import annotations

import bdb
import json
import os
import pdb
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from engine.cli.output import print_json
from engine.cli.setting import loaded_registry, need_workflows, read_context, read_json
from engine.definition import TaskDefinition
from engine.errors import NotFound, Problem, RequestError, TaskerError
from engine.lints import reads
from engine.registry import Handler, HandlerRegistry
from engine.settings import Settings
from engine.testing import FinishedTask, Workbench, run_step


@contextmanager
def _until_quit() -> Iterator[None]:
    """Who quits a debugger that a handler has opened ends the command with status 1, and sees no traceback: nothing has gone wrong."""
    try:
        yield
    except bdb.BdbQuit:
        raise click.exceptions.Exit(1) from None


@click.command()
@click.argument("path")
@click.argument("workflow", metavar="[NAMESPACE/NAME[@VERSION]]", required=False)
@click.option("--context", default="{}", metavar="JSON|@FILE", help="The task's input, or @ and a file that holds it.")
@click.option("--step", "step_name", metavar="NAME", help="Only this step, without a database.")
@click.option("--results", default="{}", metavar="JSON|@FILE", help="With --step: the results of the steps before it, by name.")
@click.option("--item", metavar="JSON|@FILE", help="With --step: the element that a map step's handler gets.")
@click.option("--debug", is_flag=True, help="Open a debugger where a handler has raised; in a whole workflow its step is run once more for that.")
@_until_quit()
def run(path: str, workflow: str | None, context: str, step_name: str | None, results: str, item: str | None, debug: bool) -> None:
    """Run a workflow, or one step, here and now, on a database that is thrown away. Example: tasker run flows shop/refund_order --step pay_back --debug"""
    settings = Settings.from_environ()
    registry = loaded_registry((path,), settings)
    need_workflows(registry, (path,))
    handler = _chosen(registry, workflow)
    given = read_context(context)
    if step_name is not None:
        results_given = read_context(results, "--results")
        options = {} if item is None else {"item": read_json(item, "--item")}
        _check_given(handler.definition, step_name, results_given, options)
        _run_step(handler.definition, step_name, given, results_given, debug=debug, **options)
        return
    with _workbench(registry) as bench:
        done = bench.run(handler, given)
    click.echo(str(done))
    if debug:
        _look_into(handler.definition, done)
    raise click.exceptions.Exit(0 if done.state == "completed" else 1)


def _chosen(registry: HandlerRegistry, workflow: str | None) -> Handler:
    """The workflow that is named, or the only one there is."""
    from engine.cli.workflows import parse_workflow

    if workflow is not None:
        namespace, name, version = parse_workflow(workflow)
        return registry.get(name, namespace, version)
    keys = list(registry.registered_handlers())
    if len(keys) > 1:
        raise TaskerError(f"there are several workflows; name one of them: {', '.join(keys)}")
    namespace, _, name = keys[0].partition("/")
    return registry.get(name, namespace)


def _check_given(definition: TaskDefinition, name: str, results: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Raises for a step that there is not, and for what its handler takes and was not given."""
    if name not in definition.numbers:
        raise NotFound(f"{definition.key} has no step {name!r}; it has {', '.join(definition.numbers)}")
    step = definition.step(name)
    missing = sorted(reads(definition, step) - results.keys())
    if missing:
        example = json.dumps({each: {} for each in missing})
        raise RequestError([Problem("--results", "missing", f"{name} reads the result of {' and of '.join(missing)}; give it, such as --results '{example}'")])
    if step.for_each and not options:
        raise RequestError([Problem("--item", "missing", f"{name} runs once for each of {step.for_each}; give one element, such as --item '{{\"sku\": \"a\"}}'")])
    if options and not step.for_each:
        raise RequestError([Problem("--item", "no_map_step", f"{name} is no map step, so that its handler gets no item")])


def _run_step(definition: TaskDefinition, name: str, context: Mapping[str, Any], results: Mapping[str, Any], *, debug: bool, **options: Any) -> None:
    """The step's result is printed. Ends with status 1 when it raises, behind a debugger if one is wanted."""
    step = definition.step(name)
    options |= {"name": name, "retry_limit": step.retry_limit, "handler_config": step.handler_config, "output_schema": step.output_schema}
    try:
        print_json(run_step(step.handler, context, results, **options))
    except bdb.BdbQuit:
        raise
    except Exception as error:
        traceback.print_exception(error)
        if debug:
            pdb.post_mortem(error.__traceback__)
        raise click.exceptions.Exit(1) from None


def _look_into(definition: TaskDefinition, done: FinishedTask) -> None:
    """A debugger where the first step that failed raises again."""
    failed = next((name for name, step in done.steps.items() if step.state == "failed" and name in definition.numbers), None)
    if failed is not None:
        results = {name: step.result for name, step in done.steps.items() if step.state == "completed" and name in definition.numbers}
        _run_step(definition, failed, done.context, results, debug=True)


@contextmanager
def _workbench(registry: HandlerRegistry) -> Iterator[Workbench]:
    """An engine in this thread, on a database that is gone afterwards."""
    from engine.db import connect
    from engine.testing.databases import Databases
    from engine.testing.server import shared_server

    with shared_server("foreground") as server, connect(server.admin_url, application_name="tasker run") as admin:
        databases = Databases(server, admin)
        with databases.fresh(databases.template()) as url:
            os.environ["TASKER_DATABASE_URL"] = url  # what handlers submit goes there too
            bench = Workbench(url, registry)
            try:
                yield bench
            finally:
                bench.close()
        databases.close()
