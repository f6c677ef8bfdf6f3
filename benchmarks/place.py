"""Where it all runs: one PostgreSQL with a fresh database for each measurement, Redis, and a virtual environment for each peer."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from engine import embedded
from engine.bench.place import OPTIONS

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "peers"
SETTINGS = {**OPTIONS, "max_connections": "300"}
REDIS_SETTINGS = ("--appendonly", "yes", "--appendfsync", "everysec", "--save", "")
INSTALL_SECONDS = 1800.0
WITHOUT_REDIS = "left out: there is no redis-server; `apt-get install redis-server` or `brew install redis` brings it"


class Missing(Exception):
    """What a peer needs is not here; the message says what."""


@contextmanager
def server() -> Iterator[str]:
    """The superuser's URL of a PostgreSQL whose every commit reaches the disk."""
    with tempfile.TemporaryDirectory(prefix="tasker-peers-") as folder:
        started = embedded.ensure_server(Path(folder), options=SETTINGS)
        try:
            yield started.admin_url
        finally:
            started.stop()


@contextmanager
def database(url: str, name: str) -> Iterator[str]:
    """The URL of an empty database, gone afterwards with whoever is still connected."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        try:
            yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        finally:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


@contextmanager
def redis() -> Iterator[str | None]:
    """The URL of a Redis of our own, or None where there is no redis-server and none can be installed."""
    program = redis_server()
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="tasker-redis-") as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        process = subprocess.Popen([program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, *REDIS_SETTINGS], stdout=subprocess.DEVNULL)
        try:
            _until_open(port)
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def redis_server() -> str | None:
    """The program; installed now where it is missing and that takes no more than asking: as root, with apt-get."""
    if shutil.which("redis-server") is None and shutil.which("apt-get") and os.geteuid() == 0:
        print("redis-server: package", flush=True)
        for command in (["update"], ["-o", "DPkg::Lock::Timeout=120", "install", "-y", "--no-install-recommends", "redis-server"]):
            # without it, Celery is left out and the page says so
            subprocess.run(["apt-get", "-qq", *command], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=INSTALL_SECONDS, check=False)
    return shutil.which("redis-server")


def _until_open(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise Missing(f"redis-server does not answer on port {port}") from error
            time.sleep(0.05)


@contextmanager
def nothing_left(mark: Path) -> Iterator[dict[str, str]]:
    """The environment for processes of which none, nor any that they start, outlives the context; where there is a /proc to find them by it."""
    name = "BENCH_MARK"
    try:
        yield {**os.environ, name: str(mark)}
    finally:
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{name}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)


def python_of(name: str) -> Path:
    """The interpreter that has the peer's pinned packages; installed now unless they are there already. Ours has none of its own."""
    pins = ROOT / "benchmarks" / name / "requirements.txt"
    if not pins.read_text().strip():
        return Path(sys.executable)
    folder = BUILD / name
    python, stamp = folder / "bin" / "python", folder / "pins"
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()
    if not (stamp.exists() and stamp.read_text() == digest):
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", str(pins))
        stamp.write_text(digest)
    return python


def _run(*command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {"PIP_USER", "PIP_TARGET", "PYTHONHOME"}}
    try:
        result = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise Missing(f"not installed within {INSTALL_SECONDS:.0f} s") from error
    if result.returncode != 0:
        raise Missing("not installed: " + " | ".join((result.stderr or result.stdout).strip().splitlines()[-2:]))
