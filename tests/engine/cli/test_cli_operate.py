"""The commands about tasks: list, show, draw, and an operator's actions."""

from __future__ import annotations

import json
import re
from typing import Any

import psycopg
import pytest
from terminal import Ended, Terminal, refused, until

from engine.json_text import UNREADABLE_KEY


@pytest.fixture
def failed(shop: Terminal) -> str:
    """A task whose step `charge` failed; an engine runs."""
    shop.start("engine", "--runner", "threads")
    ended = shop.run("launch", "shop/process_order", "--context", '{"order_id": -1}', "--wait", "--json")
    assert ended.status == 1
    return str(ended.json()["task_id"])


def outcome(shop: Terminal, task: str) -> dict[str, object]:
    return dict(until(lambda: (found := shop.run("show", task, "--json").json())["state"] != "running" and found, "the task to end"))


def test_tasks_lists_what_matches_as_a_table_and_as_json(shop: Terminal) -> None:
    ids = [shop.run("launch", "shop/process_order", "--context", '{"order_id": 1}', "--tag", tag).out.strip() for tag in ("a", "b", "b")]
    listed = shop.run("tasks", "--json").json()
    assert [task["task_id"] for task in listed["tasks"]] == ids[::-1]
    assert listed["tasks"][0]["state"] == "pending"
    assert [task["task_id"] for task in shop.run("tasks", "--tag", "a", "--json").json()["tasks"]] == ids[:1]
    assert shop.run("tasks", "--state", "failed", "--json").json() == {"tasks": [], "next_cursor": None}
    table = shop.run("tasks")
    assert all(task in table.out for task in ids)
    assert "shop/process_order@1.1.0" in table.out


@pytest.mark.parametrize("foreign", ["[" * 5_000 + "]" * 5_000, "9" * 5_000], ids=["deep", "digits"])
def test_a_context_that_only_another_program_can_have_written_is_in_no_command_s_way(shop: Terminal, conn: psycopg.Connection[Any], foreign: str) -> None:
    task = shop.run("launch", "shop/process_order", "--context", '{"order_id": 1}').out.strip()
    conn.execute("update tasker_task set context = %s::jsonb", [f'{{"order_id": {foreign}}}'])
    assert list(shop.run("show", task, "--json").json()["context"]) == [UNREADABLE_KEY]
    for command in (["show", task], ["tasks"], ["why", task], ["cancel", task]):
        ended = shop.run(*command)
        assert ended.status == 0, (command, ended.err)


def test_tasks_come_in_pages(shop: Terminal) -> None:
    ids = [shop.run("launch", "shop/process_order", "--context", '{"order_id": 1}').out.strip() for _ in range(3)]
    first = shop.run("tasks", "--limit", 2, "--json").json()
    second = shop.run("tasks", "--limit", 2, "--cursor", first["next_cursor"], "--json").json()
    assert [task["task_id"] for page in (first, second) for task in page["tasks"]] == ids[::-1]
    assert second["next_cursor"] is None
    assert "tasker tasks --cursor" in shop.run("tasks", "--limit", 2).err


def test_show_says_what_each_step_waits_for(shop: Terminal) -> None:
    task = shop.run("launch", "shop/process_order", "--context", '{"order_id": 1}').out.strip()
    shown = shop.run("show", task)
    assert shown.status == 0
    assert re.search(r"charge +ready +0/1 +an engine that has its handler; none is running now", shown.out)
    assert re.search(r"ship +pending +0/3 +charge", shown.out)


def test_a_failed_task_is_retried_as_a_whole_or_by_step(shop: Terminal, failed: str) -> None:
    for arguments in (["retry", failed, "--reason", "card is good now"], ["retry", failed, "charge"]):
        ended = shop.run(*arguments)
        assert (ended.status, ended.out.strip()) in [(0, "running"), (0, "ready")]
        assert outcome(shop, failed)["state"] == "failed"
    assert shop.run("show", failed, "--json").json()["steps"]["charge"]["attempts"] == 3


def test_a_resolved_step_counts_as_completed_with_the_given_result(shop: Terminal, failed: str) -> None:
    ended = shop.run("resolve", failed, "charge", "--result", '{"paid": 41}', "--reason", "paid in cash")
    assert (ended.status, ended.out.strip()) == (0, "resolved")
    found = outcome(shop, failed)
    assert found["state"] == "completed"
    assert found["steps"]["ship"]["result"] == 42  # type: ignore[index]


def test_a_skipped_step_lets_its_children_go_on(shop: Terminal, failed: str) -> None:
    assert shop.run("skip", failed, "charge").out.strip() == "skipped"
    found = outcome(shop, failed)
    assert found["steps"]["charge"]["state"] == "skipped"  # type: ignore[index]
    assert found["steps"]["ship"]["attempts"] == 1  # type: ignore[index]


