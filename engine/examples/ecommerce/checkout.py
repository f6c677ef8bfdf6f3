"""The steps of an order from the cart to the confirmation; `process_order` 1.0.0 runs them in a row, 2.0.0 uses most of them again.

Each step checks what it was given, does its work once per task, and hands on what the next ones need.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from engine import PermanentError, RetryableError, StepHandler
from engine.examples import clock
from engine.examples.ecommerce import mail, payments, shop
from engine.examples.ecommerce.pricing import Line, cents, price_of
from engine.handlers import Sequence, Step, Task

DELIVERY_TIME = timedelta(days=7)
GATEWAY_LIMIT_SECONDS = 30
MAIL_LIMIT_SECONDS = 60

Result = dict[str, Any]


class ShopStep(StepHandler):
    """What the shop's steps have in common."""

    def key(self, task: Task, step: Step) -> str:
        """Names the work of this step in this task: whatever is done under it is done once, however often the step runs."""
        return f"{task.task_id}:{step.name}"

    def earlier(self, sequence: Sequence, name: str, *, error_code: str) -> Result:
        """The result of an earlier step, without which this one cannot work."""
        result = self.step_results(sequence, name)
        if not isinstance(result, dict) or not result:
            raise PermanentError(f"The result of {name} is missing.", error_code=error_code)
        return result


class ValidateCart(ShopStep):
    """Checks every product against the catalogue and computes what the cart costs."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> Result:
        items = [_checked_item(item) for item in _cart(task)]
        price = price_of(Line(cents(item["price"]), item["quantity"]) for item in items)
        return {
            "validated_items": items,
            "subtotal": float(price.subtotal),
            "tax": float(price.tax),
            "shipping": float(price.shipping),
            "total": float(price.total),
            "item_count": sum(item["quantity"] for item in items),
            "validated_at": clock.now(),
        }


class ProcessPayment(ShopStep):
    """Charges the customer the total of the cart."""

    take: ClassVar[Callable[..., payments.Payment]] = staticmethod(payments.charge)

    def process(self, task: Task, sequence: Sequence, step: Step) -> Result:
        cart = self.step_results(sequence, "validate_cart") or {}
        payment = _paid(lambda: self.take(self.key(task, step), _charge(task, cart), now=clock.now()))
        return payment_result(payment)


class UpdateInventory(ShopStep):
    """Takes the ordered goods from the shelf, all of them or none."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> Result:
        items = self.step_results(sequence, "validate_cart") or {}
        wanted = _quantities(items.get("validated_items") or [])
        _customer(task)
        changes = _reserved(self.key(task, step), wanted)
        return {
            "updated_products": [change["product_id"] for change in changes],
            "total_items_reserved": sum(wanted.values()),
            "inventory_changes": changes,
            "updated_at": clock.now(),
        }


class CreateOrder(ShopStep):
    """Enters the order once the goods are reserved and paid for.

    `handler_config` may name other steps than 1.0.0's as `payment_step` and `inventory_step`.
    """

    def process(self, task: Task, sequence: Sequence, step: Step) -> Result:
        config = step.handler_config
        customer = _customer(task)
        cart = self.earlier(sequence, "validate_cart", error_code="MISSING_CART_VALIDATION")
        payment = self.earlier(sequence, config.get("payment_step", "process_payment"), error_code="MISSING_PAYMENT_RESULT")
        inventory = self.earlier(sequence, config.get("inventory_step", "update_inventory"), error_code="MISSING_INVENTORY_RESULT")
        _check_order(cart, payment, inventory)
        order = shop.place_order(self.key(task, step), email=customer["email"], total=cents(cart["total"]), created_at=clock.now())
        return {
            "order_id": order["order_id"],
            "order_number": order["number"],
            "status": "confirmed",
            "total_amount": cart["total"],
            "customer_email": customer["email"],
            "created_at": order["created_at"],
            "estimated_delivery": clock.later(order["created_at"], DELIVERY_TIME)[:10],
        }


