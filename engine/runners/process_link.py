"""The engine's ends of the sockets to the handler host and to its children: nothing here ever waits for the other side."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Final

from engine.errors import TaskerError
from engine.runners import wire
from engine.runners.failures import describe_ending
from engine.runners.wire import CHUNK, ROOT, Board, Frames, Message, frame

HOST_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from engine.runners.process_host import main; main()"
)
HOST_ENDS_SECONDS: Final = 1.0

Hear = Callable[[int], None]


class _Outlet:
    """What goes out by one socket: at once as far as the socket takes it, the rest when it takes more. `heard` are the events it is watched for besides."""

    def __init__(self, sock: socket.socket, selector: selectors.BaseSelector, hear: Hear, heard: int) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._selector, self._hear, self._heard = selector, hear, heard
        self._unsent = bytearray()
        self._watched_for = 0
        self._watch(heard)

    def send(self, data: bytes) -> None:
        """A child that holds the interpreter lock reads nothing; nobody waits for it."""
        if self._unsent:
            self._unsent += data
        elif (sent := self._try(data)) < len(data):
            self._unsent += data[sent:]
            self._watch(self._heard | selectors.EVENT_WRITE)

    def pump(self) -> None:
        """Sends more of what had to wait."""
        if self._unsent:
            del self._unsent[: self._try(self._unsent)]
            if not self._unsent:
                self._watch(self._heard)

    def forget(self) -> None:
        """Is watched no more; a closed socket would be readable for ever."""
        self._heard = 0
        self._unsent.clear()
        self._watch(0)

    def _try(self, data: bytes | bytearray) -> int:
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:  # it is dead; that is heard elsewhere
            return len(data)

    def _watch(self, events: int) -> None:
        if events and self._watched_for:
            self._selector.modify(self.socket, events, self._hear)
        elif events:
            self._selector.register(self.socket, events, self._hear)
        elif self._watched_for:
            self._selector.unregister(self.socket)
        self._watched_for = events


class Link:
    """Two sockets to one child: its main thread reads the calls, a thread beside it what concerns them. `ended` once the other side has closed them, or is dead."""

    def __init__(self, sockets: tuple[socket.socket, socket.socket], selector: selectors.BaseSelector, hear: Hear) -> None:
        calls, asides = sockets
        self._sock = calls
        self._calls = _Outlet(calls, selector, hear, selectors.EVENT_READ)
        self._asides = _Outlet(asides, selector, hear, 0)
        self._frames = Frames()
        self.ended = False

    def send(self, message: Message) -> None:
        """What the child's socket does not take now follows when it does. A call and what concerns it may arrive in either order."""
        outlet = self._calls if message[0] in wire.FOR_THE_MAIN_THREAD else self._asides
        if not self.ended:
            outlet.send(frame(message))

    def pump(self) -> None:
        """Sends more of what had to wait."""
        self._calls.pump()
        self._asides.pump()

    def receive(self) -> list[Message]:
        """The messages that have arrived; sets `ended` when there will be no more."""
        if self.ended:
            return []
        try:
            data = self._sock.recv(CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        self.ended = not data
        return self._frames.feed(data)

    def receive_rest(self) -> list[Message]:
        """All that a dead child had still said."""
        messages: list[Message] = []
        while not self.ended and self._is_readable():
            messages += self.receive()
        return messages

    def forget(self) -> None:
        """Stops listening; a closed socket would be readable for ever."""
        self._calls.forget()
        self._asides.forget()

    def close(self) -> None:
        """Gives the sockets back; a child that still lives sees it and ends itself."""
        self.forget()
        self.ended = True
        self._calls.socket.close()
        self._asides.socket.close()

    def _is_readable(self) -> bool:
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True


class HostProcess:
    """The handler host as the engine sees it; `problems` are the sources it could not load, with the causes."""

    def __init__(self, sources: Sequence[str], board: Board) -> None:
        self.socket, theirs = socket.socketpair()
        self._process = _start(theirs, board)
        theirs.close()
        self._frames = Frames()
        self._loading = ""
        self.any_loaded = False
        self.problems: list[str] = []
        self.starts_afresh: str | None = None
        self.loaded = self.ended = False
        self.socket.sendall(frame((wire.LOAD, _import_path(), list(sources), board.fd, board.slots)))

    def wait_until_loaded(self) -> None:
        """Returns when the handlers are imported; raises TaskerError when there were some and none could be, or the host died over one."""
        while not self.loaded and not self.ended:
            self.receive()
        if not self.ended:
            self._refuse_nothing()
            return
        ending = describe_ending(_wait_status(self._process))
        raise TaskerError(
            f"the handler host {ending} while it loaded {self._loading or 'itself'}; see its output above"
        )

    def _refuse_nothing(self) -> None:
        if self.problems and not self.any_loaded:
            raise TaskerError("\n".join(["no handlers could be loaded:", *self.problems]))

    def receive(self) -> list[Message]:
        """What the host reports of its children; its own loading is noted here."""
        try:
            data = self.socket.recv(CHUNK)
        except OSError:
            data = b""
        self.ended = not data
        return [message for message in self._frames.feed(data) if not self._note(message)]

    def spawn(self, slot: int) -> tuple[socket.socket, socket.socket]:
        """Asks for a child; it is at the other ends of the returned sockets as soon as it lives: for calls, and for what concerns them."""
        (calls, theirs), (asides, beside) = socket.socketpair(), socket.socketpair()
        with theirs, beside:
            try:
                fds = [theirs.fileno(), beside.fileno()]
                socket.send_fds(self.socket, [frame((wire.SPAWN, slot))], fds, socket.MSG_DONTWAIT)
            except OSError:  # ours are at their end now, as if the child had died at once
                pass
        return calls, asides

    def close(self) -> None:
        """Ends the host, and with it whatever child is left."""
        self.socket.close()
        try:
            self._process.wait(HOST_ENDS_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _note(self, message: Message) -> bool:
        if message[0] == wire.LOADING:
            self._loading = message[1]
        elif message[0] == wire.LOADED:
            _, self.any_loaded, self.problems, self.starts_afresh = message
            self.loaded = True
        else:
            return False
        return True


def kill_group(pid: int) -> None:
    """Ends a child and every program it had started."""
    for kill in (os.killpg, os.kill):  # it may not lead its group yet
        try:
            kill(pid, signal.SIGKILL)
            return
        except (ProcessLookupError, PermissionError):
            continue


def _start(theirs: socket.socket, board: Board) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-c", HOST_PROGRAM, ROOT, str(theirs.fileno()), "tasker-handlers"]
    return subprocess.Popen(
        program,
        stdin=subprocess.DEVNULL,
        stdout=_standard_error(),  # what handlers print must not mix with what a command prints
        pass_fds=(theirs.fileno(), board.fd),
        start_new_session=True,  # Ctrl-C on the terminal is for the engine alone
    )


def _standard_error() -> int:
    try:
        os.fstat(2)
    except OSError:
        return subprocess.DEVNULL
    return 2


def _import_path() -> list[str]:
    return [os.path.abspath(entry) for entry in sys.path]


def _wait_status(process: subprocess.Popen[bytes]) -> int:
    code = process.wait()
    return -code if code < 0 else code << 8
