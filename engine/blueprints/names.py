"""Names as people type them, checked, and the forms in which code needs them."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass

from engine.definition import StepTemplate, find_cycle, nearest
from engine.errors import DefinitionError, Problem, RequestError

RESERVED = ("sequence", "step", "task", "workflow")
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*\Z")


@dataclass(frozen=True, slots=True)
class Names:
    """`process-order` as a module (`process_order`) and a class (`ProcessOrder`)."""

    given: str

    def __post_init__(self) -> None:
        if not _NAME.match(self.given) or len(self.given) > 50 or keyword.iskeyword(self.module):
            message = f"{self.given!r} must be lower-case words such as process_order: a-z, 0-9, _ and -, and no word of Python's own"
            raise RequestError([Problem("name", "bad_name", message)])

    @property
    def module(self) -> str:
        return self.given.replace("-", "_")

    @property
    def kind(self) -> str:
        return "".join(word.capitalize() for word in self.module.split("_"))


def parse_steps(text: str) -> dict[str, tuple[str, ...]]:
    """`a,b:a,c:a,d:b+c` as each step with what it waits for. Raises RequestError with everything wrong in it."""
    steps: dict[str, tuple[str, ...]] = {}
    problems = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, parents = part.partition(":")
        if name in steps:
            problems.append(Problem("steps", "duplicate_name", f"the step {name!r} is named twice"))
        if name in RESERVED:
            problems.append(Problem("steps", "bad_name", f"a step cannot be called {name!r}: its function would hide what handlers receive"))
        steps[Names(name).module] = tuple(Names(parent).module for parent in parents.split("+") if parent)
    unknown = [(name, parent) for name, parents in steps.items() for parent in parents if parent not in steps]
    problems += [Problem("steps", "unknown_dependency", f"{name!r} waits for {parent!r}, which is no step here{nearest(parent, steps)}") for name, parent in unknown]
    if not problems:
        problems += _cycle(steps)
    if problems or not steps:
        raise RequestError(problems or [Problem("steps", "no_steps", "name at least one step, as in --steps reserve,charge:reserve")])
    return steps


def _cycle(steps: dict[str, tuple[str, ...]]) -> list[Problem]:
    try:
        names = find_cycle([StepTemplate(name, depends_on_steps=list(parents)) for name, parents in steps.items()])
    except DefinitionError as error:
        return error.problems
    return [Problem("steps", "cycle", f"the steps wait for each other: {' -> '.join(names)}")] if names else []
