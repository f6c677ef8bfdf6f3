"""`tasker engine --reload`: changed handlers are in use without a restart by hand, and what runs ends with the code it began with."""

from __future__ import annotations

from pathlib import Path

import pytest
from terminal import Terminal, until

from engine.cli.reloading import seen_in, watched_places

PATIENCE_SECONDS = 150.0
CODE = """
import pathlib, time
from engine import Workflow
w = Workflow("reloaded", namespace="shop")
@w.step(timeout=120_000)
def say(task):
    while task.context.get("until") and not pathlib.Path(task.context["until"]).exists():
        time.sleep(0.05)
    return {word!r}
"""


def launched(shop: Terminal, *, context: str = "{}") -> str:
    return shop.run("launch", "shop/reloaded", "--context", context).out.strip()


def said(shop: Terminal, task: str) -> object:
    """What the task's step returned, once it has."""
    return until(lambda: shop.run("show", task, "--json").json()["steps"]["say"]["result"], f"task {task} to end", PATIENCE_SECONDS)


@pytest.mark.timeout(400)
def test_changed_handlers_are_used_and_running_attempts_end_with_the_old_code(terminal: Terminal, tmp_path: Path) -> None:
    terminal.environment["TASKER_HANDLERS"] = str(terminal.write(CODE.format(word="old")))
    terminal.write(CODE.format(word="other").replace("reloaded", "second"), "second.py")
    engine = terminal.start("engine", "--reload", "--concurrency", "2")
    gate = tmp_path / "gate"
    running = launched(terminal, context=f'{{"until": "{gate}"}}')
    until(lambda: terminal.run("show", running, "--json").json()["steps"]["say"]["state"] == "running", "the step to run", PATIENCE_SECONDS)
    terminal.write(CODE.format(word="new"))
    until(lambda: said(terminal, launched(terminal)) == "new", "the new code to be used", PATIENCE_SECONDS)
    gate.touch()
    assert said(terminal, running) == "old"
    terminal.write("def broken(:")
    assert any("goes on with the code it had" in line for line in engine.stderr or ()), "an engine with the other file alone took its place"
    assert said(terminal, launched(terminal)) == "new"


def test_only_files_with_workflows_count(tmp_path: Path) -> None:
    for name in ("a.py", "b.yaml", "c.txt", ".hidden/d.py", "__pycache__/e.py", "deep/f.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert {path.name for path in seen_in(watched_places([str(tmp_path)]))} == {"a.py", "b.yaml", "f.py"}
    assert [place.name for place in watched_places(["engine.examples", "no_such_module"])] == ["examples"]
