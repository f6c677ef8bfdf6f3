"""How a process of ours logs: one line on standard error for every record of any logger, JSON or for reading, with the ids of what it is about.

`tasker engine` and `tasker web` start it, and handler processes in which no handler has set up logging of its own. structlog does the writing; it
takes a while to import, so that is done with the first line, or early where many processes will share it.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from engine import json_text
from engine.errors import TaskerError
from engine.handlers import ATTEMPT
from engine.hiding.masking import clean_message
from engine.journal import LEVELS, discreet, plain
from engine.settings import Settings

FORMATS: Final = ("json", "text")
ENGINE: Final = "TASKER_ENGINE_NAME"
"""The variable by which an engine tells its handler processes whose they are."""
MAX_EXCEPTION_BYTES: Final = 16 << 10

CHATTY: Final = ("httpx", "httpcore")
_BOUND: ContextVar[Mapping[str, Any]] = ContextVar("tasker_bound", default=MappingProxyType({}))
_FIRST: Final = ("timestamp", "level", "logger", "event")
_OURS: Final = ("timestamp", "level")
_OF_RECORDS: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}

Fields = MutableMapping[str, Any]


def start(settings: Settings) -> None:
    """Every logger of this process writes to standard error, from the chosen level on; what was set up before is gone.

    Raises `TaskerError` for a format or a level that does not exist.
    """
    check(settings)
    _install(settings)
    adopt_structlog()
    if settings.env != "development":
        logging.getLogger("waitress").setLevel(logging.WARNING)


def start_for_handlers() -> None:
    """The same in a process that runs handlers, unless one of them has set up logging itself when it was imported."""
    settings = Settings.from_environ()
    if not logging.getLogger().handlers:
        _install(settings)
    if "structlog" in sys.modules:
        adopt_structlog()


def prepare() -> None:
    """What the first line needs is imported, where lines of JSON are wanted: processes that are forked from this one need not do it each."""
    if not logging.getLogger().handlers and _form(Settings.from_environ()) == "json":
        import structlog  # noqa: F401


def name_engine() -> str:
    """Lines of this process, and of those it starts from now on, are of the engine that runs in it. Returns its name, `host:process`."""
    os.environ[ENGINE] = name = f"{platform.node() or 'localhost'}:{os.getpid()}"
    return name


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Lines of the block, in this context, have these fields too."""
    token = _BOUND.set({**_BOUND.get(), **fields})
    try:
        yield
    finally:
        _BOUND.reset(token)


def bind(**fields: Any) -> None:
    """Lines of this context have these fields and none that were bound before, until the next call."""
    _BOUND.set(fields)


def attempt_fields(logger: object = None, method: str = "", fields: Fields | None = None) -> Fields:
    """Whose line it is: the task, step and attempt that run here, what was bound, and the engine. A processor for structlog, too."""
    fields = {} if fields is None else fields
    known: dict[str, Any] = {**_BOUND.get(), **_of_attempt()}
    if name := os.environ.get(ENGINE):
        known["engine"] = name
    for key, value in known.items():
        if fields.get(key) in (None, "-"):
            fields[key] = value
    return fields


def adopt_structlog() -> None:
    """Loggers of structlog write records of `logging`, unless somebody has configured structlog already."""
    import structlog

    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            _as_record,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def check(settings: Settings) -> None:
    """Raises `TaskerError` for a form or level of lines that there is not."""
    if settings.log_format not in (None, *FORMATS):
        raise TaskerError(f"TASKER_LOG_FORMAT is json or text, not {settings.log_format!r}")
    if settings.log_level not in LEVELS:
        raise TaskerError(f"TASKER_LOG_LEVEL is one of {', '.join(LEVELS)}, not {settings.log_level!r}")


def _install(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(_form(settings)))
    if LEVELS.get(settings.log_level, logging.INFO) > logging.DEBUG:
        handler.addFilter(_is_no_chatter)
    root = logging.getLogger()
    for other in list(root.handlers):
        root.removeHandler(other)
        other.close()
    root.addHandler(handler)
    root.setLevel(LEVELS.get(settings.log_level, logging.INFO))


