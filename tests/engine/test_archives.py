"""Tasks are written to files before they are dropped, and what is not on the disk is not dropped."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pyarrow import parquet
from test_retention import count, ended, known

from engine import events
from engine.db import Database
from engine.doctor.health import _archives
from engine.errors import NotFound
from engine.keeping import archive_files, archives, retention
from engine.keeping.archive_files import ArchiveFailed, Record
from engine.keeping.retention import Dropped, Sweep

DAY = timedelta(days=1)
Conn = psycopg.Connection[Any]
TASK = "7f3b4c80-0000-4000-8000-000000000000"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()
    return tmp_path / "archive"


def records(*numbers: int, day: str = "2026-11-26") -> list[Record]:
    """As PostgreSQL writes them, as far as these tests look."""
    ids = [f"{TASK[:-1]}{number}" for number in numbers]
    rest = '"namespace" : "tests", "name" : "one", "version" : "1.0.0", "state" : "completed", "finished_at" : "2026-11-26T00:00:00"'
    return [Record(day, task_id, f'{{"task_id" : "{task_id}", {rest}}}') for task_id in ids]


def names(place: Path) -> list[str]:
    return [str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()]


# ---- from the database


def test_a_task_is_written_whole_before_it_is_dropped(
    db: Database, conn: Conn, later: Callable[..., Database], place: Path, eventually: Callable[..., bool]
) -> None:
    known(db, steps=2)
    known(db, namespace="elsewhere")
    [one, two] = ended(db, conn, 2)
    ended(db, conn, 1, namespace="elsewhere")
    conn.execute("update tasker_step set result = '{\"paid\": 1.50}', attempts = 1 where step_no = 0")
    conn.execute("update tasker_task set context = '{\"password\": \"hunter22\"}'")
    conn.execute("insert into tasker_log (task_no, step_no, attempt, at, level, message) select task_no, 0, 1, now(), 20, 'charged' from tasker_task")
    conn.execute("insert into tasker_history (task_no, step_no, at, from_state, to_state) select task_no, 0, now(), 1, 7 from tasker_task")
    events.publish_event(db, "order.priced", task=one, data={"price": 3})
    retention.set_default(db, DAY, actor="ann")
    archives.set_archive(db, "tests", str(place), actor="ann")
    then, dropped = later(days=2), list[Dropped]()
    # transactions of other databases of the server hold the roll-ups back, and these the tasks
    assert eventually(lambda: dropped.append(Sweep(then).finish()) or count(conn) == 0)
    assert sum(dropped, Dropped()) == Dropped(3, 5)
    [file] = archive_files.files(str(place))
    assert (file.namespace, file.task_count, stat.S_IMODE(file.path.stat().st_mode)) == ("tests", 2, 0o600)
    kept = {record["task_id"]: record for record in archive_files.read(file.path)}
    assert set(kept) == {one, two}
    found = kept[one]
    assert (found["namespace"], found["name"], found["version"], found["state"]) == ("tests", "one", "1.0.0", "completed")
    assert found["task"]["context"] == {"password": "hunter22"}
    assert [(step["name"], step["state"], step["result"]) for step in found["steps"]] == [("s0", "skipped", {"paid": 1.5}), ("s1", "skipped", None)]
    assert [line["message"] for line in found["log"]] == ["charged"]
    assert [event["data"] for event in found["events"]] == [{"price": 3}]
    assert [(move["step_no"], move["from_state"], move["to_state"]) for move in found["history"]] == [(0, "ready", "skipped")]
    masked = archives.shown(db, found)
    assert masked["task"]["context"]["password"] != "hunter22"
    assert masked["steps"][0]["result"] == {"paid": 1.5}
    row = archives.archive_of(db, "tests")
    assert (row.task_count, row.error) == (2, None)
    assert archives.archive_of(db, "elsewhere").task_count == 0


def test_what_cannot_be_written_is_not_dropped_and_that_is_said(db: Database, conn: Conn, later: Callable[..., Database], place: Path) -> None:
    known(db)
    known(db, namespace="elsewhere")
    for namespace in ("tests", "elsewhere"):
        ended(db, conn, 2, namespace=namespace)
    retention.set_default(db, DAY, actor="ann")
    archives.set_archive(db, None, str(place), actor="ann")
    archives.set_archive(db, "elsewhere", None, actor="ann")
    then, sweep = later(days=2), None
    place.rmdir()
    sweep = Sweep(then)
    assert sweep.go_on(threading.Event()) == Dropped(2, 2)   # the other namespace does not wait for it
    assert "there is no such folder" in sweep.failures["tests"]
    assert count(conn) == 2
    row = archives.archive_of(db, "tests")
    assert (row.place, row.by_default, row.task_count) == (str(place), True, 0)
    assert "there is no such folder" in (row.error or "")
    assert [check.state for check in _archives(db, db.url)] == ["problem"]
    place.mkdir()
    assert sweep.go_on(threading.Event()) == Dropped(2, 2)
    assert archives.archive_of(db, "tests").error is None
    assert [check.state for check in _archives(db, db.url)] == ["ok"]
    assert sum(file.task_count for file in archive_files.files(str(place))) == 2


def test_a_task_that_was_written_but_not_dropped_is_written_again_and_never_missing(
    db: Database, conn: Conn, later: Callable[..., Database], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Forbids that what stands between the file's name and the commit loses a task: an engine dies there.
    known(db)
    [task] = ended(db, conn, 1)
    retention.set_default(db, DAY, actor="ann")
    archives.set_archive(db, "tests", str(place), actor="ann")
    then = later(days=2)

    class Died(BaseException):
        pass

    def die(*_: object) -> tuple[int, int]:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(archives, "_forgotten", die)
        with pytest.raises(Died):
            Sweep(then).finish()
    assert count(conn) == 1
    assert Sweep(then).finish() == Dropped(1, 1)
    assert [record["task_id"] for file in archive_files.files(str(place)) for record in archive_files.read(file.path)] == [task, task]


def test_with_an_archive_nothing_is_dropped_by_the_way_without(db: Database, conn: Conn, later: Callable[..., Database], place: Path) -> None:
    # Forbids that an engine which does not know yet of an archive drops past it.
    known(db)
    ended(db, conn, 1)
    retention.set_default(db, DAY, actor="ann")
    then = later(days=2)
    sweep = Sweep(then)
    sweep.begin()
    archives.set_archive(db, "tests", str(place), actor="ann")
    assert sweep.drop_batch() == Dropped()
    assert count(conn) == 1


def test_a_namespace_has_its_own_archive_or_the_default(db: Database) -> None:
    known(db)
    archives.set_archive(db, None, "/srv/all", actor="ann")
    assert archives.archive_of(db, "tests").place == archives.default_archive(db) == "/srv/all"
    archives.set_archive(db, "tests", "/srv/tests", actor="bob")
    row = archives.archive_of(db, "tests")
    assert (row.place, row.by_default, row.set_by) == ("/srv/tests", False, "bob")
    archives.follow_default(db, "tests")
    assert archives.archive_of(db, "tests").by_default
    for act in (lambda: archives.set_archive(db, "nowhere", "/srv", actor="ann"), lambda: archives.follow_default(db, "nowhere"), lambda: archives.archive_of(db, "nowhere")):
        with pytest.raises(NotFound, match="nowhere"):
            act()
    with pytest.raises(ArchiveFailed, match="absolute path"):
        archives.set_archive(db, None, "here", actor="ann")


# ---- the files


def test_each_day_has_files_of_its_own_that_may_be_joined(place: Path) -> None:
    assert archive_files.write(str(place), "shop", [*records(1, 2), *records(3, day="2026-11-27")]) == 3
    assert archive_files.write(str(place), "shop", records(4)) == 1
    found = archive_files.files(str(place), "shop")
    assert [(file.day, file.task_count) for file in found] in ([("2026-11-26", 2), ("2026-11-26", 1), ("2026-11-27", 1)], [("2026-11-26", 1), ("2026-11-26", 2), ("2026-11-27", 1)])
    joined = place / "joined"
    joined.write_bytes(b"".join(file.path.read_bytes() for file in found))
    assert len(list(archive_files.read(joined))) == 4
    assert archive_files.files(str(place), "other") == []


def test_what_fails_half_way_leaves_no_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        (place / "shop").mkdir()
        (place / "shop" / "2026-11-26").mkdir()
        with pytest.raises(ArchiveFailed, match="No space left"):
            archive_files.write(str(place), "shop", records(1))
    assert names(place) == []
    leftover = place / "shop" / "2026-11-26" / f".old{archive_files.PART}"
    leftover.touch()
    os.utime(leftover, (0, 0))
    archive_files.write(str(place), "shop", records(1))
    assert not leftover.exists()


def test_a_broken_file_is_named_and_the_search_goes_on(place: Path) -> None:
    archive_files.write(str(place), "shop", records(1, 2))
    archive_files.write(str(place), "shop", records(3, day="2026-11-27"))
    newest = archive_files.files(str(place))[-1]
    newest.path.write_bytes(newest.path.read_bytes()[:20])
    found = archive_files.find(str(place), f"{TASK[:-1]}2")
    assert json.loads(found.line or "null")["task_id"].endswith("2")
    assert str(newest.path) in found.broken[0]
    assert archive_files.find(str(place), f"{TASK[:-1]}3").line is None
    with pytest.raises(ArchiveFailed, match="no such folder"):
        archive_files.find(str(place / "gone"), TASK)


def test_where_pyarrow_is_there_a_table_lies_beside_each_file(place: Path) -> None:
    archive_files.write(str(place), "shop", records(*range(5)))
    [table] = place.rglob("*.parquet")
    found = parquet.read_table(table).to_pylist()
    assert [row["task_id"] for row in found] == [record.task_id for record in records(*range(5))]
    assert [json.loads(row["record"]) for row in found] == list(archive_files.read(archive_files.files(str(place))[0].path))
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
