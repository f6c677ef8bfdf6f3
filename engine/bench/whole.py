"""`tasker bench`: how fast the product is here, as ratios to what this machine's disk and PostgreSQL allow at all.

Everything runs on the product's own path: registered handlers, the real engine, durable results, history on.
The floors are taken first and last, because shared machines differ by a factor of two from one minute to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.bench.document import load, surroundings
from engine.bench.floors import Floors, commit_seconds, heard_seconds, steps_per_second
from engine.bench.place import throwaway_database
from engine.bench.report import print_report
from engine.bench.sizes import FULL, QUICK, Sizes
from engine.bench.statements import claim_latency, creation_rate, readiness
from engine.bench.workloads import measure_runner
from engine.db import connect
from engine.settings import Settings

__all__ = ["print_report", "run"]

RUNNERS = ("threads", "processes")
NOISY = 1.5


def run(settings: Settings, *, rounds: int = 5, quick: bool = False, progress: Callable[[str], None] = print) -> dict[str, Any]:
    """The whole report, as `--json` prints it. Rates are per second, times in milliseconds, all medians of `rounds`."""
    sizes, facts = QUICK if quick else FULL, surroundings() | {"quick": quick, "rounds": rounds}
    with throwaway_database(settings) as url:
        facts["postgresql"] = _version(url)
        progress("floors")
        before = _floors(url, sizes, rounds)
        runners = {}
        for name in RUNNERS:
            progress(f"workloads with {name}")
            runners[name] = measure_runner(url, name, sizes, rounds)
        progress("statements")
        creation = creation_rate(url, sizes, rounds)
        ready = readiness(url, sizes)
        claim = claim_latency(url, sizes)
        progress("floors again")
        after = _floors(url, sizes, rounds)
    return facts | {"load_after": load()} | _report(before, after, runners, creation, claim, ready)


def _version(url: str) -> str:
    with connect(url) as connection:
        return str(connection.execute("select current_setting('server_version')").fetchall()[0][0])


def _floors(url: str, sizes: Sizes, rounds: int) -> Floors:
    return Floors(
        steps_per_second(url, sizes.floor_steps, rounds), commit_seconds(url, sizes.floor_commits) * 1000, heard_seconds(url, sizes.submits) * 1000
    )


def _report(before: Floors, after: Floors, runners: dict[str, Any], creation: dict[str, Any], claim: Any, ready: Any) -> dict[str, Any]:
    mean = Floors((before.f2 + after.f2) / 2, (before.c1 + after.c1) / 2, (before.n1 + after.n1) / 2)
    drift = max(before.f2, after.f2) / min(before.f2, after.f2), max(before.c1, after.c1) / min(before.c1, after.c1)
    workloads = {
        name: {runner: {"steps_per_s": round(rate), "ratio": round(rate / mean.f2, 3)} for runner, rate in _by_runner(runners, name)}
        for name in ("W1", "W2", "W3")
    }
    workloads["W4"] = {runner: _latencies(found, mean) for runner, found in runners.items()}
    return {
        "floors": _shown(mean),
        "floors_before": _shown(before),
        "floors_after": _shown(after),
        "noisy": max(drift) > NOISY,
        "workloads": workloads,
        "creation": creation | {"ratio": round(creation["steps_per_s"] / mean.f2, 3)},
        "claim": claim,
        "readiness": ready,
    }


def _shown(floors: Floors) -> dict[str, float]:
    return {"F2": round(floors.f2), "C1": round(floors.c1, 4), "N1": round(floors.n1, 4)}


def _by_runner(runners: dict[str, Any], workload: str) -> list[tuple[str, float]]:
    return [(runner, found[workload]) for runner, found in runners.items()]


def _latencies(found: dict[str, Any], floors: Floors) -> dict[str, float]:
    return {
        "hop_p50_ms": round(found["hop"][0], 3),
        "hop_p99_ms": round(found["hop"][1], 3),
        "hop_ratio": round(found["hop"][0] / floors.c1, 2),
        "submit_awake_p50_ms": round(found["awake"][0], 3),
        "submit_awake_p99_ms": round(found["awake"][1], 3),
        "submit_to_claim_p50_ms": round(found["submit"][0], 3),
        "submit_to_claim_p99_ms": round(found["submit"][1], 3),
        "submit_rested_p50_ms": round(found["rested"][0], 3),
        "submit_rested_p99_ms": round(found["rested"][1], 3),
        "submit_rested_ratio": round(found["rested"][0] / floors.n1, 2),
    }
