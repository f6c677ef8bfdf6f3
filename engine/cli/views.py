"""`tasker view`: lists of tasks kept under a name, as the dashboard keeps them."""

from __future__ import annotations

import sys
from typing import Any

import click

from engine import accounts, views
from engine.cli.output import print_json, print_table, short_time
from engine.cli.setting import json_option, note, open_database
from engine.db import Database
from engine.errors import NotFound, Problem, RequestError
from engine.task_counts import MOST, count_tasks
from engine.task_filter import read_filter
from engine.views import View, view_filter

COUNT_MS = 2_000
_owner = click.option("--owner", required=True, metavar="ACCOUNT", help="Whose view it is.")


@click.group("view")
def view() -> None:
    """Keep lists of tasks under a name, alone or for the team, and have them tell when they hold too many."""


@view.command("list")
@click.option("--owner", metavar="ACCOUNT", help="With this account's own views too; without it the shared ones.")
@json_option
def list_views(owner: str | None, as_json: bool) -> None:
    """List views with how many tasks are in each. Example: tasker view list --owner ada"""
    with open_database() as db:
        found = [(each, count_tasks(db, each.filter, namespaces=None, within_ms=COUNT_MS)) for each in _seen(db, owner)]
    if as_json:
        print_json({"views": [_facts(each, count) for each, count in found]})
        return
    print_table(("no.", "view", "tasks", "shown to", "filter", "kept by", "kept at"), [_line(each, count) for each, count in found])


@view.command("keep")
@click.argument("name")
@click.option("--filter", "parts", multiple=True, metavar="NAME=VALUE", help="A part of the filter by its name in /tasks, such as state=failed or within=24h.")
@click.option("--namespace", metavar="NAMESPACE", help="Shown to all who see it; without it to its owner alone.")
@_owner
@json_option
def keep(name: str, parts: tuple[str, ...], namespace: str | None, owner: str, as_json: bool) -> None:
    """Keep a filter under a name. Example: tasker view keep "Failed today" --filter state=failed --filter within=24h --owner ada"""
    parameters = _parameters(parts)
    with open_database() as db:
        account_id = accounts.account(db, owner).account_id
        made = views.keep_view(db, name, view_filter(parameters, namespace).parameters(), namespace=namespace, owner_id=account_id)
        note(db, views.PERMISSION, f"view {made}", namespace=namespace, act="keep")
    print_json({"view_id": made}) if as_json else click.echo(f"view {made}: {name}")


@view.command("alert")
@click.argument("view_id", type=int)
@click.option("--above", type=click.IntRange(0, views.MAX_THRESHOLD), help="Tell once when more tasks than that match, and once when no more do.")
@click.option("--webhook", metavar="URL", help="Where to.")
@click.option("--secret-stdin", is_flag=True, help="Read what signs the webhook's messages from standard input; without it the one there is stays.")
@click.option("--email", metavar="ADDRESS", help="Where to, by e-mail; engines need TASKER_SMTP_URL.")
@click.option("--rest", metavar="INTERVAL", help="At least so long between two alerts, such as 1h; 15m without it.")
@click.option("--off", is_flag=True, help="Tell nothing any more.")
@_owner
@json_option
def alert(view_id: int, above: int | None, webhook: str | None, secret_stdin: bool, email: str | None, rest: str | None, off: bool, owner: str, as_json: bool) -> None:
    """Have a view tell when it holds too many tasks. Example: tasker view alert 7 --above 10 --email ops@shop.example --owner ada"""
    if (above is None) != off:
        raise click.UsageError("say above how many tasks: --above N, or --off to tell nothing any more")
    secret = sys.stdin.readline().rstrip("\r\n") if secret_stdin else ""
    typed = {"threshold": str(above), "rest": rest or "", "webhook": webhook or "", "secret": secret, "email": email or ""}
    wanted = views.Alert(secret="") if off else views.read_alert(typed)
    with open_database() as db:
        found = _owned(db, view_id, owner)
        views.keep_view(db, found.name, found.parameters, namespace=found.namespace, owner_id=found.owner_id, alert=wanted, view_id=view_id)
        note(db, views.PERMISSION, f"view {view_id}", namespace=found.namespace, act="remove alert" if off else "set alert")
        found = _owned(db, view_id, owner)
    if as_json:
        print_json(_facts(found, None))
        return
    click.echo(f"view {view_id} tells {'nothing' if off else f'when more than {above:,} tasks match'}")


@view.command("remove")
@click.argument("view_id", type=int)
@_owner
def remove(view_id: int, owner: str) -> None:
    """Keep a view no longer. Example: tasker view remove 7 --owner ada"""
    with open_database() as db:
        found = _owned(db, view_id, owner)
        views.remove_view(db, view_id)
        note(db, views.PERMISSION, f"view {view_id}", namespace=found.namespace, act="remove")
    click.echo(f"view {view_id} is removed")


def _owned(db: Database, view_id: int, owner: str) -> View:
    """The view, if it is that account's. Raises `NotFound`."""
    account = accounts.account(db, owner)
    found = views.view(db, view_id, account.account_id, None)
    if found.owner_id != account.account_id:
        raise NotFound(f"view {view_id} is {found.owner}'s, not {account.name}'s: name its owner")
    return found


def _seen(db: Database, owner: str | None) -> list[View]:
    return views.views(db, accounts.account(db, owner).account_id if owner else 0, None, limit=1_000)


def _parameters(parts: tuple[str, ...]) -> dict[str, str]:
    """Raises `RequestError` for a part that narrows nothing."""
    given = dict(part.partition("=")[::2] for part in parts)
    read = read_filter(given)
    known = read.chosen.parameters()
    wrong = dict.fromkeys((name for name in given if name not in known), "there is no such filter") | dict(read.problems)
    if wrong:
        raise RequestError([Problem(f"--filter {name}", "invalid", words) for name, words in wrong.items()])
    return known


def _line(each: View, count: int | None) -> tuple[str, ...]:
    number = "?" if count is None else f"over {MOST - 1:,}" if count >= MOST else str(count)
    parts = ", ".join(f"{name}={value}" for name, value in each.filter.parameters().items()) or "all tasks"
    return str(each.view_id), each.name, number, each.namespace or "its owner", parts, each.owner, short_time(each.changed_at)


def _facts(each: View, count: int | None) -> dict[str, Any]:
    told = {name: getattr(each, name) for name in ("view_id", "name", "namespace", "owner", "changed_at")}
    return {**told, "filter": dict(each.filter.parameters()), "count": count, "threshold": each.alert.threshold}
