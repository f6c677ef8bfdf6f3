"""`tasker retention`: how long tasks are kept after their end, and dropping what is older."""

from __future__ import annotations

from datetime import timedelta

import click

from engine import large_results
from engine.cli.output import print_json, print_table, short_time
from engine.cli.setting import actor, json_option, note, open_database
from engine.db import Database
from engine.keeping import archives
from engine.keeping import retention as keeping
from engine.keeping.retention import Dropped, Old, Sweep
from engine.rows import ArchiveRow, RetentionRow
from engine.timing import interval_text

OFF = click.option("--off", is_flag=True, help="Keep tasks for ever.")


@click.group("retention")
def retention() -> None:
    """Say how long tasks are kept after their end. Engines drop what is older; without a setting everything is kept for ever."""


@retention.command("list")
@json_option
def list_retentions(as_json: bool) -> None:
    """List what each namespace keeps. Example: tasker retention list --json"""
    with open_database() as db:
        default, found = keeping.default_retention(db), keeping.retentions(db)
        written = {row.namespace: row for row in archives.archives(db)}
    if as_json:
        print_json({"default": _text(default), "namespaces": [_facts(row) | _archive_facts(written[row.namespace]) for row in found]})
        return
    click.echo(f"default: {_words(default)}")
    print_table(("namespace", "keeps tasks", "set by", "set at", "archive"), [(*_line(row), _archive_words(written[row.namespace])) for row in found])


@retention.command("set")
@click.argument("namespace")
@click.argument("age", required=False, metavar="[AGE]")
@OFF
@click.option("--default", "follow", is_flag=True, help="Follow the default again.")
@json_option
def set_retention(namespace: str, age: str | None, off: bool, follow: bool, as_json: bool) -> None:
    """Keep the tasks of a namespace for AGE after their end. Example: tasker retention set shop 90d"""
    if (age is not None) + off + follow != 1:
        raise click.UsageError("say how long: an AGE such as 90d, or --off, or --default")
    kept = keeping.retention(age) if age is not None else None
    with open_database() as db:
        if follow:
            keeping.follow_default(db, namespace)
        else:
            keeping.set_retention(db, namespace, kept, actor=actor())
        row = keeping.retention_of(db, namespace)
        note(db, "tasker.workflow:update", f"retention of {namespace}", namespace=namespace, act="follow the default" if follow else f"keep {_words(kept)}")
    print_json(_facts(row)) if as_json else click.echo(f"{namespace}: {_words(row.retention)}{', by default' if row.by_default else ''}")


@retention.command("default")
@click.argument("age", required=False, metavar="[AGE]")
@OFF
@json_option
def set_default(age: str | None, off: bool, as_json: bool) -> None:
    """What namespaces follow that have no setting of their own. Example: tasker retention default 365d"""
    if (age is not None) + off != 1:
        raise click.UsageError("say how long: an AGE such as 90d, or --off")
    kept = keeping.retention(age) if age is not None else None
    with open_database() as db:
        keeping.set_default(db, kept, actor=actor())
        note(db, "tasker.workflow:update", "retention by default", act=f"keep {_words(kept)}")
    print_json({"default": _text(kept)}) if as_json else click.echo(f"default: {_words(kept)}")


@retention.command()
@click.argument("namespace", required=False)
@click.option("--dry-run", is_flag=True, help="Only count what would be dropped.")
@json_option
def run(namespace: str | None, dry_run: bool, as_json: bool) -> None:
    """Drop now what is older than it is kept, in one namespace or all. Example: tasker retention run --dry-run"""
    with open_database() as db:
        names = [namespace] if namespace else [row.namespace for row in keeping.retentions(db)]
        rows = [keeping.retention_of(db, name) for name in names]
        wanted = [row for row in rows if row.retention is not None or namespace]
        failures: dict[str, str] = {}
        found = {row.namespace: _count(db, row) if dry_run else _drop(db, row, failures) for row in wanted}
        for name in [] if dry_run else found:
            note(db, "tasker.task:update", f"old tasks of {name}", namespace=name, act="drop")
    if as_json:
        print_json({"dry_run": dry_run, "namespaces": found})
    elif dry_run:
        print_table(("namespace", "would be dropped", "not ended", "not read by a subscriber"), [(name, *facts.values()) for name, facts in found.items()])
    else:
        print_table(("namespace", "tasks dropped", "steps"), [(name, *facts.values()) for name, facts in found.items()])
    for name, reason in failures.items():
        click.echo(f"tasker: nothing more of {name} was dropped, its archive cannot be written: {reason}", err=True)
    if failures:
        raise click.exceptions.Exit(1)


def _drop(db: Database, row: RetentionRow, failures: dict[str, str]) -> dict[str, int]:
    sweep = Sweep(db, namespace=row.namespace)
    dropped: Dropped = sweep.finish()
    while large_results.delete_left(db):
        pass
    failures.update(sweep.failures)
    return {"task_count": dropped.task_count, "step_count": dropped.step_count}


def _count(db: Database, row: RetentionRow) -> dict[str, int]:
    old: Old = keeping.old_tasks(db, namespace=row.namespace)
    return {"due_count": old.due_count, "open_count": old.open_count, "unread_count": old.unread_count}


def _words(kept: timedelta | None) -> str:
    return "for ever" if kept is None else _text(kept) or ""


def _text(kept: timedelta | None) -> str | None:
    return None if kept is None else interval_text(int(kept.total_seconds()))


def _facts(row: RetentionRow) -> dict[str, object]:
    return {"namespace": row.namespace, "retention": _text(row.retention), "by_default": row.by_default, "set_by": row.set_by, "set_at": row.set_at}


def _archive_facts(row: ArchiveRow) -> dict[str, object]:
    return {"archive": row.place, "archive_error": row.error if row.place else None}


def _archive_words(row: ArchiveRow) -> str:
    return f"cannot be written, nothing is dropped: {row.error}" if row.place and row.error else row.place or ""


def _line(row: RetentionRow) -> tuple[str, ...]:
    return row.namespace, _words(row.retention), f"{row.set_by or ''}{' (default)' if row.by_default and row.set_by else ''}", short_time(row.set_at)
