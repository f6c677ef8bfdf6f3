"""A small Dask cluster of this machine, as processes: for the measurement in `dask`, and for tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

START_SECONDS: Final = 60.0
ROOT: Final = Path(__file__).absolute().parents[2]
SETTINGS: Final = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}


class Cluster:
    """A scheduler and its workers; `folder` takes their logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = ""
        self.processes: list[subprocess.Popen[bytes]] = []

    def start_scheduler(self, *arguments: str, port: int = 0, **environment: str) -> subprocess.Popen[bytes]:
        """A scheduler, on a free port unless one is given. Raises TimeoutError when it does not come up."""
        file = self.folder / f"scheduler-{len(self.processes)}.json"
        process = self._start("scheduler", ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--scheduler-file", str(file), *arguments], environment)
        deadline = time.monotonic() + START_SECONDS
        while not (file.exists() and '"address": "' in (text := file.read_text())):
            if time.monotonic() > deadline:
                raise TimeoutError("the scheduler did not start")
            time.sleep(0.02)
        self.address = text.split('"address": "')[1].split('"')[0]
        return process

    def start_worker(self, *arguments: str, threads: int = 2, **environment: str) -> subprocess.Popen[bytes]:
        """A worker without a nanny: a process that is killed stays dead."""
        return self._start("worker", [self.address, "--nthreads", str(threads), "--no-nanny", "--no-dashboard", *arguments], environment)

    def log(self, number: int) -> str:
        """What that process has printed."""
        return next(self.folder.glob(f"*-{number}.log")).read_text(errors="replace")

    def end(self) -> None:
        """Nothing of it is left."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()

    def _start(self, what: str, arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments]
        variables = {**os.environ, **SETTINGS, "PYTHONPATH": str(ROOT), **environment}
        with (self.folder / f"{what}-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=variables, stdout=log, stderr=log)
        self.processes.append(process)
        return process
