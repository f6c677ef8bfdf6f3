"""The workflows as numbered steps, for peers that are queues and know no graph: there each job must find out itself what comes next."""

from __future__ import annotations


def size(shape: str) -> int:
    """How many steps it has; they are numbered from 0, and the last one ends the task."""
    kind, width = _parts(shape)
    return {"chain": width, "diamond": width + 2, "fan": width + 1}[kind]


def roots(shape: str) -> list[int]:
    """The steps that wait for nothing."""
    kind, width = _parts(shape)
    return list(range(width)) if kind == "fan" else [0]


def children(shape: str, step: int) -> list[int]:
    """The steps that wait for this one."""
    kind, width = _parts(shape)
    last = size(shape) - 1
    if step == last:
        return []
    if kind == "chain":
        return [step + 1]
    return list(range(1, width + 1)) if kind == "diamond" and step == 0 else [last]


def joined(shape: str) -> int:
    """How many steps the last one waits for, when they are several; else 0."""
    kind, width = _parts(shape)
    return 0 if kind == "chain" else width


def _parts(shape: str) -> tuple[str, int]:
    kind, _, width = shape.partition("_")
    return kind, int(width)
