"""`tasker schedule`: workflows that run again and again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from engine import schedules
from engine import tasks as task_actions
from engine.cli.output import print_json, print_table, short_time
from engine.cli.setting import (
    actor,
    handler_sources,
    handlers_option,
    json_option,
    loaded_registry,
    note,
    open_database,
    read_context,
    reason_option,
)
from engine.cli.workflows import parse_workflow
from engine.db import Database
from engine.errors import NotFound
from engine.requests import TaskRequest, checked_context
from engine.rows import ScheduleRow
from engine.settings import Settings
from engine.timing import POLICIES, Timing, cron, every

SHOWN_RUNS = 5


@click.group("schedule")
def schedule() -> None:
    """Run workflows again and again, at the times of a clock or after an interval."""


@schedule.command("list")
@click.option("--namespace", metavar="NS")
@json_option
def list_schedules(namespace: str | None, as_json: bool) -> None:
    """List schedules and their next runs. Example: tasker schedule list --json"""
    with open_database() as db:
        found = schedules.schedules(db, namespace=namespace)
    if as_json:
        print_json({"schedules": [_facts(row) for row in found]})
        return
    print_table(("id", "workflow", "runs", "next run", "last run", "if missed", "note"), [_line(row) for row in found])


@schedule.command()
@click.argument("workflow", metavar="NAMESPACE/NAME[@VERSION]")
@click.option("--cron", "expression", metavar="EXPRESSION", help="Minute, hour, day of month, month, day of week; or @daily and its like.")
@click.option("--zone", metavar="ZONE", help="Whose clock --cron is read by, such as Europe/Berlin. Default: UTC.")
@click.option("--every", "interval", metavar="INTERVAL", help="Instead of --cron: 90s, 15m, 1h30m, 1d.")
@click.option("--context", default="{}", metavar="JSON|@FILE", help="The input of its tasks.")
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    default="one",
    show_default=True,
    help="Runs that no engine was there for: leave them out, make up for all with one task, or with one each (at most 100).",
)
@handlers_option
@json_option
def add(
    workflow: str, expression: str | None, zone: str | None, interval: str | None, context: str, policy: Any, sources: str | None, as_json: bool
) -> None:
    """Have a workflow run at certain times. Example: tasker schedule add shop/report --cron "30 2 * * *" --zone Europe/Berlin"""
    timing = _timing(expression, zone, interval)
    namespace, name, version = parse_workflow(workflow)
    fields = {"name": name, "namespace": namespace, "version": version, "context": read_context(context), "policy": policy, "actor": actor()}
    with open_database() as db:
        row = _add(db, timing, sources, fields)
        _note(db, row, "tasker.schedule:create", "add")
    _print(row, as_json)


@schedule.command()
@click.argument("schedule_id", metavar="ID", type=int)
@reason_option
@json_option
def pause(schedule_id: int, reason: str | None, as_json: bool) -> None:
    """Make no tasks until it is resumed. Example: tasker schedule pause 3 --reason stocktaking"""
    with open_database() as db:
        row = schedules.pause_schedule(db, schedule_id, actor=actor(), reason=reason)
        _note(db, row, "tasker.schedule:update", "pause", reason)
    _print(row, as_json)


@schedule.command()
@click.argument("schedule_id", metavar="ID", type=int)
@reason_option
@json_option
def resume(schedule_id: int, reason: str | None, as_json: bool) -> None:
    """Go on from now; what it did not run while paused is not made up for. Example: tasker schedule resume 3"""
    with open_database() as db:
        row = schedules.resume_schedule(db, schedule_id, actor=actor(), reason=reason)
        _note(db, row, "tasker.schedule:update", "resume", reason)
    _print(row, as_json)


@schedule.command()
@click.argument("schedule_id", metavar="ID", type=int)
@reason_option
@json_option
def run(schedule_id: int, reason: str | None, as_json: bool) -> None:
    """Make a task of it now; its own times stay as they are. Example: tasker schedule run 3"""
    with open_database() as db:
        task_id = schedules.run_schedule(db, schedule_id, actor=actor(), reason=reason)
        _note(db, schedules.schedule_row(db, schedule_id), "tasker.schedule:update", "run", reason)
    print_json({"schedule_id": schedule_id, "task_id": task_id}) if as_json else click.echo(task_id)


@schedule.command()
@click.argument("schedule_id", metavar="ID", type=int)
@json_option
def remove(schedule_id: int, as_json: bool) -> None:
    """Forget a schedule; its tasks stay. Example: tasker schedule remove 3"""
    with open_database() as db:
        row = schedules.schedule_row(db, schedule_id)
        schedules.remove_schedule(db, schedule_id)
        _note(db, row, "tasker.schedule:destroy", "remove")
    print_json({"schedule_id": schedule_id, "removed": True}) if as_json else click.echo("removed")


def _note(db: Database, row: ScheduleRow, permission: str, act: str, reason: str | None = None) -> None:
    note(db, permission, f"schedule {row.schedule_id}", namespace=row.namespace, reason=reason, act=act)


def _timing(expression: str | None, zone: str | None, interval: str | None) -> Timing:
    if (expression is None) == (interval is None):
        raise click.UsageError("say when: either --cron or --every")
    if interval is not None and zone is not None:
        raise click.UsageError("--zone goes with --cron; an interval is the same everywhere")
    return cron(expression, zone or "UTC") if expression is not None else every(interval or "")


def _add(db: Database, timing: Timing, sources: str | None, fields: dict[str, Any]) -> ScheduleRow:
    """The new schedule; a workflow that no engine has registered yet is registered from the sources, once the context fits it."""
    settings = Settings.from_environ()
    found = handler_sources(sources, settings)
    try:
        return schedules.add_schedule(db, timing, **fields)
    except NotFound:
        if not found:
            raise
    request = TaskRequest(**{name: fields[name] for name in ("name", "namespace", "version", "context")})
    definition = loaded_registry(found, settings).get(request.name, request.namespace, request.version).definition
    checked_context(request, definition.schema)
    task_actions.register_definition(db, definition)
    return schedules.add_schedule(db, timing, **fields)


def _print(row: ScheduleRow, as_json: bool) -> None:
    if as_json:
        print_json(_facts(row))
        return
    click.echo(f"schedule {row.schedule_id}: {row.workflow}, {row.timing.words()}{', paused' if row.paused else ''}")
    for at in row.upcoming(SHOWN_RUNS):
        click.echo(f"  {at.astimezone():%Y-%m-%d %H:%M:%S %Z}")


def _facts(row: ScheduleRow) -> dict[str, Any]:
    facts = asdict(row)
    timing = facts.pop("timing")
    return {**facts, **timing, "words": row.timing.words(), "upcoming": row.upcoming(SHOWN_RUNS)}


def _line(row: ScheduleRow) -> tuple[Any, ...]:
    following = "paused" if row.paused else short_time(row.next_run_at) or "never"
    note = (row.last_error or "").split("\n")[0]
    return row.schedule_id, row.workflow, row.timing.words(), following, short_time(row.last_run_at), row.policy, note