class SendConfirmation(ShopStep):
    """Writes to the customer; with `tracking_step` in `handler_config` the mail also tells the tracking number of that step."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> Result:
        customer = task.context.get("customer_info") or {}
        address = _address(customer)
        order = self.earlier(sequence, "create_order", error_code="MISSING_ORDER_RESULT")
        cart = self.earlier(sequence, "validate_cart", error_code="MISSING_CART_VALIDATION")
        tracking = self._tracking(sequence, step)
        name = str(customer.get("name") or address)
        subject = f"Your order {order['order_number']}"
        sent_at = clock.now()
        message_id, file = _sent(
            lambda: mail.send(
                self.key(task, step), to=address, name=name, subject=subject, body=_letter(name, order, cart, tracking), sent_at=sent_at
            )
        )
        return {"email_sent": True, "recipient": address, "subject": subject, "message_id": message_id, "file": str(file), "sent_at": sent_at}

    def _tracking(self, sequence: Sequence, step: Step) -> str | None:
        name = step.handler_config.get("tracking_step")
        return (self.step_results(sequence, name) or {}).get("tracking_number") if name else None


def payment_result(payment: payments.Payment) -> Result:
    """A payment as the steps hand it on."""
    return {
        "payment_id": payment.payment_id,
        "amount_charged": float(payment.amount),
        "currency": payment.currency,
        "payment_method_type": payment.method,
        "transaction_id": payment.transaction_id,
        "processed_at": payment.created_at,
        "status": payment.status,
    }


def _cart(task: Task) -> list[Mapping[str, Any]]:
    items = task.context.get("cart_items")
    if not isinstance(items, list) or not items:
        raise PermanentError("The cart is empty.", error_code="MISSING_CART_ITEMS")
    return items


def _checked_item(item: Mapping[str, Any]) -> Result:
    product_id, quantity = item.get("product_id"), item.get("quantity")
    if product_id is None:
        raise PermanentError("A line of the cart names no product.", error_code="MISSING_PRODUCT_ID")
    if type(quantity) is not int or quantity < 1:
        raise PermanentError(f"Product {product_id}: the quantity must be a whole number above 0.", error_code="INVALID_QUANTITY")
    product = _sold_product(product_id)
    if product.stock < quantity:
        raise RetryableError(f"{product.name}: {quantity} wanted, {product.stock} on the shelf; waiting for the next delivery.")
    return {
        "product_id": product.product_id,
        "name": product.name,
        "price": float(product.price),
        "quantity": quantity,
        "line_total": float(product.price * quantity),
    }


def _sold_product(product_id: int) -> shop.Product:
    product = shop.find_product(product_id)
    if product is None:
        raise PermanentError(f"The catalogue has no product {product_id}.", error_code="PRODUCT_NOT_FOUND")
    if not product.active:
        raise PermanentError(f"{product.name} is no longer sold.", error_code="PRODUCT_INACTIVE")
    return product


def _charge(task: Task, cart: Result) -> payments.Charge:
    info = task.context.get("payment_info") or {}
    if not info.get("method"):
        raise PermanentError("The order names no payment method.", error_code="MISSING_PAYMENT_METHOD")
    if not info.get("token"):
        raise PermanentError("The order carries no payment token.", error_code="MISSING_PAYMENT_TOKEN")
    customer = task.context.get("customer_info") or {}
    return payments.Charge(
        email=str(customer.get("email") or "").lower(),
        amount=_amount(info, cart),
        currency=info.get("currency") or "USD",
        method=info["method"],
        token=info["token"],
    )


def _amount(info: Mapping[str, Any], cart: Result) -> Decimal:
    if cart.get("total") is None:
        raise PermanentError("The total of the cart is not known.", error_code="MISSING_CART_TOTAL")
    total = cents(cart["total"])
    agreed = info.get("amount")
    if agreed is not None and cents(agreed) != total:
        raise PermanentError(f"The customer agreed to pay {cents(agreed)}, the cart costs {total}.", error_code="PAYMENT_AMOUNT_MISMATCH")
    return total


def _paid(pay: Callable[[], payments.Payment]) -> payments.Payment:
    try:
        return pay()
    except payments.CardRefused as error:
        raise PermanentError(f"The card was refused: {error.code.replace('_', ' ')}.", error_code="PAYMENT_DECLINED") from error
    except payments.GatewayError as error:
        raise RetryableError(f"{error}", delay=GATEWAY_LIMIT_SECONDS if error.code == "rate_limited" else None) from error


def _quantities(items: list[Mapping[str, Any]]) -> dict[int, int]:
    if not items:
        raise PermanentError("There are no checked items to take from the shelf.", error_code="MISSING_VALIDATED_ITEMS")
    wanted: dict[int, int] = {}
    for item in items:
        wanted[item["product_id"]] = wanted.get(item["product_id"], 0) + item["quantity"]
    return wanted


def _customer(task: Task) -> Mapping[str, Any]:
    customer: Mapping[str, Any] = task.context.get("customer_info") or {}
    if not customer.get("email"):
        raise PermanentError("The order names no customer.", error_code="MISSING_CUSTOMER_INFO")
    return customer


def _reserved(key: str, wanted: Mapping[int, int]) -> list[Result]:
    try:
        return shop.reserve(key, wanted)
    except shop.OutOfStock as error:
        raise RetryableError(f"Not enough stock: {error}; waiting for the next delivery.") from error
    except shop.ServiceDown as error:
        raise RetryableError(f"The warehouse did not reserve the goods: {error.code.replace('_', ' ')}.") from error


def _check_order(cart: Result, payment: Result, inventory: Result) -> None:
    if cents(payment["amount_charged"]) != cents(cart["total"]):
        message = f"Paid were {payment['amount_charged']}, the cart costs {cart['total']}."
        raise PermanentError(message, error_code="ORDER_VALIDATION_FAILED")
    if inventory["total_items_reserved"] != cart["item_count"]:
        message = f"{inventory['total_items_reserved']} items are reserved, the cart holds {cart['item_count']}."
        raise PermanentError(message, error_code="ORDER_VALIDATION_FAILED")


def _address(customer: Mapping[str, Any]) -> str:
    address = str(customer.get("email") or "")
    if not address:
        raise PermanentError("The customer has no email address.", error_code="MISSING_CUSTOMER_EMAIL")
    if not mail.is_address(address):
        raise PermanentError(f"{address!r} is no email address.", error_code="INVALID_EMAIL")
    return address


def _sent(send: Callable[[], tuple[str, Path]]) -> tuple[str, Path]:
    try:
        return send()
    except shop.ServiceDown as error:
        delay = MAIL_LIMIT_SECONDS if error.code == "rate_limited" else None
        raise RetryableError(f"The mail service refused the message: {error.code.replace('_', ' ')}.", delay=delay) from error


def _letter(name: str, order: Result, cart: Result, tracking: str | None) -> str:
    lines = [f"Dear {name},", "", f"thank you for your order {order['order_number']}:", ""]
    lines += [f"  {item['quantity']} x {item['name']:<20} {item['line_total']:>9.2f}" for item in cart["validated_items"]]
    lines += [f"  {label:<24} {cart[part]:>9.2f}" for label, part in (("Tax", "tax"), ("Shipping", "shipping"), ("Total", "total"))]
    lines += ["", f"It should arrive by {order['estimated_delivery']}."]
    lines += [f"You can follow the parcel by its number {tracking}."] if tracking else []
    return "\n".join([*lines, "", "The Widget Shop", ""])
