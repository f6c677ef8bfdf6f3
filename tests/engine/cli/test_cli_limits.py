"""`tasker limit`: what definitions declare, changed by an operator and put back."""

from __future__ import annotations

from terminal import Terminal, refused

CHARGE = """
from engine import Workflow

charge = Workflow("charge", namespace="payments", limit={"at_once": 1, "key": "customer"})
charge.define("call_bank", limit={"at_once": 3, "per_minute": 60})
"""


def test_a_limit_that_a_new_version_declares_no_more_is_listed_as_long_as_an_operator_keeps_it(terminal: Terminal) -> None:
    terminal.environment["TASKER_HANDLERS"] = str(terminal.write(CHARGE))
    terminal.run("launch", "payments/charge", "--context", '{"customer": "ann"}')
    terminal.run("limit", "set", "payments/charge", "--at-once", "2")
    without = CHARGE.replace('limit={"at_once": 1, "key": "customer"}', 'version="0.2.0"').replace(', limit={"at_once": 3, "per_minute": 60}', "")
    terminal.environment["TASKER_HANDLERS"] = str(terminal.write(without, "later.py", "later"))
    assert terminal.run("launch", "payments/charge@0.2.0", "--context", '{"customer": "ann"}').status == 0
    assert [(row["step"], row["at_once"]) for row in terminal.run("limit", "list", "--json").json()["limits"]] == [(None, 2)]
    terminal.run("limit", "reset", "payments/charge")
    assert terminal.run("limit", "list", "--json").json()["limits"] == []


def test_an_operator_changes_a_limit_until_it_is_reset(terminal: Terminal) -> None:
    terminal.environment["TASKER_HANDLERS"] = str(terminal.write(CHARGE))
    assert terminal.run("launch", "payments/charge", "--context", '{"customer": "ann"}').status == 0
    listed = terminal.run("limit", "list", "--json").json()["limits"]
    assert [(row["step"], row["declared"], row["key"]) for row in listed] == [(None, "1 at once, for each customer", "customer"), ("call_bank", "3 at once, 60 per minute", None)]
    changed = terminal.run("limit", "set", "payments/charge", "--step", "call_bank", "--at-once", "0", "--reason", "the bank is down")
    assert changed.out == "payments/charge, step call_bank: 0 at once, 60 per minute\n"
    row = terminal.run("limit", "list", "--json").json()["limits"][1]
    assert (row["at_once"], row["per_period"], row["period"], bool(row["changed_by"])) == (0, 60, "minute", True)
    assert "call_bank" in terminal.run("limit", "list").out
    back = terminal.run("limit", "reset", "payments/charge", "--step", "call_bank", "--json").json()
    assert (back["at_once"], back["changed_by"]) == (3, None)
    assert "declares no limit; give it the option limit. There is payments/charge, payments/charge, step call_bank" in refused(
        terminal.run("limit", "set", "payments/charge", "--step", "cal_bank", "--at-once", "1")
    )
    for arguments in (("set", "payments/charge"), ("set", "charge", "--at-once", "1"), ("set", "payments/charge", "--at-once", "-1")):
        assert terminal.run("limit", *arguments).status == 2
