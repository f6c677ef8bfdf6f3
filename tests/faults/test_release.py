"""What only a release needs: the former release and this one at work together, and migrations while everything runs.

FAULTS_FORMER names a folder with the code of the former release. While there is none, a copy of this one takes its part, so that the exchange itself is tested.
"""

from __future__ import annotations

import os
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import faults
import pytest
from arena import ROOT, Arena, EngineProcess, Where, until

from engine import migrate

pytestmark = [pytest.mark.release, pytest.mark.timeout(900)]

TREES = int(os.environ.get("FAULTS_TREES") or 300)
PARTS = ("engine", "webapp", "sql", "migrations")


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    installation = Arena(tmp_path, seed=27)
    yield installation
    installation.end()


@pytest.fixture
def former(tmp_path: Path) -> Where:
    """Where the engines of the former release run."""
    if given := os.environ.get("FAULTS_FORMER"):
        return Where(code=Path(given).resolve())
    copy = tmp_path / "former"
    for part in PARTS:
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    return Where(code=copy)


# ---- F26


def test_two_releases_work_together_while_engines_and_dashboard_are_exchanged_one_by_one_and_back(arena: Arena, former: Where) -> None:
    engines = [begun(arena, former) for _ in range(3)]
    assert all(Path(f"/proc/{engine.pid}/cwd").resolve() == former.code for engine in engines)
    arena.start_web(code=former.code, watched=False)
    arena.run_load([*exchanges(Where()), *exchanges(former)], trees=TREES)
    arena.assert_kept()
    said = [line for engine in arena.engines for line in engine.said().splitlines() if "ERROR" in line or "Traceback" in line]
    assert not said, said[:5]


def exchanges(where: Where) -> list[faults.Fault]:
    """Everything that runs elsewhere now, engine by engine, and then the dashboard."""
    return [*[lambda arena: exchange(arena, where)] * 3, lambda arena: exchange_web(arena, where)]


def exchange(arena: Arena, where: Where) -> None:
    """The eldest engine is told to end, and one from elsewhere begins."""
    engine = arena.living()[0]
    with arena.fault("an engine exchanged for one of another release", engine):
        engine.process.terminate()
        until(lambda: not engine.alive, f"{engine.label} to end", 30)
        engine.end()
        begun(arena, where)


def exchange_web(arena: Arena, where: Where) -> None:
    with arena.fault("the dashboard exchanged for one of another release"):
        arena.kill_web()
        arena.start_web(code=where.code, watched=False)
        with urllib.request.urlopen(f"{arena.web_url}/tasks", timeout=15) as answer:
            assert answer.status == 200


def begun(arena: Arena, where: Where) -> EngineProcess:
    engine = arena.start_engine(where)
    until(lambda: engine.workers() or not engine.alive, f"{engine.label} to come up")
    assert engine.alive, engine.said()
    return engine


# ---- F27


def test_migrators_and_changed_tables_harm_no_step(arena: Arena) -> None:
    arena.start_engines(3)
    arena.start_web()
    arena.run_load([faults.change_schema, two_migrators, faults.change_schema, two_migrators, faults.change_schema], trees=TREES)
    arena.assert_kept()


def two_migrators(arena: Arena) -> None:
    """Two processes bring the schema up to date at once; it is already."""
    with arena.fault("two migrators at once"):
        both = [threading.Thread(target=migrate.upgrade, args=(arena.server.url,)) for _ in range(2)]
        for migrator in both:
            migrator.start()
        for migrator in both:
            migrator.join()
    assert not migrate.status(arena.server.url).pending
