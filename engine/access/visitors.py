"""Accounts of people whom another application has signed in: the dashboard inside of one asks here at each of its requests.

What they may do is that application's word; it is kept with their account, so that their API tokens may do no more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import LiteralString

from engine.access import accounts
from engine.access.accounts import Denied
from engine.access.permissions import Grant, Rights
from engine.db import Database
from engine.errors import Problem, RequestError

Given = tuple[str, str | None]
"""A role and the namespace that it was given for, None for all of them."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """The account of somebody who is signed in elsewhere, and what they may do now."""

    account_id: int
    name: str
    rights: Rights


def arrive(db: Database, outside_id: str, name: str, given: Collection[Given], *, host: str, address: str | None = None) -> Arrived:
    """The account of this person, of that name and with exactly those roles; it is made for who comes for the first time.

    Raises `Denied` when the account is disabled or would be the first and without a role, `RequestError` for a role there is not,
    `WrongState` when the name is another account's or a role was removed just now.
    """
    wanted = sorted(set(given), key=str)
    known = _known(db, outside_id)
    if known is None and not wanted:
        raise Denied("you have no role here; whoever looks after this application can give you one")
    if known is None or known[1] != name or _given(known[3]) != wanted:
        _keep(db, outside_id, name, wanted, host, address)
        known = _known(db, outside_id)
    assert known is not None, "no account is ever removed"
    account_id, _, disabled, grants = known
    if disabled:
        raise Denied("your account here is disabled")
    return Arrived(account_id, name, Rights.of(grants))


def _known(db: Database, outside_id: str) -> tuple[int, str, bool, list[Grant]] | None:
    query: LiteralString = "select a.account_id, a.name, a.disabled, tasker_grants(a.account_id) from tasker_account a where a.outside_id = %(outside)s"
    found = db.rows(query, {"outside": outside_id})
    return (*found[0],) if found else None


def _given(grants: Sequence[Grant]) -> list[Given]:
    return sorted(((role, namespace) for role, namespace, _ in grants), key=str)


def _keep(db: Database, outside_id: str, name: str, given: Sequence[Given], host: str, address: str | None) -> None:
    accounts.check_name(name)
    known = accounts.role_names(db)
    if unknown := sorted({role for role, _ in given} - set(known)):
        words = f'there is no role "{unknown[0][: accounts.MAX_NAME]}"; one of {", ".join(known)}'
        raise RequestError([Problem("role", "unknown_role", words)])
    parameters = {"outside": outside_id, "name": name, "roles": [role for role, _ in given], "namespaces": [space for _, space in given], "actor": host, "address": address}
    db.value("select tasker_keep_visitor(%(outside)s, %(name)s, %(roles)s, %(namespaces)s, %(actor)s, %(address)s)", parameters)
