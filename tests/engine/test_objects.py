"""Results that lie in an object store: put there before they are reported, read wherever results are read, and gone with their task."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import fsspec
import psycopg
import pytest

from engine import TaskRequest, Workflow, events, large_results, leases, objects, queries, scheduler, tasks
from engine.db import Database
from engine.doctor.health import _objects
from engine.errors import TaskerError
from engine.keeping import archive_files, archives, retention
from engine.keeping.retention import Dropped, Sweep
from engine.objects import ObjectMissing, StoreFailed
from engine.registry import HandlerRegistry
from engine.scheduler import Engine

Conn = psycopg.Connection[Any]
TASK = "7f3b4c80-0000-4000-8000-000000000000"
LARGE = "x" * 200_000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store that everybody here uses: what takes more than 64 KiB lies there."""
    (tmp_path / "objects").mkdir()
    monkeypatch.setenv("TASKER_OBJECTS", (tmp_path / "objects").as_uri())
    objects.keeper.cache_clear()
    yield tmp_path / "objects"
    objects.keeper.cache_clear()


@contextmanager
def running(url: str, registry: HandlerRegistry) -> Iterator[Engine]:
    engine = Engine(url, registry, runner="threads", concurrency=2, grace=1)
    engine.start()
    try:
        yield engine
    finally:
        engine.drain()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def state(db: Database, task_id: str) -> str:
    return str(queries.task_row(db, task_id).state)


