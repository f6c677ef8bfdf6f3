"""One secret value of a task, told to somebody with a reason: first on record, then shown. Pages and API ask here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine import queries
from engine.access import audit
from engine.db import Database
from engine.errors import NotFound, Problem, RequestError
from engine.hiding import redaction
from engine.hiding.redaction import Place

PERMISSION = "tasker.task:reveal"
MAX_LISTED = 200


@dataclass(frozen=True, slots=True)
class SecretPlace:
    """Where a secret stands: in the context, or in the result of the step `step_name`."""

    step_name: str | None
    place: Place

    @property
    def words(self) -> str:
        """`context card.number`, or `result of charge: token`."""
        named = ".".join(self.place)
        return f"context {named}" if self.step_name is None else f"result of {self.step_name}{': ' if named else ''}{named}"


def secret_places(db: Database, task_id: str) -> list[SecretPlace]:
    """What of a task is masked, its context first; at most MAX_LISTED places. Raises `NotFound`."""
    shown = queries.redaction_of_task(db, task_id).of
    found = [SecretPlace(None, place) for place in shown.secret_places(queries.stored_context(db, task_id))]
    for name, result in queries.stored_results(db, task_id).items():
        found += [SecretPlace(name, place) for place in shown.secret_places_of_result(name, result)]
    return found[:MAX_LISTED]


def reveal(db: Database, task_id: str, wanted: SecretPlace, *, namespace: str, actor: str, reason: str | None, address: str | None = None) -> Any:
    """The value that stands there; that it was told is on record before. Raises `RequestError` without a reason, `NotFound` where no secret stands."""
    if not reason or not reason.strip():
        raise RequestError([Problem("reason", "missing", "is required: it goes on record with your name")])
    value = _value(db, task_id, wanted)
    audit.note(db, actor, PERMISSION, namespace=namespace, subject=f"task {task_id} {wanted.words}", reason=reason, address=address, detail={"act": "reveal"})
    return value


def _value(db: Database, task_id: str, wanted: SecretPlace) -> Any:
    shown = queries.redaction_of_task(db, task_id).of
    if wanted.step_name is None:
        held: Any = queries.stored_context(db, task_id)
        places = shown.secret_places(held)
    else:
        held = queries.stored_results(db, task_id, [queries.known_step(wanted.step_name)]).get(wanted.step_name)
        places = shown.secret_places_of_result(wanted.step_name, held)
    if wanted.place not in places:
        raise NotFound(f"no secret stands at {wanted.words[:200]}")
    return redaction.at_place(held, wanted.place)
