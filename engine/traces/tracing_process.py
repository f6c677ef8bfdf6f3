"""The process in which an engine tells traces: it takes what is left of the processors, and shares no interpreter lock with whoever runs steps.

It tells a round when the engine says so, a letter each time, and ends when the engine does, in whatever way.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psycopg

from engine import log_lines, trace_ids
from engine.db import Database
from engine.errors import TaskerError
from engine.traces.tracing import Place, open_traces

log = logging.getLogger("tasker.traces")

ROOT: Final = str(Path(__file__).absolute().parents[2])
PROGRAM: Final = "import sys; sys.path.insert(0, sys.argv[1]); from engine.traces.tracing_process import main; main()"
URL: Final = "TASKER_DATABASE_URL"
BUSY, QUIET = b"b", b"q"
"""What the engine says: that it has other things to do, or nothing."""
NICENESS = 10
LAST_SECONDS = 5.0
AGAIN_SECONDS = 10.0
MODULES = ("opentelemetry.sdk.resources", "opentelemetry.proto.trace.v1", "httpx")


class TracingProcess:
    """The engine's end of it. Where it dies it is started again."""

    def __init__(self, url: str) -> None:
        self._url, self._owner = url, str(uuid.uuid4())
        self._book = threading.Lock()
        self._is_wanted = False
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    def begin(self, db: Database) -> None:
        """What ends from now on is told. Raises `DatabaseUnavailable`."""
        Place(db, self._owner).begin()
        self._is_wanted = True
        self._start()

    def ask(self, *, is_quiet: bool) -> None:
        """For one more round, a longer one where the engine `is_quiet`. Never waits for it."""
        with self._book:
            if self._is_wanted and not self._is_told(QUIET if is_quiet else BUSY):
                self._start_again()

    def end(self) -> None:
        """What has ended is told, as far as that takes no longer than `LAST_SECONDS`, and another engine may go on at once."""
        with self._book:
            self._is_wanted = False
            process, self._process = self._process, None
        if process is not None:
            _end(process, LAST_SECONDS)

    def _is_told(self, word: bytes) -> bool:
        if self._process is None:
            return False
        try:
            os.write(_words(self._process), word)
        except BlockingIOError:
            pass  # it has not come to what was said before
        except OSError:
            return False
        return True

    def _start_again(self) -> None:
        if time.monotonic() - self._started < AGAIN_SECONDS:
            return
        process, self._process = self._process, None
        if process is not None:
            log.warning("the process that tells traces ended with %s and is started again", process.poll())
            _end(process, 0)
        self._start()

    def _start(self) -> None:
        self._started = time.monotonic()
        try:
            self._process = _opened(self._url, self._owner)
        except OSError as error:
            log.warning("traces are not told for now, as no process can be started: %s", error)


def _opened(url: str, owner: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, ROOT, owner, "tasker-traces"],
        env={**os.environ, URL: url},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C on the terminal is for the engine alone
    )
    os.set_blocking(_words(process), False)
    return process


def _words(process: subprocess.Popen[bytes]) -> int:
    assert process.stdin is not None
    return process.stdin.fileno()


def _end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """It is told that the engine ends, and is given some time for its last words."""
    assert process.stdin is not None
    process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    process.wait()


def open_tracing(url: str) -> TracingProcess | None:
    """What tells the collector; None where traces are off. Raises `TaskerError` when the extra is not installed."""
    if not trace_ids.IS_ON:
        return None
    if not all(map(_is_installed, MODULES)):
        raise TaskerError("TASKER_TRACES is on, but OpenTelemetry is not installed: pip install 'tasker-engine[traces]'")
    return TracingProcess(url)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


# ---- in the process itself


class _Engine:
    """What the engine says, in letters, until it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._last = BUSY

    def asks(self) -> bool:
        """Returns when the engine wants another round, or, with False, has ended."""
        self._last = os.read(self._descriptor, 4096)[-1:]
        return bool(self._last)

    def is_quiet(self) -> bool:
        """Whether it said so last."""
        while self._last and select.select([self._descriptor], [], [], 0)[0]:
            self.asks()
        return self._last == QUIET


def main() -> None:
    """The life of the process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # meant for the engine, which tells us by ending
    os.nice(NICENESS)
    log_lines.start_for_handlers()
    db = Database(os.environ[URL], max_size=1, application_name="tasker traces")
    traces, engine = open_traces(Place(db, sys.argv[2])), _Engine(sys.stdin.fileno())
    while engine.asks():
        _unless_away(lambda: traces.tell_due(engine.is_quiet))
    _unless_away(traces.close)
    db.close()


def _unless_away(tell: Callable[[], object]) -> None:
    try:
        tell()
    except (TaskerError, psycopg.Error) as error:
        log.debug("traces have to wait: %s", error)
