"""The command line: `tasker`. Each command does one thing by calling the module that is made for it.

Exit status: 0 done, 1 the task did not complete or a check failed, 2 wrong usage or bad input, with one clear message and no traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from engine.errors import TaskerError
from engine.json_text import clean_text

INSUFFICIENT_PRIVILEGE = "42501"
SHOWN = 200


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        try:
            click.echo(f"tasker {metadata.version('tasker-engine')}")
        except metadata.PackageNotFoundError:
            click.echo("tasker (a checkout, not installed)")
        context.exit()


COMMANDS = {
    "up": ("serve", "Database, engine and dashboard until Ctrl-C."),
    "demo": ("demonstration", "Everything with example workflows, to look at and to play with."),
    "engine": ("serve", "Run steps until SIGTERM or Ctrl-C; several engines may share a database."),
    "web": ("serve", "Serve the dashboard until SIGTERM or Ctrl-C."),
    "db": ("database", "Look after the database: its schema, and the embedded server."),
    "new": ("new", "Write the first files of something new; nothing that exists is overwritten."),
    "run": ("foreground", "Run a workflow, or one step, here and now, on a database that is thrown away."),
    "handlers": ("workflows", "List the workflows that handlers exist for."),
    "check": ("checks", "Check definitions and subscribers without running them; exit 1 when one is not sound."),
    "launch": ("workflows", "Create a task."),
    "tasks": ("operate", "List tasks, newest first."),
    "show": ("operate", "Show a task and what each of its steps waits for."),
    "why": ("explain", "Say in a sentence what a task, or one of its steps, waits for or ended with."),
    "export": ("export", "Write a task's run, secrets masked, as JSON for a test to replay."),
    "incident": ("operate", "All that is on record of a task as one HTML page that needs nothing else."),
    "graph": ("drawing", "Print the steps of a task or workflow and what they wait for."),
    "retry": ("operate", "Let a failed step, or every failed step of a task, try again."),
    "cancel": ("operate", "Stop a task, or one step and what waits for it."),
    "pause": ("operate", "Start nothing more of a task; running steps may end."),
    "resume": ("operate", "Let a paused task go on."),
    "resolve": ("operate", "Supply the outcome of a step by hand."),
    "skip": ("operate", "Go on without a step."),
    "batch": ("batch", "Do one thing to all failed steps of one cause, and follow how far it is."),
    "schedule": ("schedules", "Run workflows again and again, at the times of a clock or after an interval."),
    "user": ("accounts", "Make, list and disable accounts."),
    "token": ("accounts", "Make, list and revoke API tokens."),
    "retention": ("retention", "Say how long tasks are kept after their end."),
    "archive": ("archive", "Say where tasks are written before retention drops them, and read them back."),
    "limit": ("limits", "Say how many steps or tasks may go on at once, or begin within a period."),
    "events": ("events", "List the events there are, or follow them."),
    "doctor": ("doctor", "Check settings, database, engines and clocks, or with --security what keeps others out; exit 1 when something is wrong."),
    "view": ("views", "Keep lists of tasks or failures under a name, alone or for the team, and have them tell when they hold too many."),
    "completion": ("completion", "Print what a shell needs to complete commands and options."),
    "bench": ("measure", "Measure throughput, latency and readiness against the floors of this machine."),
}
"""Command -> its module in this package and what it does in a line. A module is imported when its command is called, as some take long."""


WITH_SERVER = ("launch", "tasks", "show", "why", "export", "retry", "cancel", "pause", "resume", "resolve", "skip")
"""The commands that also act on a remote installation."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(import_module(f"engine.cli.{COMMANDS[cmd_name][0]}"), cmd_name)
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and args[0][:1].isalpha():
            from engine.definition import nearest  # slow to import, and few mistype

            ctx.fail(f"No such command {args[0]!r}{nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name, help=summary) for name, (_, summary) in COMMANDS.items() if name.startswith(incomplete)]
        return found or click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version and exit.")
@click.option("--server", metavar="URL", envvar="TASKER_SERVER", help="Act on a remote installation by its API; TASKER_TOKEN holds the token.")
@click.option("--shard", metavar="NAME", help="The database to work on, of those in TASKER_SHARDS: by its first namespace, or main. Also TASKER_SHARD.")
@click.pass_context
def tasker(context: click.Context, server: str | None, shard: str | None) -> None:
    """Run workflows of dependent steps on PostgreSQL, and see what they do.

    \b
    tasker demo                                      everything, with example workflows
    tasker up --handlers myflows                     everything, with yours
    tasker launch shop/process_order --context '{}'  start a task
    """
    if shard:
        os.environ["TASKER_SHARD"] = shard  # for handler processes as well
        if not os.environ.get("TASKER_SHARDS", "").strip():
            raise click.UsageError("--shard goes with TASKER_SHARDS, which says what databases there are")
    asked = context.get_parameter_source("server") is click.core.ParameterSource.COMMANDLINE
    if server and asked and context.invoked_subcommand not in WITH_SERVER:
        raise click.UsageError(f"--server goes with {', '.join(WITH_SERVER)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: runs one command and ends the process with its status."""
    try:
        need_text(sys.argv[1:] if arguments is None else arguments)
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
    except Exception as error:
        if (refusal := _refusal(error)) is None:
            raise
        click.echo(f"tasker: {refusal}", err=True)
        sys.exit(2)


def need_text(arguments: Sequence[str]) -> None:
    """Raises `TaskerError` for an argument that neither the database nor a terminal could take."""
    for argument in arguments:
        if clean_text(argument) != argument:
            raise TaskerError(f"this argument is no text in UTF-8: {ascii(argument)[:SHOWN]}")


def _refusal(error: Exception) -> str | None:
    """What the database says when it refuses something to the role that we connect as; None for any other error. SQLAlchemy wraps the driver's."""
    cause = getattr(error, "orig", None) or error
    if getattr(cause, "sqlstate", None) != INSUFFICIENT_PRIVILEGE:
        return None
    first = str(cause).splitlines()[0]
    return f"the database refuses this to the role that we connect as: {first}; connect as the owner, or see the roles of the database in docs/security.md"
