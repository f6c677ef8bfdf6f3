"""The payloads of failures that no handler raised: a time limit passed, a process died. Used by every runner."""

from __future__ import annotations

import os
import signal

from engine.runners import wire
from engine.runners.invoke import failure


def timeout_failure(limit: float) -> str:
    """The step was ended at its time limit of that many seconds."""
    return failure("timeout", f"the step did not end within its limit of {limit:g} s", retryable=True)


def crash_failure(ending: str) -> str:
    """The step's process ended under it."""
    return failure("worker_crashed", f"the handler's process {ending} while it ran this step", retryable=True)


def lost_failure(worker: str) -> str:
    """The machine or process beyond this one that ran the step is gone, and the step with it."""
    return failure("worker_crashed", f"the worker {worker} was lost while it ran this step", retryable=True)


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
