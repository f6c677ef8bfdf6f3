"""Failed steps, those with the same cause together: two thousand failures are often three errors.

A group is what failed in one step of one workflow, in all its versions, with errors of one signature: type and message without numbers and ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, LiteralString

from engine.access.permissions import Namespaces
from engine.db import Database
from engine.errors import NotFound, Problem, RequestError
from engine.hiding.redactions import redactions_of
from engine.queries import allowed, within

LOOKED_AT = 10_000
"""How many tasks with a failed step are looked at, the newest."""
REACHED = 20_000
"""Through how many of its workflow's, the newest, the steps of one group are looked for."""
LISTED = 200
ALIKE = 200
"""So many tasks of one correlation id, and of one version, are looked at for a later run that went well."""
SEARCHED = 2_000
"""Through how many groups a text is looked for, those that failed last."""
TREND_HOURS = 24
SAMPLES = 3
LONGEST_WORDS = 200
MAX_NOTE = 2_000
MAX_OWNER = 100
MAX_RUNBOOK = 500


@dataclass(frozen=True, slots=True)
class FailureNote:
    """What people know of a group. It counts as acknowledged until `until`."""

    owner: str | None = None
    note: str | None = None
    runbook: str | None = None
    until: datetime | None = None
    changed_by: str | None = None
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures with one cause: `step_count` steps that are failed now. `open_count` counts those of its tasks that have not ended, `healed_count`
    those that a later run of the same has done since; `samples` are ids of the latest tasks.

    What was retried, resolved or dropped since counts as well in `fail_count`, since `first_at`, and in `per_hour`: the last 24 hours of the clock, this one
    last. That is counted every two seconds by an engine.

    `is_cut`: there are older tasks with a failed step that were not looked at, so that all of these are the least numbers.

    `signature` is what their errors have in common; where that holds a secret of the latest task, it is that task's error, masked.
    """

    key: str
    namespace: str
    name: str
    step_name: str
    signature: str
    step_count: int
    fail_count: int
    task_count: int
    open_count: int
    healed_count: int
    first_at: datetime
    last_at: datetime
    versions: tuple[str, ...]
    samples: tuple[str, ...]
    per_hour: tuple[int, ...]
    latest: dict[str, Any]
    acknowledged: bool
    known: FailureNote
    is_cut: bool = False

    @property
    def is_healed(self) -> bool:
        """Whether a later run has done what each of its tasks had to do."""
        return self.healed_count == self.task_count


@dataclass(frozen=True, slots=True)
class Groups:
    """How many groups there are, and the same one by one, up to the limit; `is_cut` where there are older tasks with a failed step that were not looked at."""

    number: int
    each: Iterator[FailureGroup]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class FailedSteps:
    """The task and the name of each, the newest first; `is_cut` where there are older ones, or may be."""

    steps: tuple[tuple[str, str], ...]
    is_cut: bool


# The same again: of that workflow, with the same context under the same correlation id, or by the same schedule.
_HEALED: LiteralString = f"""
    good as materialized (
      select k.task_no, k.correlation_id, k.context, d.namespace, d.name
        from (select distinct l.correlation_id from looked l where not l.is_open) c
       cross join lateral (select t.task_no, t.definition_id, t.correlation_id, t.context from tasker_task t
                            where t.correlation_id = c.correlation_id and t.state = 4 limit {ALIKE}) k
        join tasker_definition d using (definition_id)
    ),
    last_good as materialized (
      select s.namespace, s.name, s.tag, max(k.task_no) as task_no
        from (select distinct l.namespace, l.name, tag from looked l cross join unnest(l.tags) as tag where tag like 'schedule:%%' and not l.is_open) s
        join tasker_definition d on d.namespace = s.namespace and d.name = s.name
       cross join lateral (select t.task_no, t.state, t.tags from tasker_task t where t.definition_id = d.definition_id order by t.task_no desc limit {ALIKE}) k
       where k.state = 4 and s.tag = any(k.tags) group by 1, 2, 3
    ),
    healed as materialized (
      select l.task_no from looked l join good g on (g.correlation_id, g.namespace, g.name, g.context) = (l.correlation_id, l.namespace, l.name, l.context)
       where g.task_no > l.task_no and not l.is_open
      union
      select l.task_no from looked l join last_good g on (g.namespace, g.name) = (l.namespace, l.name)
       where g.tag = any(l.tags) and g.task_no > l.task_no and not l.is_open
    )"""

_FAILED: LiteralString = """
    select t.task_id::text as task_id, t.task_no, t.is_open, h.task_no is not null as is_healed, d.namespace, d.name, d.version, p.name as step_name,
           tasker_step_name(p.name, s.item_no) as place, tasker_error_signature(s.error) as signature, s.error, s.finished_at
      from looked t
      left join healed h on h.task_no = t.task_no
      join tasker_step s on s.task_no = t.task_no and s.state = 5
      join tasker_definition d on d.definition_id = s.definition_id
      join tasker_template p on p.definition_id = s.definition_id and p.step_no = coalesce(s.map_no, s.step_no)
