"""Who may come in: accounts with their roles, signing in, and the sessions that follow. The dashboard's pages and `tasker user` call this.

Every secret is made here, told once and kept as a hash. A session is found by the hash of its secret, so what is in the database opens nothing.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from zoneinfo import available_timezones

import pyotp

from engine import json_text
from engine.access import passwords
from engine.access.permissions import PERMISSIONS, ROLES, Rights
from engine.db import Database
from engine.errors import NotFound, Problem, RequestError, TaskerError, WrongState

LOCAL_ADMIN = "admin"
MAX_NAME = 100
MAX_BROWSER = 200
TOTP_SECONDS = 30


class Denied(TaskerError):
    """Signing in failed; the text tells no more than it may."""


class TooManyTries(Denied):
    """Too many tries failed lately; this one was not looked at."""


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account; `grants` are pairs of a role and the namespace it holds in, None for all of them."""

    account_id: int
    name: str
    disabled: bool
    has_password: bool
    has_second_factor: bool
    created_at: datetime
    created_by: str | None
    signed_in_at: datetime | None
    grants: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class RoleRow:
    """A role and what it bundles; `account_count` is of the accounts that have it somewhere."""

    role: str
    permissions: tuple[str, ...]
    built_in: bool
    account_count: int


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as its owner sees it; `digest` is the hash of its secret."""

    session_id: int
    method: str
    started_at: datetime
    seen_at: datetime
    address: str | None
    browser: str | None
    digest: bytes


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who is signed in; with `half` only the password was right, and nothing but the second factor may be asked."""

    account_id: int
    name: str
    method: str
    half: bool
    rights: Rights
    zone: str | None = None


# ---- accounts


def create_account(
    db: Database,
    name: str,
    *,
    role: str,
    actor: str,
    namespace: str | None = None,
    password: str | None = None,
    outside_id: str | None = None,
    address: str | None = None,
) -> int:
    """The number of a new account with that role; without a password it signs in by a link or another method.

    Raises `RequestError` for a name, role or password that cannot be taken, `WrongState` when the name is, or the role was removed just now.
    """
    check_name(name)
    _check_role(db, role, namespace)
    if password is not None:
        passwords.check_password(password, name)
    given = {
        "name": name,
        "hash": None if password is None else passwords.hashed(password),
        "outside": outside_id,
        "role": role,
        "namespace": namespace,
        "actor": actor,
        "address": address,
    }
    made: int = db.value("select tasker_create_account(%(name)s, %(hash)s, %(outside)s, %(role)s, %(namespace)s, %(actor)s, %(address)s)", given)
    return made


def check_name(name: str) -> None:
    """Raises `RequestError` for a name that is none."""
    if not name or name != name.strip() or not name.isprintable() or len(name) > MAX_NAME:
        raise RequestError([Problem("name", "bad_name", f"must be one line of 1 to {MAX_NAME} printable characters, without spaces at its ends")])


def _check_role(db: Database, role: str, namespace: str | None) -> None:
    known = role_names(db)
    if role not in known:
        raise RequestError([Problem("role", "unknown_role", f'there is no role "{role[:MAX_NAME]}"; one of {", ".join(known)}')])
    if namespace is not None and (not namespace or json_text.clean_text(namespace) != namespace):
        raise RequestError([Problem("namespace", "bad_namespace", "is no name of a namespace")])


def set_password(db: Database, name: str, password: str, *, actor: str, address: str | None = None) -> None:
    """The account has that password and is signed out everywhere. Raises `NotFound`, `RequestError`."""
    passwords.check_password(password, name)
    given = {"name": name, "hash": passwords.hashed(password), "actor": actor, "address": address}
    db.value("select tasker_set_password(%(name)s, %(hash)s, %(actor)s, %(address)s)", given)


def disable_account(db: Database, name: str, *, actor: str, reason: str | None = None, address: str | None = None) -> None:
    """Nobody comes in by it any more, and who was in is out. Raises `NotFound`, and `WrongState` for the last administrator."""
    db.value("select tasker_disable_account(%(name)s, %(actor)s, %(reason)s, %(address)s)", _act(name, actor, reason, address))


def enable_account(db: Database, name: str, *, actor: str, reason: str | None = None, address: str | None = None) -> None:
    """It may come in again. Raises `NotFound`."""
    db.value("select tasker_enable_account(%(name)s, %(actor)s, %(reason)s, %(address)s)", _act(name, actor, reason, address))


def grant_role(
    db: Database, name: str, role: str, namespace: str | None = None, *, actor: str, reason: str | None = None, address: str | None = None
) -> None:
    """The account has the role there. Raises `NotFound`, `RequestError`, and `WrongState` for a role that was removed just now."""
    _check_role(db, role, namespace)
    given = _act(name, actor, reason, address) | {"role": role, "namespace": namespace}
    db.value("select tasker_grant_role(%(name)s, %(role)s, %(namespace)s, %(actor)s, %(reason)s, %(address)s)", given)


