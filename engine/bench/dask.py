"""What of a Dask cluster's speed is left for steps: `python -m engine.bench.dask`, apart from `tasker bench` because it needs the extra dask.

The same cluster runs no-ops by its bare executor and no-op steps by an engine, in turns, so that both meet the same machine.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import distributed

from engine.bench.cluster import Cluster
from engine.bench.document import numbers, publish, say
from engine.bench.flows import single
from engine.bench.place import BULK_SECONDS, throwaway_database
from engine.bench.workloads import SOURCE, throughput
from engine.db import Database
from engine.registry import HandlerRegistry
from engine.runners.dask import DaskRunner
from engine.scheduler import Engine
from engine.settings import Settings

ROUNDS: Final = 5
STEPS: Final = 400
WORKERS: Final = 2
THREADS: Final = 4
READY_SECONDS: Final = 60.0
GOAL: Final = 0.7


def main() -> None:
    """Prints the rates of every round and the ratio of their medians; a number given is that of the rounds."""
    publish(lambda: _in_turns(*numbers()))


def _in_turns(rounds: int = ROUNDS) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, throwaway_database(Settings.from_environ()) as url, _cluster(Path(folder)) as address:
        return _measured(url, address, rounds)


@contextmanager
def _cluster(folder: Path) -> Iterator[str]:
    cluster = Cluster(folder)
    try:
        cluster.start_scheduler()
        for _ in range(WORKERS):
            cluster.start_worker(threads=THREADS)
        yield cluster.address
    finally:
        cluster.end()


def _measured(url: str, address: str, rounds: int) -> dict[str, Any]:
    untyped: Any = distributed
    client = untyped.Client(address, set_as_default=False)
    client.wait_for_workers(WORKERS)
    db = Database(url, max_size=2, call_seconds=BULK_SECONDS)
    registry = HandlerRegistry()
    registry.register(single)
    engine = Engine(url, registry, runner="dask", make_runner=lambda: DaskRunner(address, sources=[SOURCE]))
    engine.start()
    try:
        _until_ready(engine)
        _bare(client, STEPS // 10), throughput(db, "single", STEPS // 10)
        pairs = [(_bare(client, STEPS), throughput(db, "single", STEPS)) for _ in range(rounds)]
    finally:
        engine.drain()
        db.close()
        client.close()
    return _report(pairs)


def _until_ready(engine: Engine) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while (engine.worker.runner.standing() or {})["workers"] < WORKERS and time.monotonic() < deadline:
        time.sleep(0.05)


def _bare(client: Any, count: int) -> float:
    executor = client.get_executor(pure=False, retries=0)
    begin = time.perf_counter()
    for future in [executor.submit(_no_op, number) for number in range(count)]:
        future.result()
    return count / (time.perf_counter() - begin)


def _no_op(number: int) -> dict[str, int]:
    return {"ok": number}


def _report(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    bare, ours = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    rounds = [{"bare": one, "engine": other} for one, other in pairs]
    for number, (one, other) in enumerate(pairs, 1):
        say(f"round {number}: {one:.0f} calls/s of the bare executor, {other:.0f} steps/s of the engine")
    say(f"medians {bare:.0f} and {ours:.0f}, ratio {ours / bare:.2f}; the goal of {GOAL} is {'met' if ours >= GOAL * bare else 'MISSED'}")
    return {"workers": WORKERS, "threads": THREADS, "steps": STEPS, "goal": GOAL, "rounds": rounds, "bare": bare, "engine": ours, "ratio": ours / bare}


if __name__ == "__main__":
    main()
