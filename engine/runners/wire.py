"""What the runner, the handler host and its children say to each other: length-prefixed marshalled tuples, and the board.

Used by `processes` in the engine and by `process_host` and `process_child` at the other ends of its sockets.
"""

import marshal
import mmap
import os
import struct
import tempfile
from pathlib import Path
from typing import Any, Final

Message = tuple[Any, ...]

# engine -> host
LOAD: Final = 0  # (LOAD, sys.path, sources, board fd, slots)
SPAWN: Final = 1  # (SPAWN, slot), with the child's two sockets beside it
# host -> engine
LOADING: Final = 10  # (LOADING, source)
LOADED: Final = (
    11  # (LOADED, whether anything was, [source and cause of what failed], why children are not forked or None)
)
BORN: Final = 12  # (BORN, slot, pid)
GONE: Final = 13  # (GONE, slot, wait status or None when it could not be started)
# engine -> child, by the socket that its main thread reads
RUN: Final = (
    20  # (RUN, nanoseconds after which none may begin, [(number, key, template_no, attempt, retry_limit, task id, context, correlation id, inputs, alone, item, traceparent)])
)
END: Final = 21  # (END,)
FOR_THE_MAIN_THREAD: Final = (RUN, END)
# engine -> child, by the other
RECALL: Final = 22  # (RECALL,)
CANCEL: Final = 23  # (CANCEL, number)
FOUND: Final = 24  # (FOUND, request, results or None, error)
# child -> engine
DONE: Final = 30  # (DONE, [(number, kind, payload, nanoseconds)])
RETURNED: Final = 31  # (RETURNED, [number])
LOOKUP: Final = 32  # (LOOKUP, request, number, names)
SAID: Final = 33  # (SAID, [(number, whether it is a line, the fields of Line or of Progress)])

ROOT: Final = str(Path(__file__).absolute().parents[2])
"""Where the package is found by a process that starts with nothing."""

CUT_OFF: Final = 87
"""The exit code of a child whose handler closed the socket to the engine."""

CHUNK: Final = 1 << 18
_LENGTH: Final = struct.Struct("!Q")


def frame(message: Message) -> bytes:
    """One message as it goes over the socket."""
    body = marshal.dumps(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts what a socket delivers into messages, wherever the kernel split it."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete now; the beginning of the next one is kept."""
        rest = self._rest
        rest += data
        messages: list[Message] = []
        at = 0
        while (end := self._end(at)) is not None:
            messages.append(marshal.loads(rest[at + _LENGTH.size : end]))
            at = end
        del rest[:at]
        return messages

    def _end(self, at: int) -> int | None:
        body = at + _LENGTH.size
        if len(self._rest) < body:
            return None
        end = body + int(_LENGTH.unpack_from(self._rest, at)[0])
        return end if len(self._rest) >= end else None


class Board:
    """Shared memory in which every child notes which call it runs and since when.

    The engine reads it even after the child's death: so the call that killed it is known for certain, and only that one is charged.
    Times are nanoseconds of the machine's monotonic clock, the same in every process.
    """

    def __init__(self, slots: int, fd: int | None = None) -> None:
        self.slots = slots
        self.fd = self._file(slots * 16) if fd is None else fd
        self.cells = memoryview(mmap.mmap(self.fd, slots * 16)).cast("Q")

    @staticmethod
    def _file(size: int) -> int:
        with tempfile.TemporaryFile() as file:
            fd = os.memfd_create("tasker-board") if hasattr(os, "memfd_create") else os.dup(file.fileno())
        os.ftruncate(fd, size)
        return fd

    def clear(self, slot: int) -> None:
        """The child of `slot` runs nothing."""
        self.cells[2 * slot] = 0

    def read(self, slot: int) -> tuple[int, int]:
        """(number of the call that the child of `slot` runs, since when); number 0 when it runs none."""
        cells, at = self.cells, 2 * slot
        while True:  # the child may be between its two writes
            number, since = cells[at], cells[at + 1]
            if cells[at] == number:
                return number, since

    def close(self) -> None:
        """Gives the descriptor back; the memory stays until the last process lets go of it."""
        os.close(self.fd)
