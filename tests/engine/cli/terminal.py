"""`tasker` as a user types it: what it prints and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine import cli
from engine.registry import HandlerRegistry

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as the one JSON document it has to be."""
        return json.loads(self.out)


class Terminal:
    """Commands in this process, each with a registry of its own as if it were a new one; long-lived ones as real processes."""

    def __init__(self, folder: Path, environment: dict[str, str], capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.folder, self.environment = folder, environment
        self._capture, self._patch = capture, patch
        self._processes: list[subprocess.Popen[str]] = []

    def write(self, code: str, name: str = "flows.py", folder: str = "handlers") -> Path:
        """A file in a folder of handlers; returns the folder."""
        place = self.folder / folder
        place.mkdir(exist_ok=True)
        (place / name).write_text(textwrap.dedent(code))
        return place

    def run(self, *arguments: object) -> Ended:
        """One command from its start to its end."""
        self._capture.readouterr()
        with self._own_modules(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(HandlerRegistry, "_instance", HandlerRegistry())
            for name in [name for name in os.environ if name.startswith("TASKER_")]:
                patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as end:
                cli.main([str(argument) for argument in arguments])
        out, err = self._capture.readouterr()
        assert end.value.code is None or isinstance(end.value.code, int)
        return Ended(end.value.code or 0, out, err)

    def start(self, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        """A command that goes on by itself."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TASKER_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "engine.cli", *map(str, arguments)],
            cwd=self.folder,
            env={**clean, "PYTHONPATH": str(ROOT), **self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._processes.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], seconds: float = 60) -> Ended:
        """How a started command ended."""
        out, err = process.communicate(timeout=seconds)
        return Ended(process.returncode, out, err)

    def end(self) -> None:
        """Nothing that was started is left."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
            process.communicate()

    @contextmanager
    def _own_modules(self) -> Iterator[None]:
        known = set(sys.modules)
        yield
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(self.folder)):
                del sys.modules[name]


def until(look: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.02)
    return answer


@contextmanager
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def refused(ended: Ended) -> str:
    """The one line on standard error of a command that was refused: exit 2, nothing printed, no traceback."""
    assert ended.status == 2, ended
    assert ended.out == ""
    assert "Traceback" not in ended.err
    lines = ended.err.strip().splitlines()
    assert len(lines) == 1, ended.err
    return lines[0]
