"""`tasker check`: what is wrong with definitions and subscribers, and what will likely be regretted."""

from __future__ import annotations

import sys
import tomllib
from contextlib import redirect_stdout
from pathlib import Path

import click

from engine.cli.output import print_json
from engine.cli.setting import handler_sources, handlers_option, json_option
from engine.definition import TaskDefinition
from engine.errors import Problem, RequestError, TaskerError
from engine.events import subscriber_problems
from engine.lints import RULES, lints
from engine.registry import HandlerRegistry
from engine.settings import Settings


@click.command()
@click.argument("path", required=False)
@click.option("--ignore", multiple=True, metavar="LINT[:NS/NAME.STEP]", help=f"Leave out a lint, everywhere or of one step: {', '.join(RULES)}. May be given several times.")
@click.option("--strict", is_flag=True, help="Exit 1 for lints too.")
@handlers_option
@json_option
def check(path: str | None, ignore: tuple[str, ...], strict: bool, sources: str | None, as_json: bool) -> None:
    """Check definitions and subscribers without running them; exit 1 when one is not sound. Example: tasker check flows/ --strict --ignore no-timeout"""
    settings = Settings.from_environ()
    targets = (path,) if path else handler_sources(sources, settings)
    definitions, problems, passed_by = _checked(targets, settings)
    problems = problems or ([] if definitions else [_nothing_found(targets)])
    silenced = [*_ignored_by_project(), *ignore]
    found = [lint for definition in definitions for lint in lints(definition, silenced)]
    if as_json:
        print_json({"sound": [definition.key for definition in definitions], "problems": problems, "lints": found, "passed_by": passed_by})
    else:
        for definition in definitions:
            click.echo(f"{definition.key}: {len(definition.steps)} {'step' if len(definition.steps) == 1 else 'steps'}, sound")
        for line in (*problems, *passed_by, *found):
            click.echo(line, err=True)
    if problems or (strict and found):
        raise click.exceptions.Exit(1)


def _ignored_by_project() -> list[str]:
    """The list `ignore` of `[tool.tasker.check]` in the pyproject.toml of this folder."""
    try:
        known = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return []
    found = known.get("tool", {}).get("tasker", {}).get("check", {}).get("ignore", [])
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise RequestError([Problem("tool.tasker.check.ignore", "not_a_list", "in pyproject.toml must be a list of lints' names")])
    return found


def _nothing_found(targets: tuple[str, ...]) -> str:
    if targets:
        return f"no workflows found in {', '.join(targets)}"
    return "nothing to check: name where the workflows are, as in `tasker check flows`, or set TASKER_HANDLERS"


def _checked(targets: tuple[str, ...], settings: Settings) -> tuple[list[TaskDefinition], list[str], list[str]]:
    """The sound definitions of the targets, everything that is wrong, and what was not looked into."""
    registry = HandlerRegistry.instance()
    with redirect_stdout(sys.stderr):
        report = registry.load(targets, entry_points=False, environment=settings.env)
    problems = [str(failure) for failure in report.failures]
    problems += [problem for subscriber in registry.subscribers() for problem in subscriber_problems(subscriber)]
    try:
        return registry.definitions(), problems, report.passed_by
    except TaskerError as problem:
        return [], [*problems, str(problem)], report.passed_by
