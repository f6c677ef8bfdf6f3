"""Lists of tasks and of failures kept under a name, private or shared in a namespace, and what is told when one holds too many: the dashboard keeps them, engines watch them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, LiteralString

from engine import json_text
from engine.access.permissions import Namespaces, Rights
from engine.db import Database
from engine.errors import DatabaseUnavailable, NotFound, Problem, RequestError
from engine.finding.failure_filter import FailureFilter, count_failures, read_failure_filter
from engine.finding.tally import Tally
from engine.finding.task_counts import count_tasks
from engine.finding.task_filter import TaskFilter, read_filter
from engine.outgoing import notices
from engine.timing import interval_seconds, interval_text

MAX_NAME = 100
MAX_SECRET = 200
MAX_THRESHOLD = 1_000
MOST_LISTED = 10_000
USUAL_REST = timedelta(minutes=15)
LONGEST_REST = timedelta(days=30)
COUNT_EVERY = timedelta(seconds=10)
COUNT_MS = 2_000
TAKEN = 5
PERMISSION, FAILURES_PERMISSION = "tasker.task:index", "tasker.step:index"
TASKS, FAILURES = KINDS = ("tasks", "failures")


@dataclass(frozen=True, slots=True)
class Alert:
    """When and whom a view tells: more than `threshold` tasks or groups of failures, with `rest` between two alerts. A `secret` of None leaves the one there is."""

    threshold: int | None = None
    rest: timedelta = USUAL_REST
    webhook: str | None = None
    secret: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A kept list as it stands; `namespace` is where it is shared, None for its owner's alone. `over_since` is set from an alert to its end.

    `is_least`: older ones were not looked through when it was counted, so there may have been more than `count`.
    """

    view_id: int
    name: str
    namespace: str | None
    owner_id: int
    owner: str
    parameters: dict[str, str]
    changed_at: datetime
    alert: Alert
    has_secret: bool
    counted_at: datetime | None
    count: int | None
    over_since: datetime | None
    kind: str = TASKS
    is_least: bool = False

    @property
    def narrowing(self) -> dict[str, str]:
        """The query parameters of its list: a shared one is narrowed to its namespace, whatever else it says."""
        return narrowing(self.kind, self.parameters, self.namespace)

    @property
    def filter(self) -> TaskFilter:
        """That of a list of tasks."""
        return view_filter(self.parameters, self.namespace)

    @property
    def failure_filter(self) -> FailureFilter:
        """That of a list of failures."""
        return read_failure_filter(self.narrowing)


def narrowing(kind: str, parameters: Mapping[str, str], namespace: str | None) -> dict[str, str]:
    """What of the parameters narrows such a list, and the namespace that it is shared in."""
    if kind == TASKS:
        return view_filter(parameters, namespace).parameters()
    chosen = read_failure_filter(parameters)
    return replace(chosen, namespace=namespace or chosen.namespace).parameters()


def view_filter(parameters: Mapping[str, str], namespace: str | None) -> TaskFilter:
    """The filter of kept parameters."""
    chosen = read_filter(parameters).chosen
    return replace(chosen, namespace=namespace or chosen.namespace, cursor=None)


_COLUMNS: LiteralString = """v.view_id, v.name, v.namespace, v.owner_id, a.name, v.parameters, v.changed_at, v.threshold, v.rest, v.webhook, v.email,
           v.secret is not null, v.counted_at, v.count, v.over_since, v.kind, v.is_least"""


def views(db: Database, account_id: int, namespaces: Namespaces, *, limit: int = MOST_LISTED) -> list[View]:
    """The account's own views and those shared in these namespaces, by name."""
    return _views(db, None, account_id, namespaces, limit)


def view(db: Database, view_id: int, account_id: int, namespaces: Namespaces) -> View:
    """One of them. Raises `NotFound`, for what is not shown too."""
    found = _views(db, view_id, account_id, namespaces, 1) if view_id < 2**63 else []
    if not found:
        raise NotFound(f"there is no view {view_id}")
    return found[0]


def _views(db: Database, view_id: int | None, account_id: int, namespaces: Namespaces, limit: int) -> list[View]:
    found = db.rows(
        f"""
        select {_COLUMNS} from tasker_view v join tasker_account a on a.account_id = v.owner_id
         where (%(view)s::bigint is null or v.view_id = %(view)s)
           and case when v.namespace is null then v.owner_id = %(account)s else %(here)s::text[] is null or v.namespace = any(%(here)s::text[]) end
         order by lower(v.name), v.view_id limit %(limit)s
        """,
        {"view": view_id, "account": account_id, "here": None if namespaces is None else sorted(namespaces), "limit": limit},
    )
    return [_view(row) for row in found]


def _view(row: tuple[Any, ...]) -> View:
    threshold, rest, webhook, email = row[7:11]
    return View(*(*row[:7], Alert(threshold, rest, webhook, email=email), *row[11:]))


