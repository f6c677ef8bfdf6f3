"""`tasker archive`: where tasks are written before retention drops them, and what has been written there."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import click

from engine.cli.output import print_json, print_table, short_time
from engine.cli.setting import actor, json_option, note, open_database
from engine.db import Database
from engine.errors import NotFound
from engine.keeping import archive_files, archives
from engine.keeping.archive_files import ArchiveFailed, ArchiveFile
from engine.queries import known_id
from engine.rows import ArchiveRow

OFF = click.option("--off", is_flag=True, help="Drop without writing.")
PLACE = click.option("--place", metavar="FOLDER", help="Read this folder instead of those that are set.")


@click.group("archive")
def archive() -> None:
    """Say where tasks are written before retention drops them, and read them back. What cannot be written is not dropped."""


@archive.command("list")
@json_option
def list_archives(as_json: bool) -> None:
    """List where each namespace is written and how that goes. Example: tasker archive list --json"""
    with open_database() as db:
        default, found = archives.default_archive(db), archives.archives(db)
    if as_json:
        print_json({"default": default, "namespaces": [_facts(row) for row in found]})
        return
    click.echo(f"default: {default or 'nowhere'}")
    print_table(("namespace", "written to", "tasks written", "last", "what is wrong"), [_line(row) for row in found])


@archive.command("set")
@click.argument("namespace")
@click.argument("place", required=False, metavar="[FOLDER]")
@OFF
@click.option("--default", "follow", is_flag=True, help="Follow the default again.")
@json_option
def set_archive(namespace: str, place: str | None, off: bool, follow: bool, as_json: bool) -> None:
    """Write the tasks of a namespace to FOLDER before they are dropped. Example: tasker archive set shop /srv/archive"""
    if (place is not None) + off + follow != 1:
        raise click.UsageError("say where: a FOLDER by its absolute path, or --off, or --default")
    with open_database() as db:
        if follow:
            archives.follow_default(db, namespace)
        else:
            archives.set_archive(db, namespace, place, actor=actor())
        row = archives.archive_of(db, namespace)
        note(db, "tasker.workflow:update", f"archive of {namespace}", namespace=namespace, act="follow the default" if follow else f"write to {place or 'nowhere'}")
    print_json(_facts(row)) if as_json else click.echo(f"{namespace}: {row.place or 'nowhere'}{', by default' if row.by_default else ''}")
    _warn(place)


@archive.command("default")
@click.argument("place", required=False, metavar="[FOLDER]")
@OFF
@json_option
def set_default(place: str | None, off: bool, as_json: bool) -> None:
    """Where namespaces are written that have no setting of their own. Example: tasker archive default /srv/archive"""
    if (place is not None) + off != 1:
        raise click.UsageError("say where: a FOLDER by its absolute path, or --off")
    with open_database() as db:
        archives.set_archive(db, None, place, actor=actor())
        note(db, "tasker.workflow:update", "archive by default", act=f"write to {place or 'nowhere'}")
    print_json({"default": place}) if as_json else click.echo(f"default: {place or 'nowhere'}")
    _warn(place)


@archive.command("files")
@click.argument("namespace", required=False)
@PLACE
@json_option
def list_files(namespace: str | None, place: str | None, as_json: bool) -> None:
    """Count what is in the files, by namespace and day. Example: tasker archive files shop"""
    found = [file for each in _places(namespace, place) for file in archive_files.files(each, namespace)]
    days = [_day(list(files)) for _, files in groupby(sorted(found, key=_of_day), key=_of_day)]
    if as_json:
        print_json({"days": days})
    else:
        print_table(("namespace", "day", "tasks", "files", "bytes"), [tuple(day.values()) for day in days])


@archive.command()
@click.argument("task")
@click.option("--namespace", metavar="NAME", help="Look only at this one's files, which is quicker.")
@PLACE
def show(task: str, namespace: str | None, place: str | None) -> None:
    """Print all that is on record of a task that was dropped, secrets masked, as JSON. Example: tasker archive show 5d1c…"""
    task_id, broken = known_id(task), list[str]()
    for each in _places(namespace, place):
        found = archive_files.find(each, task_id, namespace)
        broken += found.broken
        if found.line is not None:
            with open_database() as db:
                print_json(archives.shown(db, json.loads(found.line)))
            return
    for reason in broken:
        click.echo(f"tasker: not read to its end: {reason}", err=True)
    raise NotFound(f"no file of the archive has task {task_id}{'; it may be in one that is broken' if broken else ''}")


def _places(namespace: str | None, place: str | None) -> list[str]:
    """Where to look. Raises `ArchiveFailed` when there is nowhere."""
    if place is not None:
        return [str(Path(place).absolute())]
    with open_database() as db:
        found = _set_places(db, namespace)
    if not found:
        raise ArchiveFailed("no archive is set; name its folder with --place, or set one: `tasker archive set`")
    return found


def _set_places(db: Database, namespace: str | None) -> list[str]:
    rows = [archives.archive_of(db, namespace)] if namespace else archives.archives(db)
    return sorted({row.place for row in rows if row.place})


def _warn(place: str | None) -> None:
    if place is not None and not Path(place).is_dir():
        click.echo(f"tasker: there is no folder {place} on this machine; every engine needs it, or nothing is dropped", err=True)


def _of_day(file: ArchiveFile) -> tuple[str, str]:
    return file.namespace, file.day


def _day(files: list[ArchiveFile]) -> dict[str, object]:
    tasks, size = sum(file.task_count for file in files), sum(file.byte_count for file in files)
    return {"namespace": files[0].namespace, "day": files[0].day, "task_count": tasks, "file_count": len(files), "byte_count": size}


def _facts(row: ArchiveRow) -> dict[str, object]:
    told = {"namespace": row.namespace, "place": row.place, "by_default": row.by_default, "set_by": row.set_by, "set_at": row.set_at}
    return told | {"task_count": row.task_count, "written_at": row.written_at, "error": row.error, "failed_at": row.failed_at}


def _line(row: ArchiveRow) -> tuple[str, ...]:
    return row.namespace, f"{row.place or 'nowhere'}{' (default)' if row.by_default and row.place else ''}", f"{row.task_count:,}", short_time(row.written_at), row.error or ""
