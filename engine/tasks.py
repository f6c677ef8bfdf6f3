"""What can be done with a whole task: create, cancel, retry, pause, note; and what that would do."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Literal, LiteralString
from uuid import UUID

from engine import actions, differences, json_text, queries
from engine.db import Database
from engine.definition import HINTS, TaskDefinition, nearest
from engine.errors import DefinitionConflict, NotFound, Problem, RequestError, WrongState
from engine.requests import TaskRequest, checked_context
from engine.rows import DefinitionRow, Preview
from engine.states import TaskState

log = logging.getLogger("tasker.tasks")

TaskAction = Literal["retry", "cancel", "pause", "resume"]
LATEST_SECONDS = 1.0
LOOKS = 5
"""So often a definition is looked up for a request, where each was replaced before a task was made of it."""


def submit(db: Database, request: TaskRequest) -> str:
    """The id of a new task that is on record; with an idempotency key seen before, the first task's.

    Any definition the database knows will do; no engine need be running.
    Raises `RequestError` with everything wrong in it, `NotFound` for an unknown workflow or version, `KeyReused`.
    """
    return submit_many(db, [request])[0]


def submit_many(db: Database, requests: Sequence[TaskRequest]) -> list[str]:
    """Ids in the order of the requests, all created in one transaction, or none. Raises as `submit`."""
    if not requests:
        return []
    return [task_id for task_id, _ in create_tasks(db, requests)]


def create_tasks(db: Database, requests: Sequence[TaskRequest]) -> list[tuple[str, bool]]:
    """As `submit_many`, and with each id whether the task is new."""
    for _ in range(LOOKS):
        wanted = [_payload_or_earlier(db, request) for request in requests]
        try:
            made = iter(_made(db, [each for each in wanted if isinstance(each, dict)]))
        except NotFound:  # a definition that was replaced since it was looked up
            _definitions.forget(db)
            continue
        return [next(made) if isinstance(each, dict) else (each, False) for each in wanted]
    raise WrongState("the workflow is being registered with other content again and again; try again when that is over")


def _made(db: Database, payloads: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    if not payloads:
        return []
    wanted = _written(payloads)
    made = _submitted(db, wanted) if db.commits_at_once else _created(db, wanted)
    return [(str(task_id), created) for task_id, created in made]


def _written(payloads: list[dict[str, Any]]) -> str:
    """As the database takes them; the log tells of contexts that are large."""
    texts = [json_text.dump(payload) for payload in payloads]
    for payload, text in zip(payloads, texts, strict=True):
        if len(text) > json_text.LARGE_BYTES:
            _tell_of_large(payload)
    return f"[{','.join(texts)}]"


def _tell_of_large(payload: dict[str, Any]) -> None:
    size = json_text.byte_count(json_text.dump(payload["context"]))
    if size > json_text.LARGE_BYTES:
        log.warning("a task's context has %s KiB, of which every step reads the whole: keep large data elsewhere, and in the context only where it lies", f"{size >> 10:,}")


def _submitted(db: Database, payload: str) -> Iterable[tuple[UUID, bool]]:
    """On record, and idle engines know."""
    ids, created = db.rows("call tasker_submit_tasks(%(requests)s::jsonb, null, null)", {"requests": payload})[0]
    return zip(ids, created, strict=True)


def _created(db: Database, payload: str) -> list[tuple[Any, ...]]:
    """Part of the caller's transaction; engines are told when it commits."""
    return db.rows("select task_id, created from tasker_create_tasks(%(requests)s::jsonb) order by place", {"requests": payload})


def wanted_definition(db: Database, request: TaskRequest) -> DefinitionRow:
    """The definition that a task of this request is made from, as it was known within the last second. Raises `NotFound`, naming the versions there are."""
    return _definitions.find(db, request)


def request_problems(db: Database, request: TaskRequest) -> list[Problem]:
    """Everything that keeps the task from being made, as far as its definition tells; nothing when it was made before. Raises `NotFound`."""
    try:
        _payload_or_earlier(db, request)
    except RequestError as error:
        return error.problems
    return []


