"""What is to be told to people and programs outside: taken up by an engine, sent by webhook or e-mail, tried again with longer and longer rests."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

from engine import json_text
from engine.db import Database
from engine.errors import PermanentError, RetryableError
from engine.outgoing import mail, posting
from engine.outgoing.mail import MailServer
from engine.outgoing.signing import EVENT_ID, EVENT_TYPE, SIGNATURE, signature

log = logging.getLogger(__name__)

AT_ONCE = 4
MOST_ATTEMPTS = 12
"""About four hours and a half."""
MOST_DROPPED = 1_000
KEPT = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to be told to one place; `facts` is what a webhook is sent."""

    notice_id: int
    attempt: int
    channel: str
    target: str
    secret: str | None
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far a notice has come; `error` is why its last attempt was in vain."""

    kind: str
    channel: str
    target: str
    count: int | None
    created_at: datetime
    attempts: int
    due_at: datetime
    delivered_at: datetime | None
    given_up_at: datetime | None
    error: str | None


Sender = Callable[[Notice], None]


def senders() -> Mapping[str, Sender]:
    """The ways out that the surroundings name. Raises `TaskerError` for a mail server that is named wrongly."""
    server, private = MailServer.from_environ(), posting.allowed_hosts()
    return {"webhook": lambda notice: _post(notice, private), "email": lambda notice: _mail(notice, server)}


def deliver_due(db: Database, ways: Mapping[str, Sender], stop: threading.Event) -> int:
    """Every notice whose time has come had an attempt, or `stop` is set; how many were taken by their receivers."""
    taken = 0
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="tasker-notices") as pool:
        while not stop.is_set() and (due := _due(db)):
            taken += sum(pool.map(lambda notice: _attempt(db, ways, notice), due))
    return taken


def drop_old(db: Database) -> None:
    """What was told a month ago is forgotten."""
    db.value("select tasker_drop_notices(%(kept)s, %(limit)s)", {"kept": KEPT, "limit": MOST_DROPPED})


def deliveries(db: Database, view_id: int, limit: int = 20) -> list[Delivery]:
    """The latest notices of a kept view, the newest first."""
    found = db.rows(
        """
        select n.facts ->> 'type', n.channel, n.target, (n.facts ->> 'count')::int, n.created_at, n.attempts, n.due_at, n.delivered_at, n.given_up_at, n.error
          from tasker_notice n where n.view_id = %(view)s order by n.notice_id desc limit %(limit)s
        """,
        {"view": view_id, "limit": limit},
    )
    return [Delivery(*row) for row in found]


def task_deliveries(db: Database, task_id: str, limit: int = 20) -> list[Delivery]:
    """What was told, or is to be, of the task's end, the newest first."""
    query: LiteralString = """
        select n.facts ->> 'type', n.channel, n.target, null::int, n.created_at, n.attempts, n.due_at, n.delivered_at, n.given_up_at, n.error
          from tasker_notice n join tasker_task t using (task_no) where t.task_id = %(task)s order by n.notice_id desc limit %(limit)s
    """
    return [Delivery(*row) for row in db.rows(query, {"task": task_id, "limit": limit})]


def target_problem(channel: str, target: str) -> str | None:
    """What is wrong with a place to tell something to."""
    return mail.address_problem(target) if channel == "email" else posting.address_problem(target)


def _due(db: Database) -> list[Notice]:
    found = db.rows("select n.notice_id, n.attempt, n.channel, n.target, n.secret, n.facts from tasker_take_notices(%(limit)s) n", {"limit": AT_ONCE})
    return [Notice(*row) for row in found]


def _attempt(db: Database, ways: Mapping[str, Sender], notice: Notice) -> bool:
    error, is_final = _outcome(ways[notice.channel], notice)
    given = {"notice": notice.notice_id, "attempt": notice.attempt, "error": error, "final": is_final, "most": MOST_ATTEMPTS}
    db.value("select tasker_end_notice(%(notice)s, %(attempt)s, %(error)s, %(final)s, %(most)s)", given)
    return error is None


def _outcome(send: Sender, notice: Notice) -> tuple[str | None, bool]:
    try:
        send(notice)
    except PermanentError as error:
        return str(error), True
    except RetryableError as error:
        return str(error), False
    except Exception as error:  # a notice that cannot even be put together must end too, and hold up no other
        log.exception("notice %s failed", notice.notice_id)
        return type(error).__name__, False
    return None, False


def _post(notice: Notice, private: frozenset[str]) -> None:
    body = json_text.dump({"event_id": str(notice.notice_id), **notice.facts}).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "tasker-webhook", EVENT_ID: str(notice.notice_id), EVENT_TYPE: str(notice.facts["type"])}
    signed = {SIGNATURE: signature(notice.secret, body, int(time.time()))} if notice.secret else {}
    posting.post(notice.target, body, headers | signed, private=private)


def _mail(notice: Notice, server: MailServer | None) -> None:
    if server is None:
        raise RetryableError("no mail server is set: the engines need TASKER_SMTP_URL")
    subject, text = in_words(notice.facts)
    server.send(notice.target, f"[Tasker] {subject}", text, name=f"tasker-notice-{notice.notice_id}")


def in_words(facts: Mapping[str, Any]) -> tuple[str, str]:
    """What the facts say to a person: a line, and the text below it."""
    link = f"\n{facts['link']}\n" if facts.get("link") else ""
    if facts["type"] == "task.ended":
        subject = f"{facts['namespace']}/{facts['name']} {str(facts['task_id'])[:8]}: {facts['state']}"
        return subject, f"The task {facts['task_id']} of {facts['namespace']}/{facts['name']} {facts['version']} has ended at {facts['at']}: {facts['state']}.\n{link}"
    number = "more than 1000" if facts["count"] > 1_000 else str(facts["count"])
    one, many = ("group of failures", "groups of failures") if facts.get("kind") == "failures" else ("task", "tasks")
    what = one if facts["count"] == 1 else many
    least, older = ("at least ", "Older ones were not looked through, so there may be more.\n\n") if facts.get("is_least") else ("", "")
    asked = ", ".join(f"{name} {value}" for name, value in facts["filter"].items()) or f"all {many}"
    if facts["type"] == "view.resolved":
        return f"{facts['view']}: back to {number}", f"{facts['view']} holds {number} {what} at {facts['at']}, no more than {facts['threshold']} again.\n\n{older}Filter: {asked}\n{link}"
    return f"{facts['view']}: {least}{number} {what}", f"{facts['view']} holds {least}{number} {what} at {facts['at']}, more than {facts['threshold']}.\n\n{older}Filter: {asked}\n{link}"
