"""How lines of the log look: whose they are, what they must not show, and where a choice of their form comes from."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from engine import log_lines
from engine.definition import StepTemplate, TaskDefinition
from engine.errors import TaskerError
from engine.handlers import Step, Task
from engine.runners import COMPLETED
from engine.runners.invoke import invoke
from engine.settings import Settings
from engine.testing import Said, run_step

log = logging.getLogger("shop.orders")
Printed = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is written to standard error; logging and structlog are as they were afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers[:] = []
    written = io.StringIO()
    monkeypatch.setattr(log_lines, "sys", SimpleNamespace(stderr=written, modules=sys.modules))  # pytest changes its own between setup and call
    structlog.reset_defaults()
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def printed(stderr: io.StringIO) -> Printed:
    """The lines so far, where they are JSON."""
    log_lines.start(Settings(log_format="json"))
    return lambda: [json.loads(line) for line in stderr.getvalue().splitlines()]


def test_every_logger_inside_an_attempt_names_it(printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `logging` and by structlog, in a thread that the loop started and in a coroutine alike, and outside of it no more."""
    monkeypatch.setenv(log_lines.ENGINE, "host:7")
    seen: list[str] = []

    async def work(task: Any) -> None:
        seen.append(task.task_id)
        log.info("page %d", 3, extra={"page": 3})
        await asyncio.to_thread(structlog.get_logger("shop").warning, "slow", seconds=4.2, name="charge")

    said = Said()
    run_step(work, name="charge", attempt=2, correlation_id="c-7", said=said)
    log.info("outside")
    first, second, outside = printed()
    ids = {"workflow": first["workflow"], "namespace": first["namespace"], "task_id": seen[0], "step": "charge", "attempt": 2, "correlation_id": "c-7", "engine": "host:7"}
    assert {key: first[key] for key in ids} == {key: second[key] for key in ids} == ids
    assert (first["level"], first["logger"], first["event"], first["page"]) == ("info", "shop.orders", "page 3", 3)
    assert (second["level"], second["logger"], second["event"], second["seconds"], second["name_"]) == ("warning", "shop", "slow", 4.2, "charge")
    assert not {"task_id", "step", "correlation_id"} & set(outside)
    assert [(line.message, line.fields) for line in said.lines] == [
        ("page 3", {"logger": "shop.orders", "page": 3}),
        ("slow", {"logger": "shop", "seconds": 4.2, "name_": "charge"}),
    ]


def test_what_is_bound_is_in_every_line_of_the_block(printed: Printed) -> None:
    structlog.contextvars.bind_contextvars(shop="north")
    with log_lines.bound(correlation_id="c-8"):
        log.info("inside")
    log.info("after")
    inside, after = printed()
    assert (inside["correlation_id"], inside["shop"]) == ("c-8", "north")
    assert "correlation_id" not in after


def test_secrets_and_what_harms_a_terminal_are_in_no_line(printed: Printed) -> None:
    try:
        raise ValueError("password=hunter2")
    except ValueError:
        log.exception("\x1b[31mtoken=abc\nsecond line", extra={"api_key": "k-1", "deep": {"password": "p"}, "odd": float("nan"), "object": object})
    [line] = printed()
    text = json.dumps(line)
    assert line["event"] == "token=***\nsecond line"
    assert (line["api_key"], line["deep"]["password"], line["odd"]) == ("***", "***", "nan")
    assert line["exception"].startswith("Traceback")
    assert not [secret for secret in ("hunter2", "abc", "k-1", "\\u001b") if secret in text]


SECRET = {"properties": {"pin": {"writeOnly": True}, "phrase": {"x-sensitive": True}}}


def run_with_secrets(handler: Callable[..., None], **context: Any) -> None:
    definition = TaskDefinition("shop", "order", "1.0.0", steps=(StepTemplate("charge", handler_class=handler),), schema=SECRET)
    assert invoke(definition, 0, 1, 3, "0198c2de-4711-7c1b-9d53-0a1b2c3d4e5f", json.dumps(context), None, {}, lambda names: {}) == (COMPLETED, "null")


