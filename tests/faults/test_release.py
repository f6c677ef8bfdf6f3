"""What only a release needs: a migration while everything runs. There is no former release yet to run beside this one."""

from __future__ import annotations

import threading
from pathlib import Path

import faults
import pytest
from arena import Arena

from engine import migrate


@pytest.mark.release
@pytest.mark.timeout(600)
def test_migrators_and_changed_tables_harm_no_step(tmp_path: Path) -> None:
    arena = Arena(tmp_path, seed=27)
    try:
        arena.start_engines(3)
        arena.start_web()
        arena.run_load([faults.change_schema, two_migrators, faults.change_schema, two_migrators, faults.change_schema], trees=300)
        arena.assert_kept()
    finally:
        arena.end()


def two_migrators(arena: Arena) -> None:
    """Two processes bring the schema up to date at once; it is already."""
    with arena.fault("two migrators at once"):
        both = [threading.Thread(target=migrate.upgrade, args=(arena.server.url,)) for _ in range(2)]
        for migrator in both:
            migrator.start()
        for migrator in both:
            migrator.join()
    assert not migrate.status(arena.server.url).pending
