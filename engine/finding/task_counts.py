"""How many tasks a filter holds, counted to a limit and within a time: for kept views, by their engines and on their pages."""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString

import psycopg

from engine import json_text
from engine.access.permissions import Namespaces
from engine.db import Database
from engine.finding.search import ids_from
from engine.finding.tally import Tally
from engine.finding.task_filter import ContextValue, TaskFilter
from engine.hiding.redaction import leads_to_secret, masked
from engine.measures import standing
from engine.states import TASK_CODES, TaskState

MOST = 1_001
"""One more than a threshold can be: what is shown as 1000+."""
LOOKED_AT = 20_000
NUMBER_SLACK = 1_000
OPEN = (TaskState.PENDING, TaskState.RUNNING)

Condition = tuple[LiteralString, dict[str, Any]]


def count_tasks(db: Database, chosen: TaskFilter, *, namespaces: Namespaces, within_ms: int) -> Tally | None:
    """How many tasks of these namespaces match, `MOST` for more; None when that cannot be said in `within_ms`.

    What no index serves is looked for among the newest `LOOKED_AT` tasks of each version that the rest of the filter leaves; where a version has more, it is the least number.
    """
    versions = _versions(db, chosen, namespaces)
    if not versions:
        return Tally(0)
    served, searched = _served(db, chosen, namespaces), [*_searched(chosen), *([_slower(db, versions)] if chosen.slower else [])]
    query = _query([text for text, _ in served], [text for text, _ in searched])
    given = {"versions": versions, "most": MOST, "looked": LOOKED_AT if searched else MOST, "searched": bool(searched)}
    for _, parameters in (*served, *searched):
        given |= parameters
    return _in_time(db, query, given, within_ms)


def _query(served: list[LiteralString], searched: list[LiteralString]) -> LiteralString:
    return f"""
        with found as materialized (
          select 1 from unnest(%(versions)s::int[]) as v (definition_id)
           cross join lateral (select t.context, t.correlation_id, t.initiator, t.source_system, t.reason, t.state, t.task_id, t.definition_id, t.paused, t.started_at, t.finished_at
                                 from tasker_task t
                                where t.definition_id = v.definition_id{_and(served)} order by t.task_no desc limit %(looked)s) t
           where true{_and(searched)} limit %(most)s)
        select count(*), case when %(searched)s and count(*) < %(most)s then exists (
                 select 1 from unnest(%(versions)s::int[]) as v (definition_id)
                  cross join lateral (select 1 from tasker_task t where t.definition_id = v.definition_id{_and(served)} order by t.task_no desc offset %(looked)s limit 1) older)
               else false end
          from found
    """


def _and(conditions: list[LiteralString]) -> LiteralString:
    joined: LiteralString = ""
    for condition in conditions:
        joined += f" and ({condition})"
    return joined


def _in_time(db: Database, query: LiteralString, given: dict[str, Any], within_ms: int) -> Tally | None:
    with db.connection() as connection:
        try:
            with connection.transaction():
                connection.execute("select set_config('statement_timeout', %s, true)", [str(within_ms)])
                found = connection.execute(query, given).fetchone()
                return Tally(*found) if found else Tally(0)
        except psycopg.errors.QueryCanceled:  # here, as outside of the block it would be an outage
            return None


def _versions(db: Database, chosen: TaskFilter, namespaces: Namespaces) -> list[int]:
    """The definitions of which tasks may be counted: those that mark the wanted place of the context as secret are left out, as a list leaves them out."""
    found = db.rows(
        """
        select d.definition_id, d.schema from tasker_definition d
         where (%(here)s::text[] is null or d.namespace = any(%(here)s::text[])) and (%(namespace)s::text is null or d.namespace = %(namespace)s)
           and (%(name)s::text is null or d.name = %(name)s) and (%(version)s::text is null or d.version = %(version)s)
        """,
        {"here": None if namespaces is None else sorted(namespaces), "namespace": chosen.namespace, "name": chosen.name, "version": chosen.version},
    )
    return [number for number, schema in found if chosen.context is None or not _may_tell(chosen.context, schema)]


def _may_tell(wanted: ContextValue, schema: Any) -> bool:
    place = tuple(part.removesuffix("[]") for part in wanted.path)
    return leads_to_secret(place, schema) or any(masked(document, schema) != document for document in wanted.documents)


