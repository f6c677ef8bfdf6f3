"""Accounts that two sessions change at the same time: what the first has not committed yet, the second waits for and then goes by."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from engine.access import accounts
from engine.access.permissions import ROLES
from engine.access.visitors import arrive
from engine.db import Database
from engine.errors import WrongState

Conn = psycopg.Connection[Any]
PASSWORD = "four grey horses"


@pytest.fixture(autouse=True)
def _accounts(db: Database) -> None:
    """Two administrators, and a role that nobody has."""
    for name in ("ada", "grace"):
        accounts.create_account(db, name, role="admin", actor="tests", password=PASSWORD)
    accounts.keep_role(db, "auditor", ["tasker.audit:index"], actor="tests")


def refused_after(conn: Conn, first: str, second: Callable[[], object]) -> str:
    """The words in which the second is refused, that was asked before the first had committed."""
    with ThreadPoolExecutor(1) as threads:
        with conn.transaction():
            conn.execute(first.encode())
            asked = threads.submit(second)
            with pytest.raises(TimeoutError):
                asked.result(0.5)
        with pytest.raises(WrongState) as refused:
            asked.result(10)
    return str(refused.value)


def kept(conn: Conn, name: str) -> Any:
    return conn.execute("select a.account_id, a.password_hash from tasker_account a where a.name = %s", [name]).fetchone()


@pytest.mark.parametrize(
    "first",
    ["select tasker_disable_account('ada', 'grace', null, null)", "select tasker_revoke_role('ada', 'admin', null, 'grace', null, null)"],
    ids=["disable", "revoke"],
)
@pytest.mark.parametrize("second", [accounts.disable_account, lambda db, name, actor: accounts.revoke_role(db, name, "admin", actor=actor)], ids=["disable", "revoke"])
def test_of_two_administrators_who_shut_each_other_out_at_once_one_stays(db: Database, conn: Conn, first: str, second: Callable[..., None]) -> None:
    words = refused_after(conn, first, lambda: second(db, "grace", actor="ada"))
    assert "the last administrator" in words
    assert [each.name for each in accounts.accounts(db) if not each.disabled and ("admin", None) in each.grants] == ["grace"]


def test_a_role_that_is_being_given_is_not_removed(db: Database, conn: Conn) -> None:
    words = refused_after(conn, "select tasker_grant_role('ada', 'auditor', null, 'tests', null, null)", lambda: accounts.remove_role(db, "auditor", actor="tests"))
    assert "accounts have the role auditor" in words
    assert "auditor" in accounts.role_names(db)


@pytest.mark.parametrize(
    "give",
    [
        lambda db: accounts.grant_role(db, "ada", "auditor", actor="tests"),
        lambda db: accounts.create_account(db, "eve", role="auditor", actor="tests"),
        lambda db: arrive(db, "https://idp eve", "eve", [("auditor", None)], host="tests"),
    ],
    ids=["grant", "create", "arrive"],
)
def test_a_role_that_is_being_removed_is_given_to_nobody(db: Database, conn: Conn, give: Callable[[Database], object]) -> None:
    assert refused_after(conn, "select tasker_remove_role('auditor', 'tests', null, null)", lambda: give(db)) == "there is no role auditor any more"
    assert db.value("select count(*) from tasker_grant where role = 'auditor'") == 0


@pytest.mark.parametrize("role", ROLES)
def test_every_built_in_role_can_be_given(db: Database, role: str) -> None:
    accounts.grant_role(db, "ada", role, "shop", actor="tests")
    assert (role, "shop") in accounts.account(db, "ada").grants


def test_a_password_that_is_being_changed_lets_nobody_in_by_the_former(db: Database, conn: Conn) -> None:
    account_id, former = kept(conn, "ada")
    words = refused_after(conn, "select tasker_set_password('ada', 'another', 'tests', null)", lambda: accounts.begin_session(db, account_id, method="tests", password_hash=former))
    assert words == "the password was changed meanwhile; sign in again"
    assert accounts.sessions(db, account_id) == []


def test_a_half_session_that_is_being_ended_is_completed_by_nobody(db: Database, conn: Conn) -> None:
    account_id, former = kept(conn, "ada")
    half = accounts.digest(accounts.begin_session(db, account_id, method="tests", half=True, password_hash=former))
    words = refused_after(conn, "select tasker_sign_out('ada', null, 'tests', null, null)", lambda: accounts.begin_session(db, account_id, method="tests", completes=half))
    assert words == "this sign-in was ended meanwhile; sign in again"
    assert accounts.sessions(db, account_id) == []


def test_two_who_sign_in_to_one_account_at_once_do_not_deadlock(db: Database, conn: Conn) -> None:
    account_id, _ = kept(conn, "ada")

    def begin(session: Conn, secret: bytes, half: bool) -> None:
        session.execute("select tasker_begin_session(%s, sha256(%s), 'tests', %s, null, null)", [account_id, secret, half])

    with ThreadPoolExecutor(1) as threads, db.connection() as another:
        with conn.transaction():
            begin(conn, b"half", True)
            other = threads.submit(begin, another, b"other", False)
            with pytest.raises(TimeoutError):
                other.result(0.5)
            begin(conn, b"whole", False)
        other.result(10)
    assert len(accounts.sessions(db, account_id)) == 2
