"""An object store for large results behind three calls, and what an attempt needs to put its result there. Knows no database.

`TASKER_OBJECTS` names the store: a folder by `file:///…`, or whatever `fsspec` opens (`s3://bucket/prefix`). Engines, handlers and dashboard need the same.
A key is `namespace/task/sha-256`: objects of a task lie in one folder, and nobody else's result leads to them.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import math
import os
import re
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from engine import json_text
from engine.errors import PermanentError, RetryableError, TaskerError
from engine.settings import Settings

NAME: Final = "$object"
USUAL_BYTES = 64 << 10
FEWEST_BYTES = 1 << 10
MAX_BYTES = 8 << 20
"""So large a result may be that goes to a store."""
CALL_SECONDS = 30.0
LEAST_SECONDS = 1.0
PATIENCE_SECONDS = 300.0
"""For so long a result that is there is offered to a store that does not take it, before its step goes back and its handler's work is lost."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 10.0
AGAIN_SECONDS = 10.0
"""So long a step waits that went back as the store was away."""
UNTIL: ContextVar[float] = ContextVar("tasker_objects_until", default=math.inf)
"""Until when, by the monotonic clock, an attempt may wait for the store."""
_KEY = re.compile(r"[a-z0-9][a-z0-9_.-]*/[0-9a-f-]{36}(/[0-9a-f]{64})?\Z")
_T = TypeVar("_T")


class StoreFailed(RetryableError):
    """The store does not answer, or not in time; it may later. An attempt that ends with it is not charged."""

    def __init__(self, message: object = "") -> None:
        super().__init__(message, delay=AGAIN_SECONDS)


class ObjectMissing(PermanentError):
    """The store answers, and the object is not in it, or is not what was put there."""


class Store(Protocol):
    """Where objects lie. Every call raises `OSError` or what the store's library raises."""

    def put(self, key: str, content: bytes) -> None:
        """The content lies there durably, also if it did before."""

    def get(self, key: str) -> bytes:
        """Raises `FileNotFoundError`."""
        ...

    def delete(self, folder: str) -> None:
        """All that lay in the folder is gone, also if nothing did."""

    def check(self) -> None:
        """Returns if the store answers, and the folder or bucket that it was given is there."""


class FolderStore:
    """A folder of this machine, or one that is mounted on it. The folder itself is never made: where nothing is mounted, another disk is not to be filled."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, content: bytes) -> None:
        """Written beside its place, flushed, and then named, so that nobody reads a part of it."""
        self.check()
        path = self._root / key
        if path.is_file() and path.stat().st_size == len(content):
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_name(f".{uuid4().hex}")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
            for folder in (path.parent, path.parent.parent, self._root):
                _sync_folder(folder)
        finally:
            with contextlib.suppress(FileNotFoundError):
                part.unlink()

    def get(self, key: str) -> bytes:
        """What was put there."""
        self.check()
        return (self._root / key).read_bytes()

    def delete(self, folder: str) -> None:
        """The task's folder is gone."""
        self.check()
        path = self._root / folder
        with contextlib.suppress(FileNotFoundError):
            for inner in list(path.iterdir()):
                inner.unlink(missing_ok=True)
            path.rmdir()

    def check(self) -> None:
        """The folder is there."""
        if not self._root.is_dir():
            raise OSError(f"there is no folder {self._root} on this machine")


class RemoteStore:
    """Whatever `fsspec` opens by its address. The bucket, or where there are none the folder itself, is never made: a mistyped one is an error, not a new place."""

    def __init__(self, url: str) -> None:
        self._files, root = _fsspec(url).core.url_to_fs(url)
        self._root = root.rstrip("/")
        self._place = self._root if self._root.startswith("/") else self._root.partition("/")[0]

    def put(self, key: str, content: bytes) -> None:
        """As the store keeps it; most show an object only when it is whole."""
        path = self._path(key)
        try:
            self._files.pipe_file(path, content)
        except OSError:  # a store that has folders is to be asked for each task's
            self.check()
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(path, content)

    def get(self, key: str) -> bytes:
        """What was put there."""
        try:
            content: bytes = self._files.cat_file(self._path(key))
        except FileNotFoundError:
            self.check()
            raise
        return content

    def delete(self, folder: str) -> None:
        """All that lay below is gone."""
        self._files.invalidate_cache()
        try:
            self._files.rm(self._path(folder), recursive=True)
        except FileNotFoundError:
            self.check()

    def check(self) -> None:
        """The bucket or folder is there; `exists` alone says of a store that is away that it is not."""
        self._files.invalidate_cache()
        if self._files.exists(self._place):
            return
        try:
            self._files.ls(self._place)
        except FileNotFoundError as error:
            raise OSError(f"there is no {self._place} in the store") from error

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"


