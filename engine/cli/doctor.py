"""`tasker doctor`: what is wrong with an installation, and what to do about it."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from engine import embedded
from engine.cli.output import print_json
from engine.cli.setting import json_option
from engine.doctor import STATES, Check, Surroundings, health_checks, security_checks
from engine.settings import Settings

MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red")}


@click.command()
@click.option("--security", is_flag=True, help="Look at what keeps others out instead.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where `tasker web` is told to listen.")
@json_option
@click.pass_context
def doctor(context: click.Context, security: bool, host: str, as_json: bool) -> None:
    """Check settings, database, engines and clocks, or with --security what keeps others out; exit 1 when something is wrong. Example: tasker doctor --security"""
    settings = Settings.from_environ()
    around = Surroundings(os.environ, settings, _url(settings), host)
    found = (security_checks if security else health_checks)(around)
    worst = max((each.state for each in found), key=STATES.index, default="ok")
    print_json({"state": worst, "checks": [asdict(each) for each in found]}) if as_json else click.echo("\n".join(map(_line, found)))
    context.exit(1 if worst == "problem" else 0)


def _url(settings: Settings) -> str | None:
    """The database to look at; the embedded one only when it runs, as looking starts nothing."""
    if settings.database_url:
        return settings.database_url
    return embedded.ensure_server(settings.data_dir).url if embedded.status(settings.data_dir).running else None


def _line(check: Check) -> str:
    mark, colour = MARKS[check.state]
    advice = f"\n    {check.advice}" if check.advice else ""
    return f"{click.style(f'{mark} {check.state}', fg=colour):<9} {check.name}: {check.said}{advice}"
