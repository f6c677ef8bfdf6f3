"""`tasker doctor` tells what is wrong with an installation and what to do, and ends with 1 when something is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
from terminal import Ended, Terminal

from engine.access import accounts, tokens
from engine.db import Database
from engine.embedded import EmbeddedServer


def found(ended: Ended) -> dict[str, list[tuple[str, str]]]:
    """By name of the check its outcomes, as state and what was said."""
    told: dict[str, list[tuple[str, str]]] = {}
    for check in ended.json()["checks"]:
        told.setdefault(check["name"], []).append((check["state"], check["said"]))
        assert bool(check["advice"]) == (check["state"] != "ok"), check
    return told


def states(ended: Ended, name: str) -> list[str]:
    return [state for state, _ in found(ended)[name]]


def test_what_keeps_an_installation_from_working_is_a_problem_and_what_may_be_meant_a_warning(terminal: Terminal, bare: Terminal, conn: psycopg.Connection[Any]) -> None:
    well = terminal.run("doctor", "--json")
    assert well.status == 0
    assert {tuple(states(well, name)) for name in ("settings", "database", "version", "schema", "clock")} == {("ok",)}
    assert states(well, "engines") == ["warning"]
    assert "subscribers" not in found(well)
    conn.execute("insert into tasker_subscription (name, event_id, created_at) values ('flows.Monitor', 0, now()), ('flows.Other', 0, now())")
    conn.execute("insert into tasker_undelivered select 'flows.Monitor', number, '{}', 10, 'it would not', now() from generate_series(1, 2) number")
    conn.execute("update tasker_schema_version set version_num = 'from_the_future'")
    terminal.environment |= {"TASKER_STEP_LOGG": "info", "TASKER_PROXY_HOPS": "many", "TASKER_HANDLERS": "json,no_such_flows", "TASKER_TRACES": "maybe"}
    ill = terminal.run("doctor", "--json")
    assert (ill.status, ill.json()["state"]) == (1, "problem")
    assert states(ill, "schema") == ["problem"]
    assert found(ill)["subscribers"] == [("warning", "2 events that flows.Monitor refused for good lie aside")]
    assert sorted(states(ill, "settings")) == ["problem", "problem", "warning", "warning"]
    assert "TASKER_HANDLERS names no_such_flows, and there is no" in found(ill)["settings"][-1][1]
    assert "did you mean 'TASKER_STEP_LOG'?" in found(ill)["settings"][0][1]
    printed = terminal.run("doctor").out
    assert "✗ problem schema: at from_the_future" in printed
    assert "TASKER_TRACES is 'maybe', so nothing is traced" in printed
    terminal.environment |= {"TASKER_LOG_LEVEL": "loud"}
    assert "TASKER_LOG_LEVEL is one of" in terminal.run("doctor").out
    nothing = bare.run("doctor", "--json")
    assert (nothing.status, states(nothing, "database")) == (1, ["problem"])
    bare.environment["TASKER_DATABASE_URL"] = "postgresql://127.0.0.1:1/none"
    assert (bare.run("doctor").status, bare.run("doctor", "--security").status) == (1, 1)


def test_what_is_open_to_others_is_told(terminal: Terminal, database_url: str, server: EmbeddedServer, tmp_path: Path) -> None:
    db = Database(database_url, max_size=1)
    try:
        alone = terminal.run("doctor", "--security", "--json")
        assert (alone.status, states(alone, "accounts"), states(alone, "listening")) == (0, ["warning"], ["ok"])
        assert states(terminal.run("doctor", "--security", "--json", "--host", "0.0.0.0"), "accounts") == ["problem"]
        accounts.create_account(db, "ada", role="admin", password="a long password of ada", actor="tests")
        tokens.make_token(db, "ada", "everything", actor="tests")
        key = tmp_path / "data" / "secret_key"
        key.parent.mkdir(exist_ok=True)
        key.write_text("a" * 64)
        key.chmod(0o644)
        terminal.environment["TASKER_ALLOWED_HOSTS"] = "*"
        with psycopg.connect(database_url, autocommit=True) as owner:
            owner.execute("alter table tasker_audit disable trigger tasker_audit_is_kept")
        told = terminal.run("doctor", "--security", "--json", "--host", "0.0.0.0")
        assert told.status == 1
        for name, state in {"listening": "problem", "host names": "problem", "cookies": "problem", "secret key": "problem", "audit": "problem", "accounts": "warning", "tokens": "warning"}.items():
            assert states(told, name) == [state], name
        assert "ada" in found(told)["accounts"][0][1]
        assert "everything of ada" in found(told)["tokens"][0][1]
        assert states(told, "database role") == ["ok"]
        name = db.value("select current_database()")
        terminal.environment |= {"TASKER_SECRET_KEY": "changeme", "TASKER_DATABASE_URL": psycopg.conninfo.make_conninfo(server.admin_url, dbname=name)}
        mighty = terminal.run("doctor", "--security", "--json")
        assert (states(mighty, "database role"), states(mighty, "secret key")) == (["problem"], ["problem"])
        assert "changeme" not in mighty.out
    finally:
        db.close()
