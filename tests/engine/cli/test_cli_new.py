"""`tasker new`: what it writes passes its own tests, ruff and mypy at once, and nothing is ever overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from terminal import Terminal, refused

ROOT = Path(__file__).resolve().parents[3]
STEPS = "find,pay:find,a_rather_long_name_for_a_step:find,another_rather_long_name_for_a_step:find,mail:pay+a_rather_long_name_for_a_step+another_rather_long_name_for_a_step"


@pytest.fixture
def desk(bare: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal that stands in an empty folder."""
    (bare.folder / "desk").mkdir()
    monkeypatch.chdir(bare.folder / "desk")
    return bare


def passes(folder: Path, *command: str) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TASKER_", "PYTEST_", "COV_"))}
    ended = subprocess.run([sys.executable, "-m", *command], cwd=folder, env={**clean, "PYTHONPATH": str(ROOT), "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache")}, capture_output=True, text=True, timeout=110, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.long
def test_everything_it_writes_passes_its_tests_ruff_and_mypy(desk: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert desk.run("new", "project", "corner-shop").status == 0
    project = Path("corner-shop").absolute()
    monkeypatch.chdir(project)
    for form in ("functions", "classes", "yaml"):
        assert desk.run("new", "workflow", f"refund-{form}", "--namespace", "corner", "--steps", STEPS, "--form", form).status == 0
    assert desk.run("new", "handler", "charge_card").status == 0
    assert desk.run("new", "subscriber", "order_monitor").status == 0
    passes(project, "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:playwright", "-p", "no:base_url")
    passes(project, "ruff", "check", ".")
    passes(project, "mypy")


def test_a_new_project_says_how_to_go_on_and_has_what_production_needs(desk: Terminal) -> None:
    ended = desk.run("new", "project", "corner-shop")
    assert ended.out.splitlines()[-1] == "Next: cd corner-shop && make test && make run"
    written = {str(path.relative_to("corner-shop")) for path in Path("corner-shop").rglob("*") if path.is_file()}
    assert {"Makefile", ".gitignore", ".env.example", "deploy/tasker-engine.service", "deploy/compose.yaml", "flows/daily_report.yaml"} <= written
    assert "$" not in Path("corner-shop/README.md").read_text()
    assert "\nOOMPolicy=continue\n" in Path("corner-shop/deploy/tasker-engine.service").read_text()  # a handler that has too much costs its attempt, not the engine
    compose = Path("corner-shop/deploy/compose.yaml").read_text()
    assert "${POSTGRES_PASSWORD:?}" in compose
    assert yaml.safe_load(compose)["services"]["web"]["ports"] == ["127.0.0.1:8080:8080"]  # reached from the machine, and from no other


def test_nothing_that_exists_is_overwritten(desk: Terminal) -> None:
    desk.run("new", "handler", "charge_card")
    mine = Path("flows/charge_card.py")
    mine.write_text("# mine")
    assert "are there already; nothing was written" in refused(desk.run("new", "workflow", "charge_card"))
    assert mine.read_text() == "# mine"
    assert not Path("tests/test_charge_card.py").read_text().startswith('"""What the workflow')


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("handler", "Charge Card"), "must be lower-case words such as process_order"),
        (("handler", "class"), "no word of Python's own"),
        (("handler", "../../escape"), "must be lower-case words"),
        (("workflow", "refund", "--folder", "/tmp"), "must be lower-case words"),
        (("workflow", "refund", "--namespace", "No Such"), "namespace"),
        (("workflow", "refund", "--steps", "a,b:c"), "'b' waits for 'c', which is no step here"),
        (("workflow", "refund", "--steps", "a:b,b:a"), "the steps wait for each other: a -> b -> a"),
        (("workflow", "refund", "--steps", "a,a"), "named twice"),
        (("workflow", "refund", "--steps", "task"), "a step cannot be called 'task'"),
        (("workflow", "refund", "--steps", ""), "name at least one step"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_written(desk: Terminal, arguments: tuple[str, ...], reason: str) -> None:
    ended = desk.run("new", *arguments)
    assert ended.status == 2
    assert reason in ended.err
    assert "Traceback" not in ended.err
    assert list(Path().iterdir()) == []
