"""`tasker view`: lists of tasks and of failures kept under a name, as the dashboard keeps them."""

from __future__ import annotations

import sys
from typing import Any

import click

from engine.access import accounts
from engine.cli.output import print_json, print_table, short_time
from engine.cli.setting import json_option, note, open_database
from engine.db import Database
from engine.errors import NotFound, Problem, RequestError
from engine.finding import views
from engine.finding.failure_filter import count_failures
from engine.finding.tally import Tally
from engine.finding.task_counts import MOST, count_tasks
from engine.finding.task_filter import read_filter
from engine.finding.views import View

COUNT_MS = 2_000
_owner = click.option("--owner", required=True, metavar="ACCOUNT", help="Whose view it is.")


@click.group("view")
def view() -> None:
    """Keep lists of tasks or failures under a name, alone or for the team, and have them tell when they hold too many."""


@view.command("list")
@click.option("--owner", metavar="ACCOUNT", help="With this account's own views too; without it the shared ones.")
@json_option
def list_views(owner: str | None, as_json: bool) -> None:
    """List views with how many tasks, or groups of failures, are in each. Example: tasker view list --owner ada"""
    with open_database() as db:
        found = [(each, _count(db, each)) for each in _seen(db, owner)]
    if as_json:
        print_json({"views": [_facts(each, count) for each, count in found]})
        return
    print_table(("no.", "view", "of", "holds", "shown to", "filter", "kept by", "kept at"), [_line(each, count) for each, count in found])


@view.command("keep")
@click.argument("name")
@click.option("--filter", "parts", multiple=True, metavar="NAME=VALUE", help="A part of the filter by its name in /tasks, such as state=failed or within=24h, or in /failures, such as step=charge.")
@click.option("--of", "kind", type=click.Choice(views.KINDS), default=views.TASKS, show_default=True, help="Of what it is a list.")
@click.option("--namespace", metavar="NAMESPACE", help="Shown to all who see it; without it to its owner alone.")
@_owner
@json_option
def keep(name: str, parts: tuple[str, ...], kind: str, namespace: str | None, owner: str, as_json: bool) -> None:
    """Keep a filter under a name. Example: tasker view keep "Failed today" --filter state=failed --filter within=24h --owner ada"""
    parameters = _parameters(kind, parts)
    with open_database() as db:
        account_id = accounts.account(db, owner).account_id
        made = views.keep_view(db, name, views.narrowing(kind, parameters, namespace), namespace=namespace, owner_id=account_id, kind=kind)
        note(db, views.PERMISSION, f"view {made}", namespace=namespace, act="keep")
    print_json({"view_id": made}) if as_json else click.echo(f"view {made}: {name}")


@view.command("alert")
@click.argument("view_id", type=int)
@click.option("--above", type=click.IntRange(0, views.MAX_THRESHOLD), help="Tell once when more tasks, or groups of failures, than that match, and once when no more do.")
@click.option("--webhook", metavar="URL", help="Where to.")
@click.option("--secret-stdin", is_flag=True, help="Read what signs the webhook's messages from standard input; without it the one there is stays.")
@click.option("--email", metavar="ADDRESS", help="Where to, by e-mail; engines need TASKER_SMTP_URL.")
@click.option("--rest", metavar="INTERVAL", help="At least so long between two alerts, such as 1h; 15m without it.")
@click.option("--off", is_flag=True, help="Tell nothing any more.")
@_owner
@json_option
def alert(view_id: int, above: int | None, webhook: str | None, secret_stdin: bool, email: str | None, rest: str | None, off: bool, owner: str, as_json: bool) -> None:
    """Have a view tell when it holds too many tasks, or groups of failures. Example: tasker view alert 7 --above 10 --email ops@shop.example --owner ada"""
    if (above is None) != off:
        raise click.UsageError("say above how many: --above N, or --off to tell nothing any more")
    secret = sys.stdin.readline().rstrip("\r\n") if secret_stdin else ""
    typed = {"threshold": str(above), "rest": rest or "", "webhook": webhook or "", "secret": secret, "email": email or ""}
    wanted = views.Alert(secret="") if off else views.read_alert(typed)
    with open_database() as db:
        found = _owned(db, view_id, owner)
        views.keep_view(db, found.name, found.parameters, namespace=found.namespace, owner_id=found.owner_id, alert=wanted, view_id=view_id, kind=found.kind)
        note(db, views.PERMISSION, f"view {view_id}", namespace=found.namespace, act="remove alert" if off else "set alert")
        found = _owned(db, view_id, owner)
    if as_json:
        print_json(_facts(found, None))
        return
    click.echo(f"view {view_id} tells {'nothing' if off else f'when more than {above:,} match'}")


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
    return views.views(db, accounts.account(db, owner).account_id if owner else 0, None)


def _count(db: Database, each: View) -> Tally | None:
    if each.kind == views.FAILURES:
        return count_failures(db, each.failure_filter)
    return count_tasks(db, each.filter, namespaces=None, within_ms=COUNT_MS)


def _parameters(kind: str, parts: tuple[str, ...]) -> dict[str, str]:
    """Raises `RequestError` for a part that narrows nothing."""
    given = dict(part.partition("=")[::2] for part in parts)
    known = views.narrowing(kind, given, None)
    problems = read_filter(given).problems if kind == views.TASKS else {}
    wrong = dict.fromkeys((name for name in given if name not in known), "there is no such filter") | dict(problems)
    if wrong:
        raise RequestError([Problem(f"--filter {name}", "invalid", words) for name, words in wrong.items()])
    return known


def _line(each: View, tally: Tally | None) -> tuple[str, ...]:
    number = "?" if tally is None else f"over {MOST - 1:,}" if tally.number >= MOST else f"{tally.number} or more" if tally.is_least else str(tally.number)
    parts = ", ".join(f"{name}={value}" for name, value in each.narrowing.items()) or f"all {each.kind}"
    return str(each.view_id), each.name, each.kind, number, each.namespace or "its owner", parts, each.owner, short_time(each.changed_at)


def _facts(each: View, tally: Tally | None) -> dict[str, Any]:
    told = {name: getattr(each, name) for name in ("view_id", "name", "kind", "namespace", "owner", "changed_at")}
    return {**told, "filter": each.narrowing, "count": tally.number if tally else None, "is_least": bool(tally and tally.is_least), "threshold": each.alert.threshold}
