"""What is asked for when a task is wanted: TaskRequest, checked at once, and its context, checked against the schema.

Command line, API, forms and `submit` make requests; tasks turns them into rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from engine import json_text, trace_ids
from engine.definition import head_problems, kind, nearest, shown
from engine.errors import MAX_PROBLEMS, Problem, RequestError

if TYPE_CHECKING:
    from engine.schemas import ContextSchema

MAX_TEXT = 1_000
MAX_KEY = 255
MAX_TAGS = 50
MAX_TAG = 100
MAX_BYPASSED = 5_000
PRIORITIES = range(-1_000, 1_001)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_BREAK = re.compile("[\t\n\r\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """One task that is wanted. Without `version` it is the highest that is no pre-release; `run_at` without a zone is UTC.

    Higher `priority` goes first. An `idempotency_key` makes a repetition answer the first task. What a handler submits names
    the handler's task and step as its parent by itself, unless it is submitted with `detached=True`.
    Raises RequestError with everything that is wrong, save what only the workflow's definition can tell.
    """

    name: str
    namespace: str = "default"
    version: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    initiator: str | None = None
    source_system: str | None = None
    reason: str | None = None
    tags: tuple[str, ...] = ()
    priority: int = 0
    bypass_steps: tuple[str, ...] = ()
    correlation_id: str | None = None
    idempotency_key: str | None = None
    run_at: datetime | None = None
    traceparent: str | None = None
    parent_task_id: str | None = None
    parent_step: str | None = None

    def __post_init__(self) -> None:
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        values, problems = _checked(given)
        if problems:
            raise RequestError(problems)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> TaskRequest:
        """The request that a mapping from outside describes; unknown and missing fields are problems like the others."""
        known = [one.name for one in fields(cls)]
        unknown = islice((key for key in given if key not in known), MAX_PROBLEMS)
        problems = [Problem(str(key), "unknown_key", f"unknown field {shown(key)}{nearest(str(key), known)}") for key in unknown]
        if "name" not in given:
            problems.append(Problem("name", "missing", "is required"))
        if problems:
            known_part = {key: value for key, value in given.items() if key in known}
            raise RequestError(problems + _checked({"name": "unnamed", **known_part})[1])
        return cls(**given)


def checked_context(request: TaskRequest, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """The request's context with the schema's defaults filled in, fit to be stored.

    Raises RequestError with every problem and its JSON path, such as `$.order_id`.
    """
    context = dict(request.context)
    if schema is None:
        return context
    from engine import schemas  # JSON Schema is slow to import, and many workflows have none

    filled, problems = schemas.fill_and_check(context_schema(schema), context)
    if problems:
        raise RequestError(problems)
    stored: dict[str, Any] = filled
    return stored


def context_schema(schema: Mapping[str, Any]) -> ContextSchema:
    """The schema made ready for checking; schemas with the same content share one."""
    return _context_schema(json_text.canonical(schema))


@lru_cache(maxsize=256)
def _context_schema(text: str) -> ContextSchema:
    from engine.schemas import ContextSchema

    return ContextSchema(json_text.load(text))


def _checked(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    # Each check answers the value to keep and its problems.
    values: dict[str, Any] = {}
    problems = _name_problems(given)
    for field_name, check in _CHECKS.items():
        if field_name in given:
            values[field_name], found = check(field_name, given[field_name])
            problems += found
    return values, problems


def _name_problems(given: Mapping[str, Any]) -> list[Problem]:
    version = given.get("version")
    named = {"name": given["name"], "namespace": given.get("namespace", "default")}
    return head_problems(**named, version="0.1.0" if version is None else version)


Checked = tuple[Any, list[Problem]]


def _context(path: str, value: Any) -> Checked:
    if not isinstance(value, Mapping):
        return {}, [Problem(path, "bad_type", f"must be a JSON object, not {kind(value)}")]
    context = value if isinstance(value, dict) else dict(value)
    problems = json_text.input_problems(context)
    # A copy by way of JSON: what the caller does to its own objects later must not reach the task.
    return (context if problems else json_text.load(json_text.dump(context))), problems


def _text(path: str, value: Any, limit: int = MAX_TEXT) -> Checked:
    if value is None:
        return None, []
    if not isinstance(value, str):
        return None, [Problem(path, "bad_type", f"must be a string, not {kind(value)}")]
    if len(value) > limit:
        return None, [Problem(path, "too_large", f"has {len(value):,} characters; the limit is {limit:,}")]
    if _CONTROL.search(value):
        return None, [Problem(path, "control_character", "contains a control character or half a surrogate pair")]
    return value, []


def _key(path: str, value: Any) -> Checked:
    if value is not None and isinstance(value, str) and not value.strip():
        return None, [Problem(path, "empty", "must not be empty")]
    return _line(path, value, MAX_KEY)


def _line(path: str, value: Any, limit: int) -> Checked:
    """A text that stands in headers, lines of logs and lists."""
    if isinstance(value, str) and _BREAK.search(value):
        return None, [Problem(path, "control_character", "contains a line break or a tab")]
    return _text(path, value, limit)


def _tags(path: str, value: Any) -> Checked:
    return _texts(path, value, MAX_TAGS, MAX_TAG)


def _steps(path: str, value: Any) -> Checked:
    return _texts(path, value, MAX_BYPASSED, 63)


def _texts(path: str, value: Any, most: int, longest: int) -> Checked:
    if not isinstance(value, (list, tuple, set, frozenset)):
        return (), [Problem(path, "bad_type", f"must be a list of strings, not {kind(value)}")]
    if len(value) > most:
        return (), [Problem(path, "too_many", f"has {len(value):,} entries; the limit is {most:,}")]
    ordered = sorted(value, key=str) if isinstance(value, (set, frozenset)) else list(value)
    problems = [problem for no, item in enumerate(ordered) for problem in _entry_problems(f"{path}[{no}]", item, longest)]
    return (() if problems else tuple(dict.fromkeys(ordered))), problems


def _entry_problems(path: str, item: Any, longest: int) -> list[Problem]:
    if not isinstance(item, str):
        return [Problem(path, "bad_type", f"must be a string, not {kind(item)}")]
    if not item.strip():
        return [Problem(path, "empty", "must not be empty")]
    found: list[Problem] = _line(path, item, longest)[1]
    return found


def _task_id(path: str, value: Any) -> Checked:
    if value is None:
        return None, []
    from uuid import UUID  # slow to import, and few requests name a task

    try:
        return str(UUID(value)), []
    except (ValueError, AttributeError, TypeError):
        return None, [Problem(path, "bad_id", f"{shown(value)} is no id of a task")]


def _priority(path: str, value: Any) -> Checked:
    if isinstance(value, bool) or not isinstance(value, int):
        return 0, [Problem(path, "bad_type", f"must be an integer, not {kind(value)}")]
    if value not in PRIORITIES:
        return 0, [Problem(path, "out_of_range", f"must be between {PRIORITIES[0]:,} and {PRIORITIES[-1]:,}")]
    return value, []


def _traceparent(path: str, value: Any) -> Checked:
    if value is None or isinstance(value, str) and trace_ids.is_well_formed(value):
        return value, []
    return None, [Problem(path, "bad_traceparent", f"{shown(value)} is no traceparent such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]


def _moment(path: str, value: Any) -> Checked:
    if value is None:
        return None, []
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None, [Problem(path, "bad_time", f"{shown(value)} must be a time such as 2030-01-31T08:00:00Z")]
    if not isinstance(value, datetime):
        return None, [Problem(path, "bad_type", f"must be a datetime or ISO 8601 text, not {kind(value)}")]
    try:
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC), []
    except OverflowError:
        return None, [Problem(path, "out_of_range", "is beyond the years that can be stored")]


_CHECKS = {
    "context": _context,
    "initiator": _text,
    "source_system": _text,
    "reason": _text,
    "tags": _tags,
    "priority": _priority,
    "bypass_steps": _steps,
    "correlation_id": _key,
    "traceparent": _traceparent,
    "idempotency_key": _key,
    "run_at": _moment,
    "parent_task_id": _task_id,
    "parent_step": _text,
}
