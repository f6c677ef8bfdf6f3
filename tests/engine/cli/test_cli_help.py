"""`tasker --help` is quick, because it imports no command, and still says what each one does."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

from engine.cli import COMMANDS, tasker

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
    assert "No such command 'lanch'" in ended.stderr
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