def _is_no_chatter(record: logging.LogRecord) -> bool:
    """Each request of an HTTP step is a line of its attempt; in the process's log they would drown what is said there."""
    return record.levelno >= logging.WARNING or not record.name.startswith(CHATTY)


def _form(settings: Settings) -> str:
    if settings.log_format in FORMATS:
        return str(settings.log_format)
    return "json" if settings.env == "production" else "text"


class LineFormatter(logging.Formatter):
    """Writes a record as one line of the form `json`, or for people; structlog is imported by the first."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self._form = form
        self._writer: logging.Formatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        if self._writer is None:
            self._writer = _writer(self._form)
        return self._writer.format(record)


def _writer(form: str) -> logging.Formatter:
    import structlog

    json_lines: list[Any] = [_cleaned, structlog.processors.JSONRenderer(serializer=_dump)]
    for_people: list[Any] = [_cleaned, _indented, structlog.dev.ConsoleRenderer(colors=_colours(), sort_keys=False)]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.ExtraAdder(),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.contextvars.merge_contextvars,
            attempt_fields,
            structlog.processors.format_exc_info,
        ],
        processors=[_timed, structlog.stdlib.ProcessorFormatter.remove_processors_meta, *(json_lines if form == "json" else for_people)],
        keep_exc_info=False,
        keep_stack_info=False,
    )


def _colours() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def _dump(fields: Any, **_: Any) -> str:
    return json_text.dump(fields)


def _timed(logger: object, method: str, fields: Fields) -> Fields:
    at = datetime.fromtimestamp(fields["_record"].created, UTC)
    return {**fields, "timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}


def _cleaned(logger: object, method: str, fields: Fields) -> Fields:
    """What comes first first, no secrets, nothing that harms a terminal, nothing that JSON cannot hold."""
    secrets = _secrets()
    ids = _ids(fields) if secrets else {}
    first = {key: _told(key, fields.pop(key), secrets) for key in _FIRST if key in fields}
    exception = fields.pop("exception", None)
    last = {} if exception is None else {"exception": discreet(str(exception), secrets, MAX_EXCEPTION_BYTES)}
    return {**first, **plain(fields, secrets), **plain(ids), **last}


def _told(key: str, value: object, secrets: frozenset[str]) -> str:
    return clean_message(str(value)) if key in _OURS else discreet(str(value), secrets)


def _ids(fields: Fields) -> Fields:
    """Takes out of the fields what says whose line it is: a short secret that happens to stand in an id must not make the line unfindable."""
    return {key: fields.pop(key) for key, value in attempt_fields().items() if type(fields.get(key)) is type(value) and fields[key] == value}


def _secrets() -> frozenset[str]:
    """What the attempt that runs here was given that must not be told."""
    attempt = ATTEMPT.get()
    try:
        return frozenset() if attempt is None else attempt[1].secrets_when_first_asked()
    except Exception:  # logging must not raise, and what looks like a secret is masked all the same
        return frozenset()


def _indented(logger: object, method: str, fields: Fields) -> Fields:
    """A text of several lines cannot be taken for several records."""
    return {key: value.replace("\n", "\n  ") if isinstance(value, str) else value for key, value in fields.items()}


def _of_attempt() -> dict[str, Any]:
    attempt = ATTEMPT.get()
    if attempt is None:
        return {}
    task, step = attempt
    known = {"namespace": task.namespace, "workflow": f"{task.name}@{task.version}", "task_id": task.task_id, "step": step.name, "attempt": step.attempt}
    return known | ({"correlation_id": task.correlation_id} if task.correlation_id else {})


def _as_record(logger: object, method: str, fields: Fields) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A line of structlog as a call of `logging`; a field that a record has of its own gets a line behind its name."""
    event = fields.pop("event", "")  # `logging` leaves a text without arguments as it is
    passed = {key: fields.pop(key) for key in ("exc_info", "stacklevel") if key in fields}
    extra = {f"{key}_" if key in _OF_RECORDS else key: value for key, value in fields.items()}
    return (event,), {"extra": extra, **passed}
