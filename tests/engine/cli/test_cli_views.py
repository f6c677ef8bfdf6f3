"""`tasker view`: views kept, listed with their counts and removed."""

from __future__ import annotations

from terminal import Terminal, refused

FLOW = """
from engine import Workflow

charge = Workflow("charge", namespace="payments")
charge.define("call_bank")
"""


def test_a_view_is_kept_listed_with_its_count_and_removed(terminal: Terminal) -> None:
    terminal.environment["TASKER_HANDLERS"] = str(terminal.write(FLOW))
    assert terminal.run("launch", "payments/charge", "--context", "{}").status == 0
    assert terminal.run("user", "create", "ada", "--role", "operator").status == 0
    made = terminal.run("view", "keep", "Waiting", "--filter", "state=pending", "--namespace", "payments", "--owner", "ada", "--json").json()
    assert terminal.run("view", "keep", "Mine", "--owner", "ada").status == 0
    shared = terminal.run("view", "list", "--json").json()["views"]
    assert [(one["view_id"], one["name"], one["count"]) for one in shared] == [(made["view_id"], "Waiting", 1)]
    assert "Mine" in terminal.run("view", "list", "--owner", "ada").out
    assert "there is no such filter" in refused(terminal.run("view", "keep", "x", "--filter", "colour=red", "--owner", "ada"))
    assert terminal.run("view", "remove", str(made["view_id"]), "--owner", "ada").out == f"view {made['view_id']} is removed\n"
    assert terminal.run("view", "list", "--json").json()["views"] == []
