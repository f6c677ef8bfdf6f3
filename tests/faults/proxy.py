"""A TCP proxy between the product and its PostgreSQL that can do to a connection what networks do, at a chosen statement if wanted.

It understands as much of the protocol as it needs for that: who connects, which statement runs, when the answer is complete.
"""

from __future__ import annotations

import random
import re
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["pass", "reset", "stall", "delay", "throttle"]
Moment = Literal["before", "half", "within", "at", "after"]
MOMENTS: tuple[Moment, ...] = ("before", "at", "after")
"""Of a statement: not sent yet; carried out, its reply unread; its reply read. Within is while the server is at it, wherever it has come to."""

LOOK_SECONDS = 0.02
CHUNK = 65536
_NO_ENCRYPTION = (80877103, 80877104)
_CANCEL = 80877102
_ASKS = (b"Q", b"S")
"""The messages from the client after which the server answers."""


@dataclass(slots=True)
class Snare:
    """What is to happen when a statement that matches comes by, `times` times."""

    pattern: str
    moment: Moment
    spring: Callable[[Link], None]
    times: int = 1
    when: Callable[[], bool] = lambda: True
    sprung: threading.Event = field(default_factory=threading.Event)
    caught: int = 0
    ports: list[int] = field(default_factory=list)
    """Of the sessions that it met, as the server knows them: pg_stat_activity.client_port."""

    def takes(self, statement: str) -> bool:
        return self.caught < self.times and re.search(self.pattern, statement) is not None and self.when()