def revoke_role(
    db: Database, name: str, role: str, namespace: str | None = None, *, actor: str, reason: str | None = None, address: str | None = None
) -> None:
    """The account has the role there no more. Raises `NotFound`, and `WrongState` for the last administrator."""
    given = _act(name, actor, reason, address) | {"role": role, "namespace": namespace}
    db.value("select tasker_revoke_role(%(name)s, %(role)s, %(namespace)s, %(actor)s, %(reason)s, %(address)s)", given)


def keep_role(db: Database, role: str, permissions: Sequence[str], *, actor: str, address: str | None = None) -> None:
    """The role bundles these permissions. Raises `RequestError` for unknown ones, and for the name of a built-in role."""
    check_name(role)
    unknown = sorted(set(permissions) - PERMISSIONS)
    if unknown or role in ROLES:
        words = f"there is no permission {', '.join(unknown)}" if unknown else f'"{role}" is built in'
        raise RequestError([Problem("role", "bad_role", words)])
    given = {"role": role, "permissions": sorted(permissions), "actor": actor, "address": address}
    db.value("select tasker_keep_role(%(role)s, %(permissions)s, %(actor)s, %(address)s)", given)


def remove_role(db: Database, role: str, *, actor: str, reason: str | None = None, address: str | None = None) -> None:
    """There is no such role any more. Raises `NotFound`, and `WrongState` while accounts have it."""
    if role in ROLES:
        raise WrongState(f'"{role}" is built in')
    given = {"role": role.replace("\x00", ""), "actor": actor, "reason": reason or None, "address": address}
    db.value("select tasker_remove_role(%(role)s, %(actor)s, %(reason)s, %(address)s)", given)


def roles(db: Database) -> list[RoleRow]:
    """The roles there are, the built-in ones first, each with how many accounts have it."""
    own = db.rows('select r.role, r.permissions from tasker_role r order by r.role collate "C"')
    counts = dict(db.rows("select g.role, count(distinct g.account_id)::int from tasker_grant g group by 1"))
    known = [(role, permissions, True) for role, permissions in ROLES.items()] + [(role, permissions, False) for role, permissions in own]
    return [RoleRow(role, tuple(sorted(permissions)), is_built_in, counts.get(role, 0)) for role, permissions, is_built_in in known]


def role_rights(db: Database, role: str, namespace: str | None) -> Rights:
    """What the role brings there; nothing for one that there is not."""
    found = db.value("select r.permissions from tasker_role r where r.role = %(role)s", {"role": role.replace("\x00", "")})
    return Rights.of([(role, namespace, found)])


def account_rights(db: Database, name: str) -> Rights:
    """What an account may. Raises `NotFound`."""
    found = account(db, name)
    return Rights.of(db.value("select tasker_grants(%(id)s)", {"id": found.account_id}))


def _act(name: str, actor: str, reason: str | None, address: str | None) -> dict[str, Any]:
    return {"name": name.replace("\x00", ""), "actor": actor, "reason": reason or None, "address": address}


def role_names(db: Database) -> list[str]:
    """The roles there are, the built-in ones first."""
    return [*ROLES, *(row[0] for row in db.rows('select r.role from tasker_role r order by r.role collate "C"'))]


_COLUMNS: LiteralString = """
    a.account_id, a.name, a.disabled, a.password_hash is not null, a.totp_secret is not null, a.created_at, a.created_by, a.signed_in_at, tasker_grants(a.account_id)
"""


def accounts(db: Database) -> list[AccountRow]:
    """Every account by name."""
    return [_account(row) for row in db.rows(f'select {_COLUMNS} from tasker_account a order by lower(a.name) collate "C" limit 10000')]


def account(db: Database, name: str) -> AccountRow:
    """The account of that name, in whichever case. Raises `NotFound`."""
    found = db.rows(f"select {_COLUMNS} from tasker_account a where lower(a.name) = lower(%(name)s)", {"name": name.replace("\x00", "")})
    if not found:
        raise NotFound(f'there is no account "{name[:MAX_NAME]}"')
    return _account(found[0])


def _account(row: tuple[Any, ...]) -> AccountRow:
    return AccountRow(*(*row[:8], tuple((role, namespace) for role, namespace, _ in row[8])))


def has_accounts(db: Database) -> bool:
    """Whether anybody could sign in at all."""
    return bool(db.value("select exists (select from tasker_account a where not a.disabled)"))


# ---- signing in


