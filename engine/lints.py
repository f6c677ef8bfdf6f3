"""What is sound in a definition and will likely be regretted: `tasker check` tells it. It reads definitions and the source of handlers, and runs nothing."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from engine.binding import resolve
from engine.definition import StepTemplate, TaskDefinition, nearest
from engine.errors import Problem, RequestError

_READS = ("step_results", "find_step_by_name")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")


@dataclass(frozen=True, slots=True)
class Lint:
    """One finding: the lint's name, where (`namespace/workflow.step`), and what would be better."""

    name: str
    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.name}: {self.message}"


def lints(definition: TaskDefinition, ignore: Iterable[str] = ()) -> list[Lint]:
    """The findings by step. `ignore` holds names of lints, or `lint:namespace/workflow.step`. Raises RequestError for what is no lint's name."""
    silenced = frozenset(ignore)
    _check_names(silenced)
    place = f"{definition.namespace}/{definition.name}"
    found = (Lint(name, f"{place}.{step}", message) for name, rule in RULES.items() for step, message in rule(definition))
    kept = [lint for lint in found if not silenced & {lint.name, f"{lint.name}:{lint.place}"}]
    return sorted(kept, key=lambda lint: definition.numbers[lint.place.removeprefix(f"{place}.")])


def _check_names(ignore: Iterable[str]) -> None:
    unknown = [name for name in (each.partition(":")[0] for each in ignore) if name not in RULES]
    if unknown:
        raise RequestError([Problem("ignore", "unknown_lint", f"there is no lint {name!r}{nearest(name, RULES)}; there are {', '.join(RULES)}") for name in unknown])


# The rules: each yields the names of steps and what it says of them.


def _never_chosen(definition: TaskDefinition) -> Iterator[tuple[str, str]]:
    """Steps to which every way leads through a branch that its decision, by its declared result, never chooses."""
    dead: set[int] = set()
    for no, step in enumerate(definition.steps):
        parents = definition.parents(no)
        shut = [parent for parent in parents if parent in dead or _shuts_out(definition.steps[parent], step.name)]
        if parents and len(shut) == len(parents):
            dead.add(no)
            yield step.name, f"is never reached: {_names(definition, shut)} cannot lead to it by what {'it declares' if len(shut) == 1 else 'they declare'}"


def _shuts_out(decision: StepTemplate, child: str) -> bool:
    chosen = _choices(decision) if decision.decision else None
    return chosen is not None and child not in chosen


def _choices(decision: StepTemplate) -> set[Any] | None:
    """What the decision can choose, by its output_schema or its type; None where neither says."""
    schema = decision.output_schema or {}
    schema = schema.get("items", schema)
    if isinstance(schema, dict) and isinstance(schema.get("enum"), list):
        return set(map(str, schema["enum"]))
    hint = _result_hint(_handler(decision))
    hint = next((each for each in get_args(hint) if get_origin(each) is Literal), hint)
    return set(get_args(hint)) if get_origin(hint) is Literal else None


def _result_hint(handler: Any) -> Any:
    try:
        return get_type_hints(getattr(handler, "process", handler)).get("return")
    except Exception:  # a hint that names what is not there at run time says nothing
        return None


def _unchecked_results(definition: TaskDefinition) -> Iterator[tuple[str, str]]:
    readers: dict[str, str] = {}
    for no, step in enumerate(definition.steps):
        source = definition.source(no)
        read = reads(definition, step) | ({definition.steps[source[0]].name} if source else set())
        for name in read:
            readers.setdefault(name, step.name)
    for step in definition.steps:
        if step.name in readers and step.output_schema is None and step.handler is not None:
            yield step.name, f"{readers[step.name]} reads its result, and no output_schema (or model) says what that is"


def reads(definition: TaskDefinition, step: StepTemplate) -> set[str]:
    """The ancestors whose results the handler reads: by its parameters, or by name in its source."""
    handler, ancestors = _handler(step), definition.ancestors(step.name)
    if handler is None:
        return set()
    named = {_text(call.args[-1]) for call in _calls(handler) if call.args and _called(call) in _READS}
    if not isinstance(handler, type):
        named |= set(inspect.signature(handler).parameters)
    return {name for name in ancestors if name in named or name.replace("-", "_").replace(".", "_") in named}


def _repeated_effects(definition: TaskDefinition) -> Iterator[tuple[str, str]]:
    for step in definition.steps:
        effect = _effect(step) if step.retry_limit > 1 else None
        if effect:
            yield step.name, f"is tried up to {step.retry_limit} times and {effect}; or say retryable=False"


def _effect(step: StepTemplate) -> str | None:
    """What must not happen twice, and how to see to that."""
    handler = _handler(step)
    if handler is None:
        return None
    if getattr(handler, "idempotent", True) is False:
        return "says of itself that it is not idempotent"
    setting = {**{name: getattr(handler, name, None) for name in ("method", "idempotency_header")}, **step.handler_config}
    if any(base.__name__ == "HttpStepHandler" for base in getattr(handler, "__mro__", ())) and not setting["idempotency_header"]:
        method = str(setting["method"]).upper()
        return None if method in _SAFE_METHODS else f"sends {method} without an idempotency_header"
    keyless = any(_called(call) == "TaskRequest" and "idempotency_key" not in {word.arg for word in call.keywords} for call in _calls(handler))
    return "submits a task without an idempotency_key" if keyless else None


def _endless_steps(definition: TaskDefinition) -> Iterator[tuple[str, str]]:
    for step in definition.steps:
        if step.handler is not None and step.timeout is None:
            yield step.name, "has no timeout, so that a call that never returns holds its place for ever"


RULES: dict[str, Callable[[TaskDefinition], Iterator[tuple[str, str]]]] = {
    "unreachable": _never_chosen,
    "no-output-schema": _unchecked_results,
    "retry-not-idempotent": _repeated_effects,
    "no-timeout": _endless_steps,
}
"""The lints by name."""


# Reading handlers


def _handler(step: StepTemplate) -> Any:
    try:
        return resolve(step.handler) if isinstance(step.handler, str) else step.handler
    except Exception:  # that it cannot be loaded is told elsewhere
        return None


def _calls(handler: Any) -> Iterator[ast.Call]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(handler)))
    except (OSError, TypeError, SyntaxError):
        return
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _names(definition: TaskDefinition, numbers: list[int]) -> str:
    return " and ".join(definition.steps[no].name for no in numbers)