def preview(db: Database, action: TaskAction, task_id: str) -> Preview:
    """What the action would do now; nothing is done. Raises what the action raises."""
    return actions.preview(db, action, task_id)


def cancel_task(db: Database, task_id: str, *, actor: str, reason: str | None = None, seen: str | None = None) -> TaskState:
    """Nothing of the task starts any more; `cancelled`, or still `running` while its running steps are asked to stop.

    Raises `NotFound`, `WrongState` when it has ended, and as all actions do `ChangedSince` when it would not do what the preview with the
    token `seen` showed.
    """
    return TaskState(actions.act(db, "cancel", task_id, actor=actor, reason=reason, seen=seen))


def retry_task(db: Database, task_id: str, *, actor: str, reason: str | None = None, seen: str | None = None) -> TaskState:
    """Every failed step of the task runs again with its attempts anew.

    Raises `NotFound`, and `WrongState` when no step of it is failed or it was cancelled.
    """
    return TaskState(actions.act(db, "retry", task_id, actor=actor, reason=reason, seen=seen))


def pause_task(db: Database, task_id: str, *, actor: str, reason: str | None = None, seen: str | None = None) -> TaskState:
    """Running steps may end, nothing else of the task starts until it is resumed; its state stays what it is.

    Raises `NotFound`, and `WrongState` when it has ended, is paused already or is asked to stop.
    """
    return TaskState(actions.act(db, "pause", task_id, actor=actor, reason=reason, seen=seen))


def resume_task(db: Database, task_id: str, *, actor: str, reason: str | None = None, seen: str | None = None) -> TaskState:
    """A paused task goes on where it stands. Raises `NotFound`, and `WrongState` when it is not paused."""
    return TaskState(actions.act(db, "resume", task_id, actor=actor, reason=reason, seen=seen))


def note_task(db: Database, task_id: str, *, actor: str, note: str) -> None:
    """The note stands in the task's activity, newest first, whatever its state; nothing else changes.

    Raises `RequestError` for a note of nothing but spaces, `NotFound`.
    """
    if not note.strip():
        raise RequestError([Problem("note", "missing", "a note needs some words")])
    known = {"task": queries.known_id(task_id), "actor": actor, "note": note.strip()}
    db.value("select tasker_note_task(%(task)s, %(actor)s, %(note)s)", known)


def known_keys(db: Database, namespace: str, name: str, keys: Sequence[str]) -> frozenset[str]:
    """Those of the idempotency keys by which a task of the workflow was made before."""
    query: LiteralString = "select k.key from tasker_request_key k where k.namespace = %(namespace)s and k.name = %(name)s and k.key = any(%(keys)s)"
    return frozenset(row[0] for row in db.rows(query, {"namespace": namespace, "name": name, "keys": list(keys)}))


def register_definition(db: Database, definition: TaskDefinition) -> int:
    """The database's id of the definition, which tasks can now be made from.

    Raises `DefinitionConflict`, with the differences, when a task has used other content under this version.
    """
    payload = definition.to_json()
    if definition.schema is not None:
        payload["schema_text"] = json_text.dump(payload.pop("schema"))
    try:
        return int(db.value("select tasker_register_definition(%(definition)s::jsonb)", {"definition": json_text.dump(payload)}))
    except DefinitionConflict:
        raise DefinitionConflict(_explained(db, definition)) from None


def _payload_or_earlier(db: Database, request: TaskRequest) -> dict[str, Any] | str:
    """What the database makes the task from, or the id of the task that the same request has made when a version of the workflow still took it."""
    try:
        return _payload(db, request)
    except RequestError:
        earlier = _earlier(db, request) if request.idempotency_key is not None else None
        if earlier is None:
            raise
        return earlier


