"""The workflows that are measured: handlers that do nothing, in the shapes that matter."""

from __future__ import annotations

from engine import StepHandler, Workflow
from engine.handlers import Sequence, Step, Task

NAMESPACE = "bench"


class NoOp(StepHandler):
    """Returns at once, so that what is measured is the engine."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> dict[str, int]:
        return {"ok": 1}


def _chain(name: str, length: int) -> Workflow:
    flow = Workflow(name, namespace=NAMESPACE, version="1.0.0")
    for number in range(length):
        flow.define(f"step_{number}", handler_class=NoOp, depends_on_step=[f"step_{number - 1}"] if number else [])
    return flow


def _diamond(name: str, width: int) -> Workflow:
    flow = Workflow(name, namespace=NAMESPACE, version="1.0.0")
    flow.define("first", handler_class=NoOp)
    for number in range(width):
        flow.define(f"middle_{number}", handler_class=NoOp, depends_on_step="first")
    flow.define("last", handler_class=NoOp, depends_on_step=[f"middle_{number}" for number in range(width)])
    return flow


def _fan(name: str, width: int) -> Workflow:
    flow = Workflow(name, namespace=NAMESPACE, version="1.0.0")
    for number in range(width):
        flow.define(f"part_{number}", handler_class=NoOp)
    flow.define("join", handler_class=NoOp, depends_on_step=[f"part_{number}" for number in range(width)])
    return flow


w1 = _chain("chain_of_5", 5)
w10 = _chain("chain_of_10", 10)
w2 = _diamond("diamond_of_4", 4)
w3 = _fan("fan_of_1000", 1000)
w4 = _chain("chain_of_20", 20)
single = _chain("single", 1)
