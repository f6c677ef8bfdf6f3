"""The command about what happens: the catalogue of events, the subscribers and what they refused, and the events themselves as they come."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import click

from engine import events as log
from engine.cli.output import print_json, print_table, short_error, short_time
from engine.cli.setting import handler_sources, handlers_option, json_option, loaded_registry, note, open_database
from engine.definition import handler_path, nearest
from engine.errors import TaskerError
from engine.settings import Settings

POLL_SECONDS = 0.25
GO_WITH = {"--namespace": "--follow", "--type": "--follow", "--handlers": "--redeliver", "--reason": "--forget"}
"""Options that would do nothing without another; --type also chooses from the catalogue."""


@click.command()
@click.option("--follow", is_flag=True, help="Print events as they come, until Ctrl-C; with --json one document per line.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only this type; may be repeated.")
@click.option("--namespace", metavar="NS", help="Only this namespace's tasks.")
@click.option("--subscribers", is_flag=True, help="Show where each subscriber stands instead.")
@click.option("--undelivered", is_flag=True, help="List the events that were laid aside, as a subscriber refused them for good, instead.")
@click.option("--redeliver", metavar="SUBSCRIBER", help="Deliver to it what was laid aside for it, instead; its name, or the end of it, as --subscribers shows it.")
@click.option("--forget", metavar="SUBSCRIBER", help="Forget a subscriber that will not come back, so that no task waits for it, instead; its name, or the end of it.")
@click.option("--reason", metavar="TEXT", help="With --forget: why, for the record.")
@handlers_option
@json_option
def events(
    follow: bool,
    types: tuple[str, ...],
    namespace: str | None,
    subscribers: bool,
    undelivered: bool,
    redeliver: str | None,
    forget: str | None,
    reason: str | None,
    sources: str | None,
    as_json: bool,
) -> None:
    """List the events there are, or follow them. Example: tasker events --follow --type step.failed"""
    for problem in filter(None, map(log.type_problem, types)):
        raise click.BadParameter(problem, param_hint="--type")
    chosen = _chosen({"--follow": follow, "--subscribers": subscribers, "--undelivered": undelivered, "--redeliver": redeliver is not None, "--forget": forget is not None})
    _need_fit(chosen, {"--namespace": namespace, "--type": chosen and types, "--handlers": sources, "--reason": reason})
    if follow:
        _follow(types, namespace, as_json)
    elif subscribers:
        _show_subscribers(as_json)
    elif undelivered:
        _show_undelivered(as_json)
    elif redeliver is not None:
        _redeliver(redeliver, sources, as_json)
    elif forget is not None:
        _forget(forget, reason, as_json)
    else:
        _show_catalogue([kind for kind in log.CATALOGUE if not types or kind.name in types], as_json)


def _chosen(modes: Mapping[str, bool]) -> str | None:
    """What it is to do; None for the catalogue. Raises click's usage error for two things at once."""
    asked = [name for name, is_asked in modes.items() if is_asked]
    if len(asked) > 1:
        raise click.UsageError(f"{' and '.join(asked)} go without each other")
    return asked[0] if asked else None


def _need_fit(chosen: str | None, given: Mapping[str, object]) -> None:
    for option, value in given.items():
        if value and chosen != GO_WITH[option]:
            raise click.UsageError(f"{option} goes with {GO_WITH[option]}")


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


def _show_undelivered(as_json: bool) -> None:
    with open_database() as db:
        rows = log.undelivered(db)
    if as_json:
        print_json({"undelivered": rows})
        return
    columns = ("subscriber", "event", "type", "task", "laid aside", "attempts", "error")
    print_table(columns, [(row.name, row.event_id, row.event_type, row.task_id, short_time(row.at), row.attempts, row.error) for row in rows])


def _redeliver(wanted: str, sources: str | None, as_json: bool) -> None:
    """Exit 1 when some of it stays laid aside."""
    settings = Settings.from_environ()
    subscriber = _subscriber(wanted, handler_sources(sources, settings), settings)
    name = str(handler_path(subscriber))
    with open_database(settings) as db:
        tried = list(_told(log.redeliver(db, subscriber)))
        left = sum(row.name == name for row in log.undelivered(db))
        delivered = sum(one.error is None for one in tried)
        if delivered:
            note(db, "tasker.task:update", f"undelivered events of {name}", act=f"deliver {delivered} again")
    summary = {"subscriber": name, "delivered": delivered, "left": left, "refused": [one for one in tried if one.error is not None]}
    print_json(summary) if as_json else click.echo(f"{name}: {delivered} delivered, {left} still laid aside")
    if left:
        raise click.exceptions.Exit(1)


def _forget(wanted: str, reason: str | None, as_json: bool) -> None:
    with open_database() as db:
        name = _only_one(wanted, [row.name for row in log.subscriptions(db)], "")
        laid_aside = log.forget(db, name)
        note(db, "tasker.task:update", f"subscription {name}", reason=reason, act=f"forget it, and {laid_aside} undelivered events")
    print_json({"subscriber": name, "undelivered": laid_aside}) if as_json else click.echo(f"{name}: forgotten, with {laid_aside} events that were laid aside for it")


def _told(tried: Iterator[log.Redelivered]) -> Iterator[log.Redelivered]:
    """The same, with a line on standard error for each that is refused again."""
    for one in tried:
        if one.error is not None:
            click.echo(f"tasker: refused again: {one.event_type} {one.event_id}: {one.error}", err=True)
        yield one


def _subscriber(wanted: str, sources: tuple[str, ...], settings: Settings) -> type[Any]:
    """The class of that name, or the only one whose name ends so. Raises TaskerError."""
    known = {str(handler_path(one)): one for one in loaded_registry(sources, settings).subscribers()}
    where = ", ".join(sources) if sources else "any handlers: neither --handlers nor TASKER_HANDLERS says where to look"
    return known[_only_one(wanted, known, f" in {where}")]


def _only_one(wanted: str, known: Collection[str], where: str) -> str:
    """The name that is wanted, or the only one that ends so. Raises TaskerError."""
    found = [wanted] if wanted in known else [name for name in known if name.endswith(f".{wanted}")]
    if len(found) > 1:
        raise TaskerError(f"{wanted!r} is the end of several names: {', '.join(sorted(found))}")
    if not found:
        raise TaskerError(f"there is no subscriber {wanted!r}{where}{nearest(wanted, known)}")
    return found[0]


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
