"""A connection pooler in transaction mode, as small as can be: each transaction of a client runs in the next of a few sessions."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
from contextlib import suppress
from itertools import cycle

import psycopg
from proxy import _exactly, _split

SESSIONS = 2
_READY = b"Z\x00\x00\x00\x05I"
_ACCEPTED = b"R" + struct.pack("!ii", 8, 0) + b"K" + struct.pack("!iii", 12, 1, 1)


class TransactionPooler:
    """Listens at `url`; clients need no password. `refusing` is a start-up parameter that it does not take, as pgbouncer takes none it was not told of."""

    def __init__(self, target_url: str, refusing: str | None = None) -> None:
        self._target, self._refusing = target_url, refusing
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        self.url = re.sub(r"@[^/]+/", f"@127.0.0.1:{port}/", target_url)
        threading.Thread(target=self._take, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _take(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError, EOFError):
            greeting = _greeting(client)
            if self._refusing and self._refusing.encode() in greeting:
                client.sendall(_error(f"unsupported startup parameter: {self._refusing}"))
                return
            sessions = [psycopg.connect(self._target) for _ in range(SESSIONS)]
            lines = [socket.socket(fileno=os.dup(session.fileno())) for session in sessions]
            for line in lines:
                line.setblocking(True)
            client.sendall(_ACCEPTED + _parameters(sessions[0]) + _READY)
            _relay(client, lines)


def _relay(client: socket.socket, lines: list[socket.socket]) -> None:
    """One batch of messages at a time, up to the one that asks for an answer, goes to the next session."""
    pending = b""
    for line in cycle(lines):
        batch = b""
        while _last_kind(batch) not in (b"S", b"Q"):
            data = client.recv(65536)
            if not data:
                return
            messages, pending = _split(pending + data)
            batch += b"".join(message for _, message in messages)
        line.sendall(batch)
        client.sendall(_answer(line))


def _last_kind(batch: bytes) -> bytes:
    messages, _ = _split(batch)
    return messages[-1][0] if messages else b""


def _answer(line: socket.socket) -> bytes:
    data = b""
    while True:
        part = line.recv(65536)
        if not part:
            raise EOFError
        data += part
        messages, rest = _split(data)
        if messages and messages[-1][0] == b"Z" and not rest:
            return data


def _greeting(client: socket.socket) -> bytes:
    while True:
        length, code = struct.unpack("!ii", _exactly(client, 8))
        rest = _exactly(client, length - 8)
        if code == 196608:
            return rest
        client.sendall(b"N")


def _parameters(session: psycopg.Connection) -> bytes:
    found = {name: session.pgconn.parameter_status(name.encode()) or b"" for name in ("server_version", "client_encoding", "TimeZone")}
    pairs = [name.encode() + b"\0" + value + b"\0" for name, value in found.items()]
    return b"".join(b"S" + struct.pack("!i", 4 + len(pair)) + pair for pair in pairs)


def _error(text: str) -> bytes:
    fields = b"SFATAL\0C08P01\0M" + text.encode() + b"\0\0"
    return b"E" + struct.pack("!i", 4 + len(fields)) + fields
