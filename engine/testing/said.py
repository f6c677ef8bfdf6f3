"""What handlers under test have said: their lines of log and how far they came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine import journal, json_text
from engine.journal import LEVEL_NAMES, Journal


@dataclass(frozen=True, slots=True)
class SaidLine:
    """One line, by `step.log` or by `logging`: level in words, text as it would be stored, and fields."""

    level: str
    message: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SaidProgress:
    """How far it came: `done` of `total`, where that is known."""

    done: float
    total: float | None
    note: str | None


class Said:
    """Give one to `run_step`; afterwards it holds the handler's `lines` in order and its newest `progress`, None when there was none."""

    def __init__(self) -> None:
        self.lines: list[SaidLine] = []
        self.progress: SaidProgress | None = None

    @property
    def messages(self) -> list[str]:
        """The texts of the lines."""
        return [line.message for line in self.lines]

    def hear(self, said: journal.Said) -> None:
        """Takes it in."""
        if isinstance(said, journal.Line):
            self.lines.append(SaidLine(LEVEL_NAMES[said.level], said.message, json_text.load(said.fields or "{}")))
        else:
            self.progress = SaidProgress(said.done, said.total, said.note)


class Contact:
    """The contact of an attempt that runs in the test's own thread."""

    def __init__(self, hear: Callable[[journal.Said], None], *, asked_to_stop: bool = False) -> None:
        self._hear, self._asked = hear, asked_to_stop

    def is_set(self) -> bool:
        """Whether it was asked to stop."""
        return self._asked

    def open_journal(self) -> Journal:
        """What it says goes to whoever hears it."""
        return Journal(self._hear)
