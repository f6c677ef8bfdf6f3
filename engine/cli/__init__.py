"""The command line: `tasker`. Each command does one thing by calling the module that is made for it.

Exit status: 0 done, 1 the task did not complete or a check failed, 2 wrong usage or bad input, with one clear message and no traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from engine.cli.database import db
from engine.cli.measure import bench
from engine.cli.operate import cancel, resolve, retry, show, skip, tasks
from engine.cli.serve import demo, engine, up, web
from engine.cli.workflows import check, graph, handlers, launch
from engine.errors import TaskerError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tasker-engine", message="tasker %(version)s")
def tasker() -> None:
    """Run workflows of dependent steps on PostgreSQL, and see what they do.

    \b
    tasker demo                                      everything, with example workflows
    tasker up --handlers myflows                     everything, with yours
    tasker launch shop/process_order --context '{}'  start a task
    """


for command in (up, demo, engine, web, db, handlers, check, launch, tasks, show, graph, retry, cancel, resolve, skip, bench):
    tasker.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: runs one command and ends the process with its status."""
    try:
        tasker.main(args=arguments, prog_name="tasker", standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
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
