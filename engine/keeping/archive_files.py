"""The files of an archive: one line of JSON per task, in a folder per namespace and day of its end. Written whole or not at all; knows no database.

Retention writes them before it drops; `tasker archive` reads them. A file is there under its name only when it is whole and on the disk, so a
task may be in two files, after a crash between writing and dropping, and is never in none. Files of a day may be joined: `cat *.gz`.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from engine.errors import TaskerError
from engine.keeping import parquet_files

ENDING = ".ndjson.gz"
PART = ".part"
LEVEL = 5
PARTS_KEPT_SECONDS = 86_400
"""After so long a file that was begun belongs to nobody who still writes it."""
BROKEN = (OSError, EOFError, zlib.error, UnicodeDecodeError)


class ArchiveFailed(TaskerError):
    """An archive's folder does not take what is written to it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One task: the UTC day of its end as `2026-11-26`, its id, and the line that says everything."""

    day: str
    task_id: str
    line: str


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """A file that is whole; `task_count` counts its lines."""

    namespace: str
    day: str
    path: Path
    task_count: int
    byte_count: int


@dataclass(frozen=True, slots=True)
class Found:
    """The line of a task, None when no file has it, and the files that could not be read to their end, with the reason."""

    line: str | None
    broken: tuple[str, ...] = ()


# ---- writing


def write(place: str, namespace: str, records: Iterable[Record]) -> int:
    """Every record, sorted by day, is on the disk, in one new file per day; how many they were.

    Nothing is left behind of what could not be written whole. Raises `ArchiveFailed`; whatever raises in `records` is raised.
    """
    written: list[tuple[Path, Path]] = []
    count = 0
    try:
        for day, of_day in groupby(records, key=lambda record: record.day):
            folder = _folder(place, namespace, day)
            number, parts = _write_day(folder, of_day)
            written += parts
            count += number
        _publish(written)
    except OSError as error:
        raise ArchiveFailed(f"{place}: {error.strerror or error}") from error
    finally:
        for part, _ in written:
            with contextlib.suppress(OSError):
                part.unlink()
    return count


def check_place(place: str) -> str:
    """The folder as it may be kept. Raises `ArchiveFailed` when it is no absolute path."""
    path = Path(place)
    if not path.is_absolute() or "\0" in place:
        raise ArchiveFailed(f"an archive is a folder by its absolute path on the engines' machines, not {place[:200]!r}")
    return str(path)


def _folder(place: str, namespace: str, day: str) -> Path:
    """The day's folder, made if need be. The place itself is not: where nothing is mounted, the archive is to fail and not to fill another disk."""
    if not Path(place).is_dir():
        raise ArchiveFailed(f"{place}: there is no such folder on this machine; make or mount it, or choose another: `tasker archive set`")
    within = Path(place)
    for name in (namespace, day):
        inner = within / name
        if not inner.is_dir():
            inner.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(within)
        within = inner
    _remove_leftovers(within)
    return within


def _write_day(folder: Path, records: Iterable[Record]) -> tuple[int, list[tuple[Path, Path]]]:
    """How many they were, and the files that are to be published: each under the name it has and under the one it shall have."""
    stem = uuid4().hex
    parts = {ending: folder / f".{stem}{ending}{PART}" for ending in (ENDING, *([parquet_files.ENDING] if parquet_files.IS_THERE else []))}
    count = 0
    try:
        with contextlib.ExitStack() as open_files:
            zipped = open_files.enter_context(_new_zipped(parts[ENDING]))
            columns = open_files.enter_context(parquet_files.Writer(parts[parquet_files.ENDING])) if parquet_files.IS_THERE else None
            for record in records:
                zipped.write(record.line.encode() + b"\n")
                if columns:
                    columns.add(record.line)
                count += 1
        for part in parts.values():
            _sync_file(part)
    except BaseException:
        for part in parts.values():
            part.unlink(missing_ok=True)
        raise
    return count, [(part, folder / f"{count}-{stem}{ending}") for ending, part in parts.items()]


@contextlib.contextmanager
def _new_zipped(path: Path) -> Iterator[gzip.GzipFile]:
    with _new_file(path) as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=LEVEL) as zipped:
        yield zipped


def _new_file(path: Path) -> IO[bytes]:
    """Only its owner reads it: it holds what the database held."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _publish(written: list[tuple[Path, Path]]) -> None:
    for part, whole in written:
        part.rename(whole)
    for folder in {whole.parent for _, whole in written}:
        _sync_folder(folder)
    written.clear()


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(folder: Path) -> None:
    for part in folder.glob(f".*{PART}"):
        with contextlib.suppress(OSError):
            if part.stat().st_mtime < time.time() - PARTS_KEPT_SECONDS:
                part.unlink()


# ---- reading


def files(place: str, namespace: str | None = None) -> list[ArchiveFile]:
    """The files of a place, or of one namespace in it, by namespace and day. Raises `ArchiveFailed` where there is no such folder."""
    if not Path(place).is_dir():
        raise ArchiveFailed(f"{place}: there is no such folder on this machine")
    try:
        found = sorted(Path(place).glob(f"*/*/*{ENDING}"))
    except OSError as error:
        raise ArchiveFailed(f"{place}: {error.strerror or error}") from error
    return [_file(path) for path in found if not path.name.startswith(".") and namespace in (None, path.parent.parent.name)]


def find(place: str, task_id: str, namespace: str | None = None) -> Found:
    """The line of the task, from the newest file that has it; a file that is broken is read as far as it goes, and the search goes on."""
    broken: list[str] = []
    for file in sorted(files(place, namespace), key=lambda each: each.day, reverse=True):
        try:
            line = _line(file.path, task_id)
        except BROKEN as error:
            broken.append(f"{file.path}: {error}")
            continue
        if line is not None:
            return Found(line, tuple(broken))
    return Found(None, tuple(broken))


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The records of one file. Raises what BROKEN lists, or `ValueError` for a line that is no JSON."""
    for line in _lines(path):
        yield json.loads(line)


def _line(path: Path, task_id: str) -> str | None:
    # as PostgreSQL's json_build_object writes it, so that a line need not be read to know whose it is
    begin = f'{{"task_id" : "{task_id}"'.encode()
    return next((line.decode() for line in _lines(path) if line.startswith(begin)), None)


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as zipped:
        yield from zipped


def _file(path: Path) -> ArchiveFile:
    count = path.name.partition("-")[0]
    return ArchiveFile(path.parent.parent.name, path.parent.name, path, int(count) if count.isdecimal() else 0, path.stat().st_size)
