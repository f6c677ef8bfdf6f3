"""`ecommerce/process_order` 1.0.0 in the class form: one step after the other. Version 2.0.0 is `process_order_2.yaml`."""

from typing import Any

from engine import TaskHandler, register_handler
from engine.examples.ecommerce.checkout import (
    CreateOrder,
    ProcessPayment,
    SendConfirmation,
    UpdateInventory,
    ValidateCart,
)
from engine.examples.ecommerce.order_schema import ORDER_SCHEMA
from engine.handlers import StepTemplates

QUICK = {"base": 0.3, "multiplier": 2.0, "cap": 5.0, "jitter": 0.1}


@register_handler("process_order", namespace_name="ecommerce", version="1.0.0")
class ProcessOrder(TaskHandler):
    """Takes a shop order from the cart to the confirmation mail, one step after the other."""

    def schema(self) -> dict[str, Any]:
        return ORDER_SCHEMA

    def define_step_templates(self, templates: StepTemplates) -> None:
        templates.define(
            name="validate_cart",
            description="Checks each product against the catalogue and works out goods, tax and shipping to the cent.",
            handler_class=ValidateCart,
            retry_limit=3,
            timeout=15_000,
            backoff=QUICK,
        )
        templates.define(
            name="process_payment",
            description="Charges the total to the customer. A refused card ends the order; a busy gateway is asked again.",
            handler_class=ProcessPayment,
            depends_on_step="validate_cart",
            retry_limit=3,
            timeout=30_000,
            backoff=QUICK,
        )
        templates.define(
            name="update_inventory",
            description="Takes the goods from the shelf, all of them or none.",
            handler_class=UpdateInventory,
            depends_on_step="process_payment",
            retry_limit=2,
            timeout=20_000,
            backoff=QUICK,
        )
        templates.define(
            name="create_order",
            description="Enters the paid order under its number and promises a delivery date a week ahead.",
            handler_class=CreateOrder,
            depends_on_step="update_inventory",
            retry_limit=3,
            timeout=15_000,
            backoff=QUICK,
        )
        templates.define(
            name="send_confirmation",
            description="Mails the customer what was ordered and what it cost.",
            handler_class=SendConfirmation,
            depends_on_step="create_order",
            retry_limit=5,
            timeout=10_000,
            backoff=QUICK,
        )
