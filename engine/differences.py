"""What the content of a definition is told to differ in from another, in the words of YAML and without what is secret in either.

A content is what a fingerprint is made of, as `TaskDefinition.to_json` gives it and the database keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine import json_text
from engine.gates import Limit
from engine.hiding.masking import MASK, clean
from engine.hiding.redaction import masked, shown_schema

MOST_LINES = 50
MOST_NAMES = 10
MOST_OF_A_PATH = 200
MOST_OF_A_VALUE = 120
_BEFORE = 20
"""So much of what is alike is shown before the difference of two long values."""

_ABSENT = object()
_WORDS = {"handler": "handler_class", "timeout_ms": "timeout", "depends_on": "depends_on_steps"}
_NO_OPTIONS = ("no", "steps")
_SHOWN: dict[str, Callable[[Any], Any]] = {"handler_config": masked, "schema": shown_schema, "output_schema": shown_schema}


def told(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What would change, a line each such as `steps.charge.retry_limit: 3 -> 5`: at most MOST_LINES, and then how many more there are.

    Nothing when it is not on record what is there. Both are as the database writes them.
    """
    if "steps" not in there:
        return []
    lines = [*_of_steps(there["steps"], here["steps"]), *_of_options("", there, here)]
    for name in _in_order(here["steps"]):
        if name in there["steps"]:
            lines += _of_options(f"steps.{name}.", there["steps"][name], here["steps"][name])
    return _bounded(lines or ["nothing but the way in which numbers are written, such as 1e16 for 10000000000000000"])


def _bounded(lines: list[str]) -> list[str]:
    return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], f"... and {len(lines) - MOST_LINES:,} more"]


# Steps


def _of_steps(there: dict[str, Any], here: dict[str, Any]) -> Iterator[str]:
    old, new = _in_order(there), _in_order(here)
    yield from (f"step added: {name}" for name in new if name not in there)
    yield from (f"step removed: {name}" for name in old if name not in here)
    yield from _of_order([name for name in old if name in here], [name for name in new if name in there])


def _in_order(steps: dict[str, Any]) -> list[str]:
    return sorted(steps, key=lambda name: int(steps[name]["no"]))


def _of_order(old: list[str], new: list[str]) -> Iterator[str]:
    moved = [no for no, (before, after) in enumerate(zip(old, new, strict=True)) if before != after]
    if moved:
        stretch = slice(moved[0], moved[-1] + 1)
        yield f"order of the steps: {_listed(old[stretch])} -> {_listed(new[stretch])}"


def _listed(names: Sequence[str]) -> str:
    more = f" ({len(names) - MOST_NAMES:,} more)" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


# Options


def _of_options(path: str, there: dict[str, Any], here: dict[str, Any]) -> Iterator[str]:
    old, new = _options(there), _options(here)
    for name in _either(old, new):
        yield from _differences(f"{path}{name}", old.get(name, _NOTHING), new.get(name, _NOTHING))


def _options(content: dict[str, Any]) -> dict[str, _Part]:
    """What a step or a workflow says, by the names of YAML; what it does not say is not there."""
    said = {name: _in_yaml(name, value) for name, value in content.items() if name not in _NO_OPTIONS and value not in (None, [])}
    return {_WORDS.get(name, name): _Part(value, _SHOWN[name](value) if name in _SHOWN else value) for name, value in said.items()}


def _in_yaml(name: str, value: Any) -> Any:
    if name == "limit":
        return _limit_in_yaml(**value)
    return [path.removeprefix("builtins.") for path in value] if name == "retry_on" else value


def _limit_in_yaml(at_once: int | None = None, per_period: int | None = None, period: int = 1, key: Sequence[str] = ()) -> dict[str, Any]:
    rate = f"per_{Limit(period=period).period_name}"
    said = {"at_once": at_once, rate: per_period, "key": ".".join(key) or None}
    return {name: value for name, value in said.items() if value is not None}


# Values


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a content, and what may be shown of it."""

    value: Any
    shown: Any

    def members(self) -> dict[Any, _Part] | None:
        """The parts of what is no mere value, nor a list of those, by key or number."""
        if isinstance(self.shown, dict):
            return {key: _Part(member, self.shown.get(key, MASK)) for key, member in self.value.items()}
        if isinstance(self.shown, list) and any(isinstance(member, (dict, list)) for member in self.value):
            return {no: _Part(*both) for no, both in enumerate(zip(self.value, self.shown, strict=True))}
        return None


_NOTHING = _Part(_ABSENT, _ABSENT)


def _differences(path: str, old: _Part, new: _Part) -> Iterator[str]:
    before, after = old.members(), new.members()
    if before is not None and after is not None:
        for key in _either(before, after):
            yield from _differences(json_text.child_path(path, key), before.get(key, _NOTHING), after.get(key, _NOTHING))
    elif _text(old.value) != _text(new.value):
        yield f"{_cut(path, MOST_OF_A_PATH)}: {_change(_shown_text(old.shown), _shown_text(new.shown))}"


def _either(old: Iterable[Any], new: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys([*new, *old]))


def _text(value: Any) -> str:
    return "(absent)" if value is _ABSENT else json_text.canonical(value)


def _shown_text(value: Any) -> str:
    return _text(clean(value) if isinstance(value, str) else value)


def _change(old: str, new: str) -> str:
    if old == new:
        return "another value, which is secret"
    is_long = max(len(old), len(new)) > MOST_OF_A_VALUE
    start = max(_first_difference(old, new) - _BEFORE, 0) if is_long else 0
    return f"{_from(old, start)} -> {_from(new, start)}"


def _first_difference(old: str, new: str) -> int:
    return next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), min(len(old), len(new)))


def _from(text: str, start: int) -> str:
    return _cut(f"…{text[start:]}" if start else text, MOST_OF_A_VALUE)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
