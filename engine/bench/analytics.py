"""How soon analytics answer about ten million steps: `python -m engine.bench.analytics`, apart from `tasker bench` because it fills roll-ups of a gigabyte.

They are filled as 90 days of 20 workflows of ten steps would, without the steps themselves, which analytics do not read.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from engine import tasks
from engine.bench import flows
from engine.bench.place import bulk_database
from engine.db import Database
from engine.definition import StepTemplate, TaskDefinition
from engine.measures import analytics, spans
from engine.measures.figures import Scope

STEPS = 10_000_000
DAYS = 90
WORKFLOWS = 20
LENGTH = 10
TIMES = 15
LIMIT_MS = 200

FILL = """
  with moment as (
    select grain.no as grain, at as begins_at, %(per_day)s / (case grain.no when 0 then 1440 when 1 then 24 else 1 end) as number
      from (values (0, interval '1 minute', interval '2 days'), (1, '1 hour', %(days)s * interval '1 day'), (2, '1 day', %(days)s * interval '1 day')) as grain (no, length, kept)
     cross join lateral generate_series(tasker_span_begin(grain.no, now() - grain.kept), now(), grain.length) as at
  ),
  led as (
    select d.definition_id, step.no as step_no, state.no as state,
           case when step.no = -1 then 10 else 1 end * case state.no when 2 then 1.05 when 3 then 0.04 when 5 then 0.01 else 1 end as share,
           25 + (d.definition_id * 7 + step.no * 3) %% 20 - case state.no when 2 then 15 else 0 end as middle
      from tasker_definition d cross join generate_series(-1, 9) as step (no) cross join unnest(array[2, 3, 4, 5]) as state (no)
  ),
  -- the steps of a span lie in up to 13 bins around the middle one
  row as (
    select l.*, m.grain, m.begins_at, greatest(round(m.number * l.share)::int, 0) as number from led l cross join moment m
  ),
  filled as (
    insert into tasker_step_rollup
    select r.definition_id, r.grain, r.state, r.step_no, r.begins_at, r.number, 0, r.number, r.number * interval '1.7 seconds', interval '40 seconds', 0, 0,
           array_fill(0::bigint, array[r.middle - 1]) || (select array_agg(greatest(r.number * (7 - abs(b - 6)) / 49, (b < r.number)::int)::bigint) from generate_series(0, 12) b)
      from row r where r.number > 0
  )
  insert into tasker_task_rollup
  select r.definition_id, r.grain, r.state, r.begins_at, r.number, 0, r.number, r.number * interval '17 seconds', interval '400 seconds',
         array_fill(0::bigint, array[r.middle - 1]) || (select array_agg(greatest(r.number * (7 - abs(b - 6)) / 49, (b < r.number)::int)::bigint) from generate_series(0, 12) b)
    from row r where r.number > 0 and r.step_no = 0 and r.state in (4, 5)
"""


def main() -> None:
    """Prints what was measured."""
    with bulk_database() as db:
        _fill(db)
        _measure(db, analytics.now(db))


def _fill(db: Database) -> None:
    for number in range(WORKFLOWS):
        steps = tuple(StepTemplate(f"step{step}", depends_on_steps=[f"step{step - 1}"] if step else []) for step in range(LENGTH))
        tasks.register_definition(db, TaskDefinition(flows.NAMESPACE, f"flow{number}", version="1.0.0", steps=steps))
    with db.connection() as connection:
        connection.execute(FILL.encode(), {"days": DAYS, "per_day": STEPS / DAYS / WORKFLOWS / LENGTH})
        connection.execute("vacuum analyze tasker_step_rollup")
        connection.execute("vacuum analyze tasker_task_rollup")
    size, rows = db.rows("select pg_size_pretty(pg_total_relation_size('tasker_step_rollup')), (select count(*) from tasker_step_rollup)")[0]
    counted = db.value("select sum(move_count)::bigint from tasker_step_rollup where grain = 2 and state = 4 and step_no >= 0")
    print(f"{counted:,} steps in {rows:,} rows of roll-ups, {size}", flush=True)


def _measure(db: Database, now: datetime) -> None:
    one = Scope(flows.NAMESPACE, "flow1", "1.0.0")
    asked = {
        "the last hour": spans.last(timedelta(hours=1), now),
        "the last 4 hours": spans.last(timedelta(hours=4), now),
        "the last day": spans.last(timedelta(days=1), now),
        "90 days": spans.last(timedelta(days=90), now),
        "77 days and a half, up to now": spans.last(timedelta(days=77, hours=12, minutes=17), now),
        "40 days, of last month": spans.between(now - timedelta(days=70, hours=5), now - timedelta(days=30, hours=3), now),
    }
    processor = Processor(db.value("select pg_backend_pid()"))
    for words, range_ in asked.items():
        for scope, of in ((Scope(), "all workflows"), (one, "one workflow")):
            _show(processor, f"performance, {of}, {words}", partial(analytics.performance, db, scope, range_))
            _show(processor, f"bottlenecks, {of}, {words}", partial(analytics.bottlenecks, db, scope, range_))


@dataclass(frozen=True, slots=True)
class Processor:
    """Counts the processor's time of this process and of its backend: what an answer costs, however busy the machine is."""

    backend: int

    def seconds(self) -> float:
        """All of it so far; of the backend only where it runs on this machine."""
        try:
            fields = Path(f"/proc/{self.backend}/stat").read_text().rpartition(")")[2].split()
            return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            return time.process_time()


def _show(processor: Processor, words: str, ask: Callable[[], object]) -> None:
    ask()
    before = processor.seconds()
    found = sorted(_milliseconds(ask) for _ in range(TIMES))
    cost = 1000 * (processor.seconds() - before) / TIMES
    late = f"   MORE THAN {LIMIT_MS}" if statistics.median(found) > LIMIT_MS else ""
    print(f"{words:<58} p50 {statistics.median(found):6.1f} ms   worst {found[-1]:6.1f} ms   processor {cost:6.1f} ms{late}", flush=True)


def _milliseconds(ask: Callable[[], object]) -> float:
    begin = time.perf_counter()
    ask()
    return 1000 * (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