def _served(db: Database, chosen: TaskFilter, namespaces: Namespaces) -> list[Condition]:
    """Those that an index serves, or the order of the tasks makes cheap."""
    conditions: list[Condition] = []
    if chosen.state in OPEN:
        # true of every open task, and said aloud for the index on those
        conditions.append(("t.finished_at is null and t.state = %(state)s", {"state": TASK_CODES[TaskState(chosen.state)]}))
    if chosen.state == TaskState.FAILED:
        conditions.append(("t.failed_count > 0 and t.state = %(state)s", {"state": TASK_CODES[TaskState.FAILED]}))
    if chosen.tag is not None:
        conditions.append(("t.tags <> '{}' and t.tags @> array[%(tag)s::text]", {"tag": chosen.tag}))
    if chosen.stuck is not None:
        found = standing.stuck_tasks(db, namespaces=namespaces)
        conditions.append(("t.task_no = any(%(stuck)s::bigint[])", {"stuck": [number for reason, numbers in found.items() if chosen.stuck in ("any", reason) for number in numbers]}))
    return [*conditions, *_times(db, chosen)]


def _times(db: Database, chosen: TaskFilter) -> list[Condition]:
    conditions: list[Condition] = []
    starts = [at for at in (chosen.created_from, _ago(db, chosen)) if at is not None]
    if starts:
        first = db.value("select tasker_task_no_at(%(at)s)", {"at": max(starts)})
        conditions.append(("t.created_at >= %(from)s and t.task_no >= %(first)s", {"from": max(starts), "first": 2**62 if first is None else first - NUMBER_SLACK}))
    if chosen.created_to is not None:
        conditions.append(("t.created_at < %(to)s", {"to": chosen.created_to}))
    return conditions


def _ago(db: Database, chosen: TaskFilter) -> datetime | None:
    return db.value("select tasker_clock() - %(within)s::interval", {"within": chosen.within}) if chosen.within else None


def _searched(chosen: TaskFilter) -> list[Condition]:
    """Those for which tasks have to be looked through."""
    conditions: list[Condition] = []
    if chosen.state is not None and chosen.state not in (*OPEN, TaskState.FAILED):
        conditions.append(("t.state = %(state)s", {"state": TASK_CODES[TaskState(chosen.state)]}))
    if chosen.initiator is not None:
        conditions.append(("t.initiator = %(initiator)s", {"initiator": chosen.initiator}))
    if chosen.context is not None:
        conditions.append(("t.context @> any(%(documents)s::text[]::jsonb[])", {"documents": [json_text.dump(document) for document in chosen.context.documents]}))
    if chosen.q is not None:
        low, high = ids_from(chosen.q) or (None, None)
        text: LiteralString = "concat_ws(e'\\n', t.correlation_id, t.initiator, t.source_system, t.reason) ilike %(q)s or t.task_id between %(low)s::uuid and %(high)s::uuid"
        escaped = chosen.q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        conditions.append((text, {"q": f"%{escaped}%", "low": low, "high": high}))
    return conditions


def _slower(db: Database, versions: list[int]) -> Condition:
    """Longer than 95 of 100 of its version took."""
    found = db.rows("select d.namespace, d.name, d.version, d.definition_id from tasker_definition d where d.definition_id = any(%(ids)s)", {"ids": versions})
    known = {(namespace, name, version): number for namespace, name, version, number in found}
    usuals = standing.usuals(db, known)
    text: LiteralString = """not t.paused and extract(epoch from coalesce(t.finished_at, tasker_clock()) - t.started_at)::float8
        > (select u.p95 from unnest(%(usual_of)s::int[], %(usual)s::float8[]) as u (definition_id, p95) where u.definition_id = t.definition_id)"""
    return text, {"usual_of": [known[key] for key in usuals], "usual": [usual.p95 for usual in usuals.values()]}


def count_by_state(db: Database, tag: str, *, namespace: str, name: str, namespaces: Namespaces) -> dict[str, int]:
    """How many tasks of a workflow bear the tag, by state; a namespace that is none of these holds none."""
    if namespaces is not None and namespace not in namespaces:
        return {}
    found = db.rows(
        """
        select tasker_state_name(t.state), count(*) from tasker_task t join tasker_definition d using (definition_id)
         where t.tags <> '{}' and t.tags @> array[%(tag)s::text] and d.namespace = %(namespace)s and d.name = %(name)s group by t.state order by t.state
        """,
        {"tag": tag, "namespace": namespace, "name": name},
    )
    return {str(state): int(number) for state, number in found}
