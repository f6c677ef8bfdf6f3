"""One list of tasks from several databases: pages of each, merged by time, and one cursor that holds where each is continued."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping

from engine import json_text, queries
from engine.db import Database
from engine.errors import Problem, RequestError
from engine.rows import TaskPage

Cursors = dict[str, str | None]
"""Where the list of each database goes on; None at its beginning. One whose list is at its end is not among them."""


def merged(databases: Mapping[str, Database], pages: Mapping[str, TaskPage], asked: Cursors, limit: int) -> TaskPage:
    """The newest `limit` tasks of these pages, and where the next page of all goes on; `asked` is where these began.

    A database that gave no page, because it did not answer, goes on where it was.
    """
    newest = sorted(((task, name) for name, page in pages.items() for task in page.items), key=lambda found: found[0].created_at, reverse=True)[:limit]
    taken = {name: [task for task, of in newest if of == name] for name in pages}
    later: Cursors = {name: cursor for name, cursor in asked.items() if name not in pages}
    for name, page in pages.items():
        if len(taken[name]) == len(page.items):
            if page.next_cursor is not None:
                later[name] = page.next_cursor
        else:
            later[name] = queries.cursor_after(databases[name], taken[name][-1].task_id) if taken[name] else asked[name]
    goes_on = any(name in pages for name in later)
    return TaskPage(tuple(task for task, _ in newest), _written(later) if goes_on else None)


def read_cursors(cursor: str | None, names: Iterable[str]) -> Cursors:
    """Where each of the databases goes on. Raises `RequestError` for text that `merged` did not write."""
    if cursor is None:
        return dict.fromkeys(names)
    try:
        found = json_text.read_input(base64.urlsafe_b64decode(cursor.encode()))
        return {name: None if found[name] is None else str(found[name]) for name in names if name in found}
    except (binascii.Error, UnicodeError, ValueError, TypeError, RequestError):
        raise RequestError([Problem("cursor", "bad_cursor", "this is no cursor of an earlier page")]) from None


def _written(cursors: Cursors) -> str:
    return base64.urlsafe_b64encode(json.dumps(cursors).encode()).decode()
