"""A handler process: runs the calls the engine sends it, one after the other, and tells what became of them.

Started by `process_host`, forked or afresh. The main thread reads calls and runs their handlers; a second one listens for what
concerns a call that runs, or waits.
"""

from __future__ import annotations

import faulthandler
import fcntl
import itertools
import marshal
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NoReturn

from engine import log_lines, logs
from engine.definition import TaskDefinition
from engine.discovery import LoadReport
from engine.errors import RetryableError, TaskerError
from engine.journal import Journal, Line, Said
from engine.registry import HandlerRegistry
from engine.runners import CANCELLED, FAILED, Item, wire
from engine.runners.failures import lacking_failure
from engine.runners.invoke import invoke
from engine.runners.wire import CHUNK, Board, Frames, Message, frame
from engine.settings import Settings

Find = Callable[[str], TaskDefinition | None]

MOST_HELD: Final = 64  # results kept back for one message
LARGE: Final = 1 << 16  # characters of one result that are sent at once
LONGEST_HELD: Final = 2_000_000  # nanoseconds
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
HIGH_DESCRIPTOR: Final = 512  # out of the way of a handler that closes what it thinks are its own


class Handlers:
    """What this process can run; `problems` tells which sources failed to load, and why."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.any_loaded = False
        self._found: dict[str, TaskDefinition] = {}

    @classmethod
    def load(cls, sources: Sequence[str], announce: Callable[[str], None]) -> Handlers:
        """Imports the sources and what installed packages offer; what fails does not keep the rest from loading."""
        handlers, registry, environment = cls(), HandlerRegistry.instance(), Settings.from_environ().env
        for source in sources:
            announce(source)
            handlers._note(registry.load([source], entry_points=False, environment=environment))
        announce("an installed package's handlers")
        handlers._note(registry.load(environment=environment))
        return handlers

    def find(self, key: str) -> TaskDefinition | None:
        """The definition `namespace/name@version`, None when this process has none."""
        definition = self._found.get(key)
        return definition if definition is not None else self._ask_registry(key)

    def _ask_registry(self, key: str) -> TaskDefinition | None:
        path, _, version = key.rpartition("@")
        namespace, _, name = path.partition("/")
        try:
            definition = HandlerRegistry.instance().get(name, namespace, version).definition
        except TaskerError:
            return None
        self._found[key] = definition
        return definition

    def _note(self, report: LoadReport) -> None:
        self.problems += map(str, report.failures)
        self.any_loaded = self.any_loaded or bool(report.loaded)


class _Contact:
    """What the call that runs now hears from the engine, and says to it."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def is_set(self) -> bool:
        return self._child.is_asked_to_stop()

    def open_journal(self) -> Journal:
        return self._child.open_journal()


