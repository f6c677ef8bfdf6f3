"""A user's project with types all the way: `make lint` checks it with mypy --strict, so each `type: ignore` below must be needed."""

from __future__ import annotations

from typing import TypedDict

from pydantic import BaseModel, Field

from engine import StepHandler, TaskHandler, Workflow, register_handler
from engine.handlers import Sequence, Step, StepTemplates, Task


class Order(BaseModel):
    order_id: int = Field(gt=0)
    speed: str = "normal"


class Payment(BaseModel):
    payment_id: str
    amount: float = Field(ge=0)


orders = Workflow("typed_order", namespace="samples", schema=Order)


@orders.step(timeout=1_000)
def charge(task: Task[Order]) -> Payment:
    return Payment(payment_id=f"p{task.context.order_id}", amount=9.5)


@orders.step(depends_on_step="charge", timeout=1_000)
def receipt(task: Task[Order], charge: Payment) -> str:
    return f"{task.context.speed}: {charge.payment_id} over {charge.amount:.2f}"


class Refund(TypedDict):
    refund_id: int


class PayBack(StepHandler):
    def process(self, task: Task[Order], sequence: Sequence, step: Step) -> Payment:
        return Payment(payment_id=f"r{task.context.order_id}", amount=0)


class Tell(StepHandler):
    def process(self, task: Task[Order], sequence: Sequence, step: Step) -> str:
        paid = self.step_results(sequence, "pay_back", Payment)
        return paid.payment_id


@register_handler("typed_refund", namespace_name="samples")
class Refunds(TaskHandler):
    def define_step_templates(self, templates: StepTemplates) -> None:
        templates.define("pay_back", handler_class=PayBack, timeout=1_000)
        templates.define("tell", handler_class=Tell, depends_on_step="pay_back", timeout=1_000)

    def schema(self) -> type[Order]:
        return Order


plain = Workflow("plain", namespace="samples")


@plain.step(timeout=1_000)
def untyped(task: Task) -> str:
    return str(task.context["anything"])


@plain.step(timeout=1_000)
def by_keys(task: Task[Refund]) -> int:
    return task.context["refund_id"]


def mistakes(order: Task[Order], refund: Task[Refund], sequence: Sequence) -> list[object]:
    """What a type checker must refuse; nobody calls it."""
    return [
        order.context.oder_id,  # type: ignore[attr-defined]
        refund.context["refund"],  # type: ignore[typeddict-item]
        PayBack().step_results(sequence, "charge", Payment).payment,  # type: ignore[attr-defined]
        order.context["order_id"],  # type: ignore[index]
    ]
