"""The files of one embedded database: its state, and the two locks that say who works on it and whether it lives."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from engine.errors import DatabaseUnavailable

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class State:
    """What outlives the processes: the secrets, the last port, and the cluster's folder where it had to live elsewhere."""

    port: int
    admin_password: str
    password: str
    elsewhere: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """The files of one embedded database."""

    data_dir: Path

    @property
    def folder(self) -> Path:
        return self.data_dir / "postgres"

    @property
    def state_file(self) -> Path:
        return self.folder / "server.json"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def start_lock(self) -> Path:
        return self.folder / "start.lock"

    @property
    def running_lock(self) -> Path:
        return self.folder / "running.lock"

    def home(self, state: State) -> Path:
        return Path(state.elsewhere) if state.elsewhere else self.folder

    def cluster(self, state: State) -> Path:
        return self.home(state) / "pgdata"


def read_state(place: Place) -> State | None:
    try:
        return State(**json.loads(place.state_file.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_state(place: Place, state: State) -> None:
    fresh = place.state_file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with open(private_file(fresh, 0), "w") as file:
        json.dump(asdict(state), file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(place.state_file)


def refuse_lost_state(place: Place) -> NoReturn:
    raise DatabaseUnavailable(
        f"{place.folder} holds a database, but its passwords are gone: {place.state_file.name} is missing or damaged. "
        "Restore that file, or move the folder away to begin with an empty database."
    )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    handle = private_file(path, 0)
    try:
        _lock_within(handle, 2 * START_SECONDS)
        yield
    finally:
        os.close(handle)


@contextmanager
def running_lock(place: Place, cluster: Path) -> Iterator[tuple[int, ...]]:
    """The lock the server inherits, taken: no process of a former server lives, so its pid file is a leftover."""
    if sys.platform == "win32":
        # Locks are not inherited there; PostgreSQL's own check of its pid file is sound on Windows.
        yield ()
        return
    handle = private_file(place.running_lock, 0)
    try:
        _lock_within(handle, START_SECONDS)
        # PostgreSQL believes any living pid of the same user, though it belong to another program by now.
        (cluster / "postmaster.pid").unlink(missing_ok=True)
        yield (handle,)
    finally:
        os.close(handle)


def _lock_within(handle: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not try_lock(handle):
        if time.monotonic() > deadline:
            raise DatabaseUnavailable(
                "Another process has been starting or stopping the embedded PostgreSQL for minutes; try again."
            )
        time.sleep(0.01)


def try_lock(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def private_file(path: Path, flags: int) -> int:
    """A descriptor of a file only its owner reads. Root gives it to the folder's owner, who may come back as themselves."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)
    if sys.platform != "win32" and os.geteuid() == 0:
        folder = path.parent.stat()
        os.fchown(handle, folder.st_uid, folder.st_gid)
    return handle


@contextmanager
def explained(place: Place) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DatabaseUnavailable(
            f"The embedded PostgreSQL in {place.folder} cannot be used: {error}. "
            "Set TASKER_DATA_DIR to a folder you can write to, or TASKER_DATABASE_URL to a database of yours."
        ) from error
