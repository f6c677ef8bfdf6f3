"""Large results in a bucket: a server that speaks S3, and the driver as a user installs it beside the product."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from story import ROOT, Story, until

from engine import large_results
from engine.db import Database
from engine.embedded.start import _free_port
from engine.keeping import retention
from engine.keeping.retention import Sweep

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600)]

HERE = Path(__file__).parent / "s3"
BUCKET = "results"

FLOWS = """
flow = Workflow("large")

@flow.step(retry_limit=1)
def make(task):
    note("made", task.task_id)
    return "x" * 200_000

@flow.step(depends_on_step="make")
def wait(task):
    wait_for(task.context.get("gate", "open"))

@flow.step(depends_on_step="wait", retry_limit=1)
def use(task, sequence):
    note("used", task.task_id, len(sequence.result("make")))
"""


class Bucket:
    """A server that has one bucket, in memory: it is empty again after each start."""

    def __init__(self, packages: Path, log: Path) -> None:
        self.port = _free_port(0)
        self.url = f"http://127.0.0.1:{self.port}"
        self._packages, self._log = packages, log
        self.start()

    def start(self) -> None:
        """It answers."""
        program = "import sys; from moto.server import main; sys.exit(main(sys.argv[1:]))"
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, "-p", str(self.port)], env={**os.environ, "PYTHONPATH": str(self._packages)}, stdout=output, stderr=output
            )
        until(self._is_up, "the bucket's server to come up")
        httpx.put(f"{self.url}/{BUCKET}").raise_for_status()

    def _is_up(self) -> bool:
        try:
            return httpx.get(self.url).is_success
        except httpx.TransportError:
            return False

    def keys(self) -> list[str]:
        """What lies in it."""
        return re.findall("<Key>(.*?)</Key>", httpx.get(f"{self.url}/{BUCKET}", params={"list-type": "2"}).raise_for_status().text)

    def content(self, key: str) -> bytes:
        """What lies under the key."""
        return httpx.get(f"{self.url}/{BUCKET}/{key}", headers={"Authorization": "AWS somebody:something"}).raise_for_status().content

    def end(self) -> None:
        """It is gone, with all that lay in it."""
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def packages() -> dict[str, Path]:
    """Folders with the server's packages and the driver's, installed once for each list of them."""
    return {name: _installed(HERE / f"{name}.txt") for name in ("server", "driver")}


def _installed(pins: Path) -> Path:
    folder = ROOT / "build" / "s3" / f"{pins.stem}-{hashlib.sha256(pins.read_bytes()).hexdigest()[:16]}"
    if not folder.exists():
        part = folder.with_suffix(f".{os.getpid()}")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", str(part), "--requirement", str(pins)]
        subprocess.run(command, check=True, timeout=500, stdin=subprocess.DEVNULL)
        part.rename(folder)
    return folder


@pytest.fixture
def bucket(packages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket, which the processes that the test starts know as the store of large results."""
    found = Bucket(packages["server"], tmp_path / "bucket.log")
    for name, value in {
        "TASKER_OBJECTS": f"s3://{BUCKET}/large",
        "PYTHONPATH": str(packages["driver"]),
        "AWS_ENDPOINT_URL": found.url,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield found
    found.end()


def doctor(story: Story) -> str:
    """What `tasker doctor` says of the store."""
    environment = {**os.environ, "TASKER_DATABASE_URL": story.url, "TASKER_HANDLERS": str(story.handlers)}
    answer = subprocess.run([sys.executable, "-m", "engine.cli", "doctor"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    return next((line for line in answer.stdout.splitlines() if "objects" in line), answer.stdout + answer.stderr)


@pytest.mark.parametrize("runner", ["processes", "threads"])
def test_a_large_result_lies_in_the_bucket_until_its_task_is_dropped(
    story: Story, bucket: Bucket, set_clock: Callable[[timedelta], None], runner: str
) -> None:
    story.write(FLOWS)
    story.start(runner=runner)
    story.open("open")
    task = story.run("large")["task_id"]
    assert story.ledger("used", task, "200000")
    [key] = bucket.keys()
    assert (key.rpartition("/")[0], bucket.content(key)) == (f"large/default/{task}", b'"' + b"x" * 200_000 + b'"')
    assert "answers" in doctor(story)
    retention.set_default(story.db, timedelta(days=1), actor="ann")
    set_clock(timedelta(days=2))
    with contextlib.closing(Database(story.url)) as then:
        assert Sweep(then).finish().task_count == 1
    until(lambda: not bucket.keys() and not large_results.left_count(story.db), "the engine to delete what the task has left")


def test_a_result_is_offered_until_the_bucket_is_back_and_its_handler_runs_once(story: Story, bucket: Bucket) -> None:
    story.write(FLOWS)
    bucket.end()
    story.start()
    story.open("open")
    task = story.launch("large")
    story.noted("made", task)
    bucket.start()
    assert story.ended(task)["state"] == "completed"
    assert len(story.ledger("made", task)) == 1


def test_a_result_that_is_gone_is_told_apart_from_a_bucket_that_is_away(story: Story, bucket: Bucket) -> None:
    story.write(FLOWS)
    story.start()
    task = story.launch("large", {"gate": "emptied"})
    story.until_state(task, "wait", "running")
    bucket.end()
    story.open("emptied")
    until(lambda: (story.step(task, "use")["error"] or {}).get("type") == "StoreFailed", "the step to go back")
    assert story.step(task, "use")["attempts"] == 0
    bucket.start()
    assert story.ended(task)["state"] == "failed"
    assert story.step(task, "use")["error"]["type"] == "ObjectMissing"


def test_a_bucket_that_does_not_exist_is_told_before_any_step_meets_it(story: Story, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKER_OBJECTS", "s3://no-such-bucket/large")
    assert "there is no no-such-bucket" in doctor(story)
    httpx.put(f"{bucket.url}/no-such-bucket").raise_for_status()
    assert "answers" in doctor(story)
