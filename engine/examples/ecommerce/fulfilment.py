"""The steps that `process_order` 2.0.0 adds: look for fraud, hold the money first and take it later, ship, thank the customer."""

from datetime import timedelta
from typing import Any

from engine import PermanentError
from engine.examples import clock
from engine.examples.ecommerce import labels, payments, shop
from engine.examples.ecommerce.checkout import ProcessPayment, Result, ShopStep, payment_result
from engine.handlers import Sequence, Step, Task

CARRIERS = {"standard": "Ground parcel", "express": "Express parcel", "overnight": "Overnight parcel"}
POINTS_PER_DOLLAR = {"standard": 1, "premium": 2, "enterprise": 3}
DISPOSABLE_MAIL = ("mailinator.com", "trashmail.com", "guerrillamail.com")
BULK_UNITS = 6


class CheckFraud(ShopStep):
    """Scores the order by what is unusual about it and stops it from `refuse_from` points on (`handler_config`, default 60)."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> Result:
        cart = self.earlier(sequence, "validate_cart", error_code="MISSING_CART_VALIDATION")
        signs = fraud_signs(task.context, cart, usual_amount=step.handler_config.get("usual_amount", 500))
        score = sum(signs.values())
        if score >= step.handler_config.get("refuse_from", 60):
            raise PermanentError(f"The order looks fraudulent ({score} points): {', '.join(signs)}.", error_code="FRAUD_SUSPECTED")
        return {"score": score, "signs": list(signs), "decision": "accepted", "checked_at": clock.now()}


class AuthorizePayment(ProcessPayment):
    """Holds the total of the cart on the customer's card; nothing is charged yet."""

    take = staticmethod(payments.authorize)


class CapturePayment(ShopStep):
    """Takes the money that was held, now that the goods are reserved and the order is trusted."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> Result:
        held = self.earlier(sequence, "authorize_payment", error_code="MISSING_PAYMENT_RESULT")
        try:
            return payment_result(payments.capture(held["payment_id"]))
        except payments.GatewayError as error:
            raise PermanentError(f"The gateway does not know payment {held['payment_id']}.", error_code="PAYMENT_NOT_FOUND") from error


class CreateShippingLabel(ShopStep):
    """Prints the label with address, carrier and bar code."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> Result:
        order = self.earlier(sequence, "create_order", error_code="MISSING_ORDER_RESULT")
        carrier = CARRIERS[task.context.get("priority", "standard")]
        tracking = labels.tracking_number(self.key(task, step))
        file = labels.print_label(tracking, carrier=carrier, lines=[*_address_lines(task.context), order["order_number"]])
        return {"tracking_number": tracking, "carrier": carrier, "file": str(file)}


class AwardLoyaltyPoints(ShopStep):
    """Credits points for the goods; premium and enterprise customers earn two and three per dollar."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> Result:
        cart = self.earlier(sequence, "validate_cart", error_code="MISSING_CART_VALIDATION")
        customer = task.context["customer_info"]
        points = int(cart["subtotal"]) * POINTS_PER_DOLLAR[customer.get("tier", "standard")]
        return {"points": points, "balance": shop.award_points(self.key(task, step), email=customer["email"], points=points)}


def fraud_signs(context: dict[str, Any], cart: Result, *, usual_amount: float) -> dict[str, int]:
    """What is unusual about an order, each sign with its points."""
    email = str((context.get("customer_info") or {}).get("email", "")).lower()
    declined = payments.declined_count(email, since=clock.later(clock.now(), -timedelta(hours=1)))
    signs = {
        f"a total above {usual_amount}": 40 * (cart["total"] > usual_amount),
        "many units of one product": 20 * any(item["quantity"] >= BULK_UNITS for item in cart["validated_items"]),
        "a disposable mail address": 40 * email.endswith(DISPOSABLE_MAIL),
        "refused cards in the last hour": 30 * min(declined, 3),
    }
    return {sign: points for sign, points in signs.items() if points}


def _address_lines(context: dict[str, Any]) -> list[str]:
    address = context.get("shipping_info") or {}
    parts = (address.get(part) for part in ("address", "city", "state", "zip", "country"))
    return [context["customer_info"]["name"], *(str(part) for part in parts if part)]
