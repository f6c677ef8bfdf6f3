"""Finding tasks, failed steps and workflows by whatever one knows of them. Pages, API and client ask here; it changes nothing, and a list is never counted to its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from engine.access.permissions import Namespaces
from engine.db import Database
from engine.errors import Problem, RequestError
from engine.hiding.masking import SECRET_NAMES, clean

MAX_TEXT = 200
MAX_FOUND = 100
USUAL_FOUND = 20
HITS = 100
NEWEST = 2**63 - 1
LAST_STEP = 2**31 - 1


@dataclass(frozen=True, slots=True)
class FoundTask:
    task_id: str
    task_no: int
    namespace: str
    name: str
    version: str
    state: str
    tags: tuple[str, ...]
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class FoundStep:
    """A step whose last error matches; `error` is its beginning, also where the step has got over it."""

    task_id: str
    step_name: str
    state: str
    namespace: str
    name: str
    version: str
    error: str
    place: str


@dataclass(frozen=True, slots=True)
class FoundWorkflow:
    """The newest version of a workflow that bears the text in its name or description, or in the name of a step, which is then named."""

    namespace: str
    name: str
    version: str
    description: str
    step_name: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """What bears the text, newest first; `older_tasks` and `older_steps` lead on, and are None where nothing is left."""

    tasks: tuple[FoundTask, ...]
    steps: tuple[FoundStep, ...]
    workflows: tuple[FoundWorkflow, ...]
    older_tasks: str | None = None
    older_steps: str | None = None


NOTHING = Found((), (), ())


def find(
    db: Database,
    text: str,
    *,
    limit: int = USUAL_FOUND,
    tasks_before: str | None = None,
    steps_before: str | None = None,
    tasks_in: Namespaces = None,
    steps_in: Namespaces = None,
    workflows_in: Namespaces = None,
) -> Found:
    """Up to `limit` of each kind in these namespaces. Raises `RequestError` for a damaged cursor.

    A task bears its id, or at least four characters of its beginning, its correlation id, and all words of the text in its context's values, tags, initiator, source
    and reason together; a failed step bears them in its last error. The last word may be a beginning.
    """
    asked = " ".join(text.replace("\x00", " ").split())[:MAX_TEXT]
    if not asked:
        return NOTHING
    numbers = _tasks(db, asked, _cursor(tasks_before, "tasks_before", 1)[0], limit + 1, _definitions(db, tasks_in))
    steps = _steps(db, asked, _cursor(steps_before, "steps_before", 2), limit + 1, _definitions(db, steps_in))
    return Found(
        _task_rows(db, numbers[:limit]),
        _with_errors(db, steps[:limit]),
        _workflows(db, asked, limit, workflows_in),
        str(numbers[limit - 1]) if len(numbers) > limit else None,
        steps[limit - 1].place if len(steps) > limit else None,
    )


def _cursor(given: str | None, name: str, parts: int) -> tuple[int, int]:
    if given is None:
        return NEWEST, LAST_STEP
    found = given.split(".")
    if len(found) == parts and all(part.removeprefix("-").isascii() and part.removeprefix("-").isdigit() and len(part) <= 19 for part in found):
        first, second = int(found[0]), int(found[-1])
        if abs(first) <= NEWEST and (parts == 1 or abs(second) <= LAST_STEP):
            return first, second
    raise RequestError([Problem(name, "invalid", "is no place in a list; take it from an answer")])


def _definitions(db: Database, namespaces: Namespaces) -> list[int] | None:
    """The definitions of these namespaces; None for all."""
    if namespaces is None:
        return None
    return [row[0] for row in db.rows("select d.definition_id from tasker_definition d where d.namespace = any(%(allowed)s)", {"allowed": sorted(namespaces)})]


def _tasks(db: Database, text: str, before: int, limit: int, definitions: list[int] | None) -> list[int]:
    """Their numbers, the highest first."""
    known: dict[str, Any] = {"text": text, "before": before, "limit": limit, "definitions": definitions, "hits": HITS, "names": list(SECRET_NAMES)}
    named = "select t.task_no from tasker_task t where t.correlation_id = %(text)s and (%(definitions)s::int[] is null or t.definition_id = any(%(definitions)s)) limit %(hits)s"
    found = {row[0] for row in db.rows(named, known)}
    if (ids := ids_from(text)) is not None:
        by_id: LiteralString = """
            select t.task_no from tasker_task t where t.task_id between %(low)s and %(high)s and (%(definitions)s::int[] is null or t.definition_id = any(%(definitions)s)) limit %(hits)s
        """
        found |= {row[0] for row in db.rows(by_id, {**known, "low": ids[0], "high": ids[1]})}
    worded: LiteralString = """
        select f.task_no from (select tasker_words_query(%(text)s) as query offset 0) q
         cross join lateral tasker_find_tasks(q.query, %(definitions)s, %(before)s, %(limit)s, %(names)s) f where q.query is not null
    """
    return sorted({number for number in found if number < before} | {row[0] for row in db.rows(worded, known)}, reverse=True)[:limit]


def ids_from(text: str) -> tuple[UUID, UUID] | None:
    """The first and the last id that begins with the text; None for what cannot be the beginning of one."""
    digits = text.replace("-", "").lower()
    if not 4 <= len(digits) <= 32 or set(digits) - set("0123456789abcdef"):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def _task_rows(db: Database, numbers: list[int]) -> tuple[FoundTask, ...]:
    query: LiteralString = """
        select t.task_id::text, t.task_no, d.namespace, d.name, d.version, tasker_state_name(t.state), t.tags, t.created_at, t.finished_at
          from unnest(%(numbers)s::bigint[]) as k (task_no) join tasker_task t using (task_no) join tasker_definition d using (definition_id) order by t.task_no desc
    """
    return tuple(FoundTask(*(*row[:6], tuple(row[6]), *row[7:])) for row in db.rows(query, {"numbers": numbers}))


def _steps(db: Database, text: str, before: tuple[int, int], limit: int, definitions: list[int] | None) -> list[FoundStep]:
    query: LiteralString = """
        select t.task_id::text, tasker_step_name(p.name, s.item_no), tasker_state_name(s.state), d.namespace, d.name, d.version,
               left(coalesce(s.error ->> 'type' || ': ', '') || coalesce(s.error ->> 'message', ''), 300), f.task_no || '.' || f.step_no
          from (select tasker_words_query(%(text)s) as query offset 0) q
         cross join lateral tasker_find_steps(q.query, %(definitions)s, %(task_no)s, %(step_no)s, %(limit)s) f
         cross join lateral (select k.* from tasker_step k where k.task_no = f.task_no and k.step_no = f.step_no offset 0) s
         cross join lateral (select k.task_id from tasker_task k where k.task_no = f.task_no offset 0) t
          join tasker_definition d on d.definition_id = s.definition_id
          join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
         where q.query is not null
         order by f.task_no desc, f.step_no desc
    """
    return [FoundStep(*(*row[:6], clean(row[6]), row[7])) for row in db.rows(query, {"text": text, "definitions": definitions, "task_no": before[0], "step_no": before[1], "limit": limit})]


def _with_errors(db: Database, steps: list[FoundStep]) -> tuple[FoundStep, ...]:
    """The steps, those that keep none, being skipped, resolved or tried anew since, with the error of their last attempt that failed."""
    without = [step.place for step in steps if not step.error]
    if not without:
        return tuple(steps)
    # its index knows tasks alone: each is read once, however many of its steps are shown
    query: LiteralString = """
        select distinct on (h.task_no, h.step_no) h.task_no || '.' || h.step_no, left(coalesce(h.detail ->> 'type' || ': ', '') || coalesce(h.detail ->> 'message', ''), 300)
          from unnest(%(tasks)s::bigint[]) as k (task_no)
         cross join lateral (select e.* from tasker_history e where e.task_no = k.task_no and e.to_state in (3, 5) offset 0) h
         where h.task_no || '.' || h.step_no = any(%(places)s) and h.detail ? 'message'
         order by h.task_no, h.step_no, h.event_id desc
    """
    errors = dict(db.rows(query, {"tasks": list({int(place.partition(".")[0]) for place in without}), "places": without}))
    return tuple(replace(step, error=step.error or clean(errors.get(step.place, ""))) for step in steps)


def _workflows(db: Database, text: str, limit: int, namespaces: Namespaces) -> tuple[FoundWorkflow, ...]:
    query: LiteralString = r"""
        select d.namespace, d.name, d.version, left(d.description, 300), step.name
          from (select distinct on (k.namespace, k.name) k.* from tasker_definition k
                 where %(allowed)s::text[] is null or k.namespace = any(%(allowed)s)
                 order by k.namespace, k.name, k.prerelease, k.version_rank collate "C" desc) d
          left join lateral (select t.name from tasker_template t where t.definition_id = d.definition_id and t.name ilike %(like)s order by t.step_no limit 1) step on true
         where d.namespace || '/' || d.name || '@' || d.version ilike %(like)s or d.description ilike %(like)s or step.name is not null
         order by not (d.name ilike %(like)s), d.namespace collate "C", d.name collate "C" limit %(limit)s
    """
    return tuple(FoundWorkflow(*row) for row in db.rows(query, {**_like(text), "limit": limit, "allowed": None if namespaces is None else sorted(namespaces)}))


def _like(text: str) -> Mapping[str, str]:
    return {"like": "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"}
