"""Commands that stay: `engine`, `web`, `up`, `demo`, and the database they need."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import psycopg
import pytest
from terminal import ROOT, Terminal, refused, taken_port, until

from engine.embedded import stop_server


@pytest.fixture
def home(bare: Terminal) -> Terminal:
    """A terminal whose embedded database is stopped after the test, whatever happened."""
    yield bare  # type: ignore[misc]
    bare.end()
    stop_server(bare.folder / "data")


def mentioning(text: str) -> list[str]:
    """Command lines of all processes in which the text occurs."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            variables = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in words or text in variables:
            found.append(f"{entry.name}: {words}")
    return found


def line_with(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """The first line of standard output that matches."""
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(pattern, line):
            return match
    raise AssertionError(f"it ended without {pattern}: {process.stderr.read() if process.stderr else ''}")


# ---- refusals


@pytest.mark.parametrize("command", [["launch", "a/b"], ["tasks"], ["show", "x"], ["db", "status"], ["db", "upgrade"], ["demo"]])
def test_a_database_that_does_not_answer_is_told_in_one_line(bare: Terminal, command: list[str]) -> None:
    bare.environment["TASKER_DATABASE_URL"] = "postgresql://nobody:secret@127.0.0.1:1/nothing"
    bare.environment["TASKER_HANDLERS"] = str(bare.write("from engine import Workflow\nw = Workflow('w')\n@w.step()\ndef one(): ...\n"))
    line = refused(bare.run(*command))
    assert "127.0.0.1:1/nothing" in line
    assert "secret" not in line


@pytest.mark.parametrize("command", ["tasks", "web", "engine", "up"])
def test_a_database_url_that_is_none_is_told_in_one_line(bare: Terminal, command: str) -> None:
    bare.environment["TASKER_DATABASE_URL"] = "nonsense"
    bare.environment["TASKER_HANDLERS"] = str(bare.write("from engine import Workflow\nw = Workflow('w')\n@w.step()\ndef one(): ...\n"))
    refused(bare.run(command))


@pytest.mark.parametrize("command", ["web", "engine", "up"])
def test_a_database_that_is_missing_is_told_in_one_line(shop: Terminal, database_url: str, command: str) -> None:
    shop.environment["TASKER_DATABASE_URL"] = f"{database_url}_of_nobody"
    assert "_of_nobody" in refused(shop.run(command))


def test_a_database_without_our_schema_says_what_to_do(bare: Terminal, empty_database_url: str) -> None:
    bare.environment["TASKER_DATABASE_URL"] = empty_database_url
    assert "tasker db upgrade" in refused(bare.run("web"))
    assert "tasker db upgrade" in refused(bare.run("tasks"))
    assert bare.run("db", "upgrade").status == 0
    assert bare.run("tasks").status == 0


@pytest.mark.parametrize("command", ["engine", "up"])
def test_without_handlers_nothing_is_started(terminal: Terminal, command: str) -> None:
    assert "no workflows found" in refused(terminal.run(command))
    empty = terminal.folder / "empty"
    empty.mkdir()
    assert str(empty) in refused(terminal.run(command, "--handlers", empty))
    assert not (terminal.folder / "data").exists()


def test_a_port_that_is_taken_is_refused_when_it_was_asked_for_before_anything_is_begun(shop: Terminal, conn: psycopg.Connection[Any]) -> None:
    with taken_port() as port:
        for command in ("up", "demo"):
            assert f"cannot listen on 127.0.0.1 port {port}" in refused(shop.run(command, "--port", port))
        assert not (shop.folder / "data").exists()
        assert written(conn) == 0
        assert str(port) in refused(shop.run("web", "--port", port))


def written(conn: psycopg.Connection[Any]) -> int:
    """Rows by which a start could be noticed."""
    row = conn.execute("select (select count(*) from tasker_worker) + (select count(*) from tasker_account) + (select count(*) from tasker_task)").fetchone()
    assert row is not None
    return int(row[0])


def test_a_data_folder_that_cannot_be_written_is_told_in_one_line(bare: Terminal) -> None:
    file = bare.folder / "a_file"
    file.touch()
    bare.environment["TASKER_DATA_DIR"] = str(file / "below")
    assert str(file / "below") in refused(bare.run("demo", "--once"))


def test_two_dashboards_beside_each_other_take_different_ports(terminal: Terminal) -> None:
    urls = {line_with(terminal.start("web"), r"Dashboard: (http://127\.0\.0\.1:\d+)")[1] for _ in range(2)}
    assert len(urls) == 2


def test_every_command_explains_itself(bare: Terminal) -> None:
    listed = bare.run("--help")
    assert listed.status == 0
    commands = re.findall(r"^  ([a-z]+) {2,}", listed.out, re.MULTILINE)
    assert {"up", "demo", "engine", "web", "db", "handlers", "check", "launch", "tasks", "show", "graph", "retry", "cancel", "resolve", "skip", "bench"} <= set(commands)
    for command in commands:
        assert bare.run(command, "--help").status == 0
    assert bare.run("--version").out.startswith("tasker ")
    assert bare.run("lanch").status == 2


# ---- the database


def test_db_tells_where_it_is_and_how_it_stands(terminal: Terminal, database_url: str) -> None:
    facts = terminal.run("db", "status", "--json").json()
    assert facts["pending"] == []
    assert facts["embedded"] is False
    assert "@" not in facts["database"]
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    assert name is not None
    assert facts["database"].endswith(f"/{name}")


def test_db_upgrades_and_downgrades(bare: Terminal, empty_database_url: str) -> None:
    bare.environment["TASKER_DATABASE_URL"] = empty_database_url
    assert bare.run("db", "status", "--json").json()["pending"] != []
    assert bare.run("db", "upgrade").status == 0
    assert bare.run("db", "status", "--json").json()["pending"] == []
    assert bare.run("db", "downgrade", "base", "--yes").status == 0
    assert bare.run("db", "status", "--json").json()["revision"] is None
    refused(bare.run("db", "upgrade", "no_such_revision"))


def test_a_downgrade_that_nobody_could_confirm_is_refused(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    ended = terminal.run("db", "downgrade", "base")
    assert (ended.status, ended.out) == (2, "")
    assert "give --yes" in ended.err
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert terminal.run("db", "downgrade", "base").status == 130
    assert terminal.run("db", "status", "--json").json()["pending"] == []


def test_the_embedded_database_is_found_by_every_command_and_stopped(home: Terminal) -> None:
    path = home.run("db", "path").out.strip()
    assert path.startswith(str(home.folder))
    assert home.run("db", "status", "--json").json()["database"] == "embedded, not running"
    assert home.run("db", "stop").out.strip() == "it was not running"
    assert home.run("tasks", "--json").json() == {"tasks": [], "next_cursor": None}
    assert home.run("db", "status", "--json").json()["pending"] == []
    assert home.run("db", "stop").out.strip() == "stopped"


# ---- up and demo


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.nightly), signal.SIGTERM])
def test_up_runs_everything_and_a_signal_ends_everything(home: Terminal, number: signal.Signals) -> None:
    folder = home.write("import os\nfrom engine import Workflow\nw = Workflow('w')\n@w.step()\ndef one():\n    return os.getpriority(os.PRIO_PROCESS, 0)\n")
    up = home.start("up", "--handlers", folder)
    url = line_with(up, r"Dashboard: (http://127\.0\.0\.1:\d+)")[1]
    with urllib.request.urlopen(f"{url}/health/live", timeout=5) as answer:
        assert answer.status == 200
    ended = home.run("launch", "w", "--handlers", folder, "--wait", "--timeout", 10, "--json")
    assert ended.json()["steps"]["one"]["result"] == os.getpriority(os.PRIO_PROCESS, 0) + 5  # people who wait for a page come first
    up.send_signal(number)
    assert home.finish(up).status == 0
    until(lambda: not mentioning(str(home.folder)), "every process of it to be gone", 3)


