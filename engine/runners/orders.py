"""A call as plain data, for runners whose handlers run on other machines: what `place` needs to execute it, and nothing of the engine's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from engine.definition import TaskDefinition
from engine.runners import Item, StepCall, TaskInfo


class Order(NamedTuple):
    """One attempt to execute elsewhere; `number` is the sender's name for it, `timeout` in seconds."""

    number: int
    key: str
    step_no: int
    template_no: int
    timeout: float | None
    attempt: int
    retry_limit: int
    task_id: str
    context_json: str
    correlation_id: str | None
    traceparent: str | None
    inputs: dict[str, str]
    item: tuple[int, int, str] | None


@dataclass(frozen=True, slots=True)
class _Limit:
    timeout: float | None


@dataclass(frozen=True, slots=True, eq=False)
class _Outline:
    """As much of a definition as a runner looks at; the handler processes have the whole of it."""

    key: str
    steps: tuple[_Limit, ...]


class Outlines:
    """The outlines of the steps that were ordered, each kept, so that runners learn how long such a step takes."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, float | None], TaskDefinition] = {}

    def call(self, order: Order) -> StepCall:
        """The order as a call for a runner of this process."""
        namespace, _, rest = order.key.partition("/")
        name, _, version = rest.rpartition("@")
        task = TaskInfo(
            0, order.task_id, namespace, name, version, self._of(order), order.context_json, order.correlation_id, order.traceparent
        )
        item = None if order.item is None else Item(*order.item)
        return StepCall(task, order.step_no, order.attempt, order.retry_limit, order.inputs, order.number, item)

    def _of(self, order: Order) -> TaskDefinition:
        which = order.key, order.template_no, order.timeout
        if (known := self._known.get(which)) is None:
            steps = (*[_Limit(None)] * order.template_no, _Limit(order.timeout))
            known = self._known[which] = cast(TaskDefinition, _Outline(order.key, steps))
        return known


def order(number: int, call: StepCall) -> Order:
    """The call as an order."""
    task, no = call.task, call.template_no
    item: Any = None if call.item is None else tuple(call.item)
    return Order(
        number,
        task.definition.key,
        call.step_no,
        no,
        task.definition.steps[no].timeout,
        call.attempt,
        call.retry_limit,
        task.public_id,
        task.context_json,
        task.correlation_id,
        task.traceparent,
        call.inputs,
        item,
    )
