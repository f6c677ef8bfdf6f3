"""What is asked of accounts, sessions, tokens and the audit when a process dies in the middle of it: by the statement, what is asked for, what must hold, what went before.

Whoever loses a reply asks again. A secret that was made and never told opens nothing for anybody.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pyotp

from engine.access import accounts, audit, tokens
from engine.db import Database

Ask = Callable[[Database], object]
Holds = Callable[[Database], bool]

ACTOR, NAME, HERE = "operator", "ada", "203.0.113.7"
PASSWORD = "four grey horses"
SECRET = pyotp.random_base32()

told: dict[str, Any] = {}
"""Secrets that were told before the fault, and codes."""


def counted(query: str, *numbers: int) -> Holds:
    return lambda db: db.value(query) in numbers


def make_accounts(db: Database) -> None:
    accounts.create_account(db, "boss", role="admin", actor=ACTOR)
    told["id"] = accounts.create_account(db, NAME, role="viewer", actor=ACTOR, password=PASSWORD)


def begin(db: Database) -> None:
    told["session"] = accounts.digest(accounts.begin_session(db, told["id"], method="tests"))


def make_link(db: Database) -> None:
    told["link"] = accounts.make_sign_in_link(db, NAME, actor=ACTOR)


def make_token(db: Database) -> None:
    told["token"] = tokens.make_token(db, NAME, "robot", actor=ACTOR)


def revoke_token(db: Database) -> None:
    tokens.revoke_token(db, tokens.tokens(db)[0].token_id, actor=ACTOR)


def take_second_factor(db: Database) -> None:
    accounts.set_second_factor(db, NAME, SECRET, actor=ACTOR)
    told["code"] = pyotp.TOTP(SECRET).now()


def outdate_hash(db: Database) -> None:
    told["hash"] = db.value("select password_hash from tasker_account where name = 'ada'")


def use_link(db: Database) -> int:
    return accounts.use_sign_in_link(db, told["link"])


def is_denied(ask: Ask) -> Holds:
    """It does not work again."""

    def look(db: Database) -> bool:
        try:
            ask(db)
        except accounts.Denied:
            return True
        return False

    return look


def forgivingly(ask: Ask) -> Ask:
    """That it was done already is an answer."""

    def asked(db: Database) -> None:
        with suppress(accounts.Denied):
            ask(db)

    return asked


def sign_in(db: Database) -> object:
    return accounts.check_credentials(db, NAME, PASSWORD, HERE)


def is_signed_in(db: Database) -> bool:
    return accounts.signed_in(db, told["session"]) is not None


def note(db: Database) -> None:
    told.setdefault("act", f"act {time.monotonic_ns()}")
    audit.note(db, ACTOR, told["act"])


def noted(db: Database) -> bool:
    return len(audit.entries(db, action=told.pop("act"))) in (1, 2)


HAS_ROLE = "select count(*) from tasker_grant g join tasker_account a using (account_id) where a.name = 'ada' and g.role = 'operator'"

POINTS: dict[str, tuple[Ask, Holds, *tuple[Ask, ...]]] = {
    "tasker_create_account": (
        lambda db: accounts.create_account(db, "grace", role="viewer", actor=ACTOR),
        counted("select count(*) from tasker_account a join tasker_grant g using (account_id) where a.name = 'grace'", 1),
    ),
    "tasker_set_password": (lambda db: accounts.set_password(db, NAME, "five grey horses", actor=ACTOR), lambda db: not is_signed_in(db), make_accounts, begin),
    "tasker_rehash_password": (
        lambda db: db.value("select tasker_rehash_password(%(id)s, %(hash)s, 'another')", {"id": told["id"], "hash": told["hash"]}),
        counted("select count(*) from tasker_account where password_hash = 'another'", 1),
        make_accounts,
        outdate_hash,
    ),
    "tasker_disable_account": (lambda db: accounts.disable_account(db, NAME, actor=ACTOR), lambda db: not is_signed_in(db), make_accounts, begin),
    "tasker_enable_account": (
        lambda db: accounts.enable_account(db, NAME, actor=ACTOR),
        counted("select count(*) from tasker_account where disabled", 0),
        make_accounts,
        lambda db: accounts.disable_account(db, NAME, actor=ACTOR),
    ),
    "tasker_grant_role": (lambda db: accounts.grant_role(db, NAME, "operator", "crash", actor=ACTOR), counted(HAS_ROLE, 1), make_accounts),
    "tasker_revoke_role": (
        lambda db: accounts.revoke_role(db, NAME, "operator", "crash", actor=ACTOR),
        counted(HAS_ROLE, 0),
        make_accounts,
        lambda db: accounts.grant_role(db, NAME, "operator", "crash", actor=ACTOR),
    ),
    "tasker_keep_role": (
        lambda db: accounts.keep_role(db, "auditor", ["tasker.audit:index"], actor=ACTOR),
        counted("select count(*) from tasker_role where role = 'auditor'", 1),
    ),
    "tasker_make_sign_in_link": (lambda db: accounts.make_sign_in_link(db, NAME, actor=ACTOR), counted("select count(*) from tasker_sign_in_link", 1), make_accounts),
    "tasker_use_sign_in_link": (forgivingly(use_link), is_denied(use_link), make_accounts, make_link),
    "tasker_begin_session": (
        lambda db: accounts.begin_session(db, told["id"], method="tests"),
        counted("select count(*) from tasker_session", 1, 2),
        make_accounts,
    ),
    "tasker_use_session": (lambda db: accounts.signed_in(db, told["session"]), is_signed_in, make_accounts, begin),
    "tasker_end_session": (
        lambda db: accounts.end_session(db, told["id"], told["session"], actor=ACTOR),
        lambda db: not is_signed_in(db),
        make_accounts,
        begin,
    ),
    "tasker_sign_out": (lambda db: accounts.sign_out(db, NAME, actor=ACTOR), lambda db: not is_signed_in(db), make_accounts, begin),
    "tasker_remove_role": (
        lambda db: accounts.remove_role(db, "auditor", actor=ACTOR),
        counted("select count(*) from tasker_role where role = 'auditor'", 0),
        lambda db: accounts.keep_role(db, "auditor", ["tasker.audit:index"], actor=ACTOR),
    ),
    "tasker_begin_sign_in": (sign_in, lambda db: bool(sign_in(db)), make_accounts),
    "tasker_end_sign_in": (sign_in, lambda db: bool(sign_in(db)), make_accounts),
    "tasker_note_sign_in": (
        lambda db: accounts.note_sign_in(db, told["id"], HERE, "tests"),
        counted("select count(*) from tasker_sign_in where outcome = 'done'", 1, 2),
        make_accounts,
    ),
    "tasker_set_second_factor": (
        lambda db: accounts.set_second_factor(db, NAME, SECRET, actor=ACTOR),
        counted("select count(*) from tasker_account where totp_secret is not null", 1),
        make_accounts,
    ),
    "tasker_use_second_factor": (
        lambda db: accounts.takes_code(db, told["id"], SECRET, told["code"]),
        lambda db: not accounts.takes_code(db, told["id"], SECRET, told["code"]),
        make_accounts,
        take_second_factor,
    ),
    "tasker_make_token": (make_token, lambda db: tokens.bearer(db, told["token"]) is not None, make_accounts),
    "tasker_use_token": (lambda db: tokens.bearer(db, told["token"]), lambda db: tokens.bearer(db, told["token"]) is not None, make_accounts, make_token),
    "tasker_revoke_token": (revoke_token, lambda db: tokens.bearer(db, told["token"]) is None, make_accounts, make_token),
    "tasker_audit_note": (note, noted),
}
