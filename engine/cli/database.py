"""`tasker db`: the schema, and the embedded server."""

from __future__ import annotations

import sys

import click

from engine import database_roles, embedded, migrate
from engine.cli.output import print_json, print_table
from engine.cli.setting import json_option
from engine.db import described
from engine.settings import Settings


@click.group()
def db() -> None:
    """Look after the database: its schema, and the embedded server."""


@db.command()
@click.argument("revision", default="head")
def upgrade(revision: str) -> None:
    """Bring the schema to REVISION (default: the newest); of TASKER_SHARDS each, or the one of --shard. Example: tasker db upgrade"""
    for url in _urls():
        migrate.upgrade(url, revision)
        click.echo(f"{described(url)} is at {migrate.status(url).current}")


@db.command()
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask; data of the removed tables is lost.")
def downgrade(revision: str, yes: bool) -> None:
    """Take the schema back to REVISION ("base": empty). Example: tasker db downgrade base --yes"""
    if not yes and not _confirmed():
        raise click.Abort
    url = _url()
    migrate.downgrade(url, revision)
    click.echo(f"{described(url)} is at {migrate.status(url).current or 'base'}")


def _confirmed() -> bool:
    try:
        return click.confirm("Tables of newer revisions are dropped with their data. Go on?", err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise click.UsageError("there is nobody to ask; give --yes to go on without") from None


@db.command()
@json_option
def status(as_json: bool) -> None:
    """Which database is used, and whether its schema is up to date. Example: tasker db status --json"""
    settings = Settings.from_environ()
    server = None if settings.database_url else embedded.status(settings.data_dir)
    url = settings.database_url or (embedded.ensure_server(settings.data_dir).url if server and server.running else None)
    schema = migrate.status(url) if url else None
    facts = {
        "database": described(url) if url else "embedded, not running",
        "embedded": server is not None,
        "folder": str(server.folder) if server else None,
        "revision": schema.current if schema else None,
        "pending": list(schema.pending) if schema else [],
    }
    print_json(facts) if as_json else print_table(("", ""), [(name, _in_words(value)) for name, value in facts.items()])


def _in_words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


@db.command()
@click.option("--engine", "engine_role", default=database_roles.DEFAULT_NAMES["engine"], show_default=True, metavar="NAME", help="The role that engines connect as.")
@click.option("--web", "web_role", default=database_roles.DEFAULT_NAMES["web"], show_default=True, metavar="NAME", help="The role that the dashboard connects as.")
@click.option("--print", "only_print", is_flag=True, help="Print the grants and change nothing.")
@json_option
def roles(engine_role: str, web_role: str, only_print: bool, as_json: bool) -> None:
    """Make database roles for engine and dashboard that may do what each needs. Run it as the owner. Example: tasker db roles"""
    url, names = _url(), {"engine": engine_role, "web": web_role}
    if only_print:
        click.echo("\n".join(database_roles.statements(url, names)))
        return
    made = database_roles.prepare(url, names)
    facts = {part: {"role": name, "password": made.passwords.get(part)} for part, name in names.items()}
    print_json(facts) if as_json else click.echo("\n".join(_told(part, name, made.passwords.get(part)) for part, name in names.items()))


def _told(part: str, name: str, password: str | None) -> str:
    shown = f"password {password}, shown this once" if password else "its password is as it was"
    return f"{'`tasker engine`' if part == 'engine' else '`tasker web`'} connects as {name}; {shown}"


@db.command()
def path() -> None:
    """Print where the embedded database lives. Example: tasker db path"""
    click.echo(embedded.status(Settings.from_environ().data_dir).folder)


@db.command()
def stop() -> None:
    """Stop the embedded server; its data stays. Example: tasker db stop"""
    stopped = embedded.stop_server(Settings.from_environ().data_dir)
    click.echo("stopped" if stopped else "it was not running")


def _url() -> str:
    settings = Settings.from_environ()
    return settings.database_url or embedded.ensure_server(settings.data_dir).url


def _urls() -> list[str]:
    settings = Settings.from_environ()
    return [each.url for each in settings.shards.all] if settings.shards and settings.shard is None else [_url()]
