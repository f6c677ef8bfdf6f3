"""How the benches that stand apart from `tasker bench` say what they found: line by line for people, and with `--json` as one document for `docs/measurements/`."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

OPTION = "--json"


def publish(measure: Callable[[], Mapping[str, Any]]) -> None:
    """Measures; with `--json` in the command line standard output holds one document: when, on what machine, what was found."""
    facts = surroundings()
    found = measure()
    if OPTION in sys.argv:
        print(json.dumps({**facts, "load_after": load(), **found}, indent=1))


def say(line: str) -> None:
    """A line for people, at once; on standard error where standard output is for the document."""
    print(line, file=sys.stderr if OPTION in sys.argv else sys.stdout, flush=True)


def quantiles(times: Sequence[float]) -> dict[str, Any]:
    """The median and the 99th percentile of so many milliseconds, and how many there are."""
    ordered = sorted(times)
    return {"p50_ms": statistics.median(ordered), "p99_ms": ordered[int(0.99 * (len(ordered) - 1))], "count": len(ordered)}


def numbers() -> list[int]:
    """The numbers in the command line."""
    return [int(word) for word in sys.argv[1:] if word != OPTION]


def surroundings() -> dict[str, Any]:
    """When it begins and on what: a figure says nothing without them. Loads are those of the last minute."""
    return {
        "begun_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_before": load(),
    }


def load() -> float:
    """How many processes wanted a processor in the last minute."""
    return round(os.getloadavg()[0], 2)
