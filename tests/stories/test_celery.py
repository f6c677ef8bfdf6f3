"""Steps that Celery's workers run: a real engine, a real broker, real worker processes. Redis where it is installed, else a folder of messages; at night RabbitMQ too."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from story import EngineProcess, Story, below, is_alive, until

from engine.celery_worker import CeleryBroker, make_app, transport_options

FLOWS = """
chain = Workflow("chain")

@chain.step(timeout=60_000)
def first(task, step):
    step.progress(1, 2, "half way")
    note("first", task.task_id, step.attempt)
    return {"amount": 7}

@chain.step(depends_on_step="first")
def second(task):
    return task.context["order"]

@chain.step(depends_on_step="second")
def third(first, second):
    return [first["amount"], second]


held = Workflow("held")

@held.step(retry_limit=2, backoff={"base": 0.01})
def work(task, step):
    note("held", task.task_id, step.attempt)
    wait_for("gate")
    return step.attempt


stubborn = Workflow("stubborn")

@stubborn.step(retry_limit=1)
def work(task, step):
    note("stubborn", task.task_id)
    while not step.cancel_requested:
        time.sleep(0.01)
    raise RuntimeError("stopped")
"""


class Broker:
    """Where messages wait. `environment` is what those who use it are told."""

    environment: dict[str, str]

    def send(self, token: str) -> None:
        """One more message with that token."""
        CeleryBroker(make_app(self.environment["TASKER_BROKER_URL"], transport_options(self.environment))).send(token, {})

    def begin(self) -> None:
        """It answers."""

    def end(self) -> None:
        """It is gone."""


class Folder(Broker):
    """One that every machine has."""

    def __init__(self, folder: Path) -> None:
        for name in ("messages", "messages-control"):
            (folder / name).mkdir()
        self.environment = {"TASKER_BROKER_URL": "filesystem://", "TASKER_BROKER_FOLDER": str(folder / "messages")}


class Redis(Broker):
    """A server of its own."""

    def __init__(self, folder: Path) -> None:
        self._at = folder / "redis.sock"
        self.environment = {"TASKER_BROKER_URL": f"redis+socket://{self._at}"}
        self.begin()

    def begin(self) -> None:
        self._server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", str(self._at), "--save", ""], stdout=subprocess.DEVNULL)
        until(self._at.exists, "the broker to come up")

    def end(self) -> None:
        self._server.kill()
        self._server.wait()
        self._at.unlink(missing_ok=True)


class Rabbit(Broker):
    """A node of its own, which keeps everything it writes in the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.environment = {"TASKER_BROKER_URL": f"amqp://guest:guest@127.0.0.1:{self._port}//"}
        for name in ("data", "log", "home"):
            (folder / name).mkdir()
        (folder / "rabbit.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self._port}\nloopback_users.guest = true\n")
        (folder / "plugins").write_text("[].\n")
        settings = {"NODENAME": f"tasker-{self._port}@localhost", "DIST_PORT": free_port(), "MNESIA_BASE": folder / "data", "LOG_BASE": folder / "log"}
        settings |= {"CONFIG_FILE": folder / "rabbit.conf", "ENABLED_PLUGINS_FILE": folder / "plugins", "NODE_IP_ADDRESS": "127.0.0.1", "PID_FILE": folder / "pid"}
        self._named = {"HOME": str(folder / "home"), "ERL_EPMD_PORT": str(free_port())} | {f"RABBITMQ_{name}": str(value) for name, value in settings.items()}
        self.begin()

    def begin(self) -> None:
        # what the package puts on the PATH would run it as another user
        with (self._folder / "rabbit.out").open("ab") as output:
            self._server = subprocess.Popen(["/usr/lib/rabbitmq/bin/rabbitmq-server"], env={**os.environ, **self._named}, stdout=output, stderr=output, start_new_session=True)
        until(lambda: is_open(self._port), "the broker to come up", seconds=60)

    def end(self) -> None:
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()
        until(self._ends_its_names, "the node's directory of names to let it go")

    def _ends_its_names(self) -> bool:
        """What the node started beside itself ends, once it knows that the node has."""
        return subprocess.run(["epmd", "-kill"], env={**os.environ, **self._named}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def is_open(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def a_rabbit(folder: Path) -> Broker:
    """Skips the test where RabbitMQ is not installed."""
    if not Path("/usr/lib/rabbitmq/bin/rabbitmq-server").exists():
        pytest.skip("RabbitMQ is not installed; apt-get install rabbitmq-server brings it")
    return Rabbit(folder)


def at_hand(folder: Path) -> Broker:
    """Redis where it is installed, else a folder of messages."""
    return Redis(folder) if shutil.which("redis-server") else Folder(folder)


class Station:
    """A worker process as those who run Celery start it."""

    def __init__(self, story: Story, broker: Broker, handlers: Path, number: int) -> None:
        self.log = story.folder / f"worker-{number}.log"
        environment = {**os.environ, **broker.environment, "TASKER_DATABASE_URL": story.url, "TASKER_HANDLERS": str(handlers), "PYTHONPATH": "."}
        arguments = ["--concurrency", "2", "--without-gossip", "--without-mingle", "--loglevel", "info"]
        command = [sys.executable, "-m", "celery", "-A", "engine.celery_worker", "worker", *arguments]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=Path(__file__).parents[2], env=environment, stdout=output, stderr=output)

    def end(self) -> None:
        """It is gone, without a word."""
        self.process.kill()
        self.process.wait()


@pytest.fixture(params=[at_hand, pytest.param(a_rabbit, marks=pytest.mark.nightly)])
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A broker, which the engines of the test are told of."""
    found: Broker = request.param(tmp_path)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    yield found
    found.end()


@pytest.fixture
def station(story: Story, broker: Broker) -> Iterator[Callable[..., Station]]:
    """Starts a worker process that is gone after the test."""
    stations: list[Station] = []

    def start(handlers: Path = story.handlers) -> Station:
        stations.append(Station(story, broker, handlers, len(stations)))
        return stations[-1]

    yield start
    for one in stations:
        one.end()


def cluster_of(story: Story, engine: EngineProcess) -> dict[str, Any]:
    """What the engine says of its broker and workers, as the engines page has it."""
    found = story.db.value("select figures -> 'cluster' from tasker_worker where worker_id = %(id)s", {"id": story.worker_of(engine)})
    return found or {}


def test_steps_run_on_celerys_workers_once_each_and_a_worker_that_is_lost_charges_what_it_ran(
    story: Story, broker: Broker, station: Callable[..., Station]
) -> None:
    story.write(FLOWS)
    doomed = station()
    engine = story.start("--lease", "6", runner="celery")

    assert story.run("chain", {"order": 12})["steps"]["third"]["result"] == [7, 12]

    asked = story.launch("stubborn")
    story.noted("stubborn", asked)
    story.db.value("select tasker_cancel_task(task_id, 'test', null) from tasker_task where task_id = %(id)s", {"id": asked})
    assert story.ended(asked)["state"] == "cancelled"

    task = story.launch("held")
    first = story.noted("held", task, "1")[0]
    token = story.db.value("select token::text from tasker_delivery where kind is null")
    broker.send(token)  # the broker may deliver a message twice
    until(lambda: "came twice" in doomed.log.read_text(), "the second message to arrive")
    assert len(story.ledger("held")) == 1

    running = int(first[3])
    doomed.process.send_signal(signal.SIGKILL)
    until(lambda: not is_alive(running), "the handler to end with its worker")
    station()
    story.noted("held", task, "2")  # charged: it may be what killed the worker
    story.open("gate")
    work = story.ended(task)["steps"]["work"]
    assert (work["state"], work["result"], work["attempts"]) == ("completed", 2, 2)
    until(lambda: story.db.value("select count(*) from tasker_delivery") == 0, "what was told to be forgotten")
    assert cluster_of(story, engine)["state"] == "connected"
    assert engine.drained() == 0


@pytest.mark.nightly
def test_an_engine_that_dies_leaves_nothing_running_on_celerys_workers(story: Story, station: Callable[..., Station]) -> None:
    story.write(FLOWS)
    worker = station()
    engine = story.start("--lease", "6", runner="celery")
    task = story.launch("held")
    running = int(story.noted("held", task, "1")[0][3])
    assert running in below(worker.process.pid)
    engine.kill()
    story.start(runner="threads")
    again = story.noted("held", task, "2")[0]
    assert int(again[3]) != running
    until(lambda: not is_alive(running), "the handler to end with its engine")
    story.open("gate")
    assert story.ended(task)["state"] == "completed"


@pytest.mark.nightly
def test_a_broker_that_is_away_costs_no_attempt_and_all_goes_on_when_it_is_back(story: Story, broker: Broker, station: Callable[..., Station]) -> None:
    if isinstance(broker, Folder):
        pytest.skip("a folder is never away; apt-get install redis-server brings a broker that can be")
    story.write(FLOWS)
    station()
    engine = story.start("--lease", "6", runner="celery")
    assert story.run("chain", {"order": 12})["state"] == "completed"
    broker.end()
    task = story.launch("chain", {"order": 13})
    until(lambda: cluster_of(story, engine).get("state") == "away", "the engines page to say that the broker is away")
    assert story.outcome(task)["state"] in ("pending", "running")
    broker.begin()
    steps = story.ended(task)["steps"]
    assert {name: (step["state"], step["attempts"]) for name, step in steps.items()} == dict.fromkeys(("first", "second", "third"), ("completed", 1))
    assert engine.drained() == 0


@pytest.mark.nightly
def test_a_worker_whose_handlers_cannot_be_loaded_says_so_and_is_sent_nothing_until_they_can(story: Story, station: Callable[..., Station]) -> None:
    story.write(FLOWS)
    worker = station(story.write("raise RuntimeError('a library is missing')", folder="deployed"))
    engine = story.start("--lease", "6", runner="celery")
    task = story.launch("chain", {"order": 12})
    until(lambda: "load its handlers" in cluster_of(story, engine).get("said", ""), "the engine to see that there is no room")
    assert "a library is missing" in worker.log.read_text()
    story.write(FLOWS, folder="deployed")
    steps = story.ended(task)["steps"]
    assert steps["third"]["result"] == [7, 12]
    assert steps["first"]["attempts"] == 1  # what was released was not charged
    assert worker.log.read_text().count("until the handlers can be loaded") == 1
    assert engine.drained() == 0
