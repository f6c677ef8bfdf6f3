"""Who wants to be told when a task ends, by webhook or e-mail: kept by the dashboard, told once by an engine."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from engine import json_text
from engine.access.permissions import Rights
from engine.db import Database
from engine.errors import Problem, RequestError
from engine.outgoing import notices

PERMISSION = "tasker.task:show"
TAKEN = 50


@dataclass(frozen=True, slots=True)
class Follower:
    """One place that is told of a task's end."""

    follower_id: int
    channel: str
    target: str
    since: datetime


def follow(db: Database, task_id: str, account_id: int, *, channel: str, target: str, link: str | None = None) -> None:
    """The task's end will be told there. Raises `RequestError` for what is no such place, `NotFound`, and `WrongState` when it has ended."""
    if channel not in ("webhook", "email"):
        raise RequestError([Problem("channel", "unknown", "must be webhook or email")])
    if problem := notices.target_problem(channel, target):
        raise RequestError([Problem(channel, "bad_target", problem)])
    given = {"task": task_id, "account": account_id, "channel": channel, "target": target, "link": link}
    db.value("select tasker_follow_task(%(task)s, %(account)s, %(channel)s, %(target)s, %(link)s)", given)


def unfollow(db: Database, task_id: str, account_id: int, follower_id: int) -> None:
    """The account's follower of that number is told nothing."""
    given = {"task": task_id, "account": account_id, "follower": follower_id}
    db.rows(
        """delete from tasker_follower f using tasker_task t
            where t.task_id = %(task)s and f.task_no = t.task_no and f.account_id = %(account)s and f.follower_id = %(follower)s returning f.follower_id""",
        given,
    )


def followers(db: Database, task_id: str, account_id: int) -> list[Follower]:
    """Where the account has itself told of the task's end."""
    found = db.rows(
        """select f.follower_id, f.channel, f.target, f.since from tasker_follower f join tasker_task t using (task_no)
            where t.task_id = %(task)s and f.account_id = %(account)s order by f.follower_id""",
        {"task": task_id, "account": account_id},
    )
    return [Follower(*row) for row in found]


def tell_ended(db: Database, stop: threading.Event) -> int:
    """Whoever followed a task that has ended is to be told, if they may still see it; how many followed."""
    told = 0
    while not stop.is_set() and (found := _ended(db)):
        for row in found:
            facts = _facts(row) if Rights.of(row["grants"] or ()).has(PERMISSION, row["namespace"]) else None
            given = {"follower": row["follower_id"], "facts": json_text.dump(facts) if facts else None}
            db.value("select tasker_tell_follower(%(follower)s, %(facts)s::jsonb)", given)
        told += len(found)
    return told


def _ended(db: Database) -> list[dict[str, Any]]:
    names = ("follower_id", "task_id", "namespace", "name", "version", "state", "finished_at", "link", "grants")
    found = db.rows(
        """
        select f.follower_id, t.task_id::text, d.namespace, d.name, d.version, tasker_state_name(t.state), t.finished_at, f.link, tasker_owner_grants(f.account_id)
          from tasker_follower f join tasker_task t using (task_no) join tasker_definition d using (definition_id)
         where t.finished_at is not null order by f.follower_id limit %(limit)s
        """,
        {"limit": TAKEN},
    )
    return [dict(zip(names, row, strict=True)) for row in found]


def _facts(row: dict[str, Any]) -> dict[str, Any]:
    kept = {name: row[name] for name in ("task_id", "namespace", "name", "version", "state", "link")}
    return {"type": "task.ended", **kept, "at": f"{row['finished_at'].astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}
