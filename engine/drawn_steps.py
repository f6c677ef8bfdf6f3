"""The steps of a task as a graph needs them: quickly, for nothing is found out of what each waits for. The replay's page asks; it changes nothing."""

from __future__ import annotations

from typing import LiteralString

from engine.db import Database
from engine.queries import known_id
from engine.rows import StepRow

QUERY: LiteralString = """
    select tasker_step_id(t.task_no, s.step_no), s.step_no, p.name, tasker_state_name(s.state), s.attempts, s.retry_limit, p.parents::int[], coalesce(s.children, '{}')::int[],
           s.started_at, s.finished_at, s.bypass, s.passed_over, case when p.decision then 'decision' when p.for_each is not null then 'map' else 'step' end
      from tasker_task t join tasker_definition d using (definition_id)
     cross join lateral (select k.* from tasker_step k where k.task_no = t.task_no and k.step_no between 0 and d.step_count - 1 offset 0) s
     cross join lateral (select k.* from tasker_template k where k.definition_id = s.definition_id and k.step_no = s.step_no offset 0) p   -- or each step is compared with all
     where t.task_id = %(id)s order by s.step_no
"""


def drawn_steps(db: Database, task_id: str) -> list[StepRow]:
    """The steps that the definition names, in their order, without items, errors, results, and what they wait for; none of an unknown task."""
    found = db.rows(QUERY, {"id": known_id(task_id)})
    names = {row[1]: row[2] for row in found}
    return [_step(row, names) for row in found]


def _step(row: tuple[object, ...], names: dict[int, str]) -> StepRow:
    step_id, step_no, name, state, attempts, retry_limit, parents, children, started_at, finished_at, bypass, passed_over, kind = row
    before, behind = (tuple(names[no] for no in numbers if no in names) for numbers in (parents, children))  # type: ignore[attr-defined]
    return StepRow(step_id, step_no, name, state, attempts, retry_limit, before, behind, 0, started_at, finished_at, None, "", None, None, None, bypass, passed_over, kind)  # type: ignore[arg-type]