"""


def failure_groups(db: Database, *, namespace: str | None = None, name: str | None = None, key: str | None = None, namespaces: Namespaces = None) -> list[FailureGroup]:
    """The groups of the failed steps there are now, the one that failed last first. A step that was retried, resolved or skipped is in none.

    Of the newest `LOOKED_AT` tasks with a failed step, in these namespaces; at most `LISTED` groups.
    """
    return list(each_group(db, namespace=namespace, name=name, key=key, namespaces=namespaces, limit=LISTED).each)


def each_group(
    db: Database,
    *,
    limit: int,
    namespace: str | None = None,
    name: str | None = None,
    step: str | None = None,
    owner: str | None = None,
    key: str | None = None,
    namespaces: Namespaces = None,
) -> Groups:
    """The groups of the step of that name alone, and of whom has `owner` in their name, up to `limit`."""
    found = db.rows(
        f"""
        with {_looked(namespaces)}, {_HEALED}, failed as ({_FAILED}), chosen as (
        select g.failure, g.namespace, g.name, g.step_name, g.signature, g.step_count, greatest(g.step_count, ever.fail_count), g.task_count, g.open_count, g.healed_count,
               least(g.first_at, ever.first_at), g.last_at, g.versions, g.samples, g.ages, past.ages, past.counts, g.latest, coalesce(n.until > tasker_clock(), false), n.owner, n.note, n.runbook, n.until, n.changed_by, n.changed_at, count(*) over () as number
          from (select tasker_failure_key(f.namespace, f.name, f.step_name, f.signature) as failure, f.namespace, f.name, f.step_name, f.signature,
                       count(*)::int as step_count, count(distinct f.task_no)::int as task_count,
                       count(distinct f.task_no) filter (where f.is_open) as open_count, count(distinct f.task_no) filter (where f.is_healed) as healed_count,
                       min(f.finished_at) as first_at, max(f.finished_at) as last_at, array_agg(distinct f.version) as versions,
                       (array_agg(f.task_id order by f.finished_at desc))[1:{SAMPLES}] as samples,
                       array_agg({_hours_ago("tasker_span_begin(1, f.finished_at)")}) filter (where f.finished_at > tasker_clock() - interval '{TREND_HOURS} hours') as ages,
                       (array_agg(jsonb_build_object('type', f.error -> 'type', 'message', f.error -> 'message') order by f.finished_at desc))[1] as latest
                  from failed f group by 1, 2, 3, 4, 5) g
          left join tasker_failure_rollup ever on ever.failure = g.failure and ever.begins_at = '-infinity'
          left join lateral (select array_agg({_hours_ago("r.begins_at")}) as ages, array_agg(r.fail_count) as counts from tasker_failure_rollup r
                              where r.failure = g.failure and r.begins_at > tasker_clock() - interval '{TREND_HOURS} hours') past on true
          left join tasker_failure_note n on n.failure = g.failure
         where (%(key)s::text is null or g.failure = %(key)s) and (%(step)s::text is null or g.step_name = %(step)s)
           and (%(owner)s::text is null or strpos(lower(n.owner), lower(%(owner)s)) > 0)
         order by g.last_at desc, g.failure limit %(limit)s)
        select c.*, (select count(*) from newest) > %(looked)s from (values (1)) one left join chosen c on true order by c.last_at desc, c.failure
        """,
        {"looked": LOOKED_AT, "namespace": namespace, "name": name, "step": step, "owner": owner, "key": key, "limit": limit, **allowed(namespaces)},
    )
    # there is a row also where there is no group: it tells whether older tasks were left out
    return Groups(found[0][-2] or 0, _each_masked(db, [row for row in found if row[0] is not None]), found[0][-1])


def _each_masked(db: Database, found: Sequence[tuple[Any, ...]]) -> Iterator[FailureGroup]:
    # what masks them is read for so many at a time: most readers want no more
    for first in range(0, len(found), LISTED):
        yield from _without_secrets(db, [_group(row) for row in found[first : first + LISTED]])


def failure_group(db: Database, key: str, *, namespaces: Namespaces = None) -> FailureGroup:
    """The group of that key, counted among the newest `LOOKED_AT` tasks with a failed step of its workflow.

    Raises `NotFound` when nothing of it is failed any more, or not among the newest `LOOKED_AT` of all.
    """
    asked = each_group(db, key=key.replace("\x00", ""), namespaces=namespaces, limit=1)
    group = next(asked.each, None)
    if group is None:
        raise NotFound(_OLDER if asked.is_cut else "none of these failures is left: they were retried, resolved or dropped")
    if not group.is_cut:
        return group
    # those of other workflows may have left no place for all of it
    return next(each_group(db, key=group.key, namespace=group.namespace, name=group.name, namespaces=namespaces, limit=1).each, group)


_OLDER = f"none of these failures is left among the newest {LOOKED_AT:,} tasks with a failed step: they were retried, resolved or dropped, or are older"


def failed_steps(db: Database, group: FailureGroup, *, most: int | None = None, open_only: bool = False, among: int | None = None) -> FailedSteps:
    """The failed steps of a group, the newest `most`; with `open_only` of tasks that have not ended. Looked for among the newest `among`, else `REACHED`, tasks of its workflow with a failed step."""
    given = {"namespace": group.namespace, "name": group.name, "step": group.step_name, "key": group.key, "open": open_only, "reached": among or REACHED, "most": most}
    found = tuple((row[0], row[1]) for row in db.rows(_STEPS, given))
    if most is not None and len(found) > most:
        return FailedSteps(found[:most], True)
    return FailedSteps(found, bool(db.value(f"select exists ({_NEWEST} offset %(reached)s limit 1)", given)))


_NEWEST: LiteralString = """
    select t.task_no, t.task_id, t.finished_at is null as is_open from tasker_task t
     where t.failed_count > 0 and t.definition_id = any(array(select d.definition_id from tasker_definition d where d.namespace = %(namespace)s and d.name = %(name)s))
     order by t.task_no desc"""
# walked task by task, so that it ends where there are enough
_STEPS: LiteralString = f"""
    select t.task_id::text, s.place from ({_NEWEST} limit %(reached)s) t
     cross join lateral (
       select tasker_step_name(p.name, k.item_no) as place from tasker_step k
         join tasker_template p on p.definition_id = k.definition_id and p.step_no = coalesce(k.map_no, k.step_no)
        where k.task_no = t.task_no and k.state = 5 and p.name = %(step)s
          and tasker_failure_key(%(namespace)s, %(name)s, %(step)s, tasker_error_signature(k.error)) = %(key)s offset 0) s
     where t.is_open or not %(open)s order by t.task_no desc, s.place limit %(most)s::bigint + 1
