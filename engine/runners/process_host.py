"""The handler host: imports the handlers once, then makes, reaps and ends the child processes that run them.

Started by `processes` as a program of its own, so the engine's process never imports what its children inherit. Where forking is
safe a child takes milliseconds and shares the host's memory; else each is a fresh process that imports the handlers itself.
"""

from __future__ import annotations

import gc
import io
import marshal
import os
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from collections import deque
from typing import Final, NoReturn

from engine import log_lines, trace_ids
from engine.runners import wire
from engine.runners.process_child import Child, Handlers, ignore_stop_signals
from engine.runners.wire import CHUNK, ROOT, Board, Frames, Message, frame

SAFETY_LOOK_SECONDS: Final = 1.0  # for a child's death whose signal a handler module swallowed
CHILD_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from engine.runners.process_child import main; main()"
)


OF_THE_DASHBOARD: Final = ("TASKER_SECRET_KEY", "TASKER_OIDC_CLIENT_SECRET")
"""Of the engine's environment what handlers have no use for: with it they could make themselves anybody's session."""


def main() -> None:
    """Serves the engine at the other end of the socket whose descriptor is the second argument."""
    ignore_stop_signals()
    for name in OF_THE_DASHBOARD:
        os.environ.pop(name, None)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a child may be killed at any time
    host = Host(socket.socket(fileno=int(sys.argv[2])))
    host.load()
    host.serve()


class Host:
    """Everything the host knows: what it loaded and which children live."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._frames = Frames()
        self._sockets: deque[int] = deque()
        self._pids: dict[int, int] = {}
        self._orders: deque[Message] = deque()

    def load(self) -> None:
        """Imports the handlers and tells the engine how that went."""
        while not self._orders:
            self._receive()
        order = self._orders.popleft()
        assert order[0] == wire.LOAD
        _, sys.path[:], self._sources, board_fd, slots = order
        self._board = Board(slots, board_fd)
        before = _open_files()
        self._handlers = Handlers.load(self._sources, lambda source: self._send((wire.LOADING, source)))
        log_lines.prepare()
        trace_ids.prepare()
        self._why_fresh = _why_not_fork(before)
        gc.collect()
        gc.freeze()  # children share these pages as long as no collection touches them
        self._send((wire.LOADED, self._handlers.any_loaded, self._handlers.problems, self._why_fresh))

    def serve(self) -> None:
        """Makes children on request and reports deaths, until the engine is gone; then ends them all."""
        self._awake, wakeup = socket.socketpair()
        self._awake.setblocking(False)
        wakeup.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        self._wakeup = wakeup
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._control, selectors.EVENT_READ)
        self._selector.register(self._awake, selectors.EVENT_READ)
        while True:
            self._turn()

    def _turn(self) -> None:
        for key, _ in self._selector.select(SAFETY_LOOK_SECONDS if self._pids else None):
            if key.fileobj is self._control:
                self._receive()
            else:
                self._awake.recv(CHUNK)
        while self._orders:
            order = self._orders.popleft()
            assert order[0] == wire.SPAWN
            self._spawn(order[1], (self._sockets.popleft(), self._sockets.popleft()))
        self._reap()

    def _receive(self) -> None:
        try:
            data, sockets, _, _ = socket.recv_fds(self._control, CHUNK, 64)
        except ConnectionError:
            self._end_all()
        self._sockets.extend(sockets)
        if not data:
            self._end_all()
        self._orders.extend(self._frames.feed(data))

    def _send(self, message: Message) -> None:
        try:
            self._control.sendall(frame(message))
        except OSError:
            self._end_all()

    def _end_all(self) -> NoReturn:
        for pid in self._pids:
            _kill_group(pid)
        os._exit(0)

    def _spawn(self, slot: int, fds: tuple[int, int]) -> None:
        try:
            pid = self._start_fresh(slot, fds) if self._why_fresh else self._fork(slot, fds)
        except OSError as error:
            self._send((wire.GONE, slot, f"no new process: {error}"))
        else:
            self._pids[pid] = slot
            self._send((wire.BORN, slot, pid))
        for fd in fds:  # a child never comes here: it leaves by SystemExit
            os.close(fd)

    def _fork(self, slot: int, fds: tuple[int, int]) -> int:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        pid = os.fork()
        if pid == 0:
            self._be_the_child(slot, fds)
        return pid

    def _be_the_child(self, slot: int, fds: tuple[int, int]) -> NoReturn:
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for held in (self._control, self._awake, self._wakeup, self._selector):
                held.close()
            Child(fds, self._board, slot, self._handlers.find).run()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        sys.exit(0)  # the orderly way, so that what the handlers registered with atexit runs

    def _start_fresh(self, slot: int, fds: tuple[int, int]) -> int:
        setup = marshal.dumps((list(sys.path), self._sources, fds, self._board.fd, self._board.slots, slot))
        program = [sys.executable, "-c", CHILD_PROGRAM, ROOT, "tasker-handlers"]
        child = subprocess.Popen(
            program, stdin=subprocess.PIPE, pass_fds=(*fds, self._board.fd), start_new_session=True, close_fds=True
        )
        assert child.stdin
        child.stdin.write(setup)
        child.stdin.close()
        child.returncode = 0  # _reap sees its end, not this object
        return child.pid

    def _reap(self) -> None:
        while self._pids:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if (slot := self._pids.pop(pid, None)) is not None:
                _kill_group(pid)  # programs the step had started and left behind
                self._send((wire.GONE, slot, status))


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _open_files() -> dict[str, str]:
    """Descriptor -> what it is, where the system tells."""
    try:
        return {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)}
    except OSError:
        return {}


def _is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def _why_not_fork(before: dict[str, str]) -> str | None:
    """A reason to start children afresh: what a forked copy would break. None when forking is safe."""
    if sys.platform != "linux":
        return f"forking is not safe on {sys.platform}"
    if len(os.listdir("/proc/self/task")) > 1:
        return "a handler module starts threads when it is imported"
    opened = [
        path
        for fd, path in _open_files().items()
        if before.get(fd) != path and not path.startswith(("/dev/", "/proc/"))
    ]
    return f"a handler module keeps {opened[0]} open when it is imported" if opened else None
