"""Pydantic models as what a context or a result is: their JSON Schema, and values as their objects. Nothing is imported for those who use none.

definition asks for schemas, handlers and binding for objects; that results are dumped is json_text's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, get_args, get_type_hints

from engine import json_text, patterns
from engine.errors import PermanentError


def is_model(value: Any) -> bool:
    """Whether it is a pydantic model class."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(value, type) and issubclass(value, pydantic.BaseModel)


class Dumped(Protocol):
    """An object of a model."""

    def model_dump(self, *, mode: str, by_alias: bool) -> dict[str, Any]:
        """Its values."""
        ...


def context_of(given: Any) -> Any:
    """The context as a mapping; a model as its JSON values."""
    return {} if given is None else given.model_dump(mode="json", by_alias=True) if is_model(type(given)) else given


def schema_of(model: Any, *, is_result: bool) -> dict[str, Any]:
    """The JSON Schema of the model, without patterns that JSON Schema's own validation would refuse: the model checks those itself."""
    schema: dict[str, Any] = model.model_json_schema(mode="serialization" if is_result else "validation")
    return _without_refused_patterns(schema)  # type: ignore[no-any-return]


def result_model(handler: Any) -> Any:
    """The model that the handler's return annotation names; None when it names none."""
    found = None if handler is None or isinstance(handler, str) else hints(getattr(handler, "process", handler)).get("return")
    return found if is_model(found) else None


def context_model(handler: Any) -> Any:
    """The model that the handler's `task: Task[Order]` names; None when it names none."""
    found = next(iter(get_args(hints(getattr(handler, "process", handler)).get("task"))), None)
    return found if is_model(found) else None


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations as types, where there can be models; none of a function that names what does not exist at run time."""
    if "pydantic" not in sys.modules:
        return {}
    try:
        return get_type_hints(function)
    except Exception:
        return {}


def reader(hint: Any, subject: str) -> Callable[[Any], Any] | None:
    """Makes JSON values into what the annotation says, if it speaks of models: `Payment`, `Payment | None`, `list[Payment]`."""
    if not _speaks_of_models(hint):
        return None
    return lambda value: read(hint, value, subject)


def read(hint: Any, value: Any, subject: str) -> Any:
    """The JSON value as an object of that type. Raises PermanentError with the code `bad_model` and the path of everything wrong, but no values."""
    from pydantic import ValidationError

    try:
        return _adapter(hint).validate_json(json_text.dump(value))
    except ValidationError as error:
        places = ("".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in one["loc"]) for one in error.errors(include_input=False, include_url=False))
        lines = [f"  ${place}: {one['msg']}" for place, one in zip(places, error.errors(include_input=False, include_url=False), strict=True)]
        name = getattr(hint, "__name__", str(hint))
        raise PermanentError("\n".join([f"{subject} does not fit {name}:", *lines[:20]]), error_code="bad_model") from None


@cache
def _adapter(hint: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(hint)


def _speaks_of_models(hint: Any) -> bool:
    return is_model(hint) or any(map(_speaks_of_models, get_args(hint)))


def _without_refused_patterns(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_refused_patterns(each) for each in node]
    if not isinstance(node, dict):
        return node
    is_refused = isinstance(node.get("pattern"), str) and patterns.refusal(node["pattern"]) is not None
    return {key: _without_refused_patterns(each) for key, each in node.items() if not (is_refused and key == "pattern")}
