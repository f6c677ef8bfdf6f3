"""`tasker new`: the first files of a project, workflow, handler or subscriber, with tests that pass at once."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from engine.blueprints import Names, Shape, handler_files, parse_steps, project_files, subscriber_files, workflow_files
from engine.definition import head_problems
from engine.errors import RequestError, TaskerError

FOLDER = "flows"


@click.group()
def new() -> None:
    """Write the first files of something new; nothing that exists is overwritten. Example: tasker new project shop"""


@new.command()
@click.argument("name")
def project(name: str) -> None:
    """A small repository with two workflows, tests, settings and services. Example: tasker new project shop && cd shop && make test"""
    names = Names(name)
    _write(Path(name), project_files(names, tasker=requirement()))
    click.echo(f"Next: cd {name} && make test && make run")


@new.command()
@click.argument("name")
@click.option("--namespace", default="default", show_default=True, metavar="NS")
@click.option("--steps", default="first,second:first", show_default=True, metavar="LIST", help="Steps with what they wait for, such as a,b:a,c:a,d:b+c.")
@click.option("--form", type=click.Choice([shape.value for shape in Shape]), default=Shape.FUNCTIONS.value, show_default=True, help="How it is written.")
@click.option("--folder", default=FOLDER, show_default=True, help="The package that it goes into.")
def workflow(name: str, namespace: str, steps: str, form: str, folder: str) -> None:
    """A workflow and its test. Example: tasker new workflow refund --steps find,pay:find,mail:pay"""
    names = Names(name)
    problems = head_problems(namespace=namespace, name=names.module, version="0.1.0")
    if problems:
        raise RequestError(problems, "no workflow can be called so")
    files = workflow_files(names, namespace, parse_steps(steps), Shape(form), _package(folder))
    _write(Path(), files)
    click.echo(f"Next: run tests/test_{names.module}.py with pytest; start the engine anew, unless it runs with --reload; tasker launch {namespace}/{names.module}")


@new.command()
@click.argument("name")
@click.option("--folder", default=FOLDER, show_default=True, help="The package that it goes into.")
def handler(name: str, folder: str) -> None:
    """A StepHandler class and its test. Example: tasker new handler charge_card"""
    _write(Path(), handler_files(Names(name), _package(folder)))


@new.command()
@click.argument("name")
@click.option("--folder", default=FOLDER, show_default=True, help="The package that it goes into.")
def subscriber(name: str, folder: str) -> None:
    """An EventSubscriber class and its test. Example: tasker new subscriber order_monitor"""
    _write(Path(), subscriber_files(Names(name), _package(folder)))


def _package(folder: str) -> str:
    """A single folder below this one, which code can import from."""
    return Names(folder).module


def _write(root: Path, files: dict[str, str]) -> None:
    taken = [str(root / place) for place in files if (root / place).exists()]
    if taken:
        raise TaskerError(f"{', '.join(taken[:5])} {'is' if len(taken) == 1 else 'are'} there already; nothing was written")
    for place, text in sorted(files.items()):
        target = root / place
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        except OSError as error:
            raise TaskerError(f"cannot write {target}: {error.strerror or error}") from None
        click.echo(f"wrote {target}")


def requirement() -> str:
    """What pip gets the same engine from: the folder that this one was installed from, or its name."""
    try:
        told = metadata.distribution("tasker-engine").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return "tasker-engine"
    address = urlsplit(json.loads(told)["url"] if told else "")
    return unquote(address.path) if address.scheme == "file" else "tasker-engine"