def check_credentials(db: Database, name: str, password: str, address: str) -> tuple[int, bool, str]:
    """The account that this password opens, whether a second factor is still to come, and what is kept of the password, by which its session begins.

    Raises `Denied`, after the same work for an unknown name as for a wrong password; `TooManyTries` before any.
    """
    known = json_text.clean_text(name.strip())[:MAX_NAME]
    number = _begin(db, known, address)
    found = db.rows(
        "select a.account_id, a.password_hash, a.totp_secret is not null, a.disabled, a.name from tasker_account a where lower(a.name) = lower(%(name)s)",
        {"name": known},
    )
    account_id, kept, has_second_factor, disabled, name_kept = found[0] if found else (0, None, False, False, known)
    if not passwords.is_right(kept, password) or disabled:
        _end(db, number, "failed", name_kept or "?", "password")
        raise Denied("this name and password do not belong together")
    if passwords.is_outdated(kept):
        kept = _kept_anew(db, account_id, kept, password)
    _end(db, number, "half" if has_second_factor else "done", name_kept, "password")
    return account_id, has_second_factor, kept


def _kept_anew(db: Database, account_id: int, former: str, password: str) -> str:
    """What is kept of the password by today's parameters; the former where another one is kept by now."""
    given = {"id": account_id, "former": former, "hash": passwords.hashed(password)}
    return str(given["hash"]) if db.value("select tasker_rehash_password(%(id)s, %(former)s, %(hash)s)", given) else former


def check_password_of(db: Database, account_id: int, password: str, address: str) -> None:
    """Who is signed in typed the password again. Raises `Denied`, `TooManyTries`."""
    name, kept = db.rows("select a.name, a.password_hash from tasker_account a where a.account_id = %(id)s", {"id": account_id})[0]
    number = _begin(db, name, address)
    if not passwords.is_right(kept, password):
        _end(db, number, "failed", name, "password")
        raise Denied("this is not your present password")
    _end(db, number, "half", name, "password")


def check_second_factor(db: Database, account_id: int, code: str, address: str) -> None:
    """The code is the one of now, or of half a minute ago, and had not been used. Raises `Denied`, `TooManyTries`."""
    name, secret = db.rows("select a.name, a.totp_secret from tasker_account a where a.account_id = %(id)s", {"id": account_id})[0]
    number = _begin(db, name, address)
    if secret is None or not takes_code(db, account_id, secret, code):
        _end(db, number, "failed", name, "second factor")
        raise Denied("this code is not the one of now")
    _end(db, number, "done", name, "second factor")


def takes_code(db: Database, account_id: int, secret: str, code: str) -> bool:
    """Whether the code is right for this secret by our clock and is the first use of it."""
    digits, now = "".join(code.split()), int(time.time()) // TOTP_SECONDS
    generator = pyotp.TOTP(secret)
    period = next((each for each in (now, now - 1, now + 1) if secrets.compare_digest(generator.generate_otp(each), digits.encode("ascii", "replace").decode())), None)
    return period is not None and bool(db.value("select tasker_use_second_factor(%(id)s, %(period)s)", {"id": account_id, "period": period}))


def set_second_factor(db: Database, name: str, secret: str | None, *, actor: str, address: str | None = None) -> None:
    """The account is asked for a code of this secret when it signs in, or for none."""
    db.value("select tasker_set_second_factor(%(name)s, %(secret)s, %(actor)s, %(address)s)", {"name": name, "secret": secret, "actor": actor, "address": address})


def note_sign_in(db: Database, account_id: int, address: str, method: str) -> None:
    """A sign-in that no password was typed for is on record, and its place is known from now on."""
    db.value("select tasker_note_sign_in(%(id)s, %(address)s, %(method)s)", {"id": account_id, "address": address, "method": method})


def _begin(db: Database, name: str, address: str) -> int:
    number = db.value("select tasker_begin_sign_in(lower(%(name)s), %(address)s)", {"name": name, "address": address})
    if number is None:
        raise TooManyTries("too many tries failed; wait a quarter of an hour, or sign in from where you did before")
    return int(number)


def _end(db: Database, number: int, outcome: str, actor: str, method: str) -> None:
    given = {"number": number, "outcome": outcome, "actor": actor, "method": method}
    db.value("select tasker_end_sign_in(%(number)s, %(outcome)s, %(actor)s, %(method)s)", given)


def account_of(db: Database, outside_id: str, name: str, *, role: str | None, method: str) -> int:
    """The account of somebody whom another method vouches for; the first time it is made, with that role.

    Raises `Denied` when there is none and no role to make it with, when its name is taken, or when it is disabled.
    """
    found = db.rows("select a.account_id, a.disabled from tasker_account a where a.outside_id = %(outside)s", {"outside": outside_id})
    if found and not found[0][1]:
        return int(found[0][0])
    if found or role is None:
        raise Denied("your account here is disabled" if found else "you have no account here; ask an administrator for one")
    try:
        return create_account(db, name.strip()[:MAX_NAME], role=role, actor=method, outside_id=outside_id)
    except (WrongState, RequestError) as error:
        raise Denied(f"no account can be made for you here: {error}") from error


