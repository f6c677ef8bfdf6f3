"""The record of who did what, when, from where, to which object and why. It is only ever added to; the database refuses anything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from engine import json_text
from engine.access.permissions import Namespaces
from engine.db import Database

MAX_LISTED = 200
MAX_TEXT = 2_000


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One entry. `action` is a permission, `sign_in` or `sign_out`; `outcome` is done, refused (it could not be done) or denied (it was not allowed)."""

    audit_no: int
    at: datetime
    actor: str
    action: str
    outcome: str
    namespace: str | None
    object: str | None
    reason: str | None
    address: str | None
    detail: dict[str, Any] | None


def note(
    db: Database,
    actor: str,
    action: str,
    outcome: str = "done",
    *,
    namespace: str | None = None,
    subject: str | None = None,
    reason: str | None = None,
    address: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """It is on record for good."""
    given = {
        "actor": _text(actor),
        "action": action,
        "outcome": outcome,
        "namespace": namespace,
        "object": _text(subject),
        "reason": _text(reason),
        "address": address,
        "detail": json_text.dump(dict(detail)) if detail else None,
    }
    db.value("select tasker_audit_note(%(actor)s, %(action)s, %(outcome)s, %(namespace)s, %(object)s, %(reason)s, %(address)s, %(detail)s::jsonb)", given)


def entries(
    db: Database,
    *,
    actor: str | None = None,
    action: str | None = None,
    outcome: str | None = None,
    namespace: str | None = None,
    object: str | None = None,
    at_from: datetime | None = None,
    at_to: datetime | None = None,
    before: int | None = None,
    limit: int = 100,
    namespaces: Namespaces = None,
) -> list[AuditRow]:
    """The newest that match every given filter, newest first; `action` and `object` match by their beginning."""
    query: LiteralString = """
        select a.audit_no, a.at, a.actor, a.action, a.outcome, a.namespace, a.object, a.reason, a.address, a.detail from tasker_audit a
         where (%(actor)s::text is null or a.actor = %(actor)s) and (%(outcome)s::text is null or a.outcome = %(outcome)s)
           and (%(action)s::text is null or starts_with(a.action, %(action)s)) and (%(object)s::text is null or starts_with(a.object, %(object)s))
           and (%(namespace)s::text is null or a.namespace = %(namespace)s) and (%(allowed)s::text[] is null or a.namespace = any(%(allowed)s))
           and (%(at_from)s::timestamptz is null or a.at >= %(at_from)s) and (%(at_to)s::timestamptz is null or a.at < %(at_to)s)
           and (%(before)s::bigint is null or a.audit_no < %(before)s)
         order by a.audit_no desc limit %(limit)s
    """
    given = {
        "actor": actor,
        "action": action,
        "outcome": outcome,
        "namespace": namespace,
        "object": object,
        "at_from": at_from,
        "at_to": at_to,
        "before": before,
        "limit": limit,
        "allowed": None if namespaces is None else sorted(namespaces),
    }
    return [AuditRow(*row) for row in db.rows(query, given)]


def _text(given: str | None) -> str | None:
    return None if given is None else json_text.clean_text(given)[:MAX_TEXT]
