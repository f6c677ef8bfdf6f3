"""What handlers log by Python's `logging` becomes lines of their attempt, and nothing else about logging changes."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from engine import AttemptFilter
from engine.handlers import Step, Task
from engine.logs import captured
from engine.testing import Said, run_step

log = logging.getLogger("shop.orders")


@pytest.fixture
def bare_root() -> Iterator[logging.Logger]:
    """The root as Python makes it: level WARNING and no handlers; pytest's own come back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers[:] = []
    root.setLevel(logging.WARNING)
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def printing(to: io.StringIO, form: str = "%(message)s") -> logging.Handler:
    handler = logging.StreamHandler(to)
    handler.setFormatter(logging.Formatter(form))
    return handler


def said_by(handler: Any, **options: Any) -> Said:
    said = Said()
    run_step(handler, said=said, **options)
    return said


def test_info_and_above_of_any_logger_are_lines(bare_root: logging.Logger) -> None:
    def handler() -> None:
        log.debug("too small")
        log.info("page %d", 3, extra={"page": 3})
        logging.getLogger("other").error("no")

    said = said_by(handler)
    assert [(line.level, line.message, line.fields) for line in said.lines] == [
        ("info", "page 3", {"logger": "shop.orders", "page": 3}),
        ("error", "no", {"logger": "other"}),
    ]


def test_an_exception_is_logged_with_its_traceback() -> None:
    def handler() -> None:
        try:
            raise ValueError("odd, password=hunter2")
        except ValueError:
            log.exception("it went wrong")

    [line] = said_by(handler).lines
    assert line.message.startswith("it went wrong\nTraceback (most recent call last):")
    assert line.message.endswith("ValueError: odd, password=***")


def test_the_engines_own_lines_are_not_the_handlers() -> None:
    def handler() -> None:
        logging.getLogger("tasker.engine").error("the engine's")
        logging.getLogger("tasker").error("the engine's")
        logging.getLogger("taskers").error("somebody else's")

    assert said_by(handler).messages == ["somebody else's"]


def test_other_threads_of_the_process_are_not_heard(bare_root: logging.Logger) -> None:
    def handler() -> None:
        other = threading.Thread(target=lambda: log.error("from elsewhere"))
        other.start()
        other.join()

    assert said_by(handler).messages == []


def test_coroutines_are_heard() -> None:
    async def handler() -> None:
        await asyncio.gather(asyncio.to_thread(log.info, "from a thread of the loop"), asyncio.sleep(0))
        log.info("from the coroutine")

    assert said_by(handler).messages == ["from a thread of the loop", "from the coroutine"]


def test_a_line_that_cannot_be_made_ends_no_step(bare_root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    def handler() -> int:
        log.info("%d", "no number")
        return 1

    assert run_step(handler) == 1
    assert "Logging error" in capsys.readouterr().err


def test_what_others_print_stays_as_it_was(bare_root: logging.Logger) -> None:
    """The root's level is lowered for the capture; handlers that were there do not notice."""
    printed, own = io.StringIO(), io.StringIO()
    bare_root.addHandler(printing(printed))
    quiet, chatty = logging.getLogger("quiet"), logging.getLogger("chatty")
    handler = printing(own)
    quiet.addHandler(handler)
    chatty.setLevel(logging.DEBUG)
    try:
        with captured():
            for logger in (quiet, chatty):
                logger.info("info")
                logger.warning("warning")
    finally:
        quiet.removeHandler(handler)
        chatty.setLevel(logging.NOTSET)
    assert printed.getvalue().split() == ["warning", "info", "warning"]
    assert own.getvalue().split() == ["warning"]
    assert bare_root.level == logging.WARNING


def test_warnings_are_printed_where_nobody_has_set_up_logging(bare_root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    bare_root.handlers[:] = []  # those of pytest, which came after the fixture
    monkeypatch.setattr(logging, "lastResort", handler := printing(printed))
    handler.setLevel(logging.WARNING)
    with captured():
        log.info("info")
        log.warning("warning")
    assert printed.getvalue() == "warning\n"


@pytest.mark.parametrize(("chosen", "heard"), [("debug", ["d", "i", "e"]), ("error", ["e"]), ("off", [])])
def test_the_level_can_be_chosen(bare_root: logging.Logger, monkeypatch: pytest.MonkeyPatch, chosen: str, heard: list[str]) -> None:
    monkeypatch.setenv("TASKER_STEP_LOG", chosen)

    def handler(step: Step) -> None:
        log.debug("d")
        log.info("i")
        log.error("e")
        step.log("always", "debug")

    assert said_by(handler).messages == [*heard, "always"]


def test_a_formatter_can_name_the_attempt() -> None:
    printed = io.StringIO()
    handler = printing(printed, "%(task_id)s %(step)s %(attempt)s %(correlation_id)s %(message)s")
    handler.addFilter(AttemptFilter())
    seen: list[str] = []

    def work(task: Task) -> None:
        seen.append(task.task_id)
        log.warning("inside")

    log.addHandler(handler)
    try:
        said = said_by(work, name="charge", attempt=2, correlation_id="c-7")
        log.warning("outside")
        log.warning("own", extra={"step": "mine"})
    finally:
        log.removeHandler(handler)
    assert printed.getvalue().splitlines() == [f"{seen[0]} charge 2 c-7 inside", "- - - - outside", "- mine - - own"]
    assert said.lines[0].fields == {"logger": "shop.orders"}


def test_a_map_steps_items_say_what_they_do() -> None:
    def work(item: str, step: Step) -> None:
        step.progress(1, 2, f"at {item}")
        step.log("works", item=item)

    said = said_by(work, item="x", index=4)
    assert (said.messages, said.lines[0].fields) == (["works"], {"item": "x"})
    assert said.progress is not None
    assert said.progress.note == "at x"
