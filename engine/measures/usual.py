"""How long the steps of a version usually take, from the roll-ups: one row for each step, however often it ran. The dashboard flags by it what is slow."""

from __future__ import annotations

from typing import LiteralString

from engine.db import Database
from engine.measures.quantiles import Spread, spread
from engine.queries import FEWEST_RUNS


def usual_steps(db: Database, definition_id: int) -> dict[int, Spread]:
    """How long completed attempts took, by the number of the step in its definition, over all that is counted; of those that completed often enough to tell.

    Items are counted with their map step.
    """
    query: LiteralString = """
        select r.step_no, r.bins, r.timed_count, extract(epoch from r.took)::float8, extract(epoch from r.longest)::float8
          from tasker_step_rollup r
         where r.definition_id = %(definition)s and r.grain = 3 and r.state = 4 and r.step_no >= 0 and r.timed_count >= %(fewest)s
    """
    found = db.rows(query, {"definition": definition_id, "fewest": FEWEST_RUNS})
    return {step_no: spread({number: count for number, count in enumerate(bins, 1) if count}, *timed) for step_no, bins, *timed in found}
