"""The command line: `tasker`. Each command does one thing by calling the module that is made for it.

Exit status: 0 done, 1 the task did not complete or a check failed, 2 wrong usage or bad input, with one clear message and no traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import metadata

import click

from engine.cli.database import db
from engine.cli.demonstration import demo
from engine.cli.events import events
from engine.cli.measure import bench
from engine.cli.new import new
from engine.cli.operate import cancel, pause, resolve, resume, retry, show, skip, tasks
from engine.cli.retention import retention
from engine.cli.schedules import schedule
from engine.cli.serve import engine, up, web
from engine.cli.workflows import check, graph, handlers, launch
from engine.errors import TaskerError


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        try:
            click.echo(f"tasker {metadata.version('tasker-engine')}")
        except metadata.PackageNotFoundError:
            click.echo("tasker (a checkout, not installed)")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version and exit.")
def tasker() -> None:
    """Run workflows of dependent steps on PostgreSQL, and see what they do.

    \b
    tasker demo                                      everything, with example workflows
    tasker up --handlers myflows                     everything, with yours
    tasker launch shop/process_order --context '{}'  start a task
    """


for command in (
    up, demo, engine, web, db, new, handlers, check, launch, tasks, show, graph, retry, cancel, pause, resume, resolve, skip,
    schedule, retention, events, bench,
):  # fmt: skip
    tasker.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: runs one command and ends the process with its status."""
    try:
        status = tasker.main(args=arguments, prog_name="tasker", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)  # click hands an Exit's status back instead of raising it
    except click.ClickException as problem:
        problem.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except TaskerError as problem:
        click.echo(f"tasker: {problem}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
