"""Where the critical path of a task is worth being marked on its graph, table and timeline. Decided without a database."""

from __future__ import annotations

from collections.abc import Sequence

from engine.measures.critical_path import critical_path
from engine.rows import StepRow


def telling_path(steps: Sequence[StepRow]) -> tuple[str, ...]:
    """The critical path where it tells something: empty while it is one step, or in a plain chain, which is all path."""
    path = critical_path(steps)
    begun = sum(step.started_at is not None for step in steps)
    return path if 1 < len(path) < begun else ()
