"""Three engines at work and one kind of fault after the other: whatever happens, the checker finds nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import faults
import pytest
from arena import Arena

SEED = 20_240
TREES = 40


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """One installation for all faults; each must leave it whole."""
    installation = Arena(tmp_path_factory.mktemp("arena"), seed=SEED)
    try:
        installation.start_engines(3)
        installation.start_web()
        yield installation
    finally:
        installation.end()


@pytest.mark.parametrize("fault", faults.NIGHTLY, ids=lambda fault: fault.__qualname__)
def test_one(arena: Arena, fault: faults.Fault) -> None:
    arena.start_engines(3)
    arena.run_load([fault], trees=TREES)
    arena.assert_kept()
    print(arena.report([])["schedule"][-1], file=sys.stderr)
