"""`tasker run`: one step or a whole workflow in the foreground."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
from terminal import ROOT, Terminal, refused

if TYPE_CHECKING:
    from engine.embedded import EmbeddedServer

FLOW = """
from engine import PermanentError, RetryableError, Workflow
refunds = Workflow("refund", namespace="shop")
@refunds.step
def find(task):
    return {"amount": task.context["amount"]}
@refunds.step(depends_on_step="find", retry_limit=2)
def pay(step, find):
    if step.attempt == 1 and find["amount"] == 2:
        raise RetryableError("busy", delay=3600)
    if find["amount"] < 0:
        raise PermanentError("nothing to pay")
    return {"paid": find["amount"]}
"""


@pytest.fixture
def _same_server(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its databases are made on the server of all tests, which saves the start of another."""
    monkeypatch.setattr("engine.testing.server.shared_server", lambda purpose: nullcontext(server))


def test_a_step_runs_without_a_database(bare: Terminal) -> None:
    folder = bare.write(FLOW)
    assert bare.run("run", folder, "--step", "pay", "--results", '{"find": {"amount": 5}}').json() == {"paid": 5}
    failed = bare.run("run", folder, "--step", "pay", "--results", '{"find": {"amount": -5}}')
    assert (failed.status, failed.out) == (1, "")
    assert "PermanentError: nothing to pay" in failed.err
    assert "it has find, pay" in refused(bare.run("run", folder, "shop/refund", "--step", "send"))
    assert not (bare.folder / "data").exists()


MAPPED = """
from engine import Workflow
parcels = Workflow("parcels", namespace="shop")
@parcels.step
def price(): ...
@parcels.step(depends_on_step="price", for_each="price.lines")
def pack(item, price):
    return [item["sku"], price]
"""


def test_a_step_says_what_it_needs_to_run_alone(bare: Terminal) -> None:
    folder = bare.write(MAPPED)
    assert """pack reads the result of price; give it, such as --results '{"price": {}}'""" in refused(bare.run("run", folder, "--step", "pack"))
    priced = ("run", folder, "--step", "pack", "--results", '{"price": 3}')
    assert "runs once for each of price.lines; give one element" in refused(bare.run(*priced))
    assert bare.run(*priced, "--item", '{"sku": "a"}').json() == ["a", 3]
    assert "price is no map step" in refused(bare.run("run", folder, "--step", "price", "--item", "1"))
    assert "--results: is not JSON" in refused(bare.run("run", folder, "--step", "pack", "--results", "{price: 3}"))
    assert "--context: must be a JSON object" in refused(bare.run("run", folder, "--context", "[]"))
    assert "did you mean 'shop/parcels'?" in refused(bare.run("run", folder, "parcels"))


@pytest.mark.usefixtures("_same_server")
def test_a_whole_workflow_runs_and_its_waits_take_no_time(bare: Terminal) -> None:
    ended = bare.run("run", bare.write(FLOW), "--context", '{"amount": 2}')
    assert ended.status == 0, ended.err
    assert "pay: completed, 2 attempts" in ended.out


@pytest.mark.usefixtures("_same_server")
def test_a_debugger_opens_where_a_handler_has_raised(bare: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("p find['amount'] - 1\nq\n"))
    ended = bare.run("run", bare.write(FLOW), "--context", '{"amount": -2}', "--debug")
    assert ended.status == 1
    assert "(Pdb) -3" in ended.out


@pytest.mark.usefixtures("_same_server")
def test_ctrl_c_in_a_handler_ends_the_command_and_shows_no_traceback(bare: Terminal) -> None:
    folder = bare.write(FLOW.replace('    if find["amount"] < 0:', '    os.kill(os.getpid(), 2)\n    time.sleep(10)\n    if find["amount"] < 0:').replace("from", "import os, time\nfrom", 1))
    for ended in (bare.run("run", folder, "--context", '{"amount": 5}'), bare.run("run", folder, "--step", "pay", "--results", '{"find": {"amount": 5}}')):
        assert (ended.status, ended.out) == (130, "")
        assert "Traceback" not in ended.err


@pytest.mark.usefixtures("_same_server")
def test_quitting_the_debugger_ends_the_command_and_shows_no_traceback(bare: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bare.write(FLOW.replace('    if find["amount"] < 0:', '    import pdb; pdb.Pdb().set_trace()\n    if find["amount"] < 0:'))
    for options in (("--context", '{"amount": 5}'), ("--step", "pay", "--results", '{"find": {"amount": 5}}', "--debug")):
        monkeypatch.setattr("sys.stdin", io.StringIO("p find['amount'] - 1\nq\n"))
        ended = bare.run("run", folder, *options)
        assert ended.status == 1
        assert "(Pdb) 4" in ended.out
        assert "Traceback" not in ended.err


STOPPING = FLOW.replace('    if find["amount"] < 0:', '    breakpoint()\n    if find["amount"] < 0:')


def test_at_a_terminal_a_breakpoint_and_then_a_debugger_where_it_raised_take_commands(bare: Terminal) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "engine.cli", "run", str(bare.write(STOPPING)), "--step", "pay", "--results", '{"find": {"amount": -5}}', "--debug"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    process = subprocess.Popen(command, cwd=bare.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    try:
        assert "if find[" in typed(ours, "", "(Pdb) ")
        assert "-10" in typed(ours, "p find['amount'] * 2\n", "(Pdb) ")
        raised = typed(ours, "continue\n", "(Pdb) ")
        assert "PermanentError: nothing to pay" in raised
        assert "-15" in typed(ours, "p find['amount'] * 3\n", "(Pdb) ")
        os.write(ours, b"quit\n")
        assert process.wait(60) == 1
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def typed(terminal: int, text: str, prompt: str) -> str:
    """What is printed after the text was typed, up to the next prompt."""
    os.write(terminal, text.encode())
    deadline, shown = time.monotonic() + 60, ""
    while not shown.endswith(prompt):
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 4096).decode(errors="replace")
    return shown
