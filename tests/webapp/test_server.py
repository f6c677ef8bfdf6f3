"""The web server: its port, its streams, and how it stops."""

from __future__ import annotations

import gc
import os
import re
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection

import pytest
from flask import Flask, Response

from webapp import routes, server
from webapp.server import PortUnavailable, Server, bind

PATIENCE = 10.0


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


Serving = Callable[[], Server]


@pytest.fixture
def serving(app: Flask) -> Iterator[Server]:
    """The dashboard on a free port, answering."""
    running = Server(app, "127.0.0.1", bind("127.0.0.1", 0))
    thread = threading.Thread(target=running.run)
    thread.start()
    yield running
    running.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_port_that_is_taken_is_one_clear_error(taken: int) -> None:
    with pytest.raises(PortUnavailable, match=f"port {taken}: another program listens there"):
        bind("127.0.0.1", taken)


def test_without_a_wish_the_next_free_port_is_taken(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "DEFAULT_PORT", taken)
    with bind("127.0.0.1", None) as chosen:
        assert taken < chosen.getsockname()[1] < taken + server.PORTS_TRIED


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 0), ("127.0.0.1", 70_000), ("203.0.113.1", 0)])
def test_an_address_that_cannot_be_had_is_one_clear_error(host: str, port: int) -> None:
    with pytest.raises(PortUnavailable, match="cannot listen on"):
        bind(host, port)


def test_what_is_loaded_before_the_first_request_is_not_searched_for_garbage_again(app: Flask) -> None:
    """Such a search stops every thread, and with it every request, for as long as it takes."""
    set_aside: list[int] = []

    def look_and_stop(url: str) -> None:
        set_aside.append(gc.get_freeze_count())
        os.kill(os.getpid(), signal.SIGTERM)

    assert threading.current_thread() is threading.main_thread()
    try:
        server.serve(app, port=0, on_ready=look_and_stop)
        assert set_aside[0] > 10_000
        assert len(gc.get_objects()) < set_aside[0]
    finally:
        gc.unfreeze()


def test_it_answers_on_its_url(serving: Server) -> None:
    assert serving.url == f"http://127.0.0.1:{serving.port}"
    connection = HTTPConnection("127.0.0.1", serving.port, timeout=PATIENCE)
    connection.request("GET", "/health/live")
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.read() == b'{"status":"ok"}\n'
    assert answer.getheader("Server") is None


def test_it_stops_while_a_stream_is_open(serving: Server, cookie: dict[str, str]) -> None:
    connection = HTTPConnection("127.0.0.1", serving.port, timeout=PATIENCE)
    connection.request("GET", "/live", headers=cookie)
    stream = connection.getresponse()
    assert b"event: changed\n" in iter(stream.readline, b"")
    serving.stop()
    stream.read()


def test_pages_are_answered_while_many_streams_are_open(app: Flask, serving: Server, cookie: dict[str, str]) -> None:
    app.config["LIVE_STREAMS_PER_ACCOUNT"] = 60
    streams = [HTTPConnection("127.0.0.1", serving.port, timeout=PATIENCE) for _ in range(60)]
    for stream in streams:
        stream.request("GET", "/live", headers=cookie)
    assert all(stream.getresponse().status == 200 for stream in streams)
    connection = HTTPConnection("127.0.0.1", serving.port, timeout=PATIENCE)
    connection.request("GET", "/health/ready")
    assert connection.getresponse().status == 200
    for stream in streams:
        stream.close()


def test_who_turns_page_after_page_is_followed_by_no_stream_of_before(app: Flask, serving: Server, cookie: dict[str, str]) -> None:
    app.config["LIVE_STREAMS_PER_ACCOUNT"] = 1
    for _ in range(5):
        connection = HTTPConnection("127.0.0.1", serving.port, timeout=PATIENCE)
        connection.request("GET", "/live", headers=cookie)
        stream = connection.getresponse()
        assert stream.status == 200
        assert b"event: changed\n" in iter(stream.readline, b"")
        stream.close()
        connection.close()


