"""Those who come to the dashboard see what is wrong with it: each kind of visitor meets a server that does one thing badly."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import visitors
from arena import until
from visitors import Visitors

LATE_SECONDS = 0.6
HANG_SECONDS = 3.0
TASK = "0198c0de-0000-7000-8000-000000000001"
Answer = Callable[["Dashboard"], None]


class Dashboard(BaseHTTPRequestHandler):
    """Answers everything well, but for one path."""

    bad_path = ""
    bad: Answer
    made: list[str] = []

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == self.bad_path:
            type(self).bad(self)
        elif self.path == "/live":
            self.give(200, "event: changed\n\n")
        elif self.command == "POST":
            self.made.append(self.headers["Idempotency-Key"])
            self.give(201, json.dumps({"task_id": TASK}))
        else:
            self.give(200, "a page")

    do_POST = do_GET  # noqa: N815

    def give(self, status: int, text: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


class Stage:
    """As much of an arena as visitors know; its database is never away."""

    def __init__(self, web_url: str) -> None:
        self.web_url, self.accepted, self.uncertain = web_url, {}, 0
        self.numbers = itertools.count(1)

    def new_key(self, name: str) -> str:
        return f"{name}-{next(self.numbers)}"

    def in_outage(self, began: float, ended: float) -> bool:
        return False


@contextmanager
def met(path: str, bad: Answer) -> Iterator[Visitors]:
    handler = type("Bad", (Dashboard,), {"bad_path": path, "bad": staticmethod(bad), "made": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    came = Visitors(Stage(f"http://127.0.0.1:{server.server_port}"))
    came.made = handler.made
    came.may_create.set()
    came.begin({}, "token")
    yield came
    came.end()
    server.shutdown()
    server.server_close()


def hang(_: Dashboard) -> None:
    time.sleep(HANG_SECONDS)


BAD: dict[str, tuple[str, Answer, str]] = {
    "a page that fails": ("/tasks", lambda it: it.give(500, "sorry"), "list /tasks answered 500 without an outage"),
    "a page that shows a traceback": (f"/tasks/{TASK}", lambda it: it.give(200, "Traceback (most recent call last)"), f"detail /tasks/{TASK} shows a traceback"),
    "an outage that is none": ("/", lambda it: it.give(503, "", Retry_After="1"), "overview / answered 503 without an outage"),
    "a creation that fails": (visitors.CREATE, lambda it: it.give(500, "sorry"), f"create {visitors.CREATE} answered 500"),
    "a stream in which nothing is told": ("/live", lambda it: it.give(200, ": nothing\n\n"), "stream /live answered 0"),
    "a connection that ends without a word": ("/health/live", lambda it: it.connection.close(), "live /health/live answered 0"),
    "a page that hangs": ("/health/ready", hang, "ready /health/ready (and waits on) took"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_visitor_tells(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "EVERY_SECONDS", 0.02)
    path, bad, words = BAD[name]
    if bad is hang:
        monkeypatch.setattr(visitors, "SLOWEST_SECONDS", LATE_SECONDS)
    with met(path, bad) as came:
        until(lambda: any(words in problem for problem in problems(came)), f"a visitor to tell: {words}", 10)
        assert all(words.split(" ")[0] == problem.split(" ")[0] for problem in problems(came) if " took " not in problem), problems(came)


def problems(came: Visitors) -> list[str]:
    return [problem for probe in [*came.probes, *came.waiting()] if (problem := probe.problem())]


def test_one_who_cannot_go_on_is_known_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "EVERY_SECONDS", 0.02)
    with met(visitors.CREATE, lambda it: it.give(201, "no task")) as came:
        until(lambda: came._died_of, "a visitor to die", 10)
        with pytest.raises(json.JSONDecodeError):
            came.assert_well()


def test_one_who_waits_keeps_nobody_else_from_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "EVERY_SECONDS", 0.05)
    with met("/", hang) as came:
        until(lambda: len(came.probes) >= 10, "others to be answered", HANG_SECONDS - 0.5)
        assert "overview" not in came.asked()


def test_what_was_asked_for_without_an_answer_is_asked_for_again_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbids: a creation of which nobody knows whether it was carried out."""
    monkeypatch.setattr(visitors, "EVERY_SECONDS", 0.02)
    lost: list[str] = []

    def carried_out_unheard(it: Dashboard) -> None:
        key = it.headers["Idempotency-Key"]
        it.made.append(key)
        if key in lost:
            it.give(200, json.dumps({"task_id": TASK}))
        else:
            lost.append(key)
            it.connection.close()

    with met(visitors.CREATE, carried_out_unheard) as came:
        until(lambda: len(came.unanswered) >= 2, "two creations without an answer", 10)
        came.stop_creating(10)
        assert came.unanswered == set()
        assert set(came.arena.accepted) == set(lost)
        assert sorted(came.made) == sorted(2 * lost)
        assert came.arena.uncertain == len(lost)
