"""`tasker --help` is quick, because it imports no command, and still says what each one does."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import click
import pytest

from engine.cli import COMMANDS, tasker
from engine.cli.output import short_error

SLOW = ("psycopg", "sqlalchemy", "alembic", "flask", "apscheduler", "rich", "engine.db")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_listed_with_its_own_first_sentence(name: str) -> None:
    command = tasker.get_command(click.Context(tasker), name)
    assert command is not None
    assert command.get_short_help_str(200) == COMMANDS[name][1]


def test_help_imports_nothing_that_takes_long() -> None:
    program = f"import sys; from engine.cli import main\ntry: main(['--help'])\nfinally: print(sorted(set({SLOW!r}) & set(sys.modules)), file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stderr.strip() == "[]"
    assert "launch" in ended.stdout


def test_an_unknown_command_is_refused_in_one_line() -> None:
    ended = subprocess.run([sys.executable, "-m", "engine.cli", "lanch"], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "No such command 'lanch'; did you mean 'launch'?" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_told_how_to_complete(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    tasker.main(["completion", shell], prog_name="tasker", standalone_mode=False)
    assert f"_TASKER_COMPLETE={shell}_complete" in capsys.readouterr().out


@pytest.mark.parametrize(("typed", "offered"), [("tasker la", "plain,launch"), ("tasker schedule pa", "plain,pause"), ("tasker launch --wa", "plain,--wait")])
def test_words_are_completed(typed: str, offered: str) -> None:
    environment = {**os.environ, "_TASKER_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    ended = subprocess.run([sys.executable, "-m", "engine.cli"], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert offered in ended.stdout.split()


def every_command() -> list[tuple[str, click.Command]]:
    """The commands that do something, by what is typed."""
    found: list[tuple[str, click.Command]] = []

    def walk(typed: str, command: click.Command) -> None:
        if not isinstance(command, click.Group):
            found.append((typed, command))
            return
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            walk(f"{typed} {name}", inner)

    walk("tasker", tasker)
    return found


PRINTS_NO_DATA = re.compile(r"tasker (up|engine|web|run|new \w+|completion|export|incident|batch stop|archive show|view remove|db \w+|user (disable|enable|password)|token revoke)\Z")
"""Commands that stay, write files, act, or print what has a form of its own."""


def test_the_help_of_every_command_has_an_example_that_is_a_call_of_it() -> None:
    without = [typed for typed, command in every_command() if f"Example: {typed}" not in (command.help or "") and f"Example: eval \"$({typed}" not in (command.help or "")]
    assert without == []


def test_every_command_that_prints_data_can_print_it_as_json() -> None:
    def has_json(command: click.Command) -> bool:
        return any("--json" in parameter.opts for parameter in command.params)

    assert [typed for typed, command in every_command() if not has_json(command) and not PRINTS_NO_DATA.match(typed)] == []


def test_every_option_says_what_it_is_for_or_what_it_takes() -> None:
    silent = [
        f"{typed} {parameter.opts[0]}"
        for typed, command in every_command()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help and not parameter.metavar and not isinstance(parameter.type, click.Choice)
        and not parameter.show_default
    ]
    assert silent == []


def test_colours_are_for_those_who_want_them(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from engine.cli.output import print_table

    red = "\x1b[31m"
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    print_table(("state",), [("failed",)])
    assert red in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    print_table(("state",), [("failed",)])
    assert red not in capsys.readouterr().out


def test_a_message_that_only_announces_the_next_line_is_shown_with_it() -> None:
    assert short_error({"type": "output_schema", "message": "the result does not fit:\n  $: 'x' is not of type 'integer'"}).endswith("does not fit: $: 'x' is not of type 'integer'")
    assert short_error({"type": "KeyError", "message": "'a'\nin line 3"}) == "KeyError: 'a'"