def keep_view(
    db: Database, name: str, parameters: Mapping[str, str], *, namespace: str | None, owner_id: int, alert: Alert | None = None, link: str | None = None, view_id: int | None = None, kind: str = TASKS
) -> int:
    """The number of a view that is kept now, a new one or the one of `view_id` in its new form; its `kind` is that of its first.

    Raises `RequestError` for what cannot be kept, `WrongState` when there is another of that name, `NotFound` for an unknown number.
    """
    alert = alert or Alert()
    if problems := [*_name_problems(name), *_alert_problems(alert)]:
        raise RequestError(problems)
    given = {
        "view": view_id, "name": name.strip(), "namespace": namespace, "owner": owner_id, "parameters": json_text.dump(dict(parameters)), "threshold": alert.threshold,
        "rest": alert.rest, "webhook": alert.webhook, "secret": alert.secret, "email": alert.email, "link": link, "kind": kind,
    }  # fmt: skip
    query: LiteralString = """
        select tasker_keep_view(%(view)s, %(name)s, %(namespace)s, %(owner)s, %(parameters)s::jsonb, %(threshold)s, %(rest)s, %(webhook)s, %(secret)s, %(email)s, %(link)s, %(kind)s)
    """
    return int(db.value(query, given))


def remove_view(db: Database, view_id: int) -> None:
    """It is gone, with what was still to be told of it. Raises `NotFound`."""
    db.value("select tasker_remove_view(%(view)s)", {"view": view_id})


def read_alert(given: Mapping[str, str]) -> Alert:
    """The alert that a form's fields describe. Raises `RequestError` for what cannot be read."""
    threshold, rest = given.get("threshold", "").strip(), given.get("rest", "").strip()
    problems = []
    if threshold and not (threshold.isascii() and threshold.isdigit() and len(threshold) < 10):
        problems.append(Problem("threshold", "not_a_number", f"must be a whole number from 0 to {MAX_THRESHOLD:,}"))
    if rest and not interval_seconds(rest):
        problems.append(Problem("rest", "bad_interval", "must read like 15m, 1h or 1d"))
    if problems:
        raise RequestError(problems)
    webhook, secret, email = (given.get(name, "").replace("\x00", "").strip() or None for name in ("webhook", "secret", "email"))
    rests = timedelta(seconds=interval_seconds(rest)) if rest else USUAL_REST
    return Alert(int(threshold) if threshold else None, rests, webhook, secret, email)


def rest_text(rest: timedelta) -> str:
    """A rest as it is typed."""
    return interval_text(int(rest.total_seconds()))


def _name_problems(name: str) -> list[Problem]:
    if not name.strip():
        return [Problem("name", "missing", "a view needs a name")]
    if len(name) > MAX_NAME or not name.isprintable():
        return [Problem("name", "bad_name", f"must be one line of at most {MAX_NAME} printable characters")]
    return []


def _alert_problems(alert: Alert) -> list[Problem]:
    problems = [Problem(channel, "bad_target", words) for channel in ("webhook", "email") if (target := getattr(alert, channel)) and (words := notices.target_problem(channel, target))]
    if alert.threshold is not None and not 0 <= alert.threshold <= MAX_THRESHOLD:
        problems.append(Problem("threshold", "out_of_range", f"must be from 0 to {MAX_THRESHOLD:,}"))
    if alert.threshold is not None and not (alert.webhook or alert.email):
        problems.append(Problem("webhook", "missing", "an alert needs a webhook or an e-mail address"))
    if not timedelta(minutes=1) <= alert.rest <= LONGEST_REST:
        problems.append(Problem("rest", "out_of_range", "must be from 1m to 30d"))
    if alert.secret and len(alert.secret) > MAX_SECRET:
        problems.append(Problem("secret", "too_long", f"has more than {MAX_SECRET} characters"))
    return problems


# ---- what engines do


def watch(db: Database, stop: threading.Event) -> int:
    """Every watched view that was due has been counted with its owner's rights, and what crossed its threshold is to be told; how many were counted."""
    counted = 0
    while not stop.is_set() and (due := _due(db)):
        for each in due:
            tally = _count(db, each)
            given = {"view": each.view_id, "count": tally and tally.number, "least": bool(tally and tally.is_least)}
            db.value("select tasker_note_count(%(view)s, %(count)s, %(least)s)", given)
        counted += len(due)
    return counted


@dataclass(frozen=True, slots=True)
class _Due:
    view_id: int
    kind: str
    parameters: dict[str, str]
    seen_by: Namespaces


def _due(db: Database) -> list[_Due]:
    query: LiteralString = "select v.view_id, v.kind, v.namespace, v.parameters, v.grants from tasker_take_views(%(limit)s, %(every)s) v"
    found = db.rows(query, {"limit": TAKEN, "every": COUNT_EVERY})
    return [_Due(view_id, kind, narrowing(kind, parameters, namespace), seen_by(grants, kind)) for view_id, kind, namespace, parameters, grants in found]


def _count(db: Database, due: _Due) -> Tally | None:
    if due.seen_by == frozenset():
        return None
    if due.kind == TASKS:
        return count_tasks(db, view_filter(due.parameters, None), namespaces=due.seen_by, within_ms=COUNT_MS)
    try:
        return count_failures(db, read_failure_filter(due.parameters), namespaces=due.seen_by)
    except DatabaseUnavailable:  # it takes too long; the other views are counted all the same
        return None


def seen_by(grants: Any, kind: str = TASKS) -> Namespaces:
    """Where an account with these grants sees tasks, or failures; nowhere when it has none."""
    seen: Namespaces = Rights.of(grants or ()).namespaces(PERMISSION if kind == TASKS else FAILURES_PERMISSION)
    return seen
