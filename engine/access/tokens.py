"""API tokens: `tasker_<id>_<secret>`. The id finds the row, the secret is compared as a hash; what a token may is cut from what its owner may now."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

from engine.access.accounts import digest
from engine.access.permissions import Rights, unknown_scopes
from engine.db import Database
from engine.errors import NotFound, Problem, RequestError

DEFAULT_LIFE, LONGEST_LIFE = timedelta(days=90), timedelta(days=366)
MAX_LABEL = 100
_FORM = re.compile(r"tasker_([a-z0-9]{16})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token as it is listed; its secret is known to its holder only."""

    token_id: str
    account: str
    label: str
    scopes: tuple[str, ...] | None
    namespace: str | None
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None
    expired: bool

    @property
    def words(self) -> str:
        """Whether it counts."""
        return "revoked" if self.revoked_at else "expired" if self.expired else "counts"


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whose token came, and what may be done by it."""

    token_id: str
    account_id: int
    name: str
    rights: Rights


def make_token(
    db: Database,
    account: str,
    label: str,
    *,
    actor: str,
    scopes: Sequence[str] | None = None,
    namespace: str | None = None,
    life: timedelta = DEFAULT_LIFE,
    address: str | None = None,
) -> str:
    """The token, told this once. Raises `RequestError` for scopes there are not or a life beyond a year, `NotFound` for an unknown account."""
    problems = _problems(label, scopes, life)
    if problems:
        raise RequestError(problems)
    token_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    given: dict[str, Any] = {
        "token": token_id,
        "hash": digest(secret),
        "account": account,
        "label": label,
        "scopes": None if scopes is None else list(scopes),
        "namespace": namespace,
        "life": life,
        "actor": actor,
        "address": address,
    }
    db.value("select tasker_make_token(%(token)s, %(hash)s, %(account)s, %(label)s, %(scopes)s, %(namespace)s, %(life)s, %(actor)s, %(address)s)", given)
    return f"tasker_{token_id}_{secret}"


def _problems(label: str, scopes: Sequence[str] | None, life: timedelta) -> list[Problem]:
    problems = [Problem("scope", "unknown_scope", f'there is no scope "{each[:MAX_LABEL]}"; a scope is a permission such as tasker.task:show, tasker.task:*, or a role') for each in unknown_scopes(scopes or ())]
    if not label.strip() or not label.isprintable() or len(label) > MAX_LABEL:
        problems.append(Problem("label", "bad_label", f"must be one line of 1 to {MAX_LABEL} printable characters"))
    if not timedelta(0) < life <= LONGEST_LIFE:
        problems.append(Problem("days", "bad_life", "a token lives for 1 to 366 days"))
    return problems


def bearer(db: Database, token: str) -> Bearer | None:
    """Whose token it is; None for one that is unknown, expired, revoked, or whose owner is disabled."""
    form = _FORM.fullmatch(token)
    found = db.rows("select t.secret_hash, t.account_id, t.name, t.grants, t.scopes, t.namespace from tasker_use_token(%(token)s) t", {"token": form[1]}) if form else []
    # compared even where there is nothing to compare with, so that the time tells nothing
    right = secrets.compare_digest(found[0][0] if found else bytes(32), digest(form[2] if form else ""))
    if not right or form is None or not found:
        return None
    _, account_id, name, grants, scopes, namespace = found[0]
    return Bearer(form[1], account_id, name, Rights.of(grants).within(scopes, namespace))


def tokens(db: Database, account_id: int | None = None) -> list[TokenRow]:
    """The tokens of an account, or of all; those that count first, then the newest."""
    query: LiteralString = """
        select t.token_id, a.name, t.label, t.scopes, t.namespace, t.created_at, t.expires_at, t.used_at, t.revoked_at, t.expires_at <= tasker_clock()
          from tasker_token t join tasker_account a using (account_id)
         where %(id)s::int is null or t.account_id = %(id)s
         order by t.revoked_at is not null, t.expires_at <= tasker_clock(), t.created_at desc limit 1000
    """
    found = db.rows(query, {"id": account_id})
    return [TokenRow(*(*row[:3], None if row[3] is None else tuple(row[3]), *row[4:])) for row in found]


def token_owner(db: Database, token_id: str) -> str:
    """The name of the account whose token it is. Raises `NotFound`."""
    owner: str | None = db.value("select a.name from tasker_token t join tasker_account a using (account_id) where t.token_id = %(token)s", {"token": token_id.replace("\x00", "")})
    if owner is None:
        raise NotFound(f"there is no token {token_id[:MAX_LABEL]}")
    return owner


def revoke_token(db: Database, token_id: str, *, actor: str, account_id: int | None = None, address: str | None = None) -> None:
    """It counts for nothing any more. Raises `NotFound`, also when it is not of the account that is named."""
    given = {"token": token_id.replace("\x00", ""), "id": account_id, "actor": actor, "address": address}
    db.value("select tasker_revoke_token(%(token)s, %(id)s, %(actor)s, %(address)s)", given)
