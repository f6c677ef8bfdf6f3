"""The command about what happens: the catalogue of events, the subscribers, and the events themselves as they come."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from engine import events as log
from engine.cli.output import print_json, print_table, short_error, short_time
from engine.cli.setting import json_option, open_database

POLL_SECONDS = 0.25


@click.command()
@click.option("--follow", is_flag=True, help="Print events as they come, until Ctrl-C; with --json one document per line.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only this type; may be repeated.")
@click.option("--namespace", metavar="NS", help="Only this namespace's tasks.")
@click.option("--subscribers", is_flag=True, help="Show where each subscriber stands instead.")
@json_option
def events(follow: bool, types: tuple[str, ...], namespace: str | None, subscribers: bool, as_json: bool) -> None:
    """List the events there are, or follow them. Example: tasker events --follow --type step.failed"""
    for problem in filter(None, map(log.type_problem, types)):
        raise click.BadParameter(problem, param_hint="--type")
    if follow:
        _follow(types, namespace, as_json)
    elif subscribers:
        _show_subscribers(as_json)
    else:
        _show_catalogue([kind for kind in log.CATALOGUE if not types or kind.name in types], as_json)


def _show_catalogue(kinds: list[log.EventType], as_json: bool) -> None:
    if as_json:
        print_json({"events": [{"type": kind.name, "meaning": kind.meaning, "fields": [*log.COMMON_FIELDS, *kind.fields]} for kind in kinds], "fields": log.FIELDS})
        return
    print_table(("event", "when", "its fields"), [(kind.name, kind.meaning, ", ".join(kind.fields)) for kind in kinds])
    click.echo(f"\nEvery event also has: {', '.join(log.COMMON_FIELDS)}.")


def _show_subscribers(as_json: bool) -> None:
    with open_database() as db:
        rows = log.subscriptions(db)
    if as_json:
        print_json({"subscribers": rows})
        return
    columns = ("subscriber", "delivered", "last", "behind", "attempts", "next try", "laid aside", "error")
    print_table(
        columns,
        [
            (row.name, row.delivered_count, short_time(row.delivered_at), row.behind_count, row.attempts, short_time(row.next_try_at), row.undelivered_count, row.last_error)
            for row in rows
        ],
    )


def _follow(types: tuple[str, ...], namespace: str | None, as_json: bool) -> None:
    with open_database() as db:
        reader = log.EventReader(db, types=types, namespace=namespace)
        while True:
            found = reader.read()
            for event in found:
                click.echo(json.dumps(event, ensure_ascii=False) if as_json else _line(event))
            if not found:
                time.sleep(POLL_SECONDS)


def _line(event: log.Event) -> str:
    workflow = f"{event['namespace']}/{event['task_name']}@{event['version']}"
    duration = "" if event["duration"] is None else f"{event['duration']} ms"
    parts: list[Any] = [event["timestamp"], f"{event['type']:<15}", workflow, event["task_id"], event["step_name"], duration, short_error(event["error"])]
    return "  ".join(str(part) for part in parts if part)
