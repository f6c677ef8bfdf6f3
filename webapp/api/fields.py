"""The kinds of fields that requests and answers are made of."""

from __future__ import annotations

import re
from typing import Any

from marshmallow import fields
from marshmallow.validate import Length, OneOf

from engine.states import StepState, TaskState

STEP_STATE = OneOf(list(StepState))
TASK_STATE = OneOf(list(TaskState))
_DIGITS = re.compile(r"\d{1,19}", re.ASCII)


class Number(fields.Integer):
    """Digits and nothing else, as in a query."""

    def _deserialize(self, value: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(value, str) and not _DIGITS.fullmatch(value):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, *arguments, **options)


class Flag(fields.Boolean):
    """`true` or `false`, as in a query."""

    truthy = {"true"}
    falsy = {"false"}


def text(longest: int, **options: Any) -> fields.String:
    """A string of at least one character."""
    return fields.String(validate=Length(min=1, max=longest), **options)


def maybe_text() -> fields.String:
    """A string or null, in an answer."""
    return fields.String(required=True, allow_none=True)


def maybe_time() -> fields.DateTime:
    """A time or null, in an answer."""
    return fields.DateTime(required=True, allow_none=True)


def names() -> fields.List[str]:
    """A list of strings, in an answer."""
    return fields.List(fields.String(), required=True)


def said(description: str) -> dict[str, str]:
    """A field's description."""
    return {"description": description}

