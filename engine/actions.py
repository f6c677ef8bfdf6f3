"""An operator's action in general: shown before it is done, and done as it was shown. `steps` and `tasks` have a function for each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from engine.db import Database
from engine.queries import known_id, known_step
from engine.rows import EffectRow, Preview

EFFECTS: Mapping[str, str] = MappingProxyType(
    {
        "reset": "runs again",
        "resolved": "resolved",
        "skipped": "skipped",
        "bypassed": "skipped when its turn comes",
        "cancelled": "cancelled",
        "stopping": "asked to stop",
        "replaced": "made anew by its map step",
        "unblocked": "unblocked",
        "held": "does not start until resumed",
        "released": "may start again",
        "kept": "stays as it is",
        "reopened": "goes on",
        "ended": "ends",
    }
)
"""What an action does to a step or a task, in words; the order is that of lists."""


def act(
    db: Database,
    action: str,
    task_id: str,
    step_name: str | None = None,
    *,
    actor: str,
    reason: str | None = None,
    given: str | None = None,
    seen: str | None = None,
) -> str:
    """The state that the action leaves the step, or the task, in; `given` is JSON text, a result or a context.

    Raises `NotFound`, `WrongState` when it cannot be done now, and `ChangedSince` when it would not do what the preview with the token `seen`
    showed; then nothing was done.
    """
    query = "select tasker_act(%(task)s, %(action)s, %(step)s, %(given)s::jsonb, %(actor)s, %(reason)s, %(seen)s)"
    known = {"task": known_id(task_id), "action": action, "step": _known(step_name), "given": given}
    return str(db.value(query, {**known, "actor": actor, "reason": reason or None, "seen": seen or None}))


def _known(step_name: str | None) -> str | None:
    return None if step_name is None else known_step(step_name)


def preview(db: Database, action: str, task_id: str, step_name: str | None = None, *, given: str | None = None) -> Preview:
    """What the action would do now; nothing is done. Raises `NotFound`, and `WrongState` when it cannot be done."""
    query = "select step_name, from_state, to_state, effect, seen from tasker_preview(%(task)s, %(action)s, %(step)s, %(given)s::jsonb)"
    *steps, task = db.rows(query, {"task": known_id(task_id), "action": action, "step": _known(step_name), "given": given})
    return Preview(action, step_name, EffectRow(*task[:4]), tuple(EffectRow(*row[:4]) for row in steps), task[4])