def test_what_an_attempt_was_given_in_secret_is_in_no_line_and_its_ids_stay(printed: Printed) -> None:
    def handler(task: Task) -> None:
        try:
            raise ValueError(f"refused {task.context['phrase']}")
        except ValueError:
            log.exception("pin %s", task.context["pin"], extra={"pin": 4711, "deep": {"said": ["it is 4711"]}, "open; to me": 1})

    run_with_secrets(handler, pin=4711, phrase="open; to me")
    [line] = printed()
    assert (line["event"], line["pin"], line["deep"], line["***"], line["exception"].splitlines()[-1]) == ("pin ***", "***", {"said": ["it is ***"]}, 1, "ValueError: refused ***")
    assert (line["task_id"], line["step"], line["level"]) == ("0198c2de-4711-7c1b-9d53-0a1b2c3d4e5f", "charge", "error")
    log.info("pin 4711")
    assert printed()[-1]["event"] == "pin 4711"


def test_secrets_are_worked_out_once_by_an_attempt_that_logs_and_never_by_another(printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    secrets = Step.secrets
    monkeypatch.setattr(Step, "secrets", lambda step: asked.append(step.name) or secrets(step))
    run_with_secrets(lambda task: None, pin="hunter")
    assert asked == []
    run_with_secrets(lambda task: [log.info("hunter %d", no) for no in range(3)].clear(), pin="hunter")
    assert asked == ["charge"]
    assert [line["event"] for line in printed()] == ["*** 0", "*** 1", "*** 2"]


def test_a_line_is_told_also_where_the_secrets_cannot_be_worked_out(printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Task, "secrets", lambda task: 1 / 0)
    run_with_secrets(lambda task: log.info("token=abc"), pin="hunter")
    assert [line["event"] for line in printed()] == ["token=***"]


def test_lines_for_people_are_plain_text_that_cannot_be_forged(stderr: io.StringIO) -> None:
    log_lines.start(Settings(log_level="warning"))
    log.info("not heard")
    log.warning("first\n2030-01-01 second", extra={"order": 7})
    lines = stderr.getvalue().splitlines()
    assert len(lines) == 2
    assert "first" in lines[0]
    assert lines[1].startswith("  2030-01-01 second")
    assert "order" in lines[1]
    assert "\x1b" not in stderr.getvalue()


def test_production_writes_json_unless_told_otherwise(stderr: io.StringIO) -> None:
    for chosen, begins in ((Settings(env="production"), "{"), (Settings(env="production", log_format="text"), "2"), (Settings(), "2")):
        stderr.truncate(0)
        stderr.seek(0)
        log_lines.start(chosen)
        log.info("hello")
        assert stderr.getvalue().startswith(begins), chosen


def test_colours_are_for_terminals_that_want_them(stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stderr, "isatty", lambda: True)
    for no_color, coloured in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", no_color)
        stderr.truncate(0)
        log_lines.start(Settings())
        log.info("hello")
        assert ("\x1b[" in stderr.getvalue()) is coloured


@pytest.mark.parametrize("wrong", [{"TASKER_LOG_FORMAT": "yaml"}, {"TASKER_LOG_LEVEL": "loud"}])
def test_a_form_or_level_that_does_not_exist_is_told_with_those_that_do(wrong: dict[str, str]) -> None:
    with pytest.raises(TaskerError, match=r"(json or text|debug, info)"):
        log_lines.start(Settings.from_environ(wrong))


def test_who_has_configured_structlog_keeps_it(stderr: io.StringIO) -> None:
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()], logger_factory=structlog.PrintLoggerFactory(stderr))
    log_lines.start(Settings(log_format="json"))
    structlog.get_logger().info("mine", a=1)
    assert stderr.getvalue() == "a=1 event='mine'\n"


@pytest.mark.parametrize(("level", "told"), [("info", ["refused", "ours"]), ("debug", ["asked", "refused", "ours"])])
def test_requests_of_steps_do_not_drown_the_log_of_the_process(stderr: io.StringIO, level: str, told: list[str]) -> None:
    logging.getLogger("httpx").setLevel(logging.NOTSET)  # a client in this process may have hushed it
    log_lines.start(Settings(env="production", log_level=level))
    logging.getLogger("httpx").info("asked")
    logging.getLogger("httpx").warning("refused")
    logging.getLogger("tasker.engine").info("ours")
    assert [json.loads(line)["event"] for line in stderr.getvalue().splitlines()] == told
