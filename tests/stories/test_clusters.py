"""Engines whose handlers run on other machines: what is away is said, and an engine that dies leaves nothing behind there."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from story import EngineProcess, Story, is_alive, until

from engine.bench.cluster import Cluster
from engine.queries import engines

FLOWS = """
held = Workflow("held")

@held.step(retry_limit=2, backoff={"base": 0.01})
def work(task, step):
    note("held", task.task_id, step.attempt)
    wait_for("gate")
    return step.attempt
"""


def cluster_of(story: Story, engine: EngineProcess) -> dict[str, Any]:
    """What the engines page says of the engine's cluster."""
    found = next((row for row in engines(story.db) if row.worker_id == story.worker_of(engine)), None)
    return (found and found.cluster) or {}


def test_a_cluster_that_is_away_is_said_and_its_engine_takes_no_step(story: Story) -> None:
    story.write(FLOWS)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else can
        port = unused.getsockname()[1]
        away = {
            "dask": story.start("--lease", "4", "--scheduler", f"tcp://127.0.0.1:{port}", runner="dask"),
            "celery": story.start("--lease", "4", "--broker", f"redis://127.0.0.1:{port}/0", runner="celery"),
        }
        for engine in away.values():
            until(lambda engine=engine: cluster_of(story, engine).get("state") == "away", "the engine to say so")
            assert "cannot be reached" in cluster_of(story, engine)["said"]
            assert engine.said().count("no step starts") == 1
        task = story.launch("held")
        assert story.step(task, "work") == {"state": "ready", "attempts": 0, "result": None, "error": None}
        assert [engine.drained() for engine in away.values()] == [0, 0]


@pytest.mark.nightly
def test_an_engine_that_dies_leaves_nothing_running_on_its_cluster(story: Story, tmp_path: Path) -> None:
    story.write(FLOWS)
    cluster = Cluster(tmp_path)
    try:
        cluster.start_scheduler()
        cluster.start_worker(TASKER_DATABASE_URL=story.url)
        engine = story.start("--scheduler", cluster.address, runner="dask")
        task = story.launch("held")
        running = int(story.noted("held", task, "1")[0][3])
        engine.kill()
        story.start(runner="threads")
        again = story.noted("held", task, "2")[0]
        until(lambda: not is_alive(running), "the handler to end with its engine")
        story.open("gate")
        assert story.ended(task)["steps"]["work"]["result"] == 2
        assert int(again[3]) != running
    finally:
        cluster.end()


@pytest.mark.nightly
def test_a_scheduler_that_comes_back_is_used_again(story: Story, tmp_path: Path) -> None:
    story.write(FLOWS)
    cluster = Cluster(tmp_path)
    try:
        scheduler = cluster.start_scheduler()
        cluster.start_worker()
        engine = story.start("--lease", "24", "--scheduler", cluster.address, runner="dask")
        task = story.launch("held")
        story.noted("held", task, "1")
        scheduler.kill()
        until(lambda: cluster_of(story, engine).get("state") == "away", "the engine to miss the scheduler")
        until(lambda: story.step(task, "work")["state"] == "ready", "the step to go back")
        assert story.step(task, "work")["attempts"] == 0
        cluster.start_scheduler(port=int(cluster.address.rpartition(":")[2]))
        cluster.start_worker()
        story.noted("held", task, "1", times=2)
        story.open("gate")
        assert story.ended(task)["steps"]["work"]["attempts"] == 1
    finally:
        cluster.end()