def test_a_task_that_has_not_begun_is_cancelled_at_once(shop: Terminal) -> None:
    task = shop.run("launch", "shop/process_order", "--context", '{"order_id": 1}').out.strip()
    ended = shop.run("cancel", task, "--reason", "ordered twice")
    assert (ended.status, ended.out.strip()) == (0, "cancelled")
    assert shop.run("show", task, "--json").json()["state"] == "cancelled"
    assert "cancelled" in refused(shop.run("cancel", task))
    assert "cancelled" in refused(shop.run("retry", task))


def test_a_paused_task_waits_until_it_is_resumed(shop: Terminal) -> None:
    task = shop.run("launch", "shop/process_order", "--context", '{"order_id": 1}').out.strip()
    assert shop.run("pause", task, "--reason", "stocktaking").out.strip() == "pending, paused"
    assert "pending, paused" in shop.run("show", task).out
    assert "the task to be resumed: it is paused" in shop.run("show", task).out
    assert "paused already" in refused(shop.run("pause", task))
    shop.start("engine", "--runner", "threads")
    other = shop.run("launch", "shop/process_order", "--context", '{"order_id": 2}', "--wait", "--json").json()
    assert other["state"] == "completed"
    assert shop.run("show", task, "--json").json()["state"] == "pending"
    assert shop.run("resume", task).status == 0
    assert outcome_of(shop, task) == "completed"


def outcome_of(shop: Terminal, task: str) -> str:
    return str(until(lambda: (found := shop.run("show", task, "--json").json()["state"]) in ("completed", "failed") and found, "the task to end"))


def test_a_step_and_everything_downstream_run_again_with_another_context(shop: Terminal, failed: str) -> None:
    ended = shop.run("retry", failed, "charge", "--downstream", "--context", '{"order_id": 5}', "--reason", "wrong sign")
    assert (ended.status, ended.out.strip()) == (0, "ready")
    assert outcome_of(shop, failed) == "completed"
    assert shop.run("retry", failed, "ship", "--downstream").out.strip() == "ready"
    assert outcome_of(shop, failed) == "completed"
    steps = shop.run("show", failed, "--json").json()["steps"]
    assert (steps["charge"]["result"], steps["ship"]["result"], steps["charge"]["attempts"], steps["ship"]["attempts"]) == ({"paid": 5}, 6, 2, 2)


@pytest.fixture
def ready_task(shop: Terminal) -> str:
    """A task that no engine has taken."""
    return shop.run("launch", "shop/process_order", "--context", '{"order_id": 1}').out.strip()


def test_a_dry_run_prints_what_would_happen_and_changes_nothing(shop: Terminal, ready_task: str) -> None:
    shown = shop.run("cancel", ready_task, "charge", "--dry-run")
    assert shown.status == 0
    assert re.search(r"charge +ready +cancelled +cancelled", shown.out)
    assert re.search(r"ship +pending +cancelled +cancelled", shown.out)
    assert "task: pending -> cancelled" in shown.out
    assert "Nothing was done." in shown.out
    assert shop.run("show", ready_task, "--json").json()["state"] == "pending"


@pytest.mark.parametrize(
    ("command", "effects", "task"),
    [
        (["cancel"], {"charge": "cancelled", "ship": "cancelled"}, ("pending", "cancelled", "ended")),
        (["skip", "charge"], {"charge": "skipped", "ship": "unblocked"}, ("pending", "pending", "kept")),
        (["skip", "ship"], {"charge": "kept", "ship": "bypassed"}, ("pending", "pending", "kept")),
        (["resolve", "charge", "--result", '{"paid": 1}'], {"charge": "resolved", "ship": "unblocked"}, ("pending", "pending", "kept")),
        (["pause"], {"charge": "held", "ship": "held"}, ("pending", "pending", "held")),
    ],
)
def test_a_dry_run_is_printed_as_one_document(
    shop: Terminal, ready_task: str, command: list[str], effects: dict[str, str], task: tuple[str, ...]
) -> None:
    name, *more = command
    shown = shop.run(name, ready_task, *more, "--dry-run", "--json").json()
    assert {step["name"]: step["effect"] for step in shown["steps"]} == effects
    assert tuple(shown["task"][key] for key in ("from_state", "to_state", "effect")) == task


def test_dry_runs_of_retries_and_of_a_resumption(shop: Terminal, ready_task: str) -> None:
    for command in (["skip", "charge"], ["skip", "ship"]):
        shop.run(command[0], ready_task, command[1])
    shown = shop.run("retry", ready_task, "charge", "--downstream", "--context", '{"order_id": 2}', "--dry-run", "--json").json()
    assert {step["name"]: step["effect"] for step in shown["steps"]} == {"charge": "reset", "ship": "reset"}
    assert shop.run("show", ready_task, "--json").json()["context"]["order_id"] == 1
    assert "no step" in refused(shop.run("retry", ready_task, "--dry-run"))
    assert "not paused" in refused(shop.run("resume", ready_task, "--dry-run"))


