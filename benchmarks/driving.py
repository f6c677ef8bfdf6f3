"""What every driver shares: its arguments, the shapes, the note that a step starts, the clock around it all, the line that it prints.

Runs inside a peer's own virtual environment, so it needs the standard library only.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

NOTES = "BENCH_NOTES"
"""The file that steps note their starts in; unset where nobody asks, so that throughput is not charged for it."""
CHAIN, MIDDLE, HOPS = 5, 4, 20
POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Order:
    """What one call of a driver is asked for: `count` tasks of a workload, `width` parts in each fan, at most `limit` seconds."""

    workload: str
    count: int
    width: int
    url: str
    limit: float
    scratch: Path
    workers: int

    @property
    def steps(self) -> int:
        """How many steps one task has."""
        return {"W1": CHAIN, "W2": MIDDLE + 2, "W3": self.width + 1, "W4": HOPS, "W5": 1}[self.workload]

    @property
    def shape(self) -> str:
        """The workflow's name: `chain_5`, `diamond_4`, `fan_1000`, `chain_20` or `chain_1`."""
        return {
            "W1": f"chain_{CHAIN}",
            "W2": f"diamond_{MIDDLE}",
            "W3": f"fan_{self.width}",
            "W4": f"chain_{HOPS}",
            "W5": "chain_1",
        }[self.workload]


class Peer(Protocol):
    """One engine. The driver calls `prepare` once, `workers` around what is measured, and the rest inside."""

    package: str

    def prepare(self, order: Order) -> None:
        """Its tables are there and its workflows known."""

    def workers(self, order: Order) -> Any:
        """A context in which its workers run."""

    def submit(self, order: Order, count: int) -> None:
        """`count` tasks are on record, by the fastest way that its documentation offers."""

    def ended(self, order: Order) -> int:
        """How many of all the tasks submitted so far have ended, as its own storage says."""


def drive(peer: Peer) -> None:
    """Does what the arguments say and prints one line of JSON."""
    # whoever ends this ends its workers too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("it was stopped"))
    order = _order()
    peer.prepare(order)
    measured = {"W4": _latencies, "W5": _backlog}.get(order.workload, _throughput)(peer, order)
    print(json.dumps({"workload": order.workload, "version": version(peer.package), **measured}), flush=True)


def _order() -> Order:
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=["W1", "W2", "W3", "W4", "W5"])
    for name, kind in (("count", int), ("width", int), ("url", str), ("limit", float), ("scratch", Path), ("workers", int)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    return Order(**vars(parser.parse_args()))


def _throughput(peer: Peer, order: Order) -> dict[str, Any]:
    warm = max(1, order.count // 10)
    with peer.workers(order):
        peer.submit(order, warm)
        _until_ended(peer, order, warm)
        begun = time.perf_counter()
        peer.submit(order, order.count)
        _until_ended(peer, order, warm + order.count)
        spent = time.perf_counter() - begun
    return {"steps": order.count * order.steps, "seconds": spent}


def _latencies(peer: Peer, order: Order) -> dict[str, Any]:
    notes = order.scratch / "notes"
    notes.touch()
    os.environ[NOTES] = str(notes)
    begun = []
    with peer.workers(order):
        for number in range(order.count + 1):
            begun.append(time.time())
            peer.submit(order, 1)
            _until_ended(peer, order, number + 1)
    return _from_notes(begun, [float(line) for line in notes.read_text().split()])


def _from_notes(begun: list[float], notes: list[float]) -> dict[str, Any]:
    """Milliseconds from the start of a step to the next one's, and from the call of submit to the first's; the first task warms up."""
    if len(notes) != len(begun) * HOPS:
        raise SystemExit(f"{len(notes)} steps started where {len(begun) * HOPS} were expected")
    tasks = [sorted(notes[at : at + HOPS]) for at in range(0, len(notes), HOPS)]
    hops = [(later - earlier) * 1000 for starts in tasks[1:] for earlier, later in itertools.pairwise(starts)]
    return {"hops_ms": hops, "submits_ms": [(starts[0] - call) * 1000 for starts, call in zip(tasks[1:], begun[1:], strict=True)]}


def _backlog(peer: Peer, order: Order) -> dict[str, Any]:
    """Submit while no worker runs; then the rate from a tenth ended to nine tenths, so that no start-up counts."""
    begun = time.perf_counter()
    peer.submit(order, order.count)
    submitted = time.perf_counter() - begun
    with peer.workers(order):
        (first, early), (last, late) = _until_ended(peer, order, order.count // 10), _until_ended(peer, order, order.count * 9 // 10)
    return {"tasks": order.count, "submit_seconds": submitted, "steps": last - first, "seconds": late - early}


def _until_ended(peer: Peer, order: Order, count: int) -> tuple[int, float]:
    deadline = time.monotonic() + order.limit
    while True:
        asked = time.perf_counter()
        ended = peer.ended(order)
        now = time.perf_counter()
        if ended >= count:
            return ended, now
        if time.monotonic() > deadline:
            raise SystemExit(f"only {ended} of {count} tasks ended within {order.limit:.0f} s")
        # where asking costs much, ask seldom
        time.sleep(max(POLL_SECONDS, 20 * (now - asked)))


def note_start() -> None:
    """One line with the time, whole even when several processes write; nothing where nobody asked."""
    if path := os.environ.get(NOTES):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(file, b"%.6f\n" % time.time())
        os.close(file)


@contextmanager
def processes(commands: list[list[str]], order: Order, is_up: Callable[[], bool], name: str = "worker", **environ: str) -> Iterator[None]:
    """The commands run, each with its output in the scratch folder, until the context ends; nothing is left of them then."""
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "BENCH_URL": order.url, "BENCH_WIDTH": str(order.width), **environ}
    started = []
    try:
        for number, command in enumerate(commands):
            with (order.scratch / f"{name}-{number}.log").open("wb") as log:
                started.append(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True))
        _until_up(started, order, is_up, name)
        yield
    finally:
        for process in started:
            _stop(process)


def _until_up(started: list[subprocess.Popen[bytes]], order: Order, is_up: Callable[[], bool], name: str) -> None:
    deadline = time.monotonic() + order.limit
    while not is_up():
        for number, process in enumerate(started):
            if process.poll() is not None:
                lines = (order.scratch / f"{name}-{number}.log").read_text(errors="replace").splitlines()
                raise SystemExit(f"a {name} ended with {process.returncode}: " + " | ".join(lines[-3:]))
        if time.monotonic() > deadline:
            raise SystemExit(f"a {name} is not up after {order.limit:.0f} s")
        time.sleep(0.1)


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answers(url: str) -> bool:
    """Whether something answers there with success."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    # the whole group: workers have children of their own
    for sign, seconds in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(process.pid, sign)
            process.wait(seconds)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
