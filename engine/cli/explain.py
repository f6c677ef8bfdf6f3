"""`tasker why`: the same sentences as on the pages of a task, in the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import click

from engine.cli.operate import ITEMS_SHOWN
from engine.cli.output import print_json
from engine.cli.place import open_place
from engine.cli.setting import json_option
from engine.definition import nearest
from engine.errors import NotFound
from engine.rows import StepRow, TaskDetail
from engine.states import FINAL, StepState
from engine.why import held_by, why_step, why_task


@click.command()
@click.argument("task")
@click.argument("step", required=False)
@json_option
def why(task: str, step: str | None, as_json: bool) -> None:
    """Say in a sentence what a task, or one of its steps, waits for or ended with. Example: tasker why 5d1c… ship"""
    with open_place() as place:
        detail = place.task(task, items=ITEMS_SHOWN)
    told = _of_task(detail) if step is None else _of_step(detail, _named(detail, step))
    if as_json:
        print_json(told)
        return
    click.echo(told["why"])
    for name, one in told.get("steps", told.get("held_by", {})).items():
        click.echo(f"  {name}: {one['why']}")
    if told["next"]:
        click.echo(f"Next: {told['next']}")


def _of_task(detail: TaskDetail) -> dict[str, Any]:
    failed = min((each for each in detail.steps if each.state == StepState.FAILED), key=lambda each: each.item_of is not None, default=None)
    head = {"task_id": detail.task.task_id, "state": detail.task.state, "why": why_task(detail)}
    return head | {"steps": _told(each for each in detail.steps if each.state not in FINAL or each is failed), "next": _next(detail, failed)}


def _of_step(detail: TaskDetail, step: StepRow) -> dict[str, Any]:
    head = {"task_id": detail.task.task_id, "step": step.name, "state": step.state, "why": why_step(step)}
    held = [] if step.state in FINAL else held_by(step, detail.steps)
    failed = next((each for each in (step, *held) if each.state == StepState.FAILED), None)
    return head | {"held_by": _told(held), "next": _next(detail, failed)}


def _told(steps: Any) -> dict[str, dict[str, str]]:
    return {each.name: {"state": each.state, "why": why_step(each)} for each in steps}


def _next(detail: TaskDetail, failed: StepRow | None) -> str | None:
    """The commands that lead on from here; None where there is nothing to do but wait."""
    task_id = detail.task.task_id
    if failed is not None:
        name = shlex.quote(failed.name)  # an item's brackets are a pattern to a shell
        return f"tasker show {task_id} --log {name}, then tasker retry, skip or resolve {task_id} {name}"
    return f"tasker resume {task_id}" if detail.task.paused else None


def _named(detail: TaskDetail, name: str) -> StepRow:
    names: Sequence[str] = [each.name for each in detail.steps]
    found = next((each for each in detail.steps if each.name == name), None)
    if found is None:
        raise NotFound(f"the task has no step {name!r}{nearest(name, names)}")
    return found
