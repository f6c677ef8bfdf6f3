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


class Link:
    """A socket to one child. `ended` once the other side has closed it, or is dead."""

    def __init__(self, sock: socket.socket, selector: selectors.BaseSelector, hear: Hear) -> None:
        sock.setblocking(False)
        self._sock, self._selector, self._hear = sock, selector, hear
        self._frames = Frames()
        self._unsent = bytearray()
        self._watched = True
        self.ended = False
        selector.register(sock, selectors.EVENT_READ, hear)

    def send(self, message: Message) -> None:
        """Sends now what the socket takes and the rest when it takes more; a child that holds the interpreter lock reads nothing."""
        data = frame(message)
        if self._unsent:
            self._unsent += data
        elif (sent := self._try(data)) < len(data):
            self._unsent += data[sent:]
            self._watch(selectors.EVENT_READ | selectors.EVENT_WRITE)

    def pump(self) -> None:
        """Sends more of what had to wait."""
        del self._unsent[: self._try(self._unsent)]
        if not self._unsent:
            self._watch(selectors.EVENT_READ)

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
        if self._watched:
            self._watched = False
            self._selector.unregister(self._sock)

    def close(self) -> None:
        """Gives the socket back; a child that still lives sees it and ends itself."""
        self.forget()
        self.ended = True
        self._sock.close()

    def _try(self, data: bytes | bytearray) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:  # it is dead; that is heard elsewhere
            return len(data)

    def _watch(self, events: int) -> None:
        if self._watched:
            self._selector.modify(self._sock, events, self._hear)

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

    def spawn(self, slot: int) -> socket.socket:
        """Asks for a child; it is at the other end of the returned socket as soon as it lives."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self.socket, [frame((wire.SPAWN, slot))], [theirs.fileno()], socket.MSG_DONTWAIT)
            except OSError:  # `ours` is at its end now, as if the child had died at once
                pass
        return ours

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
