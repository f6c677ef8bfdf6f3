"""A machine that boots: what stays is started before its PostgreSQL accepts anybody, waits, and works once it does."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from arena import until
from proxy import Proxy

from engine import TaskRequest, tasks
from engine.cli import awaited
from engine.db import Database, connect
from engine.errors import DatabaseUnavailable

ROOT = Path(__file__).resolve().parents[2]
FLOW = "from engine import Workflow\nflow = Workflow('flow')\n@flow.step()\ndef work(task): ...\n"
WAITS = "the start waits for its database and tries again: cannot reach PostgreSQL at 127.0.0.1"
STARTING_UP = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
MARGIN = 1.5
"""What a busy machine may add."""

Start = Callable[..., "Started"]


class Started:
    """A process of ours, and what it has said."""

    def __init__(self, url: str, folder: Path, *arguments: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TASKER_")}
        environment = {**clean, "PYTHONPATH": str(ROOT), "TASKER_DATABASE_URL": url, "TASKER_HANDLERS": str(folder), "TASKER_DATA_DIR": str(folder / "data")}
        self.process = subprocess.Popen([sys.executable, "-m", "engine.cli", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.said.extend(self.process.stdout)

    def waits(self) -> None:
        """Returns when it has said that it waits."""
        until(lambda: self.process.poll() is not None or any(WAITS in line for line in self.said), "it to wait")
        assert self.process.poll() is None, self.said


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a command of `tasker` for a database; none is left after the test."""
    (tmp_path / "flows.py").write_text(FLOW)
    all_started: list[Started] = []

    def started(url: str, *arguments: str) -> Started:
        all_started.append(Started(url, tmp_path, *arguments))
        return all_started[-1]

    yield started
    for one in all_started:
        one.process.kill()
        one.process.wait()


@contextmanager
def starting_up() -> Iterator[str]:
    """The address of a server that tells everybody that it is too early."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            while struct.unpack("!ii", client.recv(4096)[:8])[1] != 196608:
                client.sendall(b"N")
            client.sendall(b"E" + struct.pack("!i", 4 + len(STARTING_UP)) + STARTING_UP)
            client.close()

    threading.Thread(target=answer, daemon=True).start()
    yield f"postgresql://somebody@127.0.0.1:{listening.getsockname()[1]}/some"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def test_an_engine_that_was_started_before_its_database_waits_for_it_and_works(proxy: Proxy, proxied_url: str, db: Database, start: Start) -> None:
    proxy.refuse()
    engine = start(proxied_url, "engine", "--runner", "threads")
    engine.waits()
    proxy.accept()
    until(lambda: db.value("select count(*) from tasker_worker"), "the engine to come up")
    task = tasks.submit(db, TaskRequest("flow"))
    until(lambda: db.value("select state from tasker_task where task_id = %(task)s and finished_at is not null", {"task": task}), "the task to end")
    assert sum(WAITS in line for line in engine.said) == 1
    assert any("the database answers again" in line for line in engine.said)


@pytest.mark.parametrize("command", ["web", "up"])
def test_what_stays_waits_for_its_database_and_then_begins(proxy: Proxy, proxied_url: str, start: Start, command: str) -> None:
    proxy.refuse()
    started = start(proxied_url, command, "--port", "0")
    started.waits()
    proxy.accept()
    until(lambda: any("Dashboard:" in line for line in started.said), "the dashboard to serve")


@pytest.mark.parametrize("command", ["engine", "engine --reload", "web", "up"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_what_waits_for_its_database_at_once(start: Start, command: str, number: signal.Signals) -> None:
    started = start("postgresql://nobody:secret@127.0.0.1:1/nothing", *command.split())
    started.waits()
    asked = time.monotonic()
    started.process.send_signal(number)
    assert started.process.wait(10) == 0
    assert time.monotonic() - asked < 2 + MARGIN
    assert not any("secret" in line or "Traceback" in line for line in started.said)


def test_a_signal_ends_what_waits_on_a_line_on_which_nothing_moves(proxy: Proxy, proxied_url: str, start: Start) -> None:
    with proxy.behaving("stall"):
        engine = start(proxied_url, "engine")
        until(lambda: proxy.accepted, "it to try")
        engine.process.send_signal(signal.SIGTERM)
        assert engine.process.wait(2 + MARGIN) == 0


def test_what_waits_for_its_database_ends_with_the_process_that_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKER_PARENT", str(os.getpid()))  # nobody is its own parent
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(SystemExit) as end:
        awaited._wait("postgresql://127.0.0.1:1/none", DatabaseUnavailable("away"))
    assert end.value.code == 0


def test_pauses_grow_from_one_second_to_five(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    away = awaited._why_away("postgresql://127.0.0.1:1/none")
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(awaited, "_why_away", lambda _: away if len(pauses) < 6 else None)
    awaited._wait("postgresql://127.0.0.1:1/none", away)
    assert pauses == [1, 2, 4, 5, 5, 5]


def test_a_server_that_does_not_answer_or_starts_up_is_waited_for(proxy: Proxy, proxied_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaited, "connect", partial(connect, connect_seconds=2))
    with proxy.behaving("stall"):
        assert "timeout" in str(awaited._why_away(proxied_url))
    with starting_up() as url:
        assert "starting up" in str(awaited._why_away(url))
    assert awaited._why_away("postgresql:///some?host=/nowhere") is not None
    assert awaited._why_away(proxied_url) is None


@pytest.mark.parametrize(
    "wrong",
    [
        "nonsense",
        "postgresql://127.0.0.1:99999/none",
        "postgresql://somebody:pass/word@127.0.0.1:1/none",
        "postgresql://somebody:pass@word@127.0.0.1:1/none",
        "postgresql://somebody@no-such-host.invalid/none",
    ],
)
def test_an_address_that_is_wrong_is_not_waited_for(wrong: str) -> None:
    assert awaited._why_away(wrong) is None


def test_a_server_that_refuses_the_name_or_has_not_the_database_is_not_waited_for(database_url: str) -> None:
    assert awaited._why_away(database_url.replace("://", "://nobody_", 1)) is None
    assert awaited._why_away(f"{database_url}_of_nobody") is None
