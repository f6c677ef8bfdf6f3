"""What is asked of archives when a process dies in the middle of it; the form is that of account_points.

An engine that dies between writing and dropping leaves the task to the next one, which writes it once more: at most repeated, never missing.
"""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from functools import cache
from pathlib import Path

from account_points import ACTOR, Ask, Holds, told

from engine import TaskRequest, large_results, objects, rollups, tasks
from engine.db import Database
from engine.keeping import archive_files, archives, retention


@cache
def place() -> str:
    """The same for all: what was cut off may reach the server after what was asked next."""
    return tempfile.mkdtemp()


def set_archive(db: Database) -> None:
    told["place"] = place()
    archives.set_archive(db, "crash", told["place"], actor=ACTOR)


def end_task(db: Database) -> None:
    """A task that ended long ago."""
    told["task"] = tasks.submit(db, TaskRequest("pair", "crash"))
    tasks.cancel_task(db, told["task"], actor=ACTOR)
    rollups.catch_up(db)
    db.rows("update tasker_task set created_at = created_at - interval '9 days', finished_at = finished_at - interval '9 days' returning 1")
    retention.set_retention(db, "crash", timedelta(days=1), actor=ACTOR)


def sweep(db: Database) -> None:
    retention.Sweep(db).finish()


def is_written_and_gone(db: Database) -> bool:
    sweep(db)  # what the dead one's transaction still held was passed by
    found = archive_files.find(told["place"], told["task"]).line
    return found is not None and bool(db.value("select count(*) from tasker_task") == 0 and db.value("select task_count from tasker_archive_state") == 1)


def lose_place(db: Database) -> None:
    told["place"] = str(Path(tempfile.mkdtemp()) / "gone")
    archives.set_archive(db, "crash", told["place"], actor=ACTOR)


def is_kept_and_told(db: Database) -> bool:
    sweep(db)
    return bool(db.value("select count(*) from tasker_task") == 1 and db.value("select error is not null and task_count = 0 from tasker_archive_state"))


def leave_object(db: Database) -> None:
    """A dropped task has left a folder in the store."""
    told["store"] = Path(tempfile.mkdtemp())
    os.environ["TASKER_OBJECTS"] = told["store"].as_uri()
    objects.keeper.cache_clear()
    folder = "crash/7f3b4c80-0000-4000-8000-000000000000"
    db.rows("insert into tasker_object_left (folder, left_at) values (%(folder)s, now()) returning 1", {"folder": folder})
    (told["store"] / folder).mkdir(parents=True)


def delete_left(db: Database) -> None:
    large_results.delete_left(db)


def is_deleted(db: Database) -> bool:
    os.environ.pop("TASKER_OBJECTS", None)
    objects.keeper.cache_clear()
    return large_results.left_count(db) == 0 and not any(path.is_dir() for path in (told["store"] / "crash").iterdir())


def has_place(db: Database) -> bool:
    return archives.archive_of(db, "crash").place == told["place"]


def has_none(db: Database) -> bool:
    return archives.archive_of(db, "crash").place is None


POINTS: dict[str, tuple[tuple[Ask, Holds, *tuple[Ask, ...]], ...]] = {
    "tasker_set_archive": ((set_archive, has_place),),
    "tasker_follow_archive": ((lambda db: archives.follow_default(db, "crash"), has_none, set_archive),),
    "tasker_take_old_tasks": ((sweep, is_written_and_gone, set_archive, end_task),),
    "tasker_forget_tasks": ((sweep, is_written_and_gone, set_archive, end_task),),
    "tasker_clear_objects": ((delete_left, is_deleted, leave_object),),
    "tasker_note_archive": ((sweep, is_written_and_gone, set_archive, end_task), (sweep, is_kept_and_told, lose_place, end_task)),
}
