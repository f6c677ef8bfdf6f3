"""`tasker user` and `tasker token`, and the sign-in link that `up` prints."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from terminal import ROOT, Terminal, refused

from engine.access import accounts, audit, tokens
from engine.db import Database

PASSWORD = "four grey horses at noon"


def run_with(terminal: Terminal, typed: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TASKER_")}
    environment = {**clean, "PYTHONPATH": str(ROOT), **terminal.environment}
    words = [sys.executable, "-m", "engine.cli", *arguments]
    return subprocess.run(words, input=typed, cwd=terminal.folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_an_account_is_made_with_a_password_from_standard_input(terminal: Terminal, db: Database) -> None:
    ended = run_with(terminal, f"{PASSWORD}\n", "user", "create", "ada", "--role", "operator", "--namespace", "shop", "--password-stdin")
    assert ended.returncode == 0, ended.stderr
    assert PASSWORD not in ended.stdout + ended.stderr
    [facts] = terminal.run("user", "list", "--json").json()["users"]
    assert (facts["name"], facts["grants"]) == ("ada", [{"role": "operator", "namespace": "shop"}])
    assert accounts.check_credentials(db, "ada", PASSWORD, "192.0.2.1")[1] is False
    assert terminal.run("user", "role", "ada", "viewer", "--json").json()["grants"] == [{"role": "operator", "namespace": "shop"}, {"role": "viewer", "namespace": None}]


@pytest.mark.parametrize(
    ("typed", "arguments", "words"),
    [
        ("short\n", ["--role", "admin"], "at least 12"),
        ("password1234\n", ["--role", "admin"], "tried first"),
        (f"{PASSWORD}\n", ["--role", "emperor"], "there is no role"),
    ],
)
def test_what_cannot_be_taken_is_told_in_one_line(terminal: Terminal, typed: str, arguments: list[str], words: str) -> None:
    ended = run_with(terminal, typed, "user", "create", "ada", *arguments, "--password-stdin")
    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_token_is_printed_once_and_can_be_revoked(terminal: Terminal, db: Database) -> None:
    accounts.create_account(db, "ada", role="operator", actor="tests")
    made = terminal.run("token", "create", "--name", "ci", "--user", "ada", "--scope", "tasker.task:*", "--namespace", "shop", "--json").json()["token"]
    held = tokens.bearer(db, made)
    assert held is not None
    assert held.rights.held["tasker.task:show"] == frozenset({"shop"})
    assert made not in terminal.run("token", "list").out
    assert terminal.run("token", "revoke", held.token_id).status == 0
    assert tokens.bearer(db, made) is None
    assert "there is no scope" in refused(terminal.run("token", "create", "--name", "ci", "--user", "ada", "--scope", "everything"))


def test_an_account_is_disabled_but_not_the_last_administrator(terminal: Terminal, db: Database) -> None:
    for name in ("ada", "grace"):
        accounts.create_account(db, name, role="admin", actor="tests")
    assert terminal.run("user", "disable", "ada").status == 0
    assert accounts.account(db, "ada").disabled
    assert "last administrator" in refused(terminal.run("user", "disable", "grace"))
    assert "there is no account" in refused(terminal.run("user", "disable", "nobody"))


@pytest.mark.parametrize("command", ["web", pytest.param("up", marks=pytest.mark.nightly)])
def test_nobody_but_this_machine_reaches_a_dashboard_without_accounts(shop: Terminal, command: str) -> None:
    ended = shop.finish(shop.start(command, "--host", "0.0.0.0", "--port", "0"))
    assert ended.status == 2
    assert "tasker user create" in ended.err
    assert "Dashboard:" not in ended.out
    assert "Traceback" not in ended.err


def test_up_prints_a_link_of_one_use(shop: Terminal, db: Database) -> None:
    up = shop.start("up", "--port", "0")
    assert up.stdout is not None
    line = next(each for each in up.stdout if each.startswith("Sign in: "))
    link = line.removeprefix("Sign in: ").strip()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    page = browser.open(link, timeout=20).read().decode()
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found
    answer = browser.open(link, f"csrf_token={found[1]}".encode(), timeout=20)
    assert answer.url.rstrip("/") == link.partition("/login")[0]
    assert "Overview" in answer.read().decode()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        browser.open(link, f"csrf_token={found[1]}".encode(), timeout=20)
    assert [row.name for row in accounts.accounts(db)] == ["admin"]
    [made] = [row for row in audit.entries(db) if row.detail == {"changed": "sign-in link"}]
    assert (made.actor, made.object, made.reason) == (f"cli:{getpass.getuser()}", "account admin", "printed at the start")
    assert link.rpartition("/")[2] not in str(made)


def test_what_a_command_does_on_the_database_itself_is_in_the_audit(shop: Terminal) -> None:
    task_id = shop.run("launch", "shop/process_order", "--context", '{"order_id": 7}').out.strip()
    shop.run("pause", task_id, "--reason", "stocktaking")
    assert shop.run("retry", task_id).status != 0
    shop.run("schedule", "add", "shop/process_order", "--every", "1h", "--context", '{"order_id": 1}')
    shop.run("schedule", "remove", "1")
    shop.run("retention", "set", "shop", "30d")
    shop.run("user", "create", "ada", "--role", "admin")
    shop.run("user", "link", "ada", "--reason", "lost the phone")
    db = Database(shop.environment["TASKER_DATABASE_URL"], max_size=1)
    try:
        found = [(row.action, row.outcome, row.namespace, (row.object or "").partition(" ")[0], row.reason) for row in reversed(audit.entries(db))]
        actors = {row.actor for row in audit.entries(db)}
    finally:
        db.close()
    assert found == [
        ("tasker.task:create", "done", "shop", "task", None),
        ("tasker.task:update", "done", "shop", "task", "stocktaking"),
        ("tasker.task:retry", "refused", "shop", "task", None),
        ("tasker.schedule:create", "done", "shop", "schedule", None),
        ("tasker.schedule:destroy", "done", "shop", "schedule", None),
        ("tasker.workflow:update", "done", "shop", "retention", None),
        ("tasker.account:create", "done", None, "account", None),
        ("tasker.account:update", "done", None, "account", None),  # the link that is printed with it
        ("tasker.account:update", "done", None, "account", "lost the phone"),
    ]
    assert actors == {f"cli:{getpass.getuser()}"}
