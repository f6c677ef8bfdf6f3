"""Any list as a file: `?format=csv` or `?format=ndjson` at a page's address gives the rows that its filter holds, all of them.

They are asked for page by page while they are sent, by the same questions and with the same rights as the page's, so that a list of any length takes little memory.
A reader who takes nothing for `STALLED_SECONDS` loses the place, and the file breaks off as soon as the server hands on the next piece; our own
server closes such a connection itself, another may hold its thread for longer.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from threading import Lock
from typing import Any

from flask import Flask, Response, current_app, request, stream_with_context

from engine.errors import TaskerError
from webapp.access import known_caller
from webapp.htmx import SANDBOX
from webapp.problems import problem

FORMATS = {"csv": "text/csv", "ndjson": "application/x-ndjson"}
ROWS = 500
"""How many rows are asked for at once."""
MOST_AT_ONCE, MOST_OF_ONE_ACCOUNT = 8, 2
STALLED_SECONDS = 180.0
RETRY_AFTER_SECONDS = 10.0
FORMULAS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")

Row = Mapping[str, Any]
Pages = Iterable[Sequence[Row]]


class TooManyDownloads(TaskerError):
    """As many lists are being downloaded as may be at once, in all or by this account."""


class BrokenOff(TaskerError):
    """The reader took nothing for so long that the rest of the file is not sent."""


@dataclass(eq=False)
class Download:
    """A file under way; `taken_at` is when its reader took the last piece."""

    account: int
    taken_at: float


class Downloads:
    """The files that are under way in this process, without those whose readers take nothing any more."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, Lock()
        self._under_way: set[Download] = set()

    def begin(self, account: int) -> Download:
        """One more of the account. Raises `TooManyDownloads`."""
        with self._lock:
            now = self._clock()
            self._under_way = {each for each in self._under_way if now - each.taken_at < STALLED_SECONDS}
            if len(self._under_way) >= MOST_AT_ONCE:
                raise TooManyDownloads(f"{MOST_AT_ONCE} lists are being downloaded already. Try again when one of them is done.")
            if sum(each.account == account for each in self._under_way) >= MOST_OF_ONE_ACCOUNT:
                raise TooManyDownloads(f"You are downloading {MOST_OF_ONE_ACCOUNT} lists already. Try again when one of them is done.")
            begun = Download(account, now)
            self._under_way.add(begun)
            return begun

    def go_on(self, download: Download) -> None:
        """The reader has taken a piece. Raises `BrokenOff` when that took too long."""
        with self._lock:
            if self._clock() - download.taken_at >= STALLED_SECONDS:
                raise BrokenOff(f"the reader took nothing for {STALLED_SECONDS:g} seconds")
            download.taken_at = self._clock()

    def end(self, download: Download) -> None:
        """It is done, or nobody wants it any more."""
        with self._lock:
            self._under_way.discard(download)


def init_app(app: Flask) -> None:
    """So many downloads are served at once by this process."""
    app.extensions["tasker_downloads"] = Downloads()
    app.register_error_handler(TooManyDownloads, _refused)


def _refused(error: Exception) -> Response:
    answer = problem(429, str(error))
    answer.headers["Retry-After"] = f"{RETRY_AFTER_SECONDS:.0f}"
    return answer


def asked_format() -> str | None:
    """`csv` or `ndjson` where this request asks for a file; None where it asks for a page."""
    asked = request.args.get("format")
    return asked if asked in FORMATS else None


def rows_of(found: Iterable[object], columns: Sequence[str]) -> list[Row]:
    """Those attributes of each."""
    return [{name: getattr(each, name) for name in columns} for each in found]


def list_file(name: str, columns: Sequence[str], pages: Pages, form: str) -> Response:
    """The rows of the pages as a file in that form, with the columns in their order. Raises `TooManyDownloads`."""
    downloads: Downloads = current_app.extensions["tasker_downloads"]
    parts = _counted(WRITERS[form](columns, pages), downloads, downloads.begin(known_caller().account_id))
    first = next(parts)  # what is wrong with the question is told by a page and not by a broken file
    answer = Response(stream_with_context(chain([first], parts)), mimetype=FORMATS[form])
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}.{form}"'
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Content-Security-Policy"] = SANDBOX
    return answer


def _counted(parts: Iterator[str], downloads: Downloads, download: Download) -> Iterator[str]:
    try:
        for part in parts:
            yield part
            downloads.go_on(download)
    finally:
        downloads.end(download)


def _csv(columns: Sequence[str], pages: Pages) -> Iterator[str]:
    head = _csv_lines([columns])
    for page in pages:
        yield head + _csv_lines([[csv_cell(row[name]) for name in columns] for row in page])
        head = ""
    yield head


def _csv_lines(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def csv_cell(value: object) -> object:
    """The value on one line; a text that a spreadsheet would take for a formula is told to be none."""
    if value is None or isinstance(value, (bool, int, float)):
        return "" if value is None else str(value).lower() if isinstance(value, bool) else value
    plain = _plain(value)
    text = plain if isinstance(plain, str) else ", ".join(map(str, plain)) if isinstance(plain, list) else json.dumps(plain, ensure_ascii=False, default=str)
    line = "".join(each if each.isprintable() else " " for each in text)
    return f"'{line}" if line.lstrip().startswith(FORMULAS) else line


def _ndjson(columns: Sequence[str], pages: Pages) -> Iterator[str]:
    for page in pages:
        yield "".join(json.dumps({name: _plain(row[name]) for name in columns}, ensure_ascii=False, default=str) + "\n" for row in page)
    yield ""


def _plain(value: Any) -> Any:
    """The value as JSON knows it; times in UTC, lengths of time in seconds."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    return value


WRITERS: Mapping[str, Callable[[Sequence[str], Pages], Iterator[str]]] = {"csv": _csv, "ndjson": _ndjson}
