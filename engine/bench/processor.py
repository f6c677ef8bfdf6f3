"""Processor time of whole trees of processes, by Linux's /proc: it says more than a clock where others use the machine too. The bench asks before and after."""

from __future__ import annotations

import os
from pathlib import Path


def tree_seconds(pid: int) -> float:
    """Processor time of a process, of the children it has and of those it has had; 0 where there is no /proc."""
    if not Path("/proc/self/stat").exists():
        return 0.0
    children: dict[int, list[int]] = {}
    for each in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        children.setdefault(parent(each), []).append(each)
    return _with_children(pid, children)


def parent(pid: int) -> int:
    """The process that made it; 0 when there is no such process here."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _with_children(pid: int, children: dict[int, list[int]]) -> float:
    fields = _stat(pid)
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") if fields else 0.0  # user and system time, its own and that of ended children
    return own + sum(_with_children(child, children) for child in children.get(pid, ()))


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
