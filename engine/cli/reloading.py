"""`--reload`: an engine that is replaced by a new one whenever the files of its handlers change. For development: `engine` and `up` start it.

The new engine has begun before the old one drains, so attempts that run end with the old code; where the new one cannot begin, the old one stays.
"""

from __future__ import annotations

import importlib.util
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import click

from engine.cli.supervised import PARENT, end_with_parent, stop_all
from engine.errors import TaskerError

STARTED_FD = "TASKER_STARTED_FD"
"""By which an engine tells who started it that it has begun."""
REPLACES = "TASKER_REPLACES"
"""By which an engine knows that another one runs until it has begun."""
LOOK_SECONDS = 0.5
BEGIN_SECONDS = 120.0
WATCHED = (".py", ".yaml", ".yml")

Seen = dict[Path, tuple[int, int]]


def tell_started() -> None:
    """Whoever started this engine for `--reload` knows that it has begun; nothing happens when nobody did."""
    number = os.environ.pop(STARTED_FD, "")
    if number.isdigit():
        os.write(int(number), b"1")
        os.close(int(number))


def need_whole(failures: Collection[object]) -> None:
    """An engine that is to take another's place lacks nothing of what that one may have. Raises `TaskerError`."""
    if os.environ.pop(REPLACES, "") and failures:
        raise TaskerError("an engine that lacks what these files hold takes no other's place")


def run_reloading(arguments: Sequence[str], sources: Sequence[str]) -> None:
    """`tasker` with these arguments, begun anew with every change of the sources, until SIGTERM or Ctrl-C."""
    reloader = _Reloader(arguments, watched_places(sources))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: reloader.stop.set())
    end_with_parent(reloader.stop.set)
    reloader.run()


def watched_places(sources: Sequence[str]) -> list[Path]:
    """The folders and files that the sources are."""
    return [place for source in sources for place in ([Path(source).absolute()] if Path(source).exists() else _of_module(source))]


def seen_in(places: Sequence[Path]) -> Seen:
    """Every file that counts, with its time and size."""
    found: Seen = {}
    for path in (path for place in places for path in _files(place)):
        try:
            known = path.stat()
        except OSError:  # it went while we looked
            continue
        found[path] = (known.st_mtime_ns, known.st_size)
    return found


class _Reloader:
    def __init__(self, arguments: Sequence[str], places: Sequence[Path]) -> None:
        self.stop = threading.Event()
        self._arguments, self._places = list(arguments), places
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self) -> None:
        """Returns once everything that was started has ended."""
        try:
            seen = seen_in(self._places)
            self._renew()
            while not self.stop.wait(LOOK_SECONDS):
                now = self._settled(seen)
                if now != seen:
                    seen = now
                    click.echo("tasker: handlers have changed; a new engine begins", err=True)
                    self._renew()
        finally:
            stop_all(self._running)

    def _settled(self, seen: Seen) -> Seen:
        """What there is now; while it changes, what there is when it no longer does."""
        now = seen_in(self._places)
        while now != seen and not self.stop.wait(LOOK_SECONDS / 5):
            seen, now = now, seen_in(self._places)
        return now

    def _renew(self) -> None:
        """A new engine has begun and the others drain; or it could not, and they stay."""
        self._running = [process for process in self._running if process.poll() is None]
        reads, writes = os.pipe()
        try:
            process = self._start(writes)
            os.close(writes)
            if self._has_begun(process, reads):
                for other in self._running:
                    other.send_signal(signal.SIGTERM)
                self._running.append(process)
                return
        finally:
            os.close(reads)
        stop_all([process])
        if not self.stop.is_set():
            kept = "the engine goes on with the code it had" if self._running else "no engine runs"
            click.echo(f"tasker: the new engine could not begin, its last lines above say why; {kept} until the next change", err=True)

    def _start(self, writes: int) -> subprocess.Popen[bytes]:
        # compiled files are told apart by whole seconds, in which a file may change twice
        environment = {**os.environ, PARENT: str(os.getpid()), STARTED_FD: str(writes), "PYTHONDONTWRITEBYTECODE": "1", REPLACES: "yes" if self._running else ""}
        command = [sys.executable, "-m", "engine.cli", *self._arguments]
        return subprocess.Popen(command, env=environment, pass_fds=(writes,), start_new_session=True, stdin=subprocess.DEVNULL)

    def _has_begun(self, process: subprocess.Popen[bytes], reads: int) -> bool:
        deadline = time.monotonic() + BEGIN_SECONDS
        while time.monotonic() < deadline and not self.stop.is_set():
            if select.select([reads], [], [], 0.2)[0]:
                return os.read(reads, 1) == b"1"
            if process.poll() is not None:
                return False
        return False


def _of_module(name: str) -> Iterator[Path]:
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return
    if found is not None:
        yield from map(Path, found.submodule_search_locations or ([found.origin] if found.origin else []))


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    for folder, inner, names in os.walk(place):
        inner[:] = [name for name in inner if not name.startswith((".", "__pycache__"))]
        yield from (Path(folder, name) for name in names if name.endswith(WATCHED))
