"""What somebody new waits for: from an empty folder to green tests, a test of a whole workflow, the command's help, an engine's start, an import.

Each is measured as it is felt: by processes of their own, in an empty home, from the start of the command to its end. Beside it stands the time of the
processor, which says more where the machine is busy with other things. Modules are compiled, as pip leaves them, whatever this environment does with bytecode.
"""

from __future__ import annotations

import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

from engine import tasks
from engine.bench.document import load, surroundings
from engine.bench.flows import w1
from engine.bench.place import throwaway_database
from engine.db import Database
from engine.errors import TaskerError
from engine.requests import TaskRequest
from engine.settings import Settings

GOALS = {"green_tests_s": 60.0, "workflow_test_ms": 100.0, "help_ms": 150.0, "first_claim_s": 1.5, "import_ms": 150.0}
WORDS = {
    "green_tests_s": "empty folder to a new project's green tests, s",
    "workflow_test_ms": "test of a whole workflow, after the first, ms",
    "help_ms": "tasker --help, ms",
    "first_claim_s": "start of an engine to its first claim, s",
    "import_ms": "import of what a workflow needs, ms",
}
PATIENCE_SECONDS = 600
LOOK_SECONDS = 0.005
TESTS = 20
_HELP = [sys.executable, "-m", "engine.cli", "--help"]
_IMPORT = [
    sys.executable,
    "-c",
    "import time; began, worked = time.perf_counter(), time.process_time(); from engine import StepHandler, TaskHandler, TaskRequest, submit; "
    "print(time.process_time() - worked, time.perf_counter() - began)",
]
_TEST = '''"""The same workflow, again and again."""

import pytest

from engine.testing import Workbench


@pytest.mark.parametrize("number", range({count}))
def test_a_whole_workflow(tasker: Workbench, number: int) -> None:
    tasker.run("shop/process_order", {{"subject": str(number)}}).assert_completed()
'''

Progress = Callable[[str], None]
Measured = TypeVar("Measured")


def run(settings: Settings, requirement: str, *, rounds: int, progress: Progress) -> dict[str, Any]:
    """Every figure with its goal, medians of `rounds` but for the first; and the machine's load before and after. `requirement` is what pip installs."""
    facts, worked = surroundings(), {}
    with tempfile.TemporaryDirectory(prefix="tasker-first-hour-") as folder:
        root = Path(folder)
        progress("a new project in an empty folder")
        worked["green_tests_s"], (green, environment) = _with_work(lambda: _green_tests(root, requirement))
        progress("tests of a whole workflow")
        found = {"green_tests_s": green, "workflow_test_ms": _workflow_test(root / "shop", environment)}
        compiled = _compiled(root)
        progress("help and import")
        worked["help_ms"], found["help_ms"] = _with_work(lambda: _help(rounds, compiled))
        worked["help_ms"] *= 1000 / rounds
        worked["import_ms"], found["import_ms"] = _import(rounds, compiled)
        progress("an engine's start")
        found["first_claim_s"] = _first_claim(settings, rounds, compiled)
    figures = {key: {"measured": round(found[key], 2), "processor": round(worked[key], 2) if key in worked else None, "goal": goal, "met": found[key] <= goal} for key, goal in GOALS.items()}
    return facts | {"figures": figures, "load_after": load()}


def print_report(report: Mapping[str, Any]) -> None:
    """The figures as a table."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(("the first hour", "measured", "processor", "goal", "")):
        table.add_column(column, justify="left" if number in (0, 4) else "right")
    for key, found in report["figures"].items():
        table.add_row(WORDS[key], f"{found['measured']:g}", "" if found["processor"] is None else f"{found['processor']:g}", f"{found['goal']:g}", "met" if found["met"] else "missed")
    console = Console(highlight=False, width=110)
    console.print(table)
    console.print(f"Load {report['load_before']} before and {report['load_after']} after, on {report['cores']} cores.")


def _with_work(measure: Callable[[], Measured]) -> tuple[float, Measured]:
    """How many seconds of the processor its processes took, and what it measured."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    measured = measure()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, measured


