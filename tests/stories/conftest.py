"""A stage per test, and one per file for stories that only look at how tasks end."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from story import Story

from engine.db import Database

if TYPE_CHECKING:
    import psycopg

_numbers = itertools.count(1)


@pytest.fixture
def story(database_url: str, db: Database, tmp_path: Path) -> Iterator[Story]:
    """An empty stage; every engine started on it is gone after the test."""
    stage = Story(database_url, db, tmp_path)
    yield stage
    stage.end()


@pytest.fixture(scope="module", params=["processes", "threads"])
def running(
    request: pytest.FixtureRequest, admin: psycopg.Connection[Any], server: Any, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    """A stage with one engine of each kind that runs the file's FLOWS, shared by the file's tests."""
    name = f"story_{os.getpid()}_{next(_numbers)}"
    admin.execute(f"create database {name} template {template} strategy file_copy owner tasker".encode())
    url = f"{server.url.rpartition('/')[0]}/{name}"
    database = Database(url)
    stage = Story(url, database, tmp_path_factory.mktemp("story"))
    for file, text in request.module.FLOWS.items():
        stage.write(text, file)
    try:
        stage.start("--grace", "1", runner=request.param, concurrency=8)
        yield stage
    finally:
        stage.end()
        database.close()
        admin.execute(f"drop database {name} with (force)".encode())
