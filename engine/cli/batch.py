"""`tasker batch`: one action on all steps of a group of failures, and how far such batches are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from engine import batches
from engine.cli.output import print_json, print_table, short_time
from engine.cli.setting import actor, json_option, note, open_database
from engine.errors import RequestError
from engine.finding import failures
from engine.json_text import read_input

RIGHTS = {"retry": "tasker.step:retry", "skip": "tasker.step:update", "resolve": "tasker.step:update"}


@click.group("batch")
def batch() -> None:
    """Do one thing to all failed steps of one cause, and follow how far it is. Engines do it piece by piece."""


@batch.command("list")
@json_option
def list_batches(as_json: bool) -> None:
    """List the newest batches. Example: tasker batch list --json"""
    with open_database() as db:
        found = batches.batches(db)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    print_table(("no.", "action", "done", "refused", "of", "by", "created", "state", "to which"), [_line(each) for each in found])


@batch.command("show")
@click.argument("batch_id", type=int)
@json_option
def show(batch_id: int, as_json: bool) -> None:
    """Show a batch and its first items, those that were refused first. Example: tasker batch show 7"""
    with open_database() as db:
        found, items = batches.batch(db, batch_id), batches.batch_items(db, batch_id)
    if as_json:
        print_json({**asdict(found), "items": [asdict(each) for each in items]})
        return
    click.echo(f"{found.action} {found.item_count}, {_state(found)}: {found.done_count} done, {found.refused_count} refused. {found.about}")
    print_table(("item", "task", "step", "outcome", "why"), [(str(each.item_no), each.task_id, each.step_name or "", each.outcome or "", each.message or "") for each in items])


@batch.command("stop")
@click.argument("batch_id", type=int)
def stop(batch_id: int) -> None:
    """Leave undone what is not done yet. Example: tasker batch stop 7"""
    with open_database() as db:
        batches.stop_batch(db, batch_id, actor=actor())
        note(db, "tasker.task:update", f"batch {batch_id}", act="stop")
    click.echo(f"batch {batch_id} is stopped")


@batch.command("begin")
@click.argument("action", type=click.Choice(list(RIGHTS)))
@click.argument("failure")
@click.option("--result", "text", metavar="JSON", help="What resolve gives to each step; null without it.")
@click.option("--reason", help="Kept in the activity of every task.")
@json_option
def begin(action: batches.BatchAction, failure: str, text: str | None, reason: str | None, as_json: bool) -> None:
    """Retry, skip or resolve all failed steps of the group FAILURE, by the name that ends the address of its page. Example: tasker batch begin retry 3f2c…"""
    if text is not None and action != "resolve":
        raise click.UsageError("only resolve takes a --result")
    with open_database() as db:
        group = failures.failure_group(db, failure)
        found = failures.failed_steps(db, group, most=batches.MOST_ITEMS)
        left = "; older ones are left for another batch" if found.is_cut else ""
        about = f"{group.namespace}/{group.name} {group.step_name}: {group.signature}{left}"
        made = batches.make_batch(db, action, found.steps, about=about, actor=actor(), reason=reason, given=_result(text))
        note(db, RIGHTS[action], f"batch {made}", namespace=group.namespace, act=action)
    print_json({"batch_id": made, "item_count": len(found.steps), "is_cut": found.is_cut}) if as_json else click.echo(f"batch {made}: {action} {len(found.steps)} steps{left}")


def _result(text: str | None) -> Any:
    try:
        return None if text is None else read_input(text)
    except RequestError as error:
        raise click.UsageError(f"--result: {error}") from error


def _line(found: batches.Batch) -> tuple[str, ...]:
    counts = (found.done_count, found.refused_count, found.item_count)
    return (str(found.batch_id), found.action, *map(str, counts), found.actor, short_time(found.created_at), _state(found), found.about)


def _state(found: batches.Batch) -> str:
    return "at it" if found.finished_at is None else "stopped" if found.stopped_by else "done"
