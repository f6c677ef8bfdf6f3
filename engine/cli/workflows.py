"""Commands about workflows: what is registered, start one and follow it."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from engine import queries
from engine import tasks as task_actions
from engine.cli.operate import ITEMS_SHOWN, print_task
from engine.cli.output import print_json, print_table
from engine.cli.place import Local, Place, Spread, open_place, server
from engine.cli.setting import (
    actor,
    handler_sources,
    handlers_option,
    json_option,
    loaded_registry,
    need_workflows,
    read_context,
)
from engine.definition import nearest_workflow, version_key
from engine.errors import NotFound
from engine.registry import HandlerRegistry
from engine.requests import TaskRequest, checked_context
from engine.rows import TaskRow
from engine.settings import Settings
from engine.states import FINAL_TASK

PATIENCE_SECONDS = 3.0


@click.command()
@click.argument("namespace", required=False)
@handlers_option
@json_option
def handlers(namespace: str | None, sources: str | None, as_json: bool) -> None:
    """List the workflows that handlers exist for. Example: tasker handlers ecommerce --json"""
    settings = Settings.from_environ()
    found = handler_sources(sources, settings)
    registry = loaded_registry(found, settings)
    need_workflows(registry, found)
    rows = [one for one in _known(registry) if namespace in (None, one["namespace"])]
    if as_json:
        print_json({"handlers": rows})
        return
    print_table(("workflow", "version", "steps", "description"), [(f"{r['namespace']}/{r['name']}", r["version"], len(r["steps"]), _first_line(r)) for r in rows])


@click.command()
@click.argument("workflow", metavar="NAMESPACE/NAME[@VERSION]")
@click.option("--context", default="{}", metavar="JSON|@FILE", help="The task's input, or @ and a file that holds it.")
@click.option("--wait", is_flag=True, help="Follow the task to its end and print the outcome.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="With --wait: give up following after so long; the task goes on.")
@click.option("--key", metavar="KEY", help="Idempotency key: the same key again gives the same task.")
@click.option("--priority", default=0, show_default=True, type=click.IntRange(-1000, 1000))
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="May be given several times.")
@click.option("--bypass", "bypass_steps", multiple=True, metavar="STEP", help="A step to skip when its turn comes; may be given several times.")
@click.option("--reason", metavar="TEXT")
@click.option("--correlation-id", metavar="ID")
@click.option("--run-at", metavar="TIME", help="Not before this ISO 8601 time; UTC unless it names a zone.")
@handlers_option
@json_option
def launch(
    workflow: str,
    context: str,
    wait: bool,
    timeout: float | None,
    key: str | None,
    priority: int,
    tags: tuple[str, ...],
    bypass_steps: tuple[str, ...],
    reason: str | None,
    correlation_id: str | None,
    run_at: str | None,
    sources: str | None,
    as_json: bool,
) -> None:
    """Create a task. Example: tasker launch ecommerce/process_order@1.0.0 --context @order.json --wait"""
    if timeout is not None and not wait:
        raise click.UsageError("--timeout goes with --wait")
    namespace, name, version = parse_workflow(workflow)
    request = TaskRequest.of(
        {
            "name": name,
            "namespace": namespace,
            "version": version,
            "context": read_context(context),
            "initiator": None if server() else actor(),
            "source_system": "cli",
            "reason": reason,
            "tags": tags,
            "bypass_steps": bypass_steps,
            "priority": priority,
            "correlation_id": correlation_id,
            "idempotency_key": key,
            "run_at": run_at,
        }
    )
    settings = Settings.from_environ()
    with open_place() as place:
        task_id = _submit(place, request, handler_sources(sources, settings), settings)
        if wait:
            _follow_and_print(place, task_id, timeout, as_json)
            return
        version = place.task_row(task_id).version
    facts = {"task_id": task_id, "namespace": namespace, "name": name, "version": version}
    print_json(facts) if as_json else click.echo(task_id)


def parse_workflow(text: str) -> tuple[str, str, str | None]:
    """`namespace/name[@version]` in its parts; a missing namespace is `default`. Raises click's usage error."""
    path, _, version = text.partition("@")
    namespace, slash, name = path.rpartition("/")
    if not name or (slash and not namespace) or "/" in namespace or ("@" in text and not version):
        raise click.BadParameter(f"{text!r} is not NAMESPACE/NAME or NAMESPACE/NAME@VERSION", param_hint="workflow")
    return namespace or "default", name, version or None


def follow(place: Place, task_id: str, timeout: float | None = None, *, patience: float = math.inf) -> str:
    """The state the task ended in, or is in after `timeout` seconds; a progress bar on a terminal.

    After `patience` seconds it is said once, on standard error, when no engine is there to run the task.
    """
    begun = time.monotonic()
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=None)
        while True:
            task = place.task_row(task_id)
            progress.update(bar, description=task.state, total=task.step_count, completed=task.done_count)
            waited = time.monotonic() - begun
            if task.state in FINAL_TASK or (timeout is not None and waited > timeout):
                return task.state
            if waited > patience:
                patience = math.inf
                _tell_when_alone(place, task)
            time.sleep(0.1)


def _tell_when_alone(place: Place, task: TaskRow) -> None:
    key = f"{task.namespace}/{task.name}@{task.version}"
    if not any(engine.alive and not engine.draining and key in engine.definitions for engine in place.engines()):
        click.echo(f"tasker: no running engine has handlers for {key}; still waiting for one (start it with: tasker engine --handlers ...)", err=True)


def _known(registry: HandlerRegistry) -> list[dict[str, Any]]:
    definitions = sorted(registry.definitions(), key=lambda one: (one.namespace, one.name, version_key(one.version)))
    return [registry.handler_info(one.name, one.namespace, one.version) for one in definitions]


def _first_line(info: dict[str, Any]) -> str:
    return (str(info["description"]).strip().splitlines() or [""])[0]


def _submit(place: Place, request: TaskRequest, sources: tuple[str, ...], settings: Settings) -> str:
    """The task's id; a workflow that no engine has registered yet is registered from the sources, once the request fits it."""
    try:
        return place.submit(request)
    except NotFound as unknown:
        local = place.of_namespace(request.namespace) if isinstance(place, Spread) else place
        if not isinstance(local, Local):
            raise
        if not sources:
            near = "" if request.version else nearest_workflow(f"{request.namespace}/{request.name}", queries.workflow_keys(local.db))
            if near:
                raise NotFound(f"{unknown}{near}") from None
            raise NotFound(f"{unknown}; an engine makes known what it loads when it starts, so start it anew, or name the handlers here: --handlers FOLDER") from None
    definition = loaded_registry(sources, settings).get(request.name, request.namespace, request.version).definition
    checked_context(request, definition.schema)
    task_actions.require_steps(request, definition)
    task_actions.register_definition(local.db, definition)
    return local.submit(request)


def _follow_and_print(place: Place, task_id: str, timeout: float | None, as_json: bool) -> None:
    state = follow(place, task_id, timeout, patience=PATIENCE_SECONDS)
    if as_json:
        print_json(place.outcome(task_id))
    else:
        print_task(place.task(task_id, items=ITEMS_SHOWN))
    if state not in FINAL_TASK:
        click.echo(f"tasker: the task is still {state}", err=True)
    sys.stdout.flush()
    raise click.exceptions.Exit(0 if state == "completed" else 1)
