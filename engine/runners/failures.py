"""The payloads of failures that no handler raised: a time limit passed, a process died, there is no such handler. Used by every runner."""

from __future__ import annotations

import os
import signal
from typing import Final

from engine.runners import FAILED, wire
from engine.runners.invoke import failure, is_uncharged

LACKING: Final = "handler_missing"
LACKING_SECONDS: Final = 5.0
"""After so long a step whose handler was missing is there again, for whoever has it."""


def timeout_failure(limit: float) -> str:
    """The step was ended at its time limit of that many seconds."""
    return failure("timeout", f"the step did not end within its limit of {limit:g} s", retryable=True)


def crash_failure(ending: str) -> str:
    """The step's process ended under it."""
    return failure("worker_crashed", f"the handler's process {ending} while it ran this step", retryable=True)


def lost_failure(worker: str) -> str:
    """The machine or process beyond this one that ran the step is gone, and the step with it."""
    return failure("worker_crashed", f"the worker {worker} was lost while it ran this step", retryable=True)


def lacking_failure(key: str) -> str:
    """The handler processes know no such workflow, or not in this version; others may."""
    message = f"{key} is not registered in the handler processes; name its module in --handlers or TASKER_HANDLERS"
    return failure(LACKING, message, retryable=True, delay=LACKING_SECONDS, uncharged=True)


def is_lacking(kind: int, payload: str) -> bool:
    """Whether that outcome says that the handler processes do not know the workflow."""
    return kind == FAILED and payload.startswith(f'{{"type":"{LACKING}",') and is_uncharged(payload)


def describe_ending(status: int | None) -> str:
    """What a wait status says: `was killed by SIGSEGV`, `exited with code 3`."""
    if status is None:
        return "ended, nobody saw how,"
    if os.WIFSIGNALED(status):
        name = _signal_name(os.WTERMSIG(status))
        return f"was killed by {name}" + (" (out of memory, or from outside)" if name == "SIGKILL" else "")
    if os.WEXITSTATUS(status) == wire.CUT_OFF:
        return "lost its connection to the engine (files that are not its own were closed)"
    return f"exited with code {os.WEXITSTATUS(status)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