@dataclass(frozen=True, slots=True)
class Keeper:
    """Puts results of more than `threshold` bytes into the store, and gets them back; every call ends within CALL_SECONDS, and before UNTIL if that is not near."""

    store: Store
    threshold: int

    def put(self, namespace: str, task_id: str, text: str) -> str:
        """The JSON that stands for the result from now on. Raises `StoreFailed`."""
        content = text.encode()
        key = f"{namespace}/{task_id}/{hashlib.sha256(content).hexdigest()}"
        _within_time(lambda: self.store.put(_checked(key), content), "take the result")
        return json_text.dump({NAME: {"key": key, "bytes": len(content)}})

    def put_at_last(self, namespace: str, task_id: str, text: str) -> str:
        """The same, tried again while the store is away: what the handler has done need not be done again for that. Raises `StoreFailed` after PATIENCE_SECONDS, or at UNTIL."""
        until, pause = min(time.monotonic() + PATIENCE_SECONDS, UNTIL.get()), FIRST_PAUSE_SECONDS
        while True:
            try:
                return self.put(namespace, task_id, text)
            except StoreFailed:
                if time.monotonic() + pause > until:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def get(self, key: str) -> str:
        """The JSON of a result. Raises `StoreFailed`, or `ObjectMissing`."""
        try:
            content = _within_time(lambda: self.store.get(_checked(key)), "give the result")
        except StoreFailed as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise ObjectMissing(f"the object {key} is not in the store; was it removed, or does TASKER_OBJECTS name another store here?") from error
        if hashlib.sha256(content).hexdigest() != key.rpartition("/")[2]:
            raise ObjectMissing(f"the object {key} is not what was put there")
        return content.decode()

    def delete(self, folder: str) -> None:
        """Nothing lies in the folder of a task any more. Raises `StoreFailed`."""
        _within_time(lambda: self.store.delete(_checked(folder)), "delete")

    def check(self) -> None:
        """Raises `StoreFailed` unless the store answers, and has the folder or bucket that it was given."""
        _within_time(self.store.check, "answer")


@cache
def keeper() -> Keeper | None:
    """That of the environment, made at the first call; None without TASKER_OBJECTS. Raises `TaskerError` for what names no store."""
    settings = Settings.from_environ()
    if settings.objects is None:
        return None
    return Keeper(open_store(settings.objects), _threshold(settings.object_bytes))


os.register_at_fork(after_in_child=keeper.cache_clear)  # connections to a store do not survive it


def open_store(url: str) -> Store:
    """The store of that address. Raises `TaskerError`."""
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        path = Path(unquote(parts.path))
        if not path.is_absolute() or parts.netloc:
            raise TaskerError(f"TASKER_OBJECTS names a folder by its absolute path, such as file:///srv/objects, not {url!r}")
        return FolderStore(path)
    try:
        return RemoteStore(url)
    except (ValueError, ImportError) as error:
        raise TaskerError(f"TASKER_OBJECTS cannot be opened: {error}") from error


def end_within(seconds: float) -> float:
    """The UNTIL of an attempt that begins now and has so many seconds: a little before its end, so that the store's being away is not taken for a handler that hangs."""
    return time.monotonic() + seconds - min(1.0, seconds / 20)


def text_of(text: str) -> str:
    """The JSON of a result as a handler's process was given it: itself, or out of the store. Raises `StoreFailed`, or `ObjectMissing`."""
    if not text.startswith(json_text.OBJECT_MARK):
        return text
    return object_text(text[len(json_text.OBJECT_MARK) :])


def object_text(key: str) -> str:
    """The JSON that lies under the key. Raises `StoreFailed`, also where no store is set, or `ObjectMissing`."""
    found = keeper()
    if found is None:
        raise StoreFailed(f"the result lies in an object store ({key}), and none is set here: set TASKER_OBJECTS as it is for the engines")
    return found.get(key)


def place_of(text: str) -> tuple[str, int]:
    """Key and bytes of what `Keeper.put` returned."""
    found = json_text.load(text)[NAME]
    return found["key"], found["bytes"]


def key_of(result: Any) -> str | None:
    """The key in what may stand for an object; only the database knows whether it does."""
    if not isinstance(result, dict) or result.keys() != {NAME} or not isinstance(result[NAME], dict):
        return None
    key = result[NAME].get("key")
    return key if isinstance(key, str) else None


def _threshold(text: str | None) -> int:
    if text is None:
        return USUAL_BYTES
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= FEWEST_BYTES):
        raise TaskerError(f"TASKER_OBJECT_BYTES is a number of bytes, at least {FEWEST_BYTES:,}, not {text!r}")
    return int(text)


def _checked(key: str) -> str:
    if not _KEY.match(key) or ".." in key:
        raise ObjectMissing(f"{key[:200]!r} is no key of an object")
    return key


def _within_time(call: Callable[[], _T], what: str) -> _T:
    """What the call returns. Raises `StoreFailed`. In a thread of its own, which a store that hangs keeps and we do not wait for."""
    told: list[_T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            told.append(call())
        except BaseException as error:  # libraries of stores raise what they like
            failed.append(error)

    thread = threading.Thread(target=run, name="tasker-objects", daemon=True)
    left = UNTIL.get() - time.monotonic()
    seconds = min(CALL_SECONDS, left) if left > LEAST_SECONDS else CALL_SECONDS  # a handler that needs nearly all its time must not go back for ever
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise StoreFailed(f"the object store did not {what} within {seconds:.3g} s")
    if not failed:
        return told[0]
    if isinstance(failed[0], TaskerError):
        raise failed[0]
    raise StoreFailed(f"the object store did not {what}: {type(failed[0]).__name__}: {failed[0]}") from failed[0]


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsspec(url: str) -> Any:
    try:
        return importlib.import_module("fsspec")
    except ImportError:
        raise TaskerError(f"a store at {urlsplit(url).scheme}:// needs the package fsspec, and its own driver: pip install 'tasker-engine[objects]'") from None
