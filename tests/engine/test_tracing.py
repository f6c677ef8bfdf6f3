"""Traces reach a collector: one for a task, a span for each attempt, those of callers, handlers and child tasks in the same one."""

from __future__ import annotations

import gzip
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
import pytest
from opentelemetry import context, trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from engine import Workflow, events, log_lines, submit, tasks, trace_ids
from engine.db import Database
from engine.errors import PermanentError, RetryableError, TaskerError
from engine.registry import HandlerRegistry
from engine.requests import TaskRequest
from engine.scheduler import Engine
from engine.traces import otlp, tracing, tracing_process

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Collector:
    """An OTLP receiver on a port of its own; with `refuses` it answers 400, and it begins with the answers in `first`, of which 0 is none."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.refuses = False
        self.first: list[int] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of(self, task_id: str) -> dict[str, Span]:
        """The spans of the task, by `step attempt`; its own under its id."""
        return {self._name(span, task_id): span for span in self.spans if facts(span)["tasker.task_id"] == task_id}

    def _name(self, span: Span, task_id: str) -> str:
        return f"{span.name} {facts(span)['tasker.attempt']}" if "tasker.attempt" in facts(span) else task_id

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = collector.answer()
                if status:
                    self.send_response(status)
                    self.end_headers()
                if status == 200:
                    collector.take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)

            def log_message(self, *_: Any) -> None: ...

        return Handler

    def answer(self) -> int:
        if self.refuses:
            return 400
        return self.first.pop(0) if self.first else 200

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {each.value.string_value for each in resource.resource.attributes if each.key == "service.name"}
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]


def facts(thing: Any) -> dict[str, Any]:
    """The attributes of a span or an event."""
    return {each.key: each.value.int_value or each.value.double_value or each.value.string_value for each in thing.attributes}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    made = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    monkeypatch.setattr(trace_ids, "IS_ON", True)
    yield made
    made.close()


def test_a_task_is_one_trace_with_a_span_for_each_attempt(
    collector: Collector, registry: HandlerRegistry, db: Database, database_url: str, conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., bool],
) -> None:  # fmt: skip
    monkeypatch.setenv("TASKER_DATABASE_URL", database_url)
    monkeypatch.delenv(log_lines.ENGINE, raising=False)
    flow, child = Workflow("traced", namespace="shop"), Workflow("child", namespace="shop")
    seen: dict[str, str] = {}

    @flow.step(retry_limit=2)
    def flaky(task: Any, step: Any) -> None:
        here = trace.get_current_span().get_span_context()
        seen[f"flaky {step.attempt}"] = f"{here.trace_id:032x}-{here.span_id:016x}"
        if step.attempt == 1:
            raise RetryableError("password=hunter2 is busy", delay=0.25)

    @flow.step(depends_on_step="flaky")
    def calls(task: Any) -> None:
        seen["child"] = submit(TaskRequest("child", "shop"))

    @flow.step()
    def lists() -> list[int]:
        return [1, 2]

    @flow.step(depends_on_step="lists", for_each="lists")
    def each(item: int) -> int:
        return item

    @child.step()
    def fails(task: Any) -> None:
        raise PermanentError("no", error_code="E1")

    engine = Engine(database_url, registry, runner="threads", concurrency=2)
    engine.start()
    try:
        joined = tasks.submit(db, TaskRequest("traced", "shop", correlation_id="c-1", traceparent=CALLER))
        assert eventually(lambda: "child" in seen and joined in collector.of(joined) and seen["child"] in collector.of(seen["child"]))
        (engine_name,) = conn.execute("select name from tasker_worker").fetchone()  # type: ignore[misc]
    finally:
        engine.drain()
    assert os.environ[log_lines.ENGINE] == engine_name, "by which log lines name it"
    spans, of_child = collector.of(joined), collector.of(seen["child"])
    own = spans[joined]
    assert set(spans) == {joined, "flaky 1", "flaky 2", "calls 1", "lists 1", "each 1", "each[0] 1", "each[1] 1"}
    assert set(of_child) == {seen["child"], "fails 1"}
    assert {span.trace_id.hex() for span in (*spans.values(), *of_child.values())} == {CALLER[3:35]}
    assert own.parent_span_id.hex() == CALLER[36:52]
    assert {spans[name].parent_span_id for name in ("flaky 1", "flaky 2", "calls 1")} == {own.span_id}
    assert of_child[seen["child"]].parent_span_id == spans["calls 1"].span_id, "a task is a child of the attempt that submitted it"
    assert {name: f"{span.trace_id.hex()}-{span.span_id.hex()}" for name, span in spans.items() if name.startswith("flaky")} == {name: seen[name] for name in seen if name != "child"}
    failed, retry = spans["flaky 1"].events
    assert (failed.name, facts(failed)) == ("exception", {"exception.type": "RetryableError", "exception.message": "password=*** is busy"})
    assert (retry.name, round(facts(retry)["tasker.back_off_seconds"], 2)) == ("retry", 0.25)
    assert [spans[name].status.code for name in ("flaky 1", "flaky 2", joined)] == [2, 0, 0]
    assert of_child["fails 1"].status.code == of_child[seen["child"]].status.code == 2
    # of two first steps that are claimed at once the later one may be it that starts the task
    assert own.start_time_unix_nano <= spans["flaky 1"].end_time_unix_nano <= spans["flaky 2"].start_time_unix_nano
    assert spans["flaky 1"].start_time_unix_nano <= spans["flaky 1"].end_time_unix_nano
    assert spans["calls 1"].end_time_unix_nano <= own.end_time_unix_nano
    assert {facts(spans[name])["tasker.engine"] for name in ("flaky 1", "calls 1")} == {engine_name}
    assert (own.name, facts(own)["tasker.correlation_id"], collector.services) == ("shop/traced", "c-1", {"tasker"})


@pytest.fixture
def ended(conn: psycopg.Connection[Any], db: Database) -> Callable[..., str]:
    """Makes a task of one step that has ended."""
    definition = tasks.register_definition(db, _one_step())
    worker = conn.execute("select tasker_register_worker('hand', 'threads', 1, %s, interval '1 hour', true)", [[definition]]).fetchone()[0]  # type: ignore[index]

    def make(**fields: Any) -> str:
        task_id = tasks.submit(db, TaskRequest("one", "shop", **fields))
        conn.execute("select * from tasker_claim_steps(%s, 1, 100, %s)", [worker, [definition]])
        row = conn.execute("select task_no from tasker_task where task_id = %s", [task_id]).fetchone()
        conn.execute("select * from tasker_complete_batch(%s, 1, %s, '{0}', '{1}'::smallint[], '[null]'::jsonb, 0)", [worker, [row[0]]])  # type: ignore[index]
        return task_id

    return make


Told = Callable[[tracing.Traces, int], bool]


@pytest.fixture
def tells(eventually: Callable[..., bool]) -> Told:
    """Whether so many spans are told, and no more: transactions of others on the server may hold some back for a moment."""

    def check(traces: tracing.Traces, count: int) -> bool:
        told: list[int] = []
        return eventually(lambda: told.append(traces.tell_due()) or sum(told) >= count) and sum(told) == count

    return check


def opened(db: Database) -> tracing.Traces:
    return tracing.open_traces(tracing.Place(db))


def _one_step() -> Any:
    flow = Workflow("one", namespace="shop")
    flow.define("only")
    return flow.definition


def test_a_collector_that_is_away_misses_nothing(
    collector: Collector, registry: HandlerRegistry, db: Database, ended: Callable[..., str], tells: Told, eventually: Callable[..., bool]
) -> None:
    traces, other = opened(db), opened(db)
    traces.place.begin()
    collector.first = [503]
    own = ended()
    assert eventually(lambda: traces.tell_due() or not collector.first)
    assert other.tell_due() == 0, "one engine at a time tells"
    assert tells(traces, 2)
    assert {span.trace_id.hex() for span in collector.spans} == {own.replace("-", "")}
    assert traces.tell_due() == 0, "what was told is told once"
    later = ended()
    traces.close()
    assert eventually(lambda: other.tell_due() or set(collector.of(later)) == {later, "only 1"}), "the other goes on where it ended"
    assert len(collector.spans) == 4


@pytest.mark.parametrize("answer", [0, 408, 429, 500, 503])
def test_a_collector_that_is_away_for_thirty_rounds_misses_nothing_afterwards(
    answer: int, collector: Collector, registry: HandlerRegistry, db: Database, ended: Callable[..., str], tells: Told, eventually: Callable[..., bool], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tasker.traces")
    traces = opened(db)
    traces.place.begin()
    own = ended()
    collector.first = [answer] * 30
    assert eventually(lambda: traces.tell_due() or not collector.first)
    assert tells(traces, 2), "the place did not move"
    assert set(collector.of(own)) == {own, "only 1"}
    assert "given up" not in caplog.text
    assert [record.getMessage().partition(",")[0] for record in caplog.records if record.levelno == logging.INFO] == ["the collector takes the traces again"]


def test_rounds_in_which_the_collector_is_away_do_not_count_as_refusals(
    collector: Collector, registry: HandlerRegistry, db: Database, ended: Callable[..., str], tells: Told
) -> None:
    traces = opened(db)
    traces.place.begin()
    own = ended()
    collector.first = [503, 400, 0] * 9
    assert tells(traces, 2)
    assert (collector.first, set(collector.of(own))) == ([], {own, "only 1"})


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadTimeout, httpx.WriteError])
def test_a_collector_that_cannot_be_reached_is_away(error: type[httpx.TransportError], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error("no way there")

    collector = otlp.Collector({})
    monkeypatch.setattr(collector, "_transport", httpx.MockTransport(fail))
    assert collector.take([b""]) == (error.__name__, False)


def test_what_ended_while_traces_were_off_is_not_told_when_they_are_on_again(
    collector: Collector, registry: HandlerRegistry, db: Database, ended: Callable[..., str], tells: Told, conn: psycopg.Connection[Any]
) -> None:
    first, later = opened(db), opened(db)
    first.place.begin()
    first.close()
    ended()
    conn.execute("update tasker_subscription set created_at = created_at - interval '2 hours'")
    later.place.begin()
    wanted = ended()
    assert tells(later, 2)
    assert {facts(span)["tasker.task_id"] for span in collector.spans} == {wanted}


def test_a_share_of_the_tasks_is_traced_and_callers_decide_for_theirs(
    collector: Collector, registry: HandlerRegistry, db: Database, ended: Callable[..., str], tells: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    traces = opened(db)
    traces.place.begin()
    ended()
    ended(traceparent=f"{CALLER[:-2]}00")
    wanted = ended(traceparent=CALLER)
    assert tells(traces, 2)
    assert {facts(span)["tasker.task_id"] for span in collector.spans} == {wanted}


def test_spans_that_are_refused_for_good_are_given_up(
    collector: Collector, registry: HandlerRegistry, db: Database, ended: Callable[..., str], eventually: Callable[..., bool], caplog: pytest.LogCaptureFixture
) -> None:
    traces = opened(db)
    traces.place.begin()
    collector.refuses = True
    ended()
    assert eventually(lambda: traces.tell_due() or "given up after 10 tries" in caplog.text)
    assert "given up after 10 tries" in caplog.text
    collector.refuses = False
    assert traces.tell_due() == 0


def test_a_window_that_is_refused_ten_times_is_all_that_is_lost(
    collector: Collector, registry: HandlerRegistry, db: Database, ended: Callable[..., str], tells: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "WINDOW", 1)
    traces = opened(db)
    traces.place.begin()
    lost, later = ended(), ended()
    collector.first = [400] * tracing.TRIES
    assert tells(traces, 4), "what is given up counts as told"
    assert collector.first == []
    assert (len(collector.of(lost)), set(collector.of(later))) == (1, {later, "only 1"})


def test_a_quiet_engine_tells_more_in_a_round_than_a_busy_one(
    collector: Collector, registry: HandlerRegistry, db: Database, ended: Callable[..., str], tells: Told, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., bool]
) -> None:
    monkeypatch.setattr(tracing, "WINDOW", 1)
    monkeypatch.setattr(tracing, "ROUND_SECONDS", 0.0)
    monkeypatch.setattr(tracing, "QUIET_SECONDS", 60.0)
    traces = opened(db)
    traces.place.begin()
    ended()
    assert eventually(lambda: traces._horizon.look(db) >= events.newest_event(db))
    assert traces.tell_due() <= 1, "one window, however many wait"
    traces.tell_due(lambda: True)
    assert len(collector.spans) == 2


def attempted(handler: Callable[[Any, Any, Any], None]) -> None:
    """The handler runs as that of an attempt, in a context of its own."""
    task, step = SimpleNamespace(task_id="0" * 31 + "1", traceparent=CALLER), SimpleNamespace(name="charge", attempt=1)
    copy_context().run(trace_ids.runs(), handler, task, None, step)


def current() -> trace.SpanContext:
    return trace.get_current_span().get_span_context()


def test_an_attempt_makes_its_ids_only_when_a_handler_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def attempt_span(task_id: str, step_name: str, attempt: int) -> int:
        asked.append(step_name)
        return 7

    def handler(*_: Any) -> None:
        span = trace.get_current_span()
        assert not asked
        assert (span.get_span_context().span_id, f"{span.get_span_context().trace_id:032x}", span.get_span_context().trace_flags) == (7, CALLER[3:35], 1)
        assert trace.get_current_span() is span
        assert asked == ["charge"]

    monkeypatch.setattr(trace_ids, "attempt_span", attempt_span)
    attempted(handler)
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_thread_that_a_handler_gives_its_context_has_its_span() -> None:
    found: list[tuple[int, int]] = []

    def thread(given: context.Context) -> None:
        before = current().span_id
        context.attach(given)
        found.append((before, current().span_id))

    def handler(*_: Any) -> None:
        other = threading.Thread(target=thread, args=(context.get_current(),))
        other.start()
        other.join()
        found.append((0, current().span_id))

    attempted(handler)
    assert found[0] == found[1] != (0, 0)


def test_what_a_handler_adds_to_its_context_keeps_the_span_of_its_attempt() -> None:
    def handler(*_: Any) -> None:
        span = current().span_id
        context.attach(context.set_value("colour", "blue"))
        assert (context.get_value("colour"), current().span_id) == ("blue", span)

    attempted(handler)


def test_what_others_have_set_is_there_in_an_attempt_and_after_it() -> None:
    def handler(*_: Any) -> None:
        assert (context.get_value("colour"), f"{current().trace_id:032x}") == ("blue", CALLER[3:35])

    def thread() -> None:
        context.attach(context.set_value("colour", "blue"))
        attempted(handler)
        assert (context.get_value("colour"), trace.get_current_span()) == ("blue", trace.INVALID_SPAN)

    copy_context().run(thread)


def test_what_is_no_traceparent_is_told_by_submit() -> None:
    for odd in ("nonsense", CALLER.upper(), CALLER.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32), f"{CALLER}-more"):
        assert not trace_ids.is_well_formed(odd)
        with pytest.raises(Exception, match="no traceparent"):
            TaskRequest("one", traceparent=odd)


@pytest.fixture
def telling(collector: Collector, db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[tracing_process.TracingProcess]:
    """A process that tells the collector, as an engine has one."""
    monkeypatch.setattr(tracing_process, "AGAIN_SECONDS", 0.0)
    process = tracing_process.open_tracing(db.url)
    assert process
    process.begin(db)
    yield process
    process.end()


def test_the_process_that_tells_is_started_again_when_it_dies_and_misses_nothing(
    collector: Collector, registry: HandlerRegistry, telling: tracing_process.TracingProcess, ended: Callable[..., str], eventually: Callable[..., bool]
) -> None:
    ended()
    assert eventually(lambda: telling.ask(is_quiet=True) or len(collector.spans) == 2)
    assert telling._process
    telling._process.kill()
    later = ended()
    assert eventually(lambda: telling.ask(is_quiet=True) or set(collector.of(later)) == {later, "only 1"})
    assert len({span.span_id for span in collector.spans}) == 4


def test_the_process_that_tells_is_tried_again_when_it_could_not_be_started(
    collector: Collector, registry: HandlerRegistry, telling: tracing_process.TracingProcess, ended: Callable[..., str], eventually: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise BlockingIOError("no process is to be had")

    assert telling._process
    with monkeypatch.context() as patch:
        patch.setattr(tracing_process, "_opened", refuse)
        telling._process.kill()
        assert eventually(lambda: telling.ask(is_quiet=True) or telling._process is None)
        telling.ask(is_quiet=True)
    task = ended()
    assert eventually(lambda: telling.ask(is_quiet=True) or set(collector.of(task)) == {task, "only 1"})


def test_the_process_that_tells_ends_with_an_engine_that_is_killed_after_all_was_told(
    collector: Collector, registry: HandlerRegistry, db: Database, ended: Callable[..., str], eventually: Callable[..., bool]
) -> None:
    session = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'tasker traces'"
    program = """
        import os, signal, sys
        from engine.traces import tracing_process
        from engine.db import Database
        process = tracing_process.open_tracing(sys.argv[1])
        process.begin(Database(sys.argv[1]))
        process.ask(is_quiet=True)
        sys.stdin.read(1)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), db.url]
    with subprocess.Popen(command, env={**os.environ, "TASKER_TRACES": "on"}, stdin=subprocess.PIPE) as engine:
        assert eventually(lambda: db.value(session, {}) == 1)
        ended()
    assert engine.returncode == -signal.SIGKILL
    assert eventually(lambda: db.value(session, {}) == 0)
    assert len(collector.spans) == 2


def test_traces_without_their_extra_are_refused_with_the_command_that_installs_it(db: Database, registry: HandlerRegistry, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing_process, "MODULES", ("nothing.of.that.name",))
    with pytest.raises(TaskerError, match=r"pip install 'tasker-engine\[traces\]'"):
        Engine(db.url, registry, runner="threads")


def test_nothing_of_opentelemetry_is_imported_where_traces_are_off() -> None:
    program = "import engine.scheduler, engine.runners.invoke, webapp, sys; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.strip() == "[]"
