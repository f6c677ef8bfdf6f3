"""Parts of `tasker up` and the process that started them: none outlives the others."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

PARENT = "TASKER_PARENT"
LOOK_SECONDS = 0.5
STOP_SECONDS = 45.0


def end_with_parent(stop: Callable[[], object]) -> None:
    """`stop` is called when the process that started us is gone, however it went; nothing happens when nobody did."""
    parent = _parent()
    if parent is not None:
        threading.Thread(target=_look, args=(parent, stop), name="tasker-parent", daemon=True).start()


def is_left() -> bool:
    """Whether the process that started us is gone; not so when nobody did."""
    return _parent() not in (None, os.getppid())


def stop_all(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Every process has ended: asked first, the last started first, and killed when it will not."""
    for process in reversed(processes):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for process in reversed(processes):
        try:
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _parent() -> int | None:
    parent = os.environ.get(PARENT)
    return int(parent) if parent and parent.isdigit() else None


def _look(parent: int, stop: Callable[[], object]) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    stop()
