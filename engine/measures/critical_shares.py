"""Which step would shorten a workflow: the critical paths of its latest tasks added up. Analytics ask here; a bounded number of tasks and steps is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString

from engine.db import Database
from engine.measures.critical_path import critical_steps
from engine.measures.figures import CriticalPaths, PathShare, SlowTask
from engine.measures.spans import Range

RUNS_LOOKED_AT = 1_000
PATHS = 100
PATH_STEPS = 20_000
"""How many steps are read for the critical paths at most: of long workflows fewer tasks are looked at."""


@dataclass(frozen=True, slots=True)
class Run:
    """A task that completed."""

    task_no: int
    task_id: str
    began_at: datetime
    ended_at: datetime

    @property
    def length(self) -> timedelta:
        return self.ended_at - self.began_at

    def told(self, version: str) -> SlowTask:
        """As the list of slow tasks has it."""
        return SlowTask(self.task_id, version, self.ended_at, self.length.total_seconds())


@dataclass(frozen=True, slots=True)
class _Step:
    name: str
    step_no: int
    parents: tuple[str, ...]
    started_at: datetime | None
    finished_at: datetime | None


def latest_runs(db: Database, definition_ids: Iterable[int], asked: Range) -> dict[int, list[Run]]:
    """By definition the tasks that completed in the range, the newest first, among its RUNS_LOOKED_AT newest that were made before the end of the range and are still kept."""
    # a task takes its number after its time: whatever had ended before then has a smaller one than the first that was made later
    before = db.value("select coalesce(tasker_task_no_at(%(to)s), 9223372036854775807)", {"to": asked.to_at})
    return {definition_id: _runs(db, definition_id, before, asked) for definition_id in definition_ids}


def _runs(db: Database, definition_id: int, before: int, asked: Range) -> list[Run]:
    query: LiteralString = """
        select l.task_no, l.task_id::text, l.finished_at - make_interval(secs => l.took), l.finished_at
          from tasker_latest_tasks(%(definition)s, %(limit)s, %(before)s) l
         where l.state = 4 and l.took is not null and l.finished_at >= %(from)s and l.finished_at < %(to)s order by l.task_no desc
    """
    asked_for = {"definition": definition_id, "limit": RUNS_LOOKED_AT, "before": before, "from": asked.from_at, "to": asked.to_at}
    return [Run(*row) for row in db.rows(query, asked_for)]


def critical_paths(db: Database, definition_id: int, version: str, step_count: int, runs: Sequence[Run]) -> CriticalPaths | None:
    """What the steps on the critical paths of the newest of these runs took; None where there is no run."""
    looked_at = runs[: max(1, min(PATHS, PATH_STEPS // step_count))]
    if not looked_at:
        return None
    steps = _steps(db, definition_id, looked_at)
    held = [(name, seconds) for run in looked_at for name, seconds in stretches(steps.get(run.task_no, ()), run.began_at)]
    whole = sum((run.length for run in looked_at), timedelta()).total_seconds()
    return CriticalPaths(version, len(looked_at), _shares(held, whole))


def stretches(steps: Sequence[_Step], began_at: datetime) -> Iterable[tuple[str, float]]:
    """How long each step of the critical path held its task up: from the end of the one before it to its own, with all waits and attempts."""
    since = began_at
    for step in critical_steps(steps):
        if step.finished_at is not None:
            yield step.name, max((step.finished_at - since).total_seconds(), 0)
            since = step.finished_at


def _shares(held: Iterable[tuple[str, float]], whole: float) -> tuple[PathShare, ...]:
    found: dict[str, list[float]] = defaultdict(list)
    for name, seconds in held:
        found[name].append(seconds)
    told = [PathShare(name, len(each), sum(each) / len(each), sum(each) / whole if whole else 0) for name, each in found.items()]
    return tuple(sorted(told, key=lambda one: (-one.share, one.step_name)))


def _steps(db: Database, definition_id: int, runs: Sequence[Run]) -> Mapping[int, list[_Step]]:
    """The steps of the definition in each of these tasks; items count within their map step."""
    parents = {
        row[0]: tuple(row[1])
        for row in db.rows(
            """
            select t.name, array(select p.name from tasker_template p where p.definition_id = t.definition_id and p.step_no = any(t.parents))
              from tasker_template t where t.definition_id = %(definition)s
            """,
            {"definition": definition_id},
        )
    }
    found: dict[int, list[_Step]] = defaultdict(list)
    for task_no, step_no, name, started_at, finished_at in db.rows(
        """
        select s.task_no, s.step_no, t.name, s.started_at, s.finished_at
          from unnest(%(tasks)s::bigint[]) as k (task_no)
         cross join tasker_template t
         cross join lateral (select c.task_no, c.step_no, c.started_at, c.finished_at from tasker_step c
                              where c.task_no = k.task_no and c.step_no = t.step_no offset 0) s
         where t.definition_id = %(definition)s
        """,
        {"tasks": [run.task_no for run in runs], "definition": definition_id},
    ):
        found[task_no].append(_Step(name, step_no, parents[name], started_at, finished_at))
    return found
