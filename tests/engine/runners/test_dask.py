"""The Dask runner on a real cluster, of a scheduler and two worker processes: every call gets exactly one outcome, whatever is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine.runners import CANCELLED, COMPLETED, FAILED, RELEASED
from engine.runners.dask import DaskRunner
from engine.runners.dask_cluster import ClusterRefused

HANDLERS = Path(__file__).parent / "handlers"
ENVIRONMENT = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0", "PYTHONPATH": f"{Path(__file__).parents[3]}"}
CONTACT_SECONDS = 4.0

Start = Callable[..., DaskRunner]


@dataclass
class Cluster:
    """A scheduler with its workers, as processes."""

    folder: Path
    address: str = ""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_scheduler(self, **environment: str) -> None:
        """A scheduler on a free port."""
        file = self.folder / f"scheduler-{len(self.processes)}.json"
        arguments = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
        self._start("scheduler", arguments, environment)
        deadline = time.monotonic() + 60
        while not (file.exists() and (text := file.read_text()) and '"address"' in text):
            assert time.monotonic() < deadline, "the scheduler did not start"
            time.sleep(0.02)
        self.address = text.split('"address": "')[1].split('"')[0]

    def start_worker(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """A worker of two threads, without a nanny: a process that is killed stays dead."""
        return self._start("worker", [self.address, "--nthreads", "2", "--no-nanny", "--no-dashboard", *arguments], environment)

    def _start(self, what: str, arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments]
        with (self.folder / f"{what}-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=self.folder, env={**ENVIRONMENT, **environment}, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def end(self) -> None:
        """Nothing of it is left."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler that runs."""
    found = Cluster(tmp_path)
    try:
        found.start_scheduler()
        yield found
    finally:
        found.end()


@pytest.fixture
def start(inbox: Any, eventually: Any) -> Iterator[Start]:
    """Starts a runner that is stopped when the test is over."""
    runners: list[DaskRunner] = []

    def begin(address: str, *, workers: int = 2, lookup: Any = lambda call, names: {}) -> DaskRunner:
        runner = DaskRunner(address, sources=[str(HANDLERS / "misbehaving.py")], grace=0.3, contact=CONTACT_SECONDS)
        runners.append(runner)
        runner.start(inbox.deliver, lookup, inbox.hear)
        assert eventually(lambda: runner.standing()["workers"] == workers, 60), runner.standing()
        return runner

    yield begin
    for runner in runners:
        runner.stop(0)


def test_a_cluster_runs_steps_and_what_is_lost_is_decided_when_it_can_run_no_more(
    cluster: Cluster, start: Start, calls: Any, inbox: Any, eventually: Any, tmp_path: Path
) -> None:
    cluster.start_worker()
    runner = start(cluster.address, workers=1, lookup=lambda call, names: dict.fromkeys(names, '"found"'))
    assert runner.standing()["state"] == "connected"

    batch = [calls("echo", value=number) for number in range(20)]
    runner.submit(batch)
    assert inbox.wait(*batch) == [(COMPLETED, number) for number in range(20)]

    crash, late, fine, asking, talking = calls("kills_itself"), calls("leaves_no_trace_but_time", seconds=60), calls("raises"), calls("asks"), calls("talks")
    runner.submit([crash, late, fine, asking, talking])
    assert [error["type"] for _, error in inbox.wait(crash, late, fine)] == ["worker_crashed", "timeout", "ValueError"]
    assert inbox.wait(asking, talking) == [(COMPLETED, "found"), (COMPLETED, None)]
    assert inbox.lines(talking) == ["begins", "page 1", "page 2", "page 3", "ends"]
    assert inbox.progress(talking)[-1].done == 3

    asked, stubborn = calls("stops_when_asked", file=str(tmp_path / "asked")), calls("never_stops", file=str(tmp_path / "stubborn"))
    runner.submit([asked, stubborn])
    assert eventually(lambda: (tmp_path / "asked").exists() and (tmp_path / "stubborn").exists())
    for call in (asked, stubborn):
        runner.cancel(call)
    assert [kind for kind, _ in inbox.wait(asked, stubborn)] == [CANCELLED, CANCELLED]

    unserved = calls("needs_a_gpu")
    runner.submit([unserved])
    assert "a worker with GPU" in runner.standing()["said"]
    assert inbox.wait(unserved) == (RELEASED, None)
    doomed = cluster.start_worker("--resources", "GPU=1", HAS_A_GPU="yes")
    assert eventually(lambda: runner.standing()["workers"] == 2, 60)
    served = calls("needs_a_gpu")
    runner.submit([served])
    assert inbox.wait(served) == (COMPLETED, True)

    files = [tmp_path / f"runs-{number}" for number in range(4)]
    running = [calls("never_stops", file=str(file)) for file in files]
    runner.submit(running)
    assert eventually(lambda: all(file.exists() and file.read_text() for file in files))
    pids = {call: int(file.read_text()) for call, file in zip(running, files, strict=True)}
    doomed.kill()
    assert eventually(lambda: len([call for call in running if call in inbox.outcomes]) == 2)
    lost = [call for call in running if call in inbox.outcomes]
    for call in lost:
        kind, error = inbox.outcomes[call]
        assert (kind, error["type"], error["retryable"]) == (FAILED, "worker_crashed", True)
        assert "was lost" in error["message"]
        assert not is_alive(pids[call])

    cluster.processes[0].kill()  # the scheduler: nobody's fault
    left = [call for call in running if call not in lost]
    assert inbox.wait(*left) == [(RELEASED, None)] * 2
    assert not any(map(is_alive, pids.values()))
    assert runner.standing()["state"] == "away"
    assert "cannot be reached" in runner.standing()["said"] or "is gone" in runner.standing()["said"]
    assert runner.room() == 0


def test_a_scheduler_that_would_run_steps_again_is_refused(tmp_path: Path, inbox: Any) -> None:
    cluster = Cluster(tmp_path)
    try:
        cluster.start_scheduler(DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="3")
        runner = DaskRunner(cluster.address, sources=[])
        with pytest.raises(ClusterRefused, match="ALLOWED_FAILURES=0"):
            runner.start(inbox.deliver, lambda call, names: {})
    finally:
        cluster.end()


def test_a_plain_connection_beyond_this_machine_is_refused(inbox: Any) -> None:
    with pytest.raises(ClusterRefused, match="tls://"):
        DaskRunner("tcp://192.0.2.1:8786", sources=[]).start(inbox.deliver, lambda call, names: {})


def is_alive(pid: int) -> bool:
    """Whether the process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