def _earlier(db: Database, request: TaskRequest) -> str | None:
    query: LiteralString = """
        select k.task_id::text from tasker_request_key k
         where k.namespace = %(namespace)s and k.name = %(name)s and k.key = %(key)s and k.fingerprint = %(fingerprint)s"""
    known = {"namespace": request.namespace, "name": request.name, "key": request.idempotency_key, "fingerprint": _fingerprint(request)}
    found = db.rows(query, known)
    return found[0][0] if found else None


def _payload(db: Database, request: TaskRequest) -> dict[str, Any]:
    definition = _definitions.find(db, request)
    context = checked_context(request, definition.schema)
    require_steps(request, definition)
    payload = {
        **_content(request),
        "definition_id": definition.definition_id,
        "context": context,
        "initiator": request.initiator,
        "source_system": request.source_system,
        "correlation_id": request.correlation_id,
        "traceparent": request.traceparent,
        "parent_task_id": request.parent_task_id,
        "parent_step": request.parent_step,
    }
    if request.idempotency_key is not None:
        payload |= {"idempotency_key": request.idempotency_key, "fingerprint": _fingerprint(request)}
    return payload


def require_steps(request: TaskRequest, definition: DefinitionRow | TaskDefinition) -> None:
    """Every step that the request bypasses is one of the definition's. Raises `RequestError`, with the nearest names."""
    names = {step.name for step in definition.steps}
    unknown = [(at, name) for at, name in enumerate(request.bypass_steps) if name not in names]
    hints = [nearest(name, names) if no < HINTS else "" for no, (_, name) in enumerate(unknown)]
    if unknown:
        raise RequestError([Problem(f"bypass_steps[{at}]", "unknown_step", f'{definition.key} has no step "{name}"{hint}') for (at, name), hint in zip(unknown, hints, strict=True)])


def _content(request: TaskRequest) -> dict[str, Any]:
    """What makes it this request and no other: neither who asks and in what connection, nor what a version of the workflow adds to the context."""
    return {
        "context": request.context,
        "reason": request.reason,
        "tags": list(request.tags),
        "priority": request.priority,
        "bypass_steps": list(request.bypass_steps),
        "run_at": request.run_at.isoformat() if request.run_at else None,
    }


def _fingerprint(request: TaskRequest) -> str:
    content = {**_content(request), "version": request.version}
    return hashlib.sha256(json_text.canonical(content).encode()).hexdigest()


class _Definitions:
    """Definitions by request, remembered for a second. No other content ever has the same id, so what was replaced meanwhile is noticed by whoever makes a task of it."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str, str | None], tuple[float, DefinitionRow]] = {}
        self._lock = threading.Lock()

    def find(self, db: Database, request: TaskRequest) -> DefinitionRow:
        if not db.is_lasting:
            return queries.definition(db, request.namespace, request.name, request.version)
        key = (db.url, request.namespace, request.name, request.version)
        known = self._found.get(key)
        if known and time.monotonic() - known[0] < LATEST_SECONDS:
            return known[1]
        definition = queries.definition(db, request.namespace, request.name, request.version)
        with self._lock:
            if len(self._found) > 1000:
                self._found.clear()
            self._found[key] = (time.monotonic(), definition)
        return definition

    def forget(self, db: Database) -> None:
        """What is asked for next in this database is looked up."""
        with self._lock:
            for key in [key for key in self._found if key[0] == db.url]:
                del self._found[key]


_definitions = _Definitions()


def _explained(db: Database, definition: TaskDefinition) -> str:
    # Ours goes to the database and back: jsonb writes some numbers otherwise.
    query: LiteralString = """
        select d.content, %(content)s::jsonb from tasker_definition d
         where d.namespace = %(namespace)s and d.name = %(name)s and d.version = %(version)s"""
    ours = definition.to_json()
    found = db.rows(query, {"content": json_text.dump(ours["content"]), **{part: ours[part] for part in ("namespace", "name", "version")}})
    lines = differences.told(*found[0]) if found else []
    return "\n  ".join([f"{definition.key} is in use with other content; give the changed workflow a new version", *lines])
