"""Answers in place of handlers: a value, an exception, or a script of both, one per attempt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from engine.binding import Binding, bindings, function_runner
from engine.definition import TaskDefinition, nearest
from engine.runners import FAILED
from engine.runners.failures import timeout_failure


class TimedOut(Exception):
    """In a script: this attempt ends at its time limit."""


class Stub:
    """What a step answers: the script's entries one after the other, the last one again and again. A callable is called as the handler would be."""

    def __init__(self, script: tuple[Any, ...]) -> None:
        self._script = script
        self.calls = 0

    def next(self) -> Any:
        """The answer to this call."""
        answer = self._script[min(self.calls, len(self._script) - 1)]
        self.calls += 1
        return answer


class Stubs:
    """The stubs of one test by step name, or `namespace/workflow:step` where two workflows share a step's name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Stub] = {}

    def add(self, step: str, script: tuple[Any, ...]) -> Stub:
        """From now on the step answers by the script; with an empty script it does nothing and completes."""
        self._by_name[step] = Stub(script or (None,))
        return self._by_name[step]

    def check(self, definitions: list[TaskDefinition]) -> None:
        """Raises LookupError for a stub that no step of the definitions would ever use."""
        known = {name for one in definitions for step in one.steps for name in _names(one, step.name)}
        for name in self._by_name:
            if name not in known:
                raise LookupError(f"no step is named {name!r}, so its stub would never answer{nearest(name, known)}")

    @contextmanager
    def in_place(self, definition: TaskDefinition, step_no: int) -> Iterator[tuple[int, str] | None]:
        """While this lasts the step's code is its stub's answer; yields the outcome itself where no code could bring it about."""
        found = (self._by_name.get(name) for name in _names(definition, definition.steps[step_no].name))
        stub = next((one for one in found if one), None)
        answer = stub.next() if stub else None
        if _is(answer, TimedOut):
            yield FAILED, timeout_failure(definition.steps[step_no].timeout or 0.0)
            return
        bound = bindings(definition)
        own = bound[step_no]
        bound[step_no] = _answering(definition, own, answer) if stub else own
        try:
            yield None
        finally:
            bound[step_no] = own


def _names(definition: TaskDefinition, step: str) -> tuple[str, str]:
    return f"{definition.namespace}/{definition.name}:{step}", step


def _answering(definition: TaskDefinition, own: Binding, answer: Any) -> Binding:
    if callable(answer) and not isinstance(answer, type):
        return replace(own, run=function_runner(definition, own.template, answer))
    return replace(own, run=lambda task, sequence, step: _given(answer))


def _given(answer: Any) -> Any:
    if isinstance(answer, BaseException) or (isinstance(answer, type) and issubclass(answer, BaseException)):
        raise answer
    return answer


def _is(answer: Any, kind: type[BaseException]) -> bool:
    return isinstance(answer, kind) or answer is kind
