"""Where tasks are written before they are dropped: a folder per namespace or for all, and the batch that is written and dropped in one transaction.

`engine.keeping.retention` sweeps with it; the command line sets and shows the rest. What is written is what the database held, masked nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, LiteralString

from psycopg import Connection

from engine import json_text, objects
from engine.db import Database, bound_transactions
from engine.errors import NotFound
from engine.hiding.redactions import Redaction, TaskRedaction, redactions_of
from engine.keeping import archive_files
from engine.keeping.archive_files import ArchiveFailed, Record
from engine.objects import ObjectMissing, StoreFailed
from engine.rows import ArchiveRow

STEPS_PER_FILE = 5_000
AT_ONCE = 20
"""So many records are fetched together: what is held is some tasks, not a batch of them."""


# ---- the settings


def archives(db: Database) -> list[ArchiveRow]:
    """Every namespace by name with where it is written; `place` None is nowhere."""
    found = db.rows("""
        select a.namespace, a.place, a.by_default, a.set_by, a.set_at, a.task_count, a.written_at, a.error, a.failed_at
          from tasker_archives a order by a.namespace collate "C"
    """)
    return [ArchiveRow(*row) for row in found]


def archive_of(db: Database, namespace: str) -> ArchiveRow:
    """That of one namespace. Raises `NotFound`."""
    for row in archives(db):
        if row.namespace == namespace:
            return row
    raise NotFound(f'there is no namespace "{namespace}"')


def default_archive(db: Database) -> str | None:
    """Where namespaces without a setting of their own are written; None is nowhere."""
    found: str | None = db.value("select a.place from tasker_archive a where a.namespace is null")
    return found


def set_archive(db: Database, namespace: str | None, place: str | None, *, actor: str) -> None:
    """From now on a namespace's tasks, or with None all that follow the default, are written to the folder before they are dropped; a place of None is nowhere.

    Raises `NotFound`, and `ArchiveFailed` for what is no absolute path.
    """
    checked = None if place is None else archive_files.check_place(place)
    parameters = {"namespace": namespace, "place": checked, "actor": actor}
    db.value("select tasker_set_archive(%(namespace)s, %(place)s, %(actor)s)", parameters)


def follow_default(db: Database, namespace: str) -> None:
    """The namespace has no archive of its own any more. Raises `NotFound`."""
    db.value("select tasker_follow_archive(%(namespace)s)", {"namespace": namespace})


# ---- writing


def write_and_drop(db: Database, namespace: str, place: str, *, definition_id: int, after: int, limit: int, hold: timedelta) -> tuple[int | None, int, int]:
    """A batch as `tasker_drop_tasks` has it, but written to the place before: what is not on the disk is not dropped, and how it went is on record.

    Raises `ArchiveFailed`. One transaction holds the tasks, so that what is written is what is dropped.
    """
    try:
        with db.connection() as connection, connection.transaction():
            bound_transactions(connection, 0, this_alone=True)  # a file takes as long as it takes
            looked_to, task_nos = _taken(connection, definition_id, after, limit, hold)
            if not task_nos:
                return looked_to, 0, 0
            archive_files.write(place, namespace, _records(connection, task_nos))
            return looked_to, *_forgotten(connection, namespace, task_nos)
    except ArchiveFailed as error:
        _note(db, namespace, str(error))
        raise


def _taken(connection: Connection[Any], definition_id: int, after: int, limit: int, hold: timedelta) -> tuple[int | None, list[int]]:
    query: LiteralString = "select k.looked_to, k.task_nos from tasker_take_old_tasks(%s, %s, %s, %s) k"
    [(looked_to, task_nos)] = connection.execute(query, [definition_id, after, limit, hold]).fetchall()
    return looked_to, task_nos


def _records(connection: Connection[Any], task_nos: list[int]) -> Iterator[Record]:
    stored = _stored(connection, task_nos)
    with connection.cursor(name="records") as cursor:
        cursor.itersize = AT_ONCE
        cursor.execute(
            """
            select to_char(t.finished_at at time zone 'UTC', 'YYYY-MM-DD') as day, t.task_id::text, tasker_task_record(t.task_no)
              from tasker_task t where t.task_no = any(%s) order by 1, t.task_no
            """,
            [task_nos],
        )
        for day, task_id, line in cursor:
            keys = stored.get(task_id)
            yield Record(day, task_id, line if keys is None else _with_objects(line, keys))


def _stored(connection: Connection[Any], task_nos: list[int]) -> dict[str, list[str]]:
    query: LiteralString = """
        select t.task_id::text, array_agg(distinct o.key order by o.key) from tasker_object o join tasker_task t using (task_no)
         where o.task_no = any(%s) group by 1
    """
    return dict(connection.execute(query, [task_nos]).fetchall())


def _with_objects(line: str, keys: list[str]) -> str:
    """The line with what lies in the object store, by key, and what is not there any more. Raises `ArchiveFailed` when the store does not answer."""
    held, missing = [], []
    for key in keys:
        try:
            held.append(f"{json_text.dump(key)} : {objects.object_text(key)}")
        except ObjectMissing as error:  # it will never be there again, and is no reason to keep the task for ever
            missing.append(str(error))
        except StoreFailed as error:
            raise ArchiveFailed(str(error)) from error
    return f'{line[:-1]}, "objects" : {{{", ".join(held)}}}, "missing_objects" : {json_text.dump(missing)}}}'


def _forgotten(connection: Connection[Any], namespace: str, task_nos: list[int]) -> tuple[int, int]:
    [(task_count, step_count)] = connection.execute("select f.task_count, f.step_count from tasker_forget_tasks(%s) f", [task_nos]).fetchall()
    connection.execute("select tasker_note_archive(%s, %s, null)", [namespace, task_count])
    return task_count, step_count


def _note(db: Database, namespace: str, error: str) -> None:
    db.value("select tasker_note_archive(%(namespace)s, 0, %(error)s)", {"namespace": namespace, "error": error[:1000]})


# ---- reading


def shown(db: Database, record: dict[str, Any]) -> dict[str, Any]:
    """A record from a file as it may be shown: masked as its task was on the pages, as far as its definition is still known."""
    key = (record["namespace"], record["name"], record["version"])
    redaction = redactions_of(db, [key]).get(key, Redaction())
    context = record["task"]["context"]
    of_task = redaction.of_task(context)
    steps = [_shown_step(of_task, step) for step in _with_results(record)]
    rest = {name: of_task.data(record[name]) for name in ("history", "log", "progress", "events", "undelivered")}
    record = {name: value for name, value in record.items() if name != "objects"}
    return {**record, "task": {**record["task"], "context": redaction.context(context)}, "steps": steps, **rest}


def _with_results(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps, with each result that lay in the object store where it belongs."""
    held = record.get("objects", {})
    return [{**step, "result": held.get(objects.key_of(step["result"]), step["result"])} for step in record["steps"]]


def _shown_step(of_task: TaskRedaction, step: dict[str, Any]) -> dict[str, Any]:
    name = step["name"]
    return {**step, "result": of_task.result(name, step["result"]), "error": of_task.error(step["error"]), "item": of_task.item(name, step["item"])}