class Child:
    """One process's side of the conversation; `find` gives the definition for a key."""

    def __init__(self, fds: tuple[int, int], board: Board, slot: int, find: Find) -> None:
        self._sock, self._asides = (socket.socket(fileno=_out_of_the_way(fd)) for fd in fds)
        self._cells, self._cell = board.cells, 2 * slot
        self._find = find
        self._inbox: deque[tuple[Any, ...]] = deque()
        self._may_start_until = 0.0
        self._held: list[tuple[int, int, str, int]] = []
        self._frames = Frames()
        self._reading = threading.Lock()
        self._sending = threading.Lock()
        self._ending = self._is_fork = False
        self._cancelled: set[int] = set()
        self._contact = _Contact(self)
        self._said: deque[tuple[int, bool, tuple[Any, ...]]] = deque()
        self._questions: dict[int, queue.SimpleQueue[tuple[dict[str, str] | None, str]]] = {}
        self._question_numbers = itertools.count()
        self._home = _out_of_the_way(os.open(".", os.O_RDONLY | os.O_CLOEXEC))

    def run(self) -> None:
        """Runs calls until the engine says it was the last; ends the process when the engine is gone."""
        _prepare_for_the_worst()
        log_lines.start_for_handlers()
        logs.start_capture()
        os.register_at_fork(before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._in_a_fork)
        threading.Thread(target=self._listen, name="tasker-listen", daemon=True).start()
        while not self._ending:
            self._work()
            self._flush()
            self._cells[self._cell] = 0
            self._await_calls()

    def is_asked_to_stop(self) -> bool:
        """Whether the engine wants the call that runs now to stop."""
        return bool(self._cancelled) and self._cells[self._cell] in self._cancelled

    def open_journal(self) -> Journal:
        """Where the call that runs now says what it has to say; it keeps to that call, whoever holds the journal."""
        return Journal(partial(self._say, self._cells[self._cell]))

    def _say(self, number: int, said: Said) -> None:
        if not self._is_fork:
            self._said.append((number, isinstance(said, Line), tuple(said)))
            self._send_said()

    def _send_said(self) -> None:
        # Never waits: a signal's handler may log while this very thread sends. Whoever has the lock sends this along, or the next one does.
        while self._said and self._sending.acquire(blocking=False):
            try:
                self._write_said()
            finally:
                self._sending.release()

    def _write_said(self) -> None:
        said = self._said
        if entries := [said.popleft() for _ in range(len(said))]:
            self._write((wire.SAID, entries))

    # An idle main thread waits at the socket itself: a change of threads less on the way to the handler. While it runs one, nobody
    # reads there, unless the engine wants back what has not begun.

    def _await_calls(self) -> None:
        with self._reading:
            if not self._ending:
                self._read_calls(0)

    def _take_waiting(self) -> bool:
        """Reads what has arrived, without waiting for more; whether there is a call to run."""
        with self._reading:
            self._read_what_is_there()
        return bool(self._inbox)

    def _read_what_is_there(self) -> None:
        try:
            self._read_calls(socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass

    def _read_calls(self, flags: int) -> None:
        data = _receive(self._sock, flags)
        for message in self._frames.feed(data):
            if message[0] == wire.RUN:
                self._may_start_until = message[1]
                self._inbox.extend(message[2])
            elif message[0] == wire.END:
                self._ending = True

    def _work(self) -> None:
        inbox, cells, head, clock = self._inbox, self._cells, self._cell, time.monotonic_ns
        held, run_one, tidy = self._held, self._run_one, self._tidy
        flushed = clock()
        while inbox or self._take_waiting():
            try:
                call = inbox.popleft()
            except IndexError:  # recalled in this moment
                return
            if call[9] and held:
                self._flush()
            started = clock()
            if started > self._may_start_until:
                self._send((wire.RETURNED, [call[0]]))
                continue
            cells[head + 1] = started
            cells[head] = call[0]
            kind, payload = run_one(call)
            tidy()
            ended = clock()
            held.append((call[0], kind, payload, ended - started))
            if ended - flushed > LONGEST_HELD or len(held) >= MOST_HELD or len(payload) > LARGE:
                self._flush()
                flushed = clock()

    def _run_one(self, call: tuple[Any, ...]) -> tuple[int, str]:
        number, key, template_no, attempt, retry_limit, task_id, context, correlation_id, inputs, _, item, traceparent = call
        if number in self._cancelled:
            return CANCELLED, "null"
        definition = self._find(key)
        if definition is None:
            return FAILED, lacking_failure(key)
        return invoke(
            definition,
            template_no,
            attempt,
            retry_limit,
            task_id,
            context,
            correlation_id,
            inputs,
            self._lookup,
            self._contact,
            None if item is None else Item(*item),
            traceparent,
        )

    def _tidy(self) -> None:
        # What a handler left behind must not hit the next one.
        if self._is_fork:
            os._exit(0)  # the handler forked and the copy came back too; only the original may answer
        signal.alarm(0)
        try:
            os.fchdir(self._home)
        except OSError:
            pass

    def _flush(self) -> None:
        with self._sending:
            if self._said:  # before the outcome, after which nobody listens
                self._write_said()
            held = self._held
            if ready := held[:]:
                del held[: len(ready)]
                self._write((wire.DONE, ready))

    def _send(self, message: Message) -> None:
        with self._sending:
            self._write(message)
        self._send_said()

    def _write(self, message: Message) -> None:
        try:
            self._sock.sendall(frame(message))
        except OSError:
            os._exit(0 if self._is_fork else wire.CUT_OFF)

    def _lookup(self, names: list[str]) -> dict[str, str]:
        question = next(self._question_numbers)
        answer: queue.SimpleQueue[tuple[dict[str, str] | None, str]] = queue.SimpleQueue()
        self._questions[question] = answer
        self._send((wire.LOOKUP, question, self._cells[self._cell], names))
        found, error = answer.get()
        if found is None:
            raise RetryableError(f"the results of earlier steps could not be read: {error}")
        return found

    def _listen(self) -> NoReturn:
        frames = Frames()
        while True:
            for message in frames.feed(_receive(self._asides)):
                self._take(message)

    def _take(self, message: Message) -> None:
        kind = message[0]
        if kind == wire.RECALL:
            self._give_back()
        elif kind == wire.CANCEL:
            self._cancelled.add(message[1])
        elif kind == wire.FOUND:
            self._questions.pop(message[1]).put(message[2:])

    def _give_back(self) -> None:
        if self._reading.acquire(blocking=False):  # else the main thread is there, and takes whatever comes
            try:
                self._read_what_is_there()
            finally:
                self._reading.release()
        self._return_unstarted()

    def _return_unstarted(self) -> None:
        # Each pop takes a call that the main thread then cannot take.
        numbers: list[int] = []
        try:
            while True:
                numbers.append(self._inbox.pop()[0])
        except IndexError:
            self._flush()
            self._send((wire.RETURNED, numbers[::-1]))

    # A copy that a handler makes (a pool's worker, say) is no handler process: it must not hold our socket open, and it must
    # die of the SIGTERM that its maker sends it, be it at once. So these signals wait until the copy no longer ignores them.

    def _before_fork(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)

    def _after_fork(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _in_a_fork(self) -> None:
        self._is_fork = True
        self._sending = threading.Lock()
        self._sock.close()
        self._asides.close()
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self._after_fork()


def _prepare_for_the_worst() -> None:
    if sys.stderr is not None:
        faulthandler.enable()  # a segmentation fault shows where it happened
    try:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("500")  # when memory runs out, this process goes before the engine and the database
    except OSError:
        pass


def _out_of_the_way(fd: int) -> int:
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR)
    except OSError:  # the limit on open files is lower
        return fd
    os.close(fd)
    return high


def _receive(sock: socket.socket, flags: int = 0) -> bytes:
    """What has arrived. Ends this process when the engine is gone, or a handler has closed the socket; raises BlockingIOError as asked for."""
    try:
        data = sock.recv(CHUNK, flags)
    except BlockingIOError:
        raise
    except OSError:
        os._exit(wire.CUT_OFF)
    if not data:
        _end_group()  # whoever takes the step over must not meet us
    return data


def _end_group() -> NoReturn:
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def ignore_stop_signals() -> None:
    """Ctrl-C and a service manager's SIGTERM are for the engine, which drains and then ends its children.

    A handler of its own instead of SIG_IGN: programs that a handler starts would inherit that.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: None)


def main() -> None:
    """A child that is not forked: it reads on standard input what a forked one has in memory."""
    sys_path, sources, fds, board_fd, slots, slot = marshal.loads(sys.stdin.buffer.read())
    ignore_stop_signals()
    sys.path[:] = sys_path
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    find = Handlers.load(sources, lambda _: None).find
    Child(fds, Board(slots, board_fd), slot, find).run()
