"""`tasker export`: a task's run as a file, from which a test can replay it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from engine.cli.output import print_json
from engine.cli.place import open_place
from engine.errors import Problem, RequestError
from engine.recording import recording
from engine.states import FINAL_TASK


@click.command()
@click.argument("task")
@click.option("--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write it to a file that is not there yet; its folder is made.")
def export(task: str, output: Path | None) -> None:
    """Write a task's run, secrets masked, as JSON for a test to replay. Example: tasker export 5d1c… --output tests/runs/order.json"""
    with open_place() as place:
        recorded = recording(place.outcome(task))
    if recorded["state"] not in FINAL_TASK:
        click.echo(f"tasker: the task is still {recorded['state']}; steps that have not ended will not be compared", err=True)
    if output is None:
        print_json(recorded)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("x", encoding="utf-8") as file:
            file.write(json.dumps(recorded, ensure_ascii=False, indent=2) + "\n")
    except OSError as error:
        raise RequestError([Problem("--output", "not_writable", f"{output} cannot be written: {error.strerror}")]) from None
    click.echo(output)
