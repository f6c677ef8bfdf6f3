"""Lines for the shell, looked at without running them: the commands of this project by the code that would read them."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from collections.abc import Callable
from uuid import UUID

import click
from blocks import ROOT
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from engine.cli import tasker

Addresses = Callable[[], MapAdapter]
ELSEWHERE = {"cd", "celery", "cp", "createdb", "dask", "docker", "echo", "export", "git", "mkdir", "pg_basebackup", "pg_dump", "pg_restore", "pip", "psql", "sudo", "systemctl", "uvicorn"}
"""Programs that are not ours."""
_OPERATORS = {"&&", "||", "|", ";", "&", "(", ")"}
_REDIRECTIONS = {"<", ">", ">>"}


def problems(code: str, addresses: Addresses) -> list[str]:
    """What is wrong with the lines; nothing when each of them would be understood. `addresses` are those that the dashboard answers."""
    syntax = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True, timeout=30, check=False)
    if syntax.returncode:
        return [syntax.stderr]
    return [problem for words in commands(code) if (problem := problem_of(words, addresses))]


def commands(code: str) -> list[list[str]]:
    """Each simple command in words, without assignments before it."""
    found = []
    for line in re.sub(r"\\\n", " ", code).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        into_file = False
        for word in [*lexer, ";"]:
            if word in _OPERATORS:
                found.append(words)
                words = []
            elif word in _REDIRECTIONS:
                into_file = True
            elif into_file:
                into_file = False
            else:
                words.append(word)
    return [words for words in map(_bare, found) if words]


def problem_of(words: list[str], addresses: Addresses) -> str | None:
    """Why the command would not be understood."""
    program, *arguments = words
    match program:
        case "tasker":
            return told_by_click(arguments)
        case "make":
            return None if all(_is_target(target) for target in arguments if "=" not in target) else f"no such target: {words}"
        case "curl":
            return _request_problem(arguments, addresses)
        case "python" | "python3":
            return None if arguments[0] != "-m" or importlib.util.find_spec(arguments[1]) else f"no module {arguments[1]}"
    return None if program in ELSEWHERE or program.startswith("$") else f"who knows {program}?"


def _bare(words: list[str]) -> list[str]:
    rest = list(words)
    while rest and re.match(r"[A-Z_]+=", rest[0]):
        del rest[0]
    if rest and rest[0] == "sudo":
        rest = rest[3:] if rest[1] == "-u" else rest[1:]
    return [re.sub(r"^\S+/bin/", "", rest[0]), *rest[1:]] if rest else []


def told_by_click(arguments: list[str]) -> str | None:
    """Its own commands read the arguments as they would, and then are not called."""
    command: click.Command = tasker
    parent: click.Context | None = None
    rest: list[str] = list(arguments)
    name: str | None = "tasker"
    try:
        while isinstance(command, click.Group) and rest:
            parent = command.make_context(name, rest, parent=parent)
            if not (rest := [*parent._protected_args, *parent.args]):
                return None
            name, found, rest = command.resolve_command(parent, rest)
            assert found is not None
            command = found
        if not isinstance(command, click.Group):
            command.make_context(name, rest, parent=parent)
    except click.exceptions.Exit:
        return None  # --help and --version end by themselves
    except click.UsageError as error:
        return f"tasker {shlex.join(arguments)}: {error.format_message()}"
    return None


def _is_target(target: str) -> bool:
    makefiles = (ROOT / "Makefile", ROOT / "engine/blueprints/project/Makefile.txt")
    return any(re.search(rf"^{re.escape(target)}:", makefile.read_text(), re.MULTILINE) for makefile in makefiles)


def _request_problem(arguments: list[str], addresses: Addresses) -> str | None:
    """The address is one of ours, with that method."""
    method = arguments[arguments.index("-X") + 1] if "-X" in arguments else "POST" if "-d" in arguments else "GET"
    address = next(word for word in arguments if "://" in word or word.startswith(("$TASKER_SERVER", "localhost")))
    path = re.sub(r"^(https?://)?[^/]+", "", address).partition("?")[0].replace("$TASK", str(UUID(int=0)))
    try:
        addresses().match(path, method)
    except HTTPException as error:
        return f"{method} {path}: {error}"
    return None
