"""What an attempt says while it runs: how far it is, and lines of log. Bounded and cleaned here, then handed on by whatever runs the attempt.

Handlers write by `step.progress`, `step.log` and, through `engine.logs`, by Python's `logging`. Times are the machine's monotonic clock, the
same in every process of it.
"""

from __future__ import annotations

import itertools
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, SupportsFloat

from engine import json_text
from engine.hiding.masking import MASK, MAX_MESSAGE_BYTES, clean_message, is_secret_name, without_codes
from engine.hiding.redaction import scrubbed

MAX_LINES: Final = 1_000
MAX_BYTES: Final = 1 << 20
MAX_FIELD_BYTES: Final = 1_000
MAX_FIELDS_BYTES: Final = 4 << 10
MAX_NOTE_BYTES: Final = 500
MAX_MEMBERS: Final = 50
MAX_DEPTH: Final = 4
PROGRESS_SECONDS: Final = 0.1  # an attempt's progress is handed on no more often

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
LEVEL_NAMES: Final = {number: name for name, number in LEVELS.items()}


class Line(NamedTuple):
    """One line of an attempt's log; `fields` are JSON text of an object."""

    at: float
    level: int
    message: str
    fields: str | None


class Progress(NamedTuple):
    """How far an attempt is: `done` of `total`, where the total is known."""

    at: float
    done: float
    total: float | None
    note: str | None


Said = Line | Progress


class Journal:
    """What one attempt says. `send` takes it, from any thread: lines at once, of progress the newest, ten times a second at most."""

    __slots__ = ("_bytes", "_closed", "_full", "_is_held", "_newest", "_numbers", "_send", "_sent_at", "secrets")

    def __init__(self, send: Callable[[Said], None]) -> None:
        self._send = send
        self.secrets: frozenset[str] = frozenset()
        """What the attempt was given that must not be told, wherever it stands."""
        self._numbers = itertools.count(1)
        self._bytes = 0
        self._newest: tuple[float, float, float | None, object] | None = None
        self._sent_at = -math.inf
        self._is_held = self._full = self._closed = False

    def progress(self, done: SupportsFloat, total: SupportsFloat | None, note: object) -> None:
        """The newest counts. Raises TypeError for what is no number; a number that makes no sense counts as 0, a total as unknown."""
        now = time.monotonic()
        self._newest = now, _number("done", done) or 0.0, None if total is None else _number("total", total), note
        if now - self._sent_at >= PROGRESS_SECONDS:
            self.send_progress()
        elif not self._is_held:
            self._is_held = True
            _send_later(self)

    def log(self, level: str | int, message: object, fields: Mapping[str, Any]) -> None:
        """One more line, unless the attempt has written as much as it may; then once that there was more. Raises ValueError for an unknown level."""
        number = level_number(level)
        if self._closed:
            return
        if next(self._numbers) > MAX_LINES or self._bytes > MAX_BYTES:
            self._refuse()
            return
        line = Line(time.monotonic(), number, discreet(str(message), self.secrets), written_fields(fields, self.secrets) if fields else None)
        self._bytes += len(line.message.encode()) + len((line.fields or "").encode())
        self._send(line)

    def send_held(self) -> bool:
        """Hand on the progress that came too soon after the last; False while it is still too soon."""
        if time.monotonic() - self._sent_at < PROGRESS_SECONDS:
            return False
        self._is_held = False
        self.send_progress()
        return True

    def send_progress(self) -> None:
        """Hand the newest progress on, if it was not yet."""
        newest, self._newest = self._newest, None
        if newest is None or self._closed:
            return
        at, done, total, note = newest
        self._sent_at = time.monotonic()
        self._send(Progress(at, done, total, None if note is None else discreet(str(note), self.secrets, MAX_NOTE_BYTES)))

    def close(self) -> None:
        """The attempt is over: its last progress is handed on, and nothing after that."""
        self.send_progress()
        self._closed = True

    def _refuse(self) -> None:
        if not self._full:
            self._full = True
            limits = f"an attempt may write {MAX_LINES:,} lines and {MAX_BYTES >> 10:,} KiB"
            self._send(Line(time.monotonic(), LEVELS["warning"], f"\u2026 more were not kept: {limits}", None))


NOWHERE: Final = Journal(lambda said: None)
"""The journal of an attempt that is over, or that nobody listens to."""
NOWHERE.close()


def level_number(level: str | int) -> int:
    """10 to 50, as `logging` has them. Raises ValueError for a level that does not exist."""
    if isinstance(level, int):
        return max(10, min(level // 10 * 10, 50))
    found = LEVELS.get(str(level).lower())
    if found is None:
        raise ValueError(f"there is no level {level!r}; one of {', '.join(LEVELS)}")
    return found


def discreet(text: str, secrets: frozenset[str], limit: int = MAX_MESSAGE_BYTES) -> str:
    """The text as people may read it: without these secrets and what likely are others, nor what harms a terminal, in at most `limit` bytes."""
    return clean_message(scrubbed(without_codes(text), secrets) if secrets else text, limit)  # first, as a pattern or the limit could take a part of one


def written_fields(fields: Mapping[str, Any], secrets: frozenset[str] = frozenset()) -> str:
    """The fields as JSON in at most 4 KiB: what JSON cannot hold as text, secrets masked, what is long or deep cut."""
    text = json_text.dump(plain(fields, secrets))
    size = len(text.encode())
    return text if size <= MAX_FIELDS_BYTES else json_text.dump({"\u2026": f"{size:,} bytes of fields were left out"})


def plain(value: Any, secrets: frozenset[str] = frozenset(), depth: int = 1) -> Any:
    """The value as JSON can hold it, bounded, with these secrets and what likely are others masked."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= json_text.MAX_INTEGER:
        return _number_unless(int(value), secrets)
    if isinstance(value, float) and math.isfinite(value):
        return _number_unless(float(value), secrets)
    if isinstance(value, Mapping) and depth <= MAX_DEPTH:
        members = itertools.islice(value.items(), MAX_MEMBERS)
        return {discreet(str(key), secrets, 100): MASK if is_secret_name(str(key)) else plain(member, secrets, depth + 1) for key, member in members}
    if isinstance(value, (list, tuple, set, frozenset)) and depth <= MAX_DEPTH:
        return [plain(member, secrets, depth + 1) for member in itertools.islice(value, MAX_MEMBERS)]
    return discreet(str(value), secrets, MAX_FIELD_BYTES)


def _number_unless(number: float, secrets: frozenset[str]) -> float | str:
    return MASK if secrets and str(number) in secrets else number


def _number(name: str, value: SupportsFloat) -> float | None:
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
        raise TypeError(f"the {name} of a progress must be a number, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        return None
    return max(number, 0.0) if math.isfinite(number) else None


# Progress that came too soon after the last is handed on a moment later, by a thread that exists only where that was ever needed.

_held: queue.SimpleQueue[Journal] = queue.SimpleQueue()
_sender: threading.Thread | None = None
_starting = threading.Lock()


def _send_later(journal: Journal) -> None:
    global _sender
    _held.put(journal)
    with _starting:
        if _sender is None or not _sender.is_alive():  # or it stayed behind when this process was forked
            _sender = threading.Thread(target=_send_held, name="tasker-progress", daemon=True)
            _sender.start()


def _send_held() -> None:
    while True:
        journals = [_held.get()]
        time.sleep(PROGRESS_SECONDS)
        while not _held.empty():
            journals.append(_held.get())
        for journal in journals:
            if not journal.send_held():
                _held.put(journal)