def test_what_a_dry_run_showed_is_done_or_nothing(shop: Terminal, ready_task: str) -> None:
    seen = shop.run("skip", ready_task, "charge", "--dry-run", "--json").json()["seen"]
    assert shop.run("skip", ready_task, "charge", "--seen", seen).out.strip() == "skipped"
    seen = shop.run("cancel", ready_task, "--dry-run", "--json").json()["seen"]
    shop.run("skip", ready_task, "ship")
    stale = shop.run("retry", ready_task, "ship", "--downstream", "--seen", seen)
    assert "changed since you looked" in refused(stale)
    assert shop.run("show", ready_task, "--json").json()["state"] == "completed"


def test_with_json_an_action_prints_what_it_led_to(shop: Terminal, ready_task: str) -> None:
    for command, step, state in (("pause", None, "pending"), ("resume", None, "pending"), ("skip", "charge", "skipped"), ("cancel", None, "cancelled")):
        assert shop.run(command, ready_task, *filter(None, [step]), "--json").json() == {"task_id": ready_task, "step": step, "state": state}


def test_downstream_needs_a_step_and_a_fitting_context(shop: Terminal, failed: str) -> None:
    assert "--downstream goes with a STEP" in shop.run("retry", failed, "--downstream").err
    assert "--context with --downstream" in shop.run("retry", failed, "charge", "--context", "{}").err
    assert "order_id" in refused(shop.run("retry", failed, "charge", "--downstream", "--context", "{}"))


def test_a_single_step_is_cancelled(shop: Terminal) -> None:
    task = shop.run("launch", "shop/process_order", "--context", '{"order_id": 1}').out.strip()
    assert shop.run("cancel", task, "charge").out.strip() == "cancelled"
    assert shop.run("show", task, "--json").json()["steps"]["ship"]["state"] == "cancelled"


@pytest.mark.parametrize("command", [["show"], ["retry"], ["cancel"], ["graph"], ["skip", "charge"], ["resolve", "charge", "--result", "1"]])
@pytest.mark.parametrize("task", ["5d1c1f6e-0000-4000-8000-000000000000", "no-id", "\u2603"])
def test_a_task_that_is_not_there_is_refused(terminal: Terminal, command: list[str], task: str) -> None:
    assert task in refused(terminal.run(command[0], task, *command[1:]))


def test_actions_that_do_not_fit_are_refused(shop: Terminal) -> None:
    task = shop.run("launch", "shop/process_order", "--context", '{"order_id": 1}').out.strip()
    assert "no step" in refused(shop.run("retry", task))
    assert "nothing" in refused(shop.run("retry", task, "nothing"))
    assert "nothing" in refused(shop.run("skip", task, "nothing"))
    assert "--result" in refused(shop.run("resolve", task, "charge", "--result", "{"))
    assert "cursor" in refused(shop.run("tasks", "--cursor", "\u00e9"))
    assert shop.run("resolve", task, "charge").status == 2


# ---- graph


def drawn(shop: Terminal, *arguments: str) -> Ended:
    ended = shop.run("graph", *arguments)
    assert ended.status == 0, ended.err
    return ended


def test_a_workflow_is_drawn_as_text_mermaid_and_svg(shop: Terminal) -> None:
    shop.run("launch", "shop/process_order", "--context", '{"order_id": 1}')
    assert "ship  <- charge" in drawn(shop, "shop/process_order").out
    mermaid = drawn(shop, "shop/process_order@1.1.0", "--mermaid").out
    assert mermaid.splitlines() == ["flowchart LR", '  s0["charge"]', '  s1["ship"]', "  s0 --> s1"]
    assert drawn(shop, "shop/process_order", "--svg").out.startswith("<svg")
    ship = {"name": "ship", "kind": "step", "for_each": None, "parents": ["charge"]}
    document = drawn(shop, "shop/process_order", "--json").json()
    assert (document["workflow"], document["steps"][1]) == ("shop/process_order@1.1.0", ship)


def test_a_task_is_drawn_with_its_states(shop: Terminal) -> None:
    task = shop.run("launch", "shop/process_order", "--context", '{"order_id": 1}').out.strip()
    assert "charge  [ready]" in drawn(shop, task).out
    assert "charge<br/>ready" in drawn(shop, task, "--mermaid").out
    assert "ready" in drawn(shop, task, "--svg").out
    assert [step["state"] for step in drawn(shop, task, "--json").json()["steps"]] == ["ready", "pending"]


