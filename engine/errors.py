"""What can go wrong, by name. Everyone raises these; engine.db turns the database's own codes into them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

MAX_PROBLEMS = 50
MAX_DELAY_SECONDS = 366 * 86_400.0


class TaskerError(Exception):
    """Anything this engine reports on purpose."""


class RetryableError(TaskerError):
    """Raise it in a handler when trying again may help: after `delay` (seconds or timedelta) or the step's back-off."""

    delay: float | None = None  # of the class too: a subclass may have an __init__ that does not call this one

    def __init__(self, message: object = "", delay: float | timedelta | None = None) -> None:
        super().__init__(message)
        self.delay = delay_seconds(delay)


class PermanentError(TaskerError):
    """Raise it in a handler when trying again cannot help: the step ends, with `error_code` on record."""

    error_code: str | None = None

    def __init__(self, message: object = "", error_code: str | None = None) -> None:
        super().__init__(message)
        self.error_code = error_code


class NotFound(TaskerError):
    """No such task, step, definition or name; also what the caller may not see."""


class WrongState(TaskerError):
    """The task or step is not in a state that allows this move."""


class ChangedSince(WrongState):
    """The action would do something else now than what was looked at; nothing was done."""


class LeaseLost(TaskerError):
    """Another worker holds the step now; what we know of it no longer counts."""


class DatabaseUnavailable(TaskerError):
    """PostgreSQL cannot be reached, or did not answer in time."""


class NoAnswerInTime(DatabaseUnavailable):
    """PostgreSQL had no time or no connection for this call, or answers no more."""


class KeyReused(TaskerError):
    """An idempotency key was used before, for a request with other content."""


class DefinitionConflict(TaskerError):
    """The same name and version is already taken by a definition with other content."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct: where it is, a stable code, a sentence, and its place in the file if it came from one."""

    path: str
    code: str
    message: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}, column {self.column}: " if self.line is not None else ""
        return f"{where}{self.path}: {self.message} [{self.code}]" if self.path else f"{where}{self.message} [{self.code}]"

    def under(self, parent: str) -> Problem:
        """The same problem, seen from outside `parent`."""
        joint = "" if not self.path or self.path.startswith("[") else "."
        return replace(self, path=f"{parent}{joint}{self.path}")


class _Problems(TaskerError):
    """An error that lists everything wrong at once, at most MAX_PROBLEMS of it."""

    def __init__(self, problems: Iterable[Problem], subject: str = "") -> None:
        self.problems = list(problems)
        self.subject = subject
        super().__init__(self._text())

    def __reduce__(self) -> tuple[type[_Problems], tuple[list[Problem], str]]:
        return type(self), (self.problems, self.subject)

    def _text(self) -> str:
        lines = [str(problem) for problem in self.problems[:MAX_PROBLEMS]]
        hidden = len(self.problems) - len(lines)
        if hidden:
            lines.append(f"... and {hidden} more")
        if self.subject:
            lines = [f"{self.subject}:", *(f"  {line}" for line in lines)]
        return "\n".join(lines)


class DefinitionError(_Problems):
    """A workflow definition that cannot be accepted; `steps` are the options it was to be made of, where they are known."""

    steps: Sequence[Mapping[str, Any] | None] = ()


class RequestError(_Problems):
    """A task request, or its context, that cannot be accepted."""


def delay_seconds(delay: float | timedelta | None) -> float | None:
    """The delay in seconds, within 0 and a year; None when there is none or it is no usable number.

    Never raises: a handler that is reporting a failure must not fail at that.
    """
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return None
    try:
        seconds = float(seconds)
    except OverflowError:
        return MAX_DELAY_SECONDS if seconds > 0 else 0.0
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_DELAY_SECONDS)