def test_who_sends_no_more_requests_is_answered(serving: Server) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", serving.port), PATIENCE) as reader:
            reader.sendall(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            reader.shutdown(socket.SHUT_WR)
            assert reader.makefile("rb").read().startswith(b"HTTP/1.1 200 OK")


def test_a_reader_that_takes_nothing_holds_no_thread_for_long(app: Flask, serving: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for more than the server keeps for it, and reads none of that: the thread that hands it on would wait for good."""
    monkeypatch.setattr(server, "DEAF_SECONDS", 0.3)
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.1)
    monkeypatch.setitem(routes.ROUTES, "endless", routes.PUBLIC)
    ended = threading.Event()

    def pieces() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(2**20)
        finally:
            ended.set()

    app.add_url_rule("/endless", "endless", lambda: Response(pieces()))
    with socket.create_connection(("127.0.0.1", serving.port), PATIENCE) as reader:
        reader.sendall(b"GET /endless HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert ended.wait(PATIENCE)


def test_a_request_that_is_larger_than_any_is_refused_before_it_is_read(serving: Server) -> None:
    """Forbids: anybody, without an account, has a gigabyte of his written into a temporary file."""
    with socket.create_connection(("127.0.0.1", serving.port), PATIENCE) as sender:
        sender.sendall(b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 104857600\r\n\r\n")
        assert sender.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_request_in_pieces_is_refused_as_soon_as_it_is_too_large(serving: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    with socket.create_connection(("127.0.0.1", serving.port), PATIENCE) as sender:
        sender.sendall(b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with suppress(OSError):
            while sent < 10 * server.MOST_BYTES and not select.select([sender], [], [], 0)[0]:
                sender.sendall(piece)
                sent += len(piece)
        assert sent < 3 * server.MOST_BYTES


@pytest.mark.parametrize("beginning", [b"GET / HT", b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nname="])
def test_a_request_that_takes_too_long_to_arrive_is_not_waited_for(serving: Server, monkeypatch: pytest.MonkeyPatch, beginning: bytes) -> None:
    """It sends something now and then, so that it is never idle."""
    monkeypatch.setattr(server, "SLOW_SECONDS", 0.3)
    monkeypatch.setattr(server, "LOOK_SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", serving.port), PATIENCE) as sender:
        sender.sendall(beginning)
        until = time.monotonic() + PATIENCE
        with suppress(OSError):
            while time.monotonic() < until and not select.select([sender], [], [], 0.05)[0]:
                sender.sendall(b"a")
        assert time.monotonic() < until


def test_serve_tells_the_url_and_ends_with_stop(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(Server, "run", lambda self: self.stop())
    server.serve(app, "127.0.0.1", 0, on_ready=told.append)
    assert told[0].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(("host", "url"), [("0.0.0.0", "http://127.0.0.1:"), ("::1", "http://[::1]:")])
def test_the_url_is_one_that_a_browser_can_open(app: Flask, host: str, url: str) -> None:
    running = Server(app, host, bind(host, 0))
    assert running.url.startswith(url)
    running._wind_down()


HOST = "Host: 127.0.0.1\r\n"
ODD_REQUESTS = {
    "two hosts": (f"GET / HTTP/1.1\r\n{HOST}Host: evil.example\r\n", 400),
    "no host": ("GET / HTTP/1.1\r\n", 400),
    "another host": ("GET / HTTP/1.1\r\nHost: evil.example\r\n", 400),
    "a header of 70,000 characters": (f"GET / HTTP/1.1\r\n{HOST}X: {'y' * 70_000}\r\n", 431),
    "a space in a header's name": (f"GET / HTTP/1.1\r\n{HOST}X-A : b\r\n", 400),
    "two lengths": (f"POST /api/v1/tasks HTTP/1.1\r\n{HOST}Content-Length: 2\r\nContent-Length: 60\r\n", 400),
    "a length below nothing": (f"POST /api/v1/tasks HTTP/1.1\r\n{HOST}Content-Length: -5\r\n", 400),
    "pieces of no size": (f"POST /api/v1/tasks HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "another coding": (f"POST /api/v1/tasks HTTP/1.1\r\n{HOST}Transfer-Encoding: xchunked\r\n", 501),
    "bytes in an address": (f"GET /tasks?q=\xff\xfe HTTP/1.1\r\n{HOST}", 400),
    "NUL in an address": (f"GET /static/a%00.css HTTP/1.1\r\n{HOST}", 404),
    "a way out of the folder": (f"GET /static/..%2f..%2fengine/db.py HTTP/1.1\r\n{HOST}", 404),
    "NUL in a header": (f"GET /api/v1/tasks HTTP/1.1\r\n{HOST}Authorization: Bearer \0\r\n", 400),
    "two tokens": (f"GET /api/v1/tasks HTTP/1.1\r\n{HOST}Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", 401),
    "a method in small letters": (f"get / HTTP/1.1\r\n{HOST}", 400),
    "a method that there is not": (f"FETCH /login HTTP/1.1\r\n{HOST}", 405),
    "TRACE": (f"TRACE /login HTTP/1.1\r\n{HOST}", 405),
    "CONNECT": (f"CONNECT evil.example:443 HTTP/1.1\r\n{HOST}", 404),
    "HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n", 400),
    "TLS": ("\x16\x03\x01\x02\x00\x01\r\n", 400),
}


def answered(to: Server, request: str) -> tuple[int, str]:
    """The status and all of the answer; the connection is closed after it."""
    with socket.create_connection(("127.0.0.1", to.port), timeout=PATIENCE) as line:
        line.sendall(f"{request}Connection: close\r\n\r\n".encode("latin-1"))
        told = b""
        with suppress(ConnectionError):
            while more := line.recv(65_536):
                told += more
    return int(told.split()[1]), told.decode("latin-1")


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_request_that_is_none_is_refused_without_a_word_of_what_is_inside(serving: Server, cookie: dict[str, str]) -> None:
    signed_in = f"Cookie: {cookie['Cookie']}\r\n"
    for name, (request, status) in ODD_REQUESTS.items():
        found, told = answered(serving, request + signed_in * (status in (404, 405)))
        assert found == status, (name, told[:200])
        assert not re.search("Traceback|/webapp/", told), name
    assert answered(serving, f"GET /health HTTP/1.0\r\n{HOST}")[0] < 400


def test_what_is_sent_behind_one_another_is_answered_in_order(serving: Server) -> None:
    _, told = answered(serving, f"GET /login HTTP/1.1\r\n{HOST}\r\nGET /api/v1/none HTTP/1.1\r\n{HOST}\r\nHEAD /login HTTP/1.1\r\n{HOST}")
    assert re.findall(r"HTTP/1\.1 (\d+) ", told) == ["200", "401", "200"]