def error(db: Database, task_id: str, step: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = queries.outcome(db, task_id)["steps"][step]["error"]
    return found


def test_a_large_result_lies_in_the_store_and_is_read_like_any_other(
    db: Database, conn: Conn, later: Callable[..., Database], database_url: str, registry: HandlerRegistry, folder: Path, tmp_path: Path, eventually: Callable[..., bool]
) -> None:
    flow = Workflow("large", namespace="tests", version="1.0.0")
    read: dict[str, Any] = {}

    @flow.step
    def make() -> object:
        return {"text": LARGE, "password": "hunter22"}

    @flow.step(depends_on_step="make")
    def small(make: Any) -> object:
        read["near"] = make["text"]
        return [1, 2]

    @flow.step(depends_on_step="small")
    def look_alike(sequence: Any) -> object:
        read["far"] = sequence.result("make")["text"]
        return {"$object": {"key": f"tests/{TASK}/{'0' * 64}", "bytes": 1}}

    @flow.step(depends_on_step="look_alike")
    def list_them(look_alike: Any) -> object:
        read["alike"] = look_alike
        return [LARGE[:40_000], LARGE[:40_000]]   # a map step's list stays where the database sees it

    flow.define("each", depends_on_step="list_them", for_each="list_them", handler_class=lambda item: len(item))
    with running(database_url, registry):
        task = tasks.submit(db, TaskRequest("large", "tests"))
        assert eventually(lambda: state(db, task) in ("completed", "failed"))
    found = queries.stored_results(db, task)
    alike = {"$object": {"key": f"tests/{TASK}/{'0' * 64}", "bytes": 1}}
    assert read == {"near": LARGE, "far": LARGE, "alike": alike}
    assert found == {"make": {"text": LARGE, "password": "hunter22"}, "small": [1, 2], "look_alike": alike, "list_them": [LARGE[:40_000]] * 2, "each": [40_000] * 2} | {
        name: 40_000 for name in found if "[" in name
    }
    [file] = files(folder)
    assert (file.parts[-3:-1], stat.S_IMODE(file.stat().st_mode)) == (("tests", task), 0o600)
    assert conn.execute("select max(octet_length(result::text)) < 90000 from tasker_step").fetchone() == (True,)
    shown = queries.results(db, task, ["make"])["make"]
    assert (shown["text"], shown["password"] != "hunter22") == (LARGE, True)
    told: dict[str, Any] = {}
    reader = events.EventReader(db, 0)
    # transactions of other databases of the server hold it back
    assert eventually(lambda: told.update({each["step_name"]: each["result"] for each in reader.read() if each["type"] == "step.completed"}) or "each" in told)
    assert (told["make"], told["look_alike"]) == (shown, alike)

    # it goes with its task, which is written whole before
    (tmp_path / "archive").mkdir()
    retention.set_default(db, timedelta(days=1), actor="ann")
    archives.set_archive(db, None, str(tmp_path / "archive"), actor="ann")
    then = later(days=2)
    folder.rename(folder.with_name("away"))
    assert eventually(lambda: Sweep(then).finish() == Dropped() and "no folder" in (archives.archive_of(db, "tests").error or ""))
    folder.with_name("away").rename(folder)
    assert Sweep(then).finish().task_count == 1
    [kept] = archive_files.read(archive_files.files(str(tmp_path / "archive"))[0].path)
    by_name = {step["name"]: step["result"] for step in archives.shown(db, kept)["steps"]}
    assert (by_name["make"], by_name["look_alike"]) == (shown, alike)
    assert files(folder) == [file]
    folder.rename(folder.with_name("away"))
    assert (large_results.delete_left(db), large_results.left_count(db)) == (0, 1)
    folder.with_name("away").rename(folder)
    assert (large_results.delete_left(db), large_results.left_count(db)) == (1, 0)
    assert files(folder) == []


def test_what_a_handler_has_done_is_not_done_again_because_the_store_was_away(
    db: Database, database_url: str, registry: HandlerRegistry, folder: Path, eventually: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = Workflow("large", namespace="tests", version="1.0.0")
    calls: list[int] = []

    @flow.step(retryable=False)
    def make() -> object:
        calls.append(1)
        return LARGE

    refused = threading.Event()
    put = objects.Keeper.put

    def watched(keeper: objects.Keeper, *given: str) -> str:
        try:
            return put(keeper, *given)
        except StoreFailed:
            refused.set()
            raise

    monkeypatch.setattr(objects.Keeper, "put", watched)
    folder.rename(folder.with_name("away"))
    with running(database_url, registry):
        task = tasks.submit(db, TaskRequest("large", "tests"))
        assert refused.wait(20)
        folder.with_name("away").rename(folder)
        assert eventually(lambda: state(db, task) in ("completed", "failed"))
    assert (state(db, task), len(calls)) == ("completed", 1)


def test_while_the_store_is_down_steps_go_back_uncharged_and_the_engine_says_so(
    db: Database, conn: Conn, database_url: str, registry: HandlerRegistry, folder: Path, eventually: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = Workflow("large", namespace="tests", version="1.0.0")

    @flow.step(retry_limit=1, timeout=400)  # the store's being away must not be taken for a handler that takes too long
    def make() -> object:
        return LARGE

    @flow.step(depends_on_step="make")
    def lose() -> object:
        folder.rename(folder.with_name("away"))

    @flow.step(depends_on_step="lose", retryable=False)
    def use(make: Any) -> object:
        return len(make)

    def went_back(step: str) -> bool:
        found = queries.step(db, task, step).row
        return ((found.error or {}).get("type"), found.state, found.attempts) == ("StoreFailed", "retrying", 0)

    def hindrances(engine: Engine) -> str:
        engine.worker.heartbeat(conn)
        return " ".join(queries.engines(db)[0].hindrances)

    monkeypatch.setattr(scheduler, "STORE_SECONDS", 0.1)
    monkeypatch.setattr(objects, "AGAIN_SECONDS", 0.5)
    folder.rename(folder.with_name("away"))
    with running(database_url, registry) as engine:
        assert eventually(lambda: "no folder" in hindrances(engine))  # before any step has met it
        task = tasks.submit(db, TaskRequest("large", "tests"))
        for step in ("make", "use"):
            assert eventually(lambda step=step: went_back(step))
            assert "no folder" in (error(db, task, step) or {})["message"]
            assert "no folder" in hindrances(engine)
            assert [check.state for check in _objects(db, db.url)] == ["problem"]
            assert eventually(lambda step=step: len(queries.step(db, task, step).attempts) > 1)
            folder.with_name("away").rename(folder)
        assert eventually(lambda: state(db, task) in ("completed", "failed"))
        assert queries.stored_results(db, task)["use"] == len(LARGE)
        assert [check.state for check in _objects(db, db.url)] == ["ok"]
        assert eventually(lambda: hindrances(engine) == "")

    with monkeypatch.context() as patch:
        patch.setattr(large_results, "MOST_BYTES", len(LARGE) // 2)
        assert "ask for this step alone" in queries.results(db, task)["make"]["$object"]["error"]

    # an object that is gone is an error where it is read, and nothing more
    [file] = files(folder)
    file.unlink()
    found = queries.results(db, task)
    assert "is not in the store" in found["make"]["$object"]["error"]
    assert found["use"] == len(LARGE)


def test_a_handler_that_asks_for_an_object_that_is_gone_fails_for_good(
    db: Database, database_url: str, registry: HandlerRegistry, folder: Path, eventually: Callable[..., bool]
) -> None:
    flow = Workflow("large", namespace="tests", version="1.0.0")

    @flow.step
    def make() -> object:
        return LARGE

    @flow.step(depends_on_step="make")
    def lose() -> object:
        for file in files(folder):
            file.unlink()

    @flow.step(depends_on_step=["make", "lose"])
    def use(make: Any) -> object:
        return len(make)

    with running(database_url, registry):
        task = tasks.submit(db, TaskRequest("large", "tests"))
        assert eventually(lambda: state(db, task) == "failed")
    found = error(db, task, "use") or {}
    assert (found["type"], "is not in the store" in found["message"]) == ("ObjectMissing", True)


PROCESSES = """
from engine import Workflow

flow = Workflow("large", namespace="tests", version="1.0.0")

@flow.step
def make():
    return "x" * 200_000

@flow.step(depends_on_step="make")
def use(make):
    return len(make)
"""


@pytest.mark.nightly
def test_handler_processes_put_and_get_by_themselves(
    db: Database, database_url: str, registry: HandlerRegistry, folder: Path, tmp_path: Path, eventually: Callable[..., bool]
) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "large_flow.py").write_text(PROCESSES)
    registry.load([str(tmp_path / "flows")])
    engine = Engine(database_url, registry, runner="processes", sources=[str(tmp_path / "flows")], concurrency=2, grace=1)
    engine.start()
    try:
        task = tasks.submit(db, TaskRequest("large", "tests"))
        assert eventually(lambda: state(db, task) in ("completed", "failed"))
    finally:
        engine.drain()
    assert queries.stored_results(db, task) == {"make": "x" * 200_000, "use": 200_000}
    assert len(files(folder)) == 1


def test_only_who_holds_the_step_says_where_its_result_lies(db: Database, conn: Conn) -> None:
    # Forbids that an attempt which was taken over leads readers of the next one to its own object.
    flow = Workflow("large", namespace="tests", version="1.0.0")
    flow.define("make")
    definition_id = tasks.register_definition(db, flow.definition)
    tasks.submit(db, TaskRequest("large", "tests"))
    who = leases.register_worker(conn, name="one", runner="none", concurrency=1, definitions=[definition_id], lease=timedelta(seconds=30))
    [(task_no, step_no, _, attempt)] = leases.complete_and_claim(conn, who, claim_no=1, done=(), want=1, definitions=f"{{{definition_id}}}")
    leases.keep_objects(conn, who, [(task_no, step_no, attempt + 1, "late", 1)])
    assert conn.execute("select count(*) from tasker_object").fetchone() == (0,)
    for key in ("first", "second"):
        leases.keep_objects(conn, who, [(task_no, step_no, attempt, key, 1)])
    assert conn.execute("select key from tasker_object").fetchall() == [("second",)]


# ---- stores


@pytest.fixture(params=["folder", "fsspec"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> objects.Store:
    if request.param == "folder":
        return objects.open_store(tmp_path.as_uri())
    fsspec.filesystem("memory").makedirs(str(tmp_path), exist_ok=True)
    return objects.open_store(f"memory://{tmp_path}")


def test_what_is_put_is_got_until_it_is_deleted(store: objects.Store) -> None:
    keeper = objects.Keeper(store, 10)
    key, size = objects.place_of(keeper.put("shop", TASK, '"é"'))
    assert size == 4
    assert objects.place_of(keeper.put("shop", TASK, '"é"')) == (key, size)   # the same content lies in the same place
    assert keeper.get(key) == '"é"'
    store.put(key, b'"x"')
    if keeper.store.get(key) == b'"x"':
        with pytest.raises(ObjectMissing, match="not what was put there"):
            keeper.get(key)
    keeper.delete(f"shop/{TASK}")
    keeper.delete(f"shop/{TASK}")
    with pytest.raises(ObjectMissing, match="not in the store"):
        keeper.get(key)
    for bad in ("../x", f"shop/../{TASK}", "/etc/passwd", f"a..b/{TASK}"):
        with pytest.raises(ObjectMissing, match="no key"):
            keeper.get(bad)


@pytest.mark.parametrize("url", ["file://{}/not-there", "memory://{}/not-there", "local://{}/not-there"])
def test_a_folder_that_is_not_there_is_an_error_and_is_not_made(tmp_path: Path, url: str) -> None:
    keeper = objects.Keeper(objects.open_store(url.format(tmp_path)), 10)
    for call in (keeper.check, lambda: keeper.get(f"shop/{TASK}/{'0' * 64}"), lambda: keeper.delete(f"shop/{TASK}")):
        with pytest.raises(StoreFailed, match=f"there is no .*{tmp_path}/not-there"):
            call()
    if not url.startswith("memory"):  # whose files need no folders
        with pytest.raises(StoreFailed, match=f"there is no .*{tmp_path}/not-there"):
            keeper.put("shop", TASK, '"x"')
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_hangs_or_breaks_fails_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "CALL_SECONDS", 0.05)
    keeper = objects.Keeper(objects.FolderStore(tmp_path), 10)
    key, _ = objects.place_of(keeper.put("shop", TASK, '"x"'))
    monkeypatch.setattr(objects.FolderStore, "get", lambda *_: __import__("threading").Event().wait(20))
    with pytest.raises(StoreFailed, match="within"):
        keeper.get(key)
    with monkeypatch.context() as patch:  # an attempt whose time will soon be up waits less
        patch.setattr(objects, "CALL_SECONDS", 30)
        patch.setattr(objects, "LEAST_SECONDS", 0)
        limit = objects.UNTIL.set(objects.end_within(0.1))
        with pytest.raises(StoreFailed, match=r"within 0\.0"):
            keeper.get(key)
        objects.UNTIL.reset(limit)
    with pytest.raises(StoreFailed, match="no folder"):
        objects.Keeper(objects.FolderStore(tmp_path / "gone"), 10).put("shop", TASK, '"x"')


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TASKER_OBJECTS", "objects", "absolute path"),
        ("TASKER_OBJECTS", "nothing://x", "nothing"),
        ("TASKER_OBJECT_BYTES", "many", "at least 1,024"),
        ("TASKER_OBJECT_BYTES", "10", "at least 1,024"),
    ],
)
def test_a_setting_that_names_no_store_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(TaskerError, match=said):
        objects.keeper()
