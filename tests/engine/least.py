"""How long something takes of the processor, whatever else the machine does."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from engine.errors import TaskerError

TRIES = 5


def least_seconds(act: Callable[[], object], enough: float) -> float:
    """The processor time of the quickest of some tries, refused or not: a busy machine makes each slower and none quicker. The first within `enough` is the last."""
    least = float("inf")
    for _ in range(TRIES):
        began = time.process_time()
        with suppress(TaskerError):
            act()
        least = min(least, time.process_time() - began)
        if least <= enough:
            break
    return least
