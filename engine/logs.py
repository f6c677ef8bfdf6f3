"""Python's `logging` and the attempts: what a handler logs becomes lines of its attempt, and `AttemptFilter` tells formatters whose line it is.

The runners start and stop the capture; it changes nothing of what the handlers' own logging prints.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from engine.handlers import ATTEMPT, Step
from engine.journal import LEVELS
from engine.settings import Settings

OWN: Final = ("tasker", "tasker.")
_OF_EVERY_RECORD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_MARK: Final = "_tasker_attributes"


class AttemptFilter(logging.Filter):
    """Gives every record `task_id`, `step`, `attempt` and `correlation_id` of the attempt that it was written in; `-` outside of any.

    Add it to a `logging.Handler`, so that its formatter can say `%(task_id)s`. What a record has already under one of these names stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """The record has the attributes; it is never refused."""
        attempt = ATTEMPT.get()
        task, step = attempt if attempt else (None, None)
        known: dict[str, Any] = {
            "task_id": task.task_id if task else "-",
            "step": step.name if step else "-",
            "attempt": step.attempt if step else "-",
            "correlation_id": (task.correlation_id if task else None) or "-",
        }
        added = {name: value for name, value in known.items() if name not in record.__dict__}
        record.__dict__.update(added, **{_MARK: (*record.__dict__.get(_MARK, ()), *added)})
        return True


def start_capture() -> None:
    """From now on what attempts log in this process, from the level that TASKER_STEP_LOG names, becomes lines of theirs."""
    with _starting:
        _captures.append(_Capture(LEVELS.get(Settings.from_environ().step_log)))
        if len(_captures) == 1:
            _captures[0].install()


def stop_capture() -> None:
    """As many of these as of `start_capture`, and logging is as it was."""
    with _starting:
        if len(_captures) == 1:
            _captures[0].remove()
        if _captures:
            _captures.pop()


@contextmanager
def captured() -> Iterator[None]:
    """A capture for the length of the block."""
    start_capture()
    try:
        yield
    finally:
        stop_capture()


class _Capture(logging.Handler):
    """Stands at the root beside whatever other handlers there are; a floor of None captures nothing."""

    def __init__(self, floor: int | None) -> None:
        super().__init__()
        self._floor = floor
        self._before: int | None = None
        self._filters: list[tuple[logging.Handler, _AsBefore]] = []

    def install(self) -> None:
        """The root's level lets pass what is to be captured, and everybody else hears what they heard before."""
        if self._floor is None:
            return
        root = logging.getLogger()
        if root.level > self._floor:
            self._before = root.level
            self._filters = [(handler, _AsBefore(root.level)) for handler in _handlers()]
            for handler, as_before in self._filters:
                handler.addFilter(as_before)
            root.setLevel(self._floor)
        root.addHandler(self)

    def remove(self) -> None:
        """Nothing of it is left."""
        root = logging.getLogger()
        root.removeHandler(self)
        for handler, as_before in self._filters:
            handler.removeFilter(as_before)
        if self._before is not None and root.level == self._floor:
            root.setLevel(self._before)

    def emit(self, record: logging.LogRecord) -> None:
        """The record is a line of the attempt in whose context it was written."""
        attempt = ATTEMPT.get()
        if attempt is not None and record.levelno >= (self._floor or 0) and not record.name.startswith(OWN[1]) and record.name != OWN[0]:
            try:
                _write(attempt[1], record)
            except Exception:
                self.handleError(record)
        last = logging.lastResort  # who prints warnings where nobody has set up logging; our presence must not silence it
        if last is not None and record.levelno >= last.level and not _is_heard(record.name, self):
            last.handle(record)


class _AsBefore(logging.Filter):
    """On the other handlers: lets pass what the root's level let pass before it was lowered."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self._level = level

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= self._level or record.levelno >= self._without_us(record.name)

    def _without_us(self, name: str) -> int:
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None and logger.parent is not None:
            if logger.level:
                return logger.level
            logger = logger.parent
        return self._level


_captures: list[_Capture] = []
_starting = threading.Lock()


def _write(step: Step, record: logging.LogRecord) -> None:
    parts = [record.getMessage()]
    if record.exc_info:
        parts.append(record.exc_text or logging.Formatter().formatException(record.exc_info))
    added = record.__dict__.get(_MARK, ())
    extra = {key: value for key, value in record.__dict__.items() if key not in _OF_EVERY_RECORD and key != _MARK and key not in added}
    (step.journal or step.open_journal()).log(record.levelno, "\n".join(parts), {"logger": record.name, **extra})


def _handlers() -> list[logging.Handler]:
    """Every handler of every logger, once."""
    root = logging.getLogger()
    loggers = [root, *(each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger))]
    return list({id(handler): handler for logger in loggers for handler in logger.handlers}.values())


def _is_heard(name: str, besides: logging.Handler) -> bool:
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        if any(handler is not besides for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
