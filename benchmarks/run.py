"""`make bench-peers`: measures everyone in turns and writes docs/performance-peers.json, docs/peers.md and its chart, anew after each round.

A peer that fails or takes too long is written down as such and stops nobody else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import page, place
from benchmarks.peers import BY_NAME, OURS, PEERS, QUICK, WORKLOADS, Peer

LIMIT_SECONDS = 300.0
START_SECONDS = 120.0
"""What a peer may take beside the limit, for its tables and its workers' start."""
Run = dict[str, Any]


def main() -> None:
    """Runs what the arguments ask for."""
    arguments = _arguments()
    peers = _chosen(arguments.only)
    with tempfile.TemporaryDirectory(prefix="tasker-peers-") as folder, place.server() as url, _redis(peers) as redis:
        facts = _facts(url, arguments, redis)
        for rounds, runs in enumerate(_measured(peers, arguments, url, redis, Path(folder)), 1):
            page.write(facts | {"rounds": rounds, "runs": runs}, arguments.into)
    print(f"written to {arguments.into}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--only", help="names of peers, separated by commas; this engine is always among them")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works; not for figures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds that one workload may take")
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--into", type=Path, default=place.ROOT / "docs", help="the folder that the page, the chart and the figures go to")
    return parser.parse_args()


def _chosen(only: str | None) -> list[Peer]:
    if only is None:
        return list(PEERS)
    names = [OURS, *(name.strip() for name in only.split(","))]
    if unknown := sorted(set(names) - set(BY_NAME)):
        raise SystemExit(f"there is no peer called {', '.join(unknown)}; there are {', '.join(BY_NAME)}")
    return [peer for peer in PEERS if peer.name in names]


def _redis(peers: Sequence[Peer]) -> AbstractContextManager[str | None]:
    return place.redis() if any(peer.needs_redis for peer in peers) else nullcontext()


def _facts(url: str, arguments: argparse.Namespace, redis: str | None) -> dict[str, Any]:
    with psycopg.connect(url) as connection:
        settings = {name: connection.execute("select current_setting(%s)", [name]).fetchone()[0] for name in page.SERVER_SETTINGS}  # type: ignore[index]
    return {
        "begun_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": arguments.quick,
        "limit_seconds": arguments.limit,
        "machine": {"cores": os.cpu_count(), "system": platform.platform(terse=True), "python": platform.python_version(), "load_before": os.getloadavg()[0]},
        "postgresql": settings,
        "redis": redis is not None,
    }


def _measured(peers: Sequence[Peer], arguments: argparse.Namespace, url: str, redis: str | None, folder: Path) -> Iterator[list[Run]]:
    """All runs so far, after each round."""
    runs: list[Run] = []
    pythons: dict[str, Path] = {}
    given_up: dict[tuple[str, str], str] = {}
    for peer in peers:
        try:
            pythons[peer.name] = python_of(peer, redis)
        except (place.Missing, OSError) as error:
            given_up |= {(peer.name, workload): str(error) for workload in WORKLOADS}
    for number in range(arguments.rounds):
        for workload in arguments.workloads.split(","):
            # another one begins each round, so that nobody always runs behind the same neighbour
            for peer in [*peers[number % len(peers) :], *peers[: number % len(peers)]]:
                found = {"error": given_up[peer.name, workload]} if (peer.name, workload) in given_up else _one(peer, workload, pythons[peer.name], arguments, url, redis, folder)
                if "error" in found:
                    # it would fail again, and take its time
                    given_up[peer.name, workload] = found["error"]
                runs.append({"peer": peer.name, "round": number + 1, "load": round(os.getloadavg()[0], 2), **found, "workload": workload})
                print(f"round {number + 1} {workload} {peer.title}: {page.words(runs[-1])}", flush=True)
        yield runs


def python_of(peer: Peer, redis: str | None) -> Path:
    """The interpreter that measures the peer. Raises `Missing` where something that it needs cannot be had."""
    if peer.needs_redis and redis is None:
        raise place.Missing(place.WITHOUT_REDIS)
    print(f"{peer.title}: packages", flush=True)
    return place.python_of(peer.name)


def _one(peer: Peer, workload: str, python: Path, arguments: argparse.Namespace, url: str, redis: str | None, folder: Path) -> Run:
    """What the driver printed, or the error that it ended with."""
    sizes = QUICK[peer.sizes] if arguments.quick else peer.sizes
    scratch = folder / f"{peer.name}-{workload}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    with ExitStack() as stack:
        database = stack.enter_context(place.database(url, f"peer_{peer.name}"))
        command = [str(python), "-m", f"benchmarks.{peer.name}.drive", workload, "--count", str(sizes.count(workload)), "--width", str(sizes.width)]
        command += ["--url", database, "--limit", str(arguments.limit), "--scratch", str(scratch), "--workers", str(min(2, os.cpu_count() or 1))]
        environment = stack.enter_context(place.nothing_left(scratch)) | {"PYTHONPATH": str(place.ROOT), "BENCH_REDIS": redis or ""}
        return {"tasks": sizes.count(workload), "width": sizes.width} | _line(command, environment, arguments.limit + START_SECONDS)


def _line(command: list[str], environment: dict[str, str], limit: float) -> Run:
    process = subprocess.Popen(
        command, cwd=place.ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        # asked first, so that the driver stops its workers
        process.terminate()
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        return {"error": f"took longer than {limit:.0f} s"}
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if process.returncode != 0 or not lines:
        return {"error": (errors.strip().splitlines() or ["it printed nothing"])[-1][:300]}
    return dict(json.loads(lines[-1]))


if __name__ == "__main__":
    main()
