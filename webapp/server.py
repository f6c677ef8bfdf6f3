"""The dashboard's own web server, for one process on one machine; `tasker web`, `up` and `demo` run it."""

from __future__ import annotations

import errno
import gc
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from flask import Flask
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import create_server

from engine.errors import TaskerError
from webapp import MAX_REQUEST_BYTES, database, health, live, replica, security, shards

DEFAULT_PORT = 8080
PORTS_TRIED = 100
THREADS = 256  # every open stream holds one; webapp.live allows fewer streams than this, of all applications together
CONNECTION_LIMIT = 1000
SHUTDOWN_SECONDS = 5
MOST_BYTES, MOST_HEADER_BYTES = 4 * MAX_REQUEST_BYTES, 64 * 1024
"""What is read of a request at most, before the application has seen anything of it: a little more than it takes, so that it can say so on a page."""
DEAF_SECONDS, LOOK_SECONDS = 120.0, 10.0
"""How long a reader may take nothing of what waits for it, and how often that is looked at."""
SLOW_SECONDS = 60.0
"""How long a request may take to arrive."""
SHOWN_HOSTS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class PortUnavailable(TaskerError):
    """The address that was asked for cannot be listened on; the text says why."""


def serve(app: Flask, host: str = "127.0.0.1", port: int | None = None, *, on_ready: Callable[[str], None]) -> None:
    """Answer requests until SIGTERM, SIGINT or Ctrl-C; returns after open streams and requests have ended.

    Without `port` it takes 8080 or the next free one. `on_ready` is told the URL once a browser can connect. The process is taken to be the server's
    own: what it has loaded by then is not searched for garbage any more.
    Raises `PortUnavailable`, before anything is started.
    """
    server = Server(app, host, bind(host, port))
    _set_aside_what_stays()
    with stopped_by_signals(server.stop):
        on_ready(server.url)
        server.run()


def _set_aside_what_stays() -> None:
    # what has been loaded by now stays until the end; a search of it for garbage would stop every request under way for 150 ms or more
    gc.collect()
    gc.freeze()


def bind(host: str, port: int | None) -> socket.socket:
    """A listening socket on the port asked for, or on the first free one from 8080. Raises `PortUnavailable`."""
    if port is not None:
        return _bind_exactly(host, port)
    for candidate in range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED):
        try:
            return _listen(host, candidate)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise PortUnavailable(f"cannot listen on {host}: {error.strerror or error}") from error
    raise PortUnavailable(f"ports {DEFAULT_PORT} to {DEFAULT_PORT + PORTS_TRIED - 1} on {host} are all taken")


def _bind_exactly(host: str, port: int) -> socket.socket:
    try:
        return _listen(host, port)
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "another program listens there; name another port, or none for the next free one" if taken else str(getattr(error, "strerror", None) or error)
        raise PortUnavailable(f"cannot listen on {host} port {port}: {why}") from error


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that can tell, while its answer is under way, whether its reader has hung up."""

    def check_client_disconnected(self) -> bool:
        """Asked by the application. Nothing is read ahead for it, as who only says that no more requests come is still to be answered."""
        try:
            return not self.connected or self.socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:  # silent, and there
            return False
        except OSError:
            return True


class Server:
    """A dashboard on its port. Browsers may connect from the start; they are answered while `run` runs."""

    def __init__(self, app: Flask, host: str, listening: socket.socket) -> None:
        self.app, self.host, self.port = app, host, int(listening.getsockname()[1])
        for each in shards.apps_of(app):
            security.allow_host(each, host)
        self._sockets: dict[int, Any] = {}
        self._stopping = threading.Event()
        self._deaf: set[Any] = set()
        self._coming: dict[Any, float] = {}
        self._looked_at = 0.0
        self._waitress: Any = create_server(
            app,
            map=self._sockets,
            sockets=[listening],
            threads=THREADS,
            connection_limit=CONNECTION_LIMIT,
            max_request_body_size=MOST_BYTES,
            max_request_header_size=MOST_HEADER_BYTES,
            asyncore_use_poll=True,
            ident=None,
            clear_untrusted_proxy_headers=not app.config["PROXY_HOPS"],
        )
        self._waitress.channel_class = Channel

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        shown = SHOWN_HOSTS.get(self.host, self.host)
        return f"http://[{shown}]:{self.port}" if ":" in shown else f"http://{shown}:{self.port}"

    def run(self) -> None:
        """Answer requests until `stop`; then streams end at once and requests under way get a few seconds."""
        try:
            while not self._stopping.is_set():
                wasyncore.loop(timeout=1.0, use_poll=True, map=self._sockets, count=1)
                self._leave_who_holds_up()
        except KeyboardInterrupt:
            pass
        finally:
            self._wind_down()

    def _leave_who_holds_up(self) -> None:
        """Close the connections that take nothing, or send their request too slowly. The server's own timeout is for idle ones alone."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            channels = [each for each in self._sockets.values() if isinstance(each, HTTPChannel)]
            self._leave_the_deaf(channels)
            self._leave_the_slow(channels, now)

    def _leave_the_deaf(self, channels: list[Any]) -> None:
        """Each holds a thread that waits to hand on the rest."""
        before, self._deaf = self._deaf, {each for each in channels if _takes_nothing(each)}
        # seen so twice, as an answer that took long to make may be on its way out at the first look
        for channel in self._deaf & before:
            channel.handle_close()

    def _leave_the_slow(self, channels: list[Any], now: float) -> None:
        """Each holds one of the server's connections, which are not without end."""
        coming = {each.request: each for each in channels if each.request is not None and not each.request.completed}
        self._coming = {request: self._coming.get(request, now) for request in coming}
        for request, since in self._coming.items():
            if now - since > SLOW_SECONDS:
                coming[request].handle_close()

    def stop(self) -> None:
        """Make `run` return. May be called from a signal handler or any thread, more than once."""
        self._stopping.set()
        with suppress(OSError):  # `run` has returned already
            self._waitress.pull_trigger()

    def _wind_down(self) -> None:
        apps = shards.apps_of(self.app)
        for each in apps:
            live.close(each)
        self._waitress.task_dispatcher.shutdown(timeout=SHUTDOWN_SECONDS)
        for dispatcher in list(self._sockets.values()):
            dispatcher.close()
        for each in apps:
            health.close(each)
            replica.close(each)
            database.close(each)


def _takes_nothing(channel: Any) -> bool:
    return bool(channel.total_outbufs_len) and time.time() - channel.last_activity > DEAF_SECONDS


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let SIGTERM and SIGINT call `stop` for the length of the block; outside the main thread that is the caller's business."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