"""


def keep_note(db: Database, group: FailureGroup, known: FailureNote, *, actor: str) -> None:
    """This is what is known of the group now; a note of nothing is none. Raises `RequestError` with everything wrong in it."""
    problems = _problems(known)
    if problems:
        raise RequestError(problems)
    given = {"key": group.key, "namespace": group.namespace, "owner": known.owner, "note": known.note, "runbook": known.runbook, "until": known.until}
    db.value(
        "select tasker_keep_failure_note(%(key)s, %(namespace)s, %(owner)s, %(note)s, %(runbook)s, %(until)s::timestamptz, %(actor)s)",
        {**given, "actor": actor},
    )


def _problems(known: FailureNote) -> list[Problem]:
    limits = (("owner", known.owner, MAX_OWNER), ("note", known.note, MAX_NOTE), ("runbook", known.runbook, MAX_RUNBOOK))
    long = [Problem(field, "too_long", f"has {len(text):,} characters; the limit is {most:,}") for field, text, most in limits if text and len(text) > most]
    if known.runbook and not known.runbook.startswith(("http://", "https://")):
        long.append(Problem("runbook", "no_address", "must begin with http:// or https://"))
    return long


def _looked(namespaces: Namespaces) -> LiteralString:
    return f"""newest as materialized (
          select t.task_no, t.task_id, t.finished_at is null as is_open, t.correlation_id, t.context, t.tags, k.namespace, k.name from tasker_task t join tasker_definition k using (definition_id)
           where t.failed_count > 0 and (%(namespace)s::text is null or k.namespace = %(namespace)s) and (%(name)s::text is null or k.name = %(name)s)
                 {within("t.definition_id", namespaces)}
           order by t.task_no desc limit %(looked)s + 1),
        looked as materialized (select n.* from newest n order by n.task_no desc limit %(looked)s)"""


def _without_secrets(db: Database, groups: list[FailureGroup]) -> list[FailureGroup]:
    latest = db.rows(
        """
        select t.task_id::text, d.namespace, d.name, d.version, t.context from tasker_task t join tasker_definition d using (definition_id)
         where t.task_id = any(%(ids)s::uuid[])
        """,
        {"ids": [group.samples[0] for group in groups]},
    )
    redactions = redactions_of(db, [(row[1], row[2], row[3]) for row in latest])
    shown = {row[0]: redactions[row[1], row[2], row[3]].of_task(row[4]) for row in latest}
    return [_masked(group, shown[group.samples[0]].error(group.latest)) if group.samples[0] in shown else group for group in groups]


def _masked(group: FailureGroup, error: dict[str, Any]) -> FailureGroup:
    if error == group.latest:
        return group
    words = f"{error.get('type') or 'Error'}: {error.get('message') or ''}"
    return replace(group, signature=words.splitlines()[0][:LONGEST_WORDS])


def _group(row: tuple[Any, ...]) -> FailureGroup:
    *plain, versions, samples, ages, past, counts, latest, acknowledged = row[:19]
    given: list[Any] = [*plain, tuple(versions), tuple(samples), _trend(ages or (), dict(zip(past or (), counts or (), strict=True))), latest, acknowledged, FailureNote(*row[19:-2]), row[-1]]
    return FailureGroup(*given)


def _trend(ages: Sequence[int], past: Mapping[int, int]) -> tuple[int, ...]:
    # what failed in the last seconds is not counted yet, but stands there
    return tuple(max(past.get(hour, 0), ages.count(hour)) for hour in range(TREND_HOURS - 1, -1, -1))


def _hours_ago(begins_at: LiteralString) -> LiteralString:
    return f"extract(epoch from tasker_span_begin(1, tasker_clock()) - {begins_at})::int / 3600"