class Link:
    """One connection through the proxy, and the session it leads to."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self.proxy, self.client = proxy, client
        self.server: socket.socket
        self.role = ""
        self.snare: Snare | None = None
        self._due: Snare | None = None
        self.is_ready = False
        self._statements: dict[bytes, str] = {}
        self._torn = threading.Lock()
        self._ended = 0
        self.asked_at: float | None = None

    def run(self) -> None:
        try:
            self.server = socket.create_connection(self.proxy.target, timeout=5)
            self.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.server.settimeout(None)
            self.server.sendall(self._greeting())
        except (OSError, EOFError):
            self.tear()
            return
        if self.proxy.mode_of(self) == "reset":
            self.tear()
            return
        threading.Thread(target=self._pump, args=(self.server, self.client, self._answered), daemon=True).start()
        self._pump(self.client, self.server, self._asked)

    def tear(self) -> None:
        """Both sides are told that the connection is reset."""
        with self._torn:
            for side in (self.client, getattr(self, "server", None)):
                if side is not None:
                    with suppress(OSError):
                        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        side.shutdown(socket.SHUT_RDWR)
                    with suppress(OSError):
                        side.close()
        self.proxy.forget(self)

    @property
    def is_whole(self) -> bool:
        """Whether neither side has ended it; one whose server has crashed is noticed by the client only when it asks something."""
        return self._ended == 0

    def note_end_of_call(self) -> None:
        """Whoever asked has its answer, or has given up waiting for it."""
        asked, self.asked_at = self.asked_at, None
        if asked is not None:
            self.proxy.longest_call = max(self.proxy.longest_call, time.monotonic() - asked)

    def note_giving_up(self) -> None:
        """The client has lost patience with a call."""
        if self.asked_at is not None:
            self.note_end_of_call()
            self.proxy.given_up.append(self.role)

    def is_given_up(self) -> bool:
        """Whether the client has closed its end, be there still something of it to deliver."""
        poll = select.poll()
        with suppress(OSError, ValueError):
            poll.register(self.client, select.POLLRDHUP)
            return bool(poll.poll(0))
        return True

    def _greeting(self) -> bytes:
        """The start-up packet, after every wish for encryption was declined."""
        while True:
            head = _exactly(self.client, 8)
            length, code = struct.unpack("!ii", head)
            rest = _exactly(self.client, length - 8)
            if code not in _NO_ENCRYPTION:
                break
            self.client.sendall(b"N")
        if code != _CANCEL:
            words = rest.split(b"\0")
            self.role = dict(zip(words[::2], words[1::2], strict=False)).get(b"application_name", b"").decode()
        return head + rest

    def _pump(self, source: socket.socket, sink: socket.socket, look: Callable[[bytes, bytes], bool]) -> None:
        pending = b""
        try:
            for data in self._arrivals(source):
                messages, pending = _split(pending + data)
                if source is self.client and any(kind in _ASKS for kind, _ in messages):
                    self.asked_at = time.monotonic()  # also where nothing of it goes on
                for kind, message in messages:
                    self._half_sent(kind, source)
                    self.proxy.hold(self, len(message))
                    if not look(kind, message):
                        self.tear()
                        return
                    # a snare that springs after the reply has to see it arrive
                    sink.sendall(message)
                    self._delivered(kind, source)
                    self._sent(kind, source)
        except OSError:
            pass  # whoever closed with something unread; what it had sent before is delivered all the same
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        self._part()

    def _arrivals(self, source: socket.socket) -> Iterator[bytes]:
        """What has come and may go on: where the way is long, each packet after a while of its own, while others set out behind it."""
        under_way: deque[tuple[float, bytes]] = deque()
        while True:
            while under_way and ((left := under_way[0][0] - time.monotonic()) <= 0 or not _has_come(source, left)):
                yield under_way.popleft()[1]
            if not (data := source.recv(CHUNK)):
                break
            last = under_way[-1][0] if under_way else 0.0
            under_way.append((max(last, time.monotonic() + self.proxy.delay(self)), data))
        for due, data in under_way:
            time.sleep(max(0.0, due - time.monotonic()))
            yield data

    def _part(self) -> None:
        """The second direction to end takes the link along."""
        with self._torn:
            self._ended += 1
            over = self._ended == 2
        if over:
            self.tear()

    def _asked(self, kind: bytes, message: bytes) -> bool:
        statement = self._statement(kind, message)
        if statement is None:
            return True
        snare = self.proxy.snare_for(self, statement)
        if snare is None:
            return True
        if snare.moment == "before":
            _spring(snare, self)
            return False
        self.snare = snare
        return True

    def _answered(self, kind: bytes, message: bytes) -> bool:
        if kind == b"E":
            self.proxy.refusals.append(_sqlstate(message))
        if kind != b"Z":
            return True
        if self.snare is not None and self.snare.moment == "at":
            _spring(self.snare, self)
            return False
        # settled before the client has it: what it asks then, while this thread rests, is not what was answered here
        self._due, self.snare = self.snare, None
        self.note_end_of_call()
        return True

    def _delivered(self, kind: bytes, source: socket.socket) -> None:
        if kind != b"Z" or source is not self.server:
            return
        self.is_ready = True
        if self._due is not None:
            snare, self._due = self._due, None
            _spring(snare, self)

    def _half_sent(self, kind: bytes, source: socket.socket) -> None:
        """The server has the statement and does it, and not yet the end of the request, for which it waits."""
        if kind == b"S" and source is self.client and self.snare is not None and self.snare.moment == "half":
            snare, self.snare = self.snare, None
            _spring(snare, self)

    def _sent(self, kind: bytes, source: socket.socket) -> None:
        if kind in _ASKS and source is self.client and self.snare is not None and self.snare.moment == "within":
            snare, self.snare = self.snare, None
            _spring(snare, self)

    def _statement(self, kind: bytes, message: bytes) -> str | None:
        """The text of a statement that starts to run with this message."""
        if kind == b"Q":
            return message[5:].rstrip(b"\0").decode(errors="replace")
        if kind == b"P":
            name, text, _ = message[5:].split(b"\0", 2)
            self._statements[name] = text.decode(errors="replace")
        if kind == b"B":
            _, name, _ = message[5:].split(b"\0", 2)
            return self._statements.get(name)
        return None


class Proxy:
    """Listens on `port`; every connection made there ends at the target."""

    def __init__(self, target: tuple[str, int], seed: int = 0, host: str = "127.0.0.1") -> None:
        self.target, self.host = target, host
        self.accepted = 0
        self.longest_call = 0.0
        self.given_up: list[str] = []
        self.refusals: list[str] = []
        """The code of each error that the server answered with."""
        self._random = random.Random(seed)
        self._mode: Mode = "pass"
        self._roles = ""
        self._links: set[Link] = set()
        self._snares: list[Snare] = []
        self._stalled: set[Link] = set()
        self._book = threading.Lock()
        self._until: float | None = None
        self._listening: socket.socket | None = None
        self.port = 0
        self.accept()

    @property
    def is_open(self) -> bool:
        """Whether everything passes now."""
        return self._mode == "pass" and not self._stalled

    def url(self, direct: str) -> str:
        """The address of the target's database by way of the proxy."""
        return re.sub(r"@[^/]+/", f"@{self.host}:{self.port}/", direct)

    # ---- what can be done

    @contextmanager
    def behaving(self, mode: Mode, roles: str = "") -> Iterator[None]:
        """For the length of the block the connections whose application name matches `roles` are treated so; `reset` tears them, now and anew."""
        self._mode, self._roles = mode, roles
        if mode == "reset":
            self.tear(roles)
        try:
            yield
        finally:
            self._mode = "pass"

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Nobody listens, and what was connected is reset."""
        self.refuse()
        self.tear()
        try:
            yield
        finally:
            self.accept()

    def tear(self, roles: str = "") -> int:
        """The connections that match are reset; how many."""
        with self._book:
            links = [link for link in self._links if re.search(roles, link.role)]
        for link in links:
            link.tear()
        return len(links)

    def set_snare(self, pattern: str, moment: Moment, spring: Callable[[Link], None] = Link.tear, times: int = 1, when: Callable[[], bool] = lambda: True) -> Snare:
        """The next statements that match, and come when it is so, are met at the moment; by default their connection is cut there."""
        snare = Snare(pattern, moment, spring, times, when)
        with self._book:
            self._snares.append(snare)
        return snare

    def stall(self, link: Link) -> None:
        """This connection alone is dead, and nobody is told; for a snare to call."""
        with self._book:
            self._stalled.add(link)
        self.hold(link, 0)

    def sessions(self, roles: str) -> int:
        """How many connections that match have got as far as to be asked something, and still lead to the server."""
        with self._book:
            return sum(link.is_ready and link.is_whole and re.search(roles, link.role) is not None for link in self._links)

    def calls_under_way(self, roles: str) -> set[tuple[Link, float]]:
        """Those on connections that match which have neither an answer nor been given up, each with the moment of its asking."""
        with self._book:
            asked = [(link, link.asked_at) for link in self._links if re.search(roles, link.role)]
        return {(link, at) for link, at in asked if at is not None and not link.is_given_up()}

    def release(self, snare: Snare) -> None:
        """The snare is gone."""
        with self._book:
            self._snares.remove(snare)

    def refuse(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()

    def accept(self) -> None:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((self.host, self.port))
        listening.listen(256)
        self.port = listening.getsockname()[1]
        self._listening = listening
        threading.Thread(target=self._take, args=(listening,), daemon=True).start()

    def close(self) -> None:
        """No connection is left."""
        self._mode = "pass"
        self._stalled.clear()
        self.refuse()
        self.tear()

    # ---- what links ask

    def mode_of(self, link: Link) -> Mode:
        if link in self._stalled:
            return "stall"
        return self._mode if re.search(self._roles, link.role) else "pass"

    def hold(self, link: Link, size: int) -> None:
        """Returns when so many bytes may go on."""
        while self.mode_of(link) == "stall":
            if link.is_given_up():
                link.note_giving_up()
            time.sleep(LOOK_SECONDS)
        if self.mode_of(link) == "throttle":
            time.sleep(size / 65536)

    def delay(self, link: Link) -> float:
        """How many seconds what has arrived together is on its way: a long one delays packets, not each message in them."""
        return self._random.uniform(0.1, 0.3) if self.mode_of(link) == "delay" else 0.0

    def snare_for(self, link: Link, statement: str) -> Snare | None:
        with self._book:
            found = next((snare for snare in self._snares if snare.takes(statement)), None)
            if found is not None:
                found.caught += 1
        return found

    def forget(self, link: Link) -> None:
        with self._book:
            self._links.discard(link)
            self._stalled.discard(link)

    def _take(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(self, client)
            with self._book:
                self.accepted += 1
                self._links.add(link)
            threading.Thread(target=link.run, daemon=True).start()


def _spring(snare: Snare, link: Link) -> None:
    try:
        snare.ports.append(link.server.getsockname()[1])
        snare.spring(link)
    finally:
        snare.sprung.set()


def _split(data: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The whole messages in `data` with their kinds, and what is left of it."""
    messages: list[tuple[bytes, bytes]] = []
    at = 0
    while len(data) - at >= 5:
        length = 1 + struct.unpack_from("!i", data, at + 1)[0]
        if len(data) - at < length:
            break
        messages.append((data[at : at + 1], data[at : at + length]))
        at += length
    return messages, data[at:]


def _sqlstate(message: bytes) -> str:
    """The code of an error, among its fields."""
    return next((field[1:].decode() for field in message[5:].split(b"\0") if field.startswith(b"C")), "")


def _has_come(source: socket.socket, seconds: float) -> bool:
    """Whether there is something to read within the time; also when it has ended."""
    poll = select.poll()
    with suppress(OSError, ValueError):
        poll.register(source, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds * 1000)))
    return True


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = source.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data
