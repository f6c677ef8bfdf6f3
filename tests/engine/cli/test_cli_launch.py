"""`tasker launch`: what it makes, what it prints, and everything it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from terminal import Terminal, refused

ORDER = '{"order_id": 7}'


def written(conn: psycopg.Connection[Any]) -> int:
    """Rows that a command has left behind."""
    row = conn.execute("select (select count(*) from tasker_task) + (select count(*) from tasker_definition)").fetchone()
    assert row is not None
    return int(row[0])


def test_without_wait_the_id_is_printed_and_no_engine_is_needed(shop: Terminal, conn: psycopg.Connection[Any]) -> None:
    ended = shop.run("launch", "shop/process_order", "--context", ORDER)
    assert ended.status == 0
    assert conn.execute("select state, context from tasker_tasks where task_id = %s", [ended.out.strip()]).fetchone() == (
        "pending",
        {"order_id": 7, "speed": "normal"},
    )


def test_with_json_the_id_comes_in_one_document(shop: Terminal) -> None:
    ended = shop.run("launch", "shop/process_order@1.1.0", "--context", ORDER, "--json")
    assert ended.json().keys() >= {"task_id", "namespace", "name", "version"}
    assert ended.json()["version"] == "1.1.0"


def test_the_context_may_come_from_a_file(shop: Terminal, tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text(ORDER)
    assert shop.run("launch", "shop/process_order", "--context", f"@{tmp_path}/order.json").status == 0


def test_steps_are_bypassed_by_their_names(shop: Terminal, conn: psycopg.Connection[Any]) -> None:
    for steps in (["--bypass", "ship"], ["--bypass", "charge", "--bypass", "ship"]):
        assert shop.run("launch", "shop/process_order", "--context", ORDER, *steps).status == 0
    assert conn.execute("select array_agg(bypass order by step_no) from tasker_step group by task_no order by task_no").fetchall() == [([False, True],), ([True, True],)]


def test_the_same_key_gives_the_same_task(shop: Terminal) -> None:
    first = shop.run("launch", "shop/process_order", "--context", ORDER, "--key", "k1")
    assert shop.run("launch", "shop/process_order", "--context", ORDER, "--key", "k1").out == first.out
    assert "k1" in refused(shop.run("launch", "shop/process_order", "--context", '{"order_id": 8}', "--key", "k1"))


def test_a_mistyped_workflow_is_told_the_nearest_that_the_database_knows(shop: Terminal) -> None:
    shop.run("launch", "shop/process_order", "--context", ORDER)
    del shop.environment["TASKER_HANDLERS"]
    assert "did you mean 'shop/process_order'?" in refused(shop.run("launch", "shop/proces_order"))
    assert "did you mean 'shop/process_order'?" in refused(shop.run("launch", "process_order"))
    assert "--handlers FOLDER" in refused(shop.run("launch", "bank/pay"))


def test_a_database_that_is_not_there_is_told_with_what_to_do(shop: Terminal) -> None:
    shop.environment["TASKER_DATABASE_URL"] = "postgresql://nobody:nothing@127.0.0.1:1/none"
    told = refused(shop.run("tasks"))
    assert "cannot reach PostgreSQL at 127.0.0.1:1/none" in told
    assert "correct TASKER_DATABASE_URL" in told
    assert "nothing" not in told
    shop.environment["TASKER_DATABASE_URL"] = "mysql://localhost/orders"
    assert "such as postgresql://user:password@localhost:5432/name" in refused(shop.run("tasks"))


def test_a_workflow_the_database_knows_needs_no_handlers_here(shop: Terminal) -> None:
    shop.run("launch", "shop/process_order", "--context", ORDER)
    del shop.environment["TASKER_HANDLERS"]
    assert shop.run("launch", "shop/process_order", "--context", ORDER).status == 0


def test_wait_with_json_prints_exactly_one_document(shop: Terminal) -> None:
    shop.write("print('printed by a module')\n", "chatty.py")
    engine = shop.start("engine")
    ended = shop.finish(shop.start("launch", "shop/process_order", "--context", ORDER, "--wait", "--json"))
    assert ended.status == 0, ended.err
    assert "printed by a module" not in ended.out
    document = json.loads(ended.out)
    assert document.keys() == {"task_id", "namespace", "name", "version", "state", "context", "steps"}
    assert (document["namespace"], document["name"], document["version"]) == ("shop", "process_order", "1.1.0")
    assert (document["state"], document["context"]) == ("completed", {"order_id": 7, "speed": "normal"})
    assert document["steps"] == {
        "charge": {"state": "completed", "attempts": 1, "result": {"paid": 7}, "error": None},
        "ship": {"state": "completed", "attempts": 1, "result": 8, "error": None},
    }
    shown = shop.run("show", document["task_id"], "--json")
    assert shown.json() == document
    engine.terminate()
    drained = shop.finish(engine)
    assert (drained.status, drained.out) == (0, "")  # what handlers print goes to standard error
    assert "charging 7" in drained.err


def test_wait_exits_1_and_shows_the_error_when_the_task_fails(shop: Terminal) -> None:
    shop.start("engine", "--runner", "threads")
    arguments = ("launch", "shop/process_order", "--context", '{"order_id": -1}', "--wait")
    ended = shop.run(*arguments, "--json")
    assert ended.status == 1
    assert ended.json()["state"] == "failed"
    assert ended.json()["steps"]["charge"]["error"] == {"type": "PermanentError", "message": "card refused", "code": "declined"}
    ended = shop.run(*arguments)
    assert ended.status == 1
    assert "PermanentError: card refused" in ended.out
    assert "charge" in ended.out


def test_waiting_gives_up_after_its_timeout_and_the_task_goes_on(shop: Terminal) -> None:
    ended = shop.run("launch", "shop/process_order", "--context", ORDER, "--wait", "--timeout", "0.2", "--json")
    assert ended.status == 1
    assert ended.json()["state"] == "pending"
    assert "still pending" in ended.err


def test_waiting_without_an_engine_says_so(shop: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.cli.workflows.PATIENCE_SECONDS", 0.2)
    ended = shop.run("launch", "shop/process_order", "--context", ORDER, "--wait", "--timeout", "0.6", "--json")
    assert ended.err.count("no running engine has handlers for shop/process_order@1.1.0") == 1
    assert ended.json()["state"] == "pending"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shop/nothing"], "shop/nothing"),
        (["nowhere/process_order"], "nowhere/process_order"),
        (["shop/process_order@3.0.0"], "1.1.0"),
        (["shop/process_order@banana"], "banana"),
        (["shop/process_order", "--context", "{}"], "order_id"),
        (["shop/process_order", "--context", '{"order_id": "seven"}'], "$.order_id"),
        (["shop/process_order", "--context", "{order_id: 7}"], "line 1, column 2"),
        (["shop/process_order", "--context", ""], "line 1"),
        (["shop/process_order", "--context", "[1]"], "must be a JSON object"),
        (["shop/process_order", "--context", '{"order_id": NaN}'], "NaN"),
        (["shop/process_order", "--context", '{"order_id": 1, "order_id": 2}'], "more than once"),
        (["shop/process_order", "--context", '{"order_id": 7, "note": "\\u0000"}'], "NUL"),
        (["shop/process_order", "--context", '{"order_id": 7, "note": "\\ud800"}'], "half a surrogate pair"),
        (["shop/process_order", "--context", '{"order_id": 1e400}'], "1e400"),
        (["shop/process_order", "--context", f'{{"order_id": {"9" * 5_000}}}'], "64 bits"),
        (["shop/process_order", "--context", '{"order_id": ' + "[" * 200 + "]" * 200 + "}"], "deeper"),
        (["shop/process_order", "--context", ORDER, "--key", "x" * 300], "idempotency_key"),
        (["shop/process_order", "--context", "@missing.json"], "missing.json"),
        (["shop/process_order", "--context", ORDER, "--correlation-id", "x" * 5000], "correlation_id"),
        (["shop/process_order", "--context", ORDER, "--bypass", "chrage"], "did you mean 'charge'?"),
        (["shop/process_order", "--context", ORDER, "--reason", "caf\udce9"], r"no text in UTF-8: 'caf\udce9'"),
    ],
)
def test_what_cannot_be_launched_is_refused_in_one_line_and_leaves_nothing(
    shop: Terminal, conn: psycopg.Connection[Any], arguments: list[str], said: str
) -> None:
    assert said in refused(shop.run("launch", *arguments, "--json"))
    assert written(conn) == 0


def test_a_file_that_is_not_utf_8_launches_nothing(shop: Terminal, conn: psycopg.Connection[Any], tmp_path: Path) -> None:
    order = tmp_path / "order.json"
    order.write_bytes(b'{"order_id": 7, "note": "caf\xe9"}')
    assert "utf-8" in refused(shop.run("launch", "shop/process_order", "--context", f"@{order}", "--json"))
    assert written(conn) == 0


@pytest.mark.parametrize("subject", ["", "/", "shop/", "/process_order", "a/b/c", "shop/process_order@"])
def test_a_workflow_that_is_not_named_properly_is_wrong_usage(shop: Terminal, subject: str) -> None:
    ended = shop.run("launch", subject)
    assert ended.status == 2
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("arguments", [[], ["a/b", "--priority", "many"], ["a/b", "--tiemout", "3"], ["a/b", "--timeout", "3"]])
def test_wrong_usage_exits_2_with_a_hint(shop: Terminal, arguments: list[str]) -> None:
    ended = shop.run("launch", *arguments)
    assert ended.status == 2
    assert "--help" in ended.err or "Try" in ended.err


def test_a_workflow_that_no_engine_has_made_known_is_refused_with_the_way_to_it(terminal: Terminal) -> None:
    assert "start it anew, or name the handlers here: --handlers FOLDER" in refused(terminal.run("launch", "shop/nowhere"))