def make_sign_in_link(db: Database, name: str, *, actor: str, reason: str | None = None, address: str | None = None) -> str:
    """The secret of a link that signs in as the account, once and within the hour; earlier ones of it are void. Raises `NotFound`."""
    secret = new_secret()
    given = _act(name, actor, reason, address) | {"hash": digest(secret)}
    db.value("select tasker_make_sign_in_link(%(name)s, %(hash)s, %(actor)s, %(reason)s, %(address)s)", given)
    return secret


def use_sign_in_link(db: Database, secret: str) -> int:
    """The account whose link it was; it is used up. Raises `Denied`."""
    found = db.value("select tasker_use_sign_in_link(%(hash)s)", {"hash": digest(secret)})
    if found is None:
        raise Denied("this link was used before, or its hour is over")
    return int(found)


# ---- sessions


def begin_session(
    db: Database,
    account_id: int,
    *,
    method: str,
    half: bool = False,
    address: str | None = None,
    browser: str | None = None,
    password_hash: str | None = None,
    completes: bytes | None = None,
) -> str:
    """The secret of a new session, in the place of the half one whose hash is `completes`.

    Raises `WrongState` when the account is disabled, that half session is over, or `password_hash`, by which somebody was let in, is not what is kept any more.
    """
    secret = new_secret()
    given = {
        "id": account_id,
        "hash": digest(secret),
        "method": method,
        "half": half,
        "address": address,
        "browser": json_text.clean_text(browser or "")[:MAX_BROWSER] or None,
        "password_hash": password_hash,
        "completes": completes,
    }
    db.value("select tasker_begin_session(%(id)s, %(hash)s, %(method)s, %(half)s, %(address)s, %(browser)s, %(password_hash)s, %(completes)s::bytea)", given)
    return secret


def signed_in(db: Database, session_digest: bytes) -> SignedIn | None:
    """Who is signed in by the session of this hash now, with today's rights; None when its time is over or it was ended."""
    found = db.rows("select s.account_id, s.name, s.method, s.half, s.grants, s.zone from tasker_use_session(%(hash)s) s", {"hash": session_digest})
    return SignedIn(*(*found[0][:4], Rights.of(found[0][4]), found[0][5])) if found else None


def set_zone(db: Database, account_id: int, zone: str | None) -> None:
    """Times are shown to the account in that zone, or in the browser's. Raises `RequestError` for one that nobody knows, `NotFound`."""
    if zone is not None and zone not in available_timezones():
        raise RequestError([Problem("zone", "unknown_zone", f'there is no time zone "{zone[:MAX_NAME]}"; one reads like Europe/Berlin')])
    db.value("select tasker_set_zone(%(id)s, %(zone)s)", {"id": account_id, "zone": zone})


def sessions(db: Database, account_id: int) -> list[SessionRow]:
    """The sessions of an account, the latest used first."""
    query: LiteralString = """
        select s.session_id, s.method, s.started_at, s.seen_at, s.address, s.browser, s.session_hash from tasker_session s
         where s.account_id = %(id)s and not s.half and s.seen_at > tasker_clock() - interval '8 hours' and s.started_at > tasker_clock() - interval '24 hours'
         order by s.seen_at desc limit 100
    """
    return [SessionRow(*row) for row in db.rows(query, {"id": account_id})]


def end_session(db: Database, account_id: int, session_digest: bytes, *, actor: str, address: str | None = None) -> None:
    """The session of this hash is over."""
    number = db.value("select s.session_id from tasker_session s where s.session_hash = %(hash)s", {"hash": session_digest})
    if number is not None:
        end_session_no(db, account_id, number, actor=actor, address=address)


def sign_out(db: Database, name: str, *, but: bytes | None = None, actor: str, reason: str | None = None, address: str | None = None) -> int:
    """How many sessions of the account were ended: all, or all but the one of that hash. Raises `NotFound`."""
    given = _act(name, actor, reason, address) | {"but": but}
    return int(db.value("select tasker_sign_out(%(name)s, %(but)s::bytea, %(actor)s, %(reason)s, %(address)s)", given))


def end_session_no(db: Database, account_id: int, session_id: int, *, actor: str, address: str | None = None) -> None:
    """The session of that number is over. Raises `NotFound` when the account has none."""
    given = {"id": account_id, "session": session_id, "actor": actor, "address": address}
    if not db.value("select tasker_end_session(%(id)s, %(session)s, %(actor)s, %(address)s)", given):
        raise NotFound("there is no such session")


def new_secret() -> str:
    """256 bits of chance, as text."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> bytes:
    """What is kept of a secret that is chance itself."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
