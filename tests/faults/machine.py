"""What an installation may be given in place of the machine it runs on: a network link that goes down, a disk that is full, clocks that are wrong.

Each needs something of the system; where that is missing the test says so and is skipped.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from arena import Where

CLOCKS = Path(__file__).resolve().parent / "clocks"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _or_skip(needed: str, *command: str) -> None:
    try:
        _run(*command)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs {needed}: {error}")


class Link:
    """A network namespace that hangs on this machine by one link; what runs `there` can reach `host` alone."""

    def __init__(self) -> None:
        self.name = f"faults{os.getpid() % 100_000}"
        net = f"10.213.{os.getpid() % 250}"
        self.host = f"{net}.1"
        self._near, self._far = f"fn{os.getpid() % 100_000}", f"ff{os.getpid() % 100_000}"
        _or_skip("root and iproute2 for a network namespace", "ip", "netns", "add", self.name)
        _run("ip", "link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", self.name)
        _run("ip", "addr", "add", f"{self.host}/24", "dev", self._near)
        _run("ip", "link", "set", self._near, "up")
        for command in ("addr add 127.0.0.1/8 dev lo", "link set lo up", f"addr add {net}.2/24 dev {self._far}", f"link set {self._far} up"):
            self._there("ip", *command.split())
        self.there = Where(host=self.host, prefix=("ip", "netns", "exec", self.name))

    @contextmanager
    def down(self) -> Iterator[None]:
        """Every packet is dropped for the length of the block; neither side is told."""
        _run("ip", "link", "set", self._near, "down")
        try:
            yield
        finally:
            _run("ip", "link", "set", self._near, "up")

    def end(self) -> None:
        """Nothing of it is left."""
        _run("ip", "netns", "del", self.name)

    def _there(self, *command: str) -> None:
        _run("ip", "netns", "exec", self.name, *command)


class Disk:
    """A folder on a disk of its own, of so many megabytes."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        folder.mkdir()
        _or_skip("root, to mount a disk of its own", "mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder))

    def grow(self, megabytes: int) -> None:
        """It has so much room now."""
        _run("mount", "-o", f"remount,size={megabytes}m", str(self.folder))

    def fill(self) -> None:
        """Nothing is free: another program has taken the rest."""
        for size in (1 << 20, 4096):
            with suppress(OSError), (self.folder / "of-another-program").open("ab", buffering=0) as file:
                while True:
                    file.write(b"\1" * size)

    def end(self) -> None:
        """It is gone."""
        _run("umount", "--lazy", str(self.folder))


class Memory:
    """So many megabytes for what runs `there` and its children together; the kernel ends one of them when they are not enough."""

    def __init__(self, megabytes: int) -> None:
        first = Path("/sys/fs/cgroup/memory")
        folder, self._limit, self._count = (first, "memory.limit_in_bytes", "memory.oom_control") if first.is_dir() else (first.parent, "memory.max", "memory.events")
        self._group = folder / f"faults{os.getpid() % 100_000}"
        _or_skip("root, to make a control group for memory", "mkdir", str(self._group))
        _or_skip("a control group that can limit memory", "sh", "-c", f"echo {megabytes << 20} > {self._group / self._limit}")
        self.there = Where(prefix=("sh", "-c", f'echo $$ > {self._group / "cgroup.procs"}; exec "$@"', "sh"))

    def kills(self) -> int:
        """How many processes the kernel has ended there."""
        return next(int(line.split()[1]) for line in (self._group / self._count).read_text().splitlines() if line.startswith("oom_kill "))

    def end(self) -> None:
        """Nothing of it is left, once nothing runs there."""
        _run("rmdir", str(self._group))


def with_clock(hours: float, rate: float = 1.0) -> Where:
    """A process whose wall clock is so far off, and so much faster, in whatever its Python asks for; so are its handlers' ones."""
    clock = {"FAULTS_SHIFT": str(3600 * hours), "FAULTS_RATE": str(rate), "FAULTS_CLOCK_BEGAN": str(time.time_ns())}
    return Where(environment={"PYTHONPATH": str(CLOCKS), **clock})
