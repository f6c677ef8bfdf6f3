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
    told = terminal.run("view", "alert", str(made["view_id"]), "--above", "0", "--email", "ops@shop.example", "--rest", "1h", "--owner", "ada")
    assert told.out == f"view {made['view_id']} tells when more than 0 match\n"
    assert terminal.run("view", "list", "--json").json()["views"][0]["threshold"] == 0
    assert "needs a webhook or an e-mail address" in refused(terminal.run("view", "alert", str(made["view_id"]), "--above", "3", "--owner", "ada"))
    assert "--off" in terminal.run("view", "alert", str(made["view_id"]), "--owner", "ada").err
    assert terminal.run("view", "alert", str(made["view_id"]), "--off", "--owner", "ada", "--json").json()["threshold"] is None
    assert "there is no such filter" in refused(terminal.run("view", "keep", "x", "--filter", "colour=red", "--owner", "ada"))
    kept = terminal.run("view", "keep", "Ours", "--of", "failures", "--filter", "owner=ann", "--namespace", "payments", "--owner", "ada", "--json").json()
    assert next((one["kind"], one["count"], one["filter"]) for one in terminal.run("view", "list", "--json").json()["views"]) == ("failures", 0, {"namespace": "payments", "owner": "ann"})
    assert "there is no such filter" in refused(terminal.run("view", "keep", "x", "--of", "failures", "--filter", "state=failed", "--owner", "ada"))
    assert terminal.run("view", "remove", str(kept["view_id"]), "--owner", "ada").status == 0
    assert terminal.run("view", "remove", str(made["view_id"]), "--owner", "ada").out == f"view {made['view_id']} is removed\n"
    assert terminal.run("view", "list", "--json").json()["views"] == []
