"""Requests to addresses that people type on a page: to public hosts, and to those private ones that `TASKER_NOTICE_HOSTS` names.

The name is looked up once, and what was looked up is connected to, so that a name cannot lead elsewhere between the look and the connection.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

from engine.errors import PermanentError, RetryableError

SECONDS = 10.0
MAX_ADDRESS = 500
HOSTS = "TASKER_NOTICE_HOSTS"


def address_problem(url: str) -> str | None:
    """What is wrong with an address as it was typed; None when a request can be sent there, whatever its host turns out to be."""
    if len(url) > MAX_ADDRESS or not url.isascii() or not url.isprintable() or " " in url:
        return f"must be an address of at most {MAX_ADDRESS} plain characters"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is no address"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "must begin with https:// or http:// and name a host"
    return "must hold no user and password: a secret signs what is sent" if parts.username or parts.password else None


def allowed_hosts() -> frozenset[str]:
    """The hosts that may be private."""
    return frozenset(name.strip().lower() for name in os.environ.get(HOSTS, "").split(",") if name.strip())


def post(url: str, body: bytes, headers: Mapping[str, str], *, private: frozenset[str], seconds: float = SECONDS) -> None:
    """The receiver has answered with 2xx, in so many seconds. Raises RetryableError when it has not, PermanentError for an address that nothing is sent to.

    Neither error holds the path or query of the address, nor anything of an answer but its status.
    """
    if problem := address_problem(url):
        raise PermanentError(f"the address {problem}")
    parts = urlsplit(url)
    connection = _Pinned(parts, _looked_up(parts, private), seconds)
    watch = threading.Timer(seconds, connection.abort)
    watch.start()
    try:
        status = _status(connection, parts, body, headers)
    except (OSError, http.client.HTTPException) as error:
        raise RetryableError(f"{parts.hostname} did not answer: {type(error).__name__}") from error
    finally:
        watch.cancel()
        connection.close()
    if not 200 <= status < 300:
        raise RetryableError(f"{parts.hostname} answered {status}{': redirects are not followed' if 300 <= status < 400 else ''}")


def _status(connection: _Pinned, parts: SplitResult, body: bytes, headers: Mapping[str, str]) -> int:
    target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    connection.request("POST", target, body=body, headers=dict(headers))
    return connection.getresponse().status


def _looked_up(parts: SplitResult, private: frozenset[str]) -> tuple[str, int]:
    """The address to connect to. Raises RetryableError for a name that nobody knows, PermanentError where it leads inside."""
    host, port = str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise RetryableError(f"{host} cannot be found") from error
    if host.lower() not in private and not all(_is_public(address) for address in found):
        raise PermanentError(f"{host} is a private address; {HOSTS} can allow it")
    return found[0], port


def _is_public(address: str) -> bool:
    known = ipaddress.ip_address(address.partition("%")[0])
    inner = known.ipv4_mapped if isinstance(known, ipaddress.IPv6Address) else None
    return (inner or known).is_global and not (inner or known).is_multicast


class _Pinned(http.client.HTTPConnection):
    """A connection to one looked-up address, which can be broken off from another thread."""

    def __init__(self, parts: SplitResult, address: tuple[str, int], seconds: float) -> None:
        # without a port of its own the Host header has none either
        super().__init__(str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80), timeout=seconds)
        if parts.port is None:
            self.default_port = self.port
        self._address, self._context = address, ssl.create_default_context() if parts.scheme == "https" else None

    def connect(self) -> None:
        self.sock = socket.create_connection(self._address, self.timeout)
        if self._context:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock.do_handshake()

    def abort(self) -> None:
        # closing would not wake who reads from it
        with suppress(OSError, AttributeError):
            self.sock.shutdown(socket.SHUT_RDWR)