def test_nothing_of_up_outlives_it_when_it_is_killed(shop: Terminal) -> None:
    up = shop.start("up", TASKER_STORY=str(shop.folder))
    line_with(up, "Dashboard:")
    up.kill()
    up.wait(5)
    until(lambda: not mentioning(f"TASKER_STORY={shop.folder}"), "every process of it to be gone", 10)


def test_up_ends_with_a_message_when_a_part_of_it_dies(shop: Terminal) -> None:
    up = shop.start("up", TASKER_STORY=str(shop.folder))
    line_with(up, "Dashboard:")
    (engine,) = (int(line.partition(":")[0]) for line in mentioning(f"TASKER_STORY={shop.folder}") if "engine.cli engine" in line)
    subprocess.run(["kill", "-9", str(engine)], check=True)
    ended = shop.finish(up)
    assert ended.status == 2
    assert "the engine ended" in ended.err
    assert "Traceback" not in ended.err
    assert not mentioning(f"TASKER_STORY={shop.folder}")


def test_demo_once_runs_the_examples_and_leaves_nothing_running(home: Terminal) -> None:
    ended = home.finish(home.start("demo", "--once", "--json"), 60)
    assert ended.status == 0, ended.err
    tasks = ended.json()["tasks"]
    assert {f"{task['namespace']}/{task['name']}@{task['version']}" for task in tasks} == {
        "ecommerce/process_order@1.0.0", "ecommerce/process_order@2.0.0", "ecommerce/return_goods@1.0.0", "accounts/user_registration@1.0.0", "compliance/dependency_audit@1.0.0",
    }  # fmt: skip
    assert [task["state"] for task in tasks] == [task["expected"] for task in tasks]
    assert {step["state"] for task in tasks if task["state"] == "completed" for step in task["steps"].values()} <= {"completed", "skipped"}
    assert not mentioning(str(home.folder))


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)])
def test_a_signal_in_the_middle_of_the_demo_ends_everything(home: Terminal, number: signal.Signals) -> None:
    demo = home.start("demo", "--once")
    until(lambda: demo.poll() is not None or any("engine.cli engine" in line for line in mentioning(str(home.folder))), "the demo's engine to be started")
    demo.send_signal(number)
    ended = home.finish(demo)
    assert ended.status == 130
    assert "Traceback" not in ended.err
    until(lambda: not mentioning(str(home.folder)), "every process of it to be gone", 3)


def test_an_engine_logs_to_standard_error_only(shop: Terminal) -> None:
    engine = shop.start("engine", "--runner", "threads")
    until(lambda: shop.run("tasks").status == 0 and _engines(shop), "the engine to come up")
    engine.send_signal(signal.SIGINT)
    ended = shop.finish(engine)
    assert (ended.status, ended.out) == (0, "")
    assert "drains" in ended.err
    assert "Traceback" not in ended.err


def test_the_module_runs_from_any_folder(shop: Terminal) -> None:
    assert Path.cwd() != shop.folder
    ended = shop.finish(shop.start("handlers", "--json"))
    assert json.loads(ended.out)["handlers"][0]["name"] == "process_order"
    assert ROOT not in shop.folder.parents


def _engines(shop: Terminal) -> bool:
    with psycopg.connect(shop.environment["TASKER_DATABASE_URL"]) as conn:
        row = conn.execute("select count(*) from tasker_worker").fetchone()
    return row is not None and row[0] > 0