def test_a_workflow_that_is_not_there_is_not_drawn(shop: Terminal) -> None:
    assert "shop/nothing" in refused(shop.run("graph", "shop/nothing"))


LATER = """
from engine import Workflow

later = Workflow("later", namespace="shop", version="1.0.0")

@later.step(decision=True)
def first():
    return "last"

later.define("last", depends_on_step="first")
"""


def test_a_workflow_is_drawn_as_its_file_has_it_before_any_engine_knows_it(shop: Terminal) -> None:
    file = shop.folder / "written" / "later.py"
    file.parent.mkdir()
    file.write_text(LATER)
    assert drawn(shop, "shop/later", "--handlers", str(file)).out.splitlines() == ["shop/later@1.0.0", "  first  (decision)", "  last  <- first"]
    assert drawn(shop, "shop/later", "--handlers", str(file), "--mermaid").out.splitlines() == ["flowchart LR", '  s0{"first"}', '  s1["last"]', "  s0 --> s1"]


TALKING = '''
import logging

from engine import TaskRequest, Workflow, submit

talking = Workflow("talking", namespace="shop", version="1.0.0")

@talking.step()
def load(task, step):
    step.log("page\\n3", "warning", page=3, who="ann")
    logging.getLogger("shop").info("loaded")

@talking.step(depends_on_step="load")
def hand_on(task, step):
    step.log("hands on")
    return [submit(TaskRequest("quiet", "shop")), submit(TaskRequest("quiet", "shop"), detached=True)]

quiet = Workflow("quiet", namespace="shop", version="1.0.0")
quiet.define("only")
'''


@pytest.fixture
def talked(terminal: Terminal) -> str:
    """A task whose steps wrote three lines; an engine runs."""
    terminal.environment["TASKER_HANDLERS"] = str(terminal.write(TALKING))
    terminal.start("engine", "--runner", "threads")
    ended = terminal.run("launch", "shop/talking", "--wait", "--json")
    assert ended.status == 0, ended
    task = str(ended.json()["task_id"])
    until(lambda: len(terminal.run("show", task, "--log", "--json").json()["lines"]) == 3, "the lines")
    return task


def test_show_prints_what_attempts_have_logged(terminal: Terminal, talked: str) -> None:
    lines = terminal.run("show", talked, "--log").out.splitlines()
    assert [re.sub(r"^[-0-9]+ [:0-9]+ ", "", line) for line in lines] == [
        "warning  load 1  page",
        "    3  who=ann  page=3",
        "info     load 1  loaded  logger=shop",
        "info     hand_on 1  hands on",
    ]
    assert len(terminal.run("show", talked, "--log", "hand_on").out.splitlines()) == 1
    [line] = terminal.run("show", talked, "--log", "load", "--level", "warning", "--json").json()["lines"]
    assert (line["step_name"], line["attempt"], line["level"], line["message"]) == ("load", 1, "warning", "page\n3")
    assert line["fields"] == {"page": 3, "who": "ann"}
    assert "no step" in refused(terminal.run("show", talked, "--log", "nothing"))
    assert "--level goes with --log" in refused_usage(terminal.run("show", talked, "--level", "error"))


def test_show_names_the_task_that_submitted_it(terminal: Terminal, talked: str) -> None:
    child, detached = terminal.run("show", talked, "--json").json()["steps"]["hand_on"]["result"]
    assert f"submitted by: step hand_on of task {talked}" in terminal.run("show", child).out
    assert "submitted by" not in terminal.run("show", detached).out


def refused_usage(ended: Ended) -> str:
    assert (ended.status, ended.out) == (2, "")
    return ended.err


def test_a_run_is_exported_into_a_folder_that_is_made_and_never_over_a_file(shop: Terminal, failed: str) -> None:
    file = shop.folder / "runs" / "order.json"
    assert shop.run("export", failed, "--output", file).status == 0
    assert json.loads(file.read_text())["steps"]["charge"]["state"] == "failed"
    assert "order.json cannot be written: File exists" in refused(shop.run("export", failed, "--output", file))


def test_why_says_in_a_sentence_what_a_task_or_a_step_waits_for_and_what_leads_on(shop: Terminal, failed: str) -> None:
    told = shop.run("why", failed)
    assert told.out.splitlines()[0] == "charge failed: card refused. 1 step waits behind it."
    assert f"Next: tasker show {failed} --log charge" in told.out
    assert shop.run("why", failed, "charge").out.startswith("It failed after 1 attempt: card refused.")
    ship = shop.run("why", failed, "ship", "--json").json()
    assert ship["held_by"] == {"charge": {"state": "failed", "why": "It failed after 1 attempt: card refused."}}
    assert "did you mean 'ship'?" in refused(shop.run("why", failed, "shop"))
