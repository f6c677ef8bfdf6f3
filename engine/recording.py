"""The form of a recorded run: what became of a task, as `tasker export` writes it and `engine.testing.replay` reads it. Secrets are masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORMAT = "tasker.recording/1"


def recording(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a task of which this became; see `engine.queries.outcome`."""
    return {"format": FORMAT, **outcome}
