"""The measured workflows on this engine: `tasker engine --handlers benchmarks.tasker.flows`."""

from __future__ import annotations

import os

from benchmarks.driving import CHAIN, HOPS, MIDDLE, note_start
from engine import StepHandler, Workflow
from engine.handlers import Sequence, Step, Task

NAMESPACE = "peers"


class NoOp(StepHandler):
    """Returns at once."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> dict[str, int]:
        note_start()
        return {"ok": 1}


def _chain(length: int) -> Workflow:
    flow = Workflow(f"chain_{length}", namespace=NAMESPACE, version="1.0.0")
    for number in range(length):
        flow.define(f"step_{number}", handler_class=NoOp, depends_on_step=[f"step_{number - 1}"] if number else [])
    return flow


def _joined(name: str, width: int, *, first: list[str]) -> Workflow:
    flow = Workflow(name, namespace=NAMESPACE, version="1.0.0")
    for step in first:
        flow.define(step, handler_class=NoOp)
    for number in range(width):
        flow.define(f"part_{number}", handler_class=NoOp, depends_on_step=first)
    flow.define("join", handler_class=NoOp, depends_on_step=[f"part_{number}" for number in range(width)])
    return flow


single, chain, hops = _chain(1), _chain(CHAIN), _chain(HOPS)
diamond = _joined(f"diamond_{MIDDLE}", MIDDLE, first=["first"])
WIDTH = int(os.environ.get("BENCH_WIDTH", "1000"))
fan = _joined(f"fan_{WIDTH}", WIDTH, first=[])
FLOWS = (single, chain, hops, diamond, fan)