def _green_tests(root: Path, requirement: str) -> tuple[float, dict[str, str]]:
    """The lines of the quick start, in an empty home; how long they took, and the environment they had."""
    home, python = root / "home", shlex.quote(str(Path(sys.base_prefix) / "bin" / "python3"))
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name in ("PATH", "TMPDIR", "SSL_CERT_FILE")}
    environment = {**kept, "HOME": str(home)}
    lines = f"""
        {python} -m venv shop/.venv
        shop/.venv/bin/pip install --quiet {shlex.quote(requirement)}
        shop/.venv/bin/tasker new project shop
        cd shop
        make test PYTHON={python}
    """
    began = time.monotonic()
    _done(["sh", "-euc", lines], root, environment)
    return time.monotonic() - began, environment


def _workflow_test(project: Path, environment: dict[str, str]) -> float:
    """The median test, its database made and dropped included, without the first, which starts the server."""
    (project / "tests" / "test_again.py").write_text(_TEST.format(count=TESTS))
    _done([".venv/bin/python", "-m", "pytest", "-q", "tests/test_again.py", "--junitxml=times.xml"], project, environment)
    seconds = [float(case.get("time", "0")) for case in ElementTree.parse(project / "times.xml").iter("testcase")]
    return statistics.median(seconds[1:]) * 1000


def _compiled(root: Path) -> dict[str, str]:
    """An environment in which a first process has left the bytecode of its modules to the next."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPYCACHEPREFIX": str(root / "bytecode")}
    for command in (_HELP, _IMPORT):
        _done(command, Path(), environment)
    return environment


def _help(rounds: int, environment: dict[str, str]) -> float:
    return statistics.median(_timed(_HELP, environment) for _ in range(rounds)) * 1000


def _import(rounds: int, environment: dict[str, str]) -> tuple[float, float]:
    """The processor's time and the clock's, without the interpreter's start."""
    told = [_done(_IMPORT, Path(), environment).split() for _ in range(rounds)]
    worked, took = (statistics.median(map(float, times)) * 1000 for times in zip(*told, strict=True))
    return worked, took


def _first_claim(settings: Settings, rounds: int, environment: dict[str, str]) -> float:
    with throwaway_database(settings) as url:
        database = Database(url, max_size=1)
        try:
            tasks.register_definition(database, w1.definition)
            _claimed(database, environment)  # leaves bytecode too
            return statistics.median(_claimed(database, environment) for _ in range(rounds))
        finally:
            database.close()


def _claimed(database: Database, environment: dict[str, str]) -> float:
    """From the start of the process to the moment when a step that waits is seen to be claimed."""
    task_id = tasks.submit(database, TaskRequest(w1.definition.name, w1.definition.namespace))
    command = [sys.executable, "-m", "engine.cli", "engine", "--handlers", "engine.bench.flows"]
    began = time.monotonic()
    with subprocess.Popen(command, env={**environment, "TASKER_DATABASE_URL": database.url}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as engine:
        try:
            while not database.value("select t.started_at is not null from tasker_tasks t where t.task_id = %(id)s", {"id": task_id}):
                if engine.poll() is not None or time.monotonic() - began > PATIENCE_SECONDS:
                    raise TaskerError("the engine claimed nothing")
                time.sleep(LOOK_SECONDS)
            return time.monotonic() - began
        finally:
            engine.terminate()


def _timed(command: list[str], environment: dict[str, str]) -> float:
    began = time.monotonic()
    _done(command, Path(), environment)
    return time.monotonic() - began


def _done(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What the command said. Raises `TaskerError` with its last words when it fails."""
    ended = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    if ended.returncode != 0:
        raise TaskerError(f"{' '.join(command)[:200]} ended with {ended.returncode}: {(ended.stdout + ended.stderr)[-2000:]}")
    return ended.stdout
