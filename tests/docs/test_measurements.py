"""The tables of the pages follow from the raw figures that lie beside them, and the benches hand over what the tables need."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
SMALL = {"BENCH_SECONDS": "1", "BENCH_ROUNDS": "1", "BENCH_CHAINS": "50", "BENCH_FLOOD": "2000", "BENCH_LAUNCHES": "2", "BENCH_TASKS": "2000"}
OF_THE_COMMAND_LINE = {"bench": ["engine.cli", "bench", "--quick"], "observability": ["engine.cli", "bench", "--observability", "--quick"]}


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measurements", ROOT / ".ci" / "measurements.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def given_costs() -> dict[str, Any]:
    at_rest = {"database": 0.019, "engine": 0.029, "wal": 100.0, "disk": 0.0, "calls": 5.0, "steps_per_s": 0.0}
    row = {"load": "demo x 10", "wanted_steps_per_s": 280.0, "database": 0.121, "engine": 0.097, "wal": 4e5, "disk": 2e5, "calls": 60.0, "steps_per_s": 279.6}
    row |= {"database_ms": 0.365, "engine_ms": 0.243, "wal_bytes": 1389.4, "disk_bytes": 836.0, "round_trips": 0.21}
    model = {"step_ms": 0.099, "trip_ms": 1.384, "carried_steps_per_s": 9487.0, "loads": [{"load": "demo x 10", "round_trips": 0.214, "database_ms": 0.395, "wal_bytes": 1546.0, "database": 0.13}]}
    machine = {"begun_at": "2026-11-27T20:00:00+00:00", "cores": 2, "system": "Linux-6", "python": "3.11.2", "load_before": 0.1, "load_after": 1.5, "postgresql": "18.1"}
    return machine | {"length": 5, "seconds": 20.0, "rest": at_rest, "loads": [row], "model": model}


def test_every_table_has_one_place_and_every_place_a_table() -> None:
    measurements = script()
    assert sorted(place["name"] for page in PAGES for place in measurements.PLACE.finditer(page.read_text())) == sorted(measurements.TABLES)
    assert sum(page.read_text().count("<!-- table: ") for page in PAGES) == len(measurements.TABLES)


def test_a_page_says_what_the_figures_say_and_keeps_what_has_none(tmp_path: Path) -> None:
    measurements, page = script(), (ROOT / "docs" / "scaling.md").read_text()
    assert measurements.filled(page, tmp_path) == page
    (tmp_path / "cost.json").write_text(json.dumps(given_costs()))
    text = measurements.filled(page, tmp_path)
    assert "| demo × 10 | 280 | 0.365 | 0.243 | 1,389 | 836 | 0.210 | 12.1 | 9.7 |\n" in text
    assert "| demo × 10 | 0.214 / 0.210 | 0.395 / 0.365 | 1,546 / 1,389 | 1.08 |\n" in text
    assert "PostgreSQL 18.1; load 0.1 before and 1.5 after. [The raw figures](measurements/cost.json)." in text
    assert "| all it can |" not in text
    assert text.count("## ") == page.count("## ")
    assert measurements.filled(text, tmp_path) == text


def test_the_published_tables_are_those_that_their_figures_make() -> None:
    measurements = script()
    for page in PAGES:
        assert page.read_text() == measurements.filled(page.read_text(), ROOT / "docs" / "measurements"), page.name


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["bench", "observability", "large", "dropping", "cost", "many", "api", "pages"])
def test_each_bench_hands_over_what_its_tables_need(name: str, tmp_path: Path) -> None:
    command = OF_THE_COMMAND_LINE.get(name, [f"engine.bench.{name}"])
    ended = subprocess.run([sys.executable, "-m", *command, "--json"], env={**os.environ, **SMALL}, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 0, ended.stderr
    (tmp_path / f"{name}.json").write_text(ended.stdout)
    filled = "".join(script().filled(page.read_text(), tmp_path) for page in PAGES)
    assert f"[The raw figures](measurements/{name}.json)" in filled
