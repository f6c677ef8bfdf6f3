"""The five steps of `process_order` 1.0.0: what each returns, which faults end it and which are tried again."""

import email
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from email import policy
from pathlib import Path
from typing import Any

import pytest

from engine import PermanentError, RetryableError
from engine.examples.ecommerce import shop
from engine.examples.ecommerce.checkout import (
    CreateOrder,
    ProcessPayment,
    SendConfirmation,
    UpdateInventory,
    ValidateCart,
)
from engine.examples.ecommerce.payments import Charge, GatewayError, charge
from engine.testing import run_step

CONTEXT: dict[str, Any] = {
    "cart_items": [
        {"product_id": 1, "quantity": 2, "price": 29.99, "name": "Widget A"},
        {"product_id": 2, "quantity": 1, "price": 49.99, "name": "Widget B"},
    ],
    "payment_info": {"method": "credit_card", "amount": 124.76, "currency": "USD", "card_last_four": "4242", "token": "test_success_visa"},
    "customer_info": {"id": 123, "email": "customer@example.com", "name": "John Doe", "tier": "standard"},
    "shipping_info": {"address": "350 Fifth Avenue", "city": "New York"},
    "priority": "standard",
}
CART = {
    "validated_items": [
        {"product_id": 1, "name": "Widget A", "price": 29.99, "quantity": 2, "line_total": 59.98},
        {"product_id": 2, "name": "Widget B", "price": 49.99, "quantity": 1, "line_total": 49.99},
    ],
    "subtotal": 109.97,
    "tax": 8.8,
    "shipping": 5.99,
    "total": 124.76,
    "item_count": 3,
}
PAYMENT = {"payment_id": "pay_1", "amount_charged": 124.76}
INVENTORY = {"total_items_reserved": 3}
ORDER = {"order_number": "ORD-20260101-0123abcd", "estimated_delivery": "2026-01-08"}
BEFORE_ORDER = {"validate_cart": CART, "process_payment": PAYMENT, "update_inventory": INVENTORY}


def context(**changes: Any) -> dict[str, Any]:
    return {**CONTEXT, **changes}


def payment(**changes: Any) -> dict[str, Any]:
    return context(payment_info={**CONTEXT["payment_info"], **changes})


def items(*lines: dict[str, Any]) -> dict[str, Any]:
    return context(cart_items=list(lines))


def permanent(handler: Any, code: str, **given: Any) -> PermanentError:
    with pytest.raises(PermanentError) as raised:
        run_step(handler, **given)
    assert raised.value.error_code == code
    return raised.value


def retryable(handler: Any, delay: float | None = None, **given: Any) -> RetryableError:
    with pytest.raises(RetryableError) as raised:
        run_step(handler, **given)
    assert raised.value.delay == delay
    return raised.value


def payments_taken() -> int:
    with shop.open_shop() as records:
        count: int = records.execute("select count(*) from payments").fetchone()[0]
    return count


def on_the_shelf(product_id: int) -> int:
    product = shop.find_product(product_id)
    assert product is not None
    return product.stock


# validate_cart


def test_a_cart_is_priced_to_the_cent() -> None:
    result = run_step(ValidateCart, CONTEXT)
    assert {part: result[part] for part in CART} == CART
    assert result["validated_at"].endswith("Z")


def test_the_price_is_the_catalogues_and_not_the_browsers() -> None:
    result = run_step(ValidateCart, items({"product_id": 1, "quantity": 1, "price": 0.01}))
    assert result["subtotal"] == 29.99


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([], "MISSING_CART_ITEMS"),
        ([{"quantity": 1}], "MISSING_PRODUCT_ID"),
        ([{"product_id": 1}], "INVALID_QUANTITY"),
        ([{"product_id": 1, "quantity": 0}], "INVALID_QUANTITY"),
        ([{"product_id": 1, "quantity": True}], "INVALID_QUANTITY"),
        ([{"product_id": 999, "quantity": 1}], "PRODUCT_NOT_FOUND"),
        ([{"product_id": 5, "quantity": 1}], "PRODUCT_INACTIVE"),
    ],
)
def test_a_cart_that_can_never_be_sold_ends_the_step(lines: list[dict[str, Any]], code: str) -> None:
    permanent(ValidateCart, code, context=items(*lines))


def test_an_order_without_a_cart_ends_the_step() -> None:
    permanent(ValidateCart, "MISSING_CART_ITEMS", context={})


def test_a_cart_waits_for_the_next_delivery() -> None:
    wanted = items({"product_id": 1, "quantity": shop.STOCK_PER_PRODUCT + 1})
    assert "10 on the shelf" in str(retryable(ValidateCart, context=wanted))


# process_payment


def test_a_payment_is_charged() -> None:
    result = run_step(ProcessPayment, CONTEXT, {"validate_cart": CART})
    assert (result["amount_charged"], result["currency"], result["payment_method_type"]) == (124.76, "USD", "credit_card")
    assert result["status"] == "completed"
    assert result["payment_id"].startswith("pay_")
    assert result["transaction_id"].startswith("txn_")
    assert payments_taken() == 1


def test_the_total_is_charged_when_no_amount_was_agreed() -> None:
    agreed = {part: value for part, value in CONTEXT["payment_info"].items() if part != "amount"}
    assert run_step(ProcessPayment, context(payment_info=agreed), {"validate_cart": CART})["amount_charged"] == 124.76


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"method": None}, "MISSING_PAYMENT_METHOD"),
        ({"token": ""}, "MISSING_PAYMENT_TOKEN"),
        ({"amount": 124.75}, "PAYMENT_AMOUNT_MISMATCH"),
        ({"token": "test_insufficient_1"}, "PAYMENT_DECLINED"),
        ({"token": "test_declined_1"}, "PAYMENT_DECLINED"),
        ({"token": "test_invalid_1"}, "PAYMENT_DECLINED"),
    ],
)
def test_a_payment_that_can_never_succeed_ends_the_step(changes: dict[str, Any], code: str) -> None:
    permanent(ProcessPayment, code, context=payment(**changes), results={"validate_cart": CART})
    assert payments_taken() == 0


@pytest.mark.parametrize("cart", [None, {}])
def test_a_payment_needs_the_carts_total(cart: Any) -> None:
    permanent(ProcessPayment, "MISSING_CART_TOTAL", context=CONTEXT, results={"validate_cart": cart})


@pytest.mark.parametrize(("token", "delay"), [("test_timeout_1", None), ("test_rate_limit_1", 30), ("test_temp_fail_1", None), ("test_outage_1", None)])
def test_a_busy_gateway_is_asked_again(token: str, delay: float | None) -> None:
    retryable(ProcessPayment, delay, context=payment(token=token), results={"validate_cart": CART})
    assert payments_taken() == 0


@pytest.mark.usefixtures("same_task")
def test_a_second_attempt_does_not_charge_twice() -> None:
    first = run_step(ProcessPayment, CONTEXT, {"validate_cart": CART})
    second = run_step(ProcessPayment, CONTEXT, {"validate_cart": CART}, attempt=2)
    assert second == first
    assert payments_taken() == 1


@pytest.mark.usefixtures("same_task")
@pytest.mark.parametrize(("token", "failures"), [("test_temp_fail_1", 1), ("test_outage_1", 3)])
def test_the_gateway_heals_after_a_known_number_of_calls(token: str, failures: int) -> None:
    given: dict[str, Any] = {"context": payment(token=token), "results": {"validate_cart": CART}}
    for attempt in range(1, failures + 1):
        retryable(ProcessPayment, attempt=attempt, **given)
    assert run_step(ProcessPayment, **given)["status"] == "completed"


def test_an_ordinary_card_is_dropped_now_and_then_but_never_twice() -> None:
    first_calls = [pays(number) for number in range(100)]
    assert 0 < first_calls.count(False) < 20
    assert all(pays(number) for number in range(100))
    assert payments_taken() == 100


def pays(number: int) -> bool:
    try:
        charge(f"task-{number}:process_payment", Charge("a@example.com", Decimal("1.00"), "USD", "paypal", "tok_visa_valid"), now="2026-01-01T00:00:00Z")
    except GatewayError:
        return False
    return True


# update_inventory


def test_goods_leave_the_shelf() -> None:
    result = run_step(UpdateInventory, CONTEXT, {"validate_cart": CART})
    assert result["updated_products"] == [1, 2]
    assert result["total_items_reserved"] == 3
    assert result["inventory_changes"][0] == {"product_id": 1, "quantity": 2, "previous_stock": 10, "new_stock": 8}
    assert (on_the_shelf(1), on_the_shelf(2)) == (8, 9)


@pytest.mark.usefixtures("same_task")
def test_a_second_attempt_does_not_take_the_goods_twice() -> None:
    first = run_step(UpdateInventory, CONTEXT, {"validate_cart": CART})
    second = run_step(UpdateInventory, CONTEXT, {"validate_cart": CART}, attempt=2)
    assert second["inventory_changes"] == first["inventory_changes"]
    assert on_the_shelf(1) == 8


def test_a_reservation_takes_all_or_nothing() -> None:
    line = {"product_id": 2, "quantity": shop.STOCK_PER_PRODUCT + 1}
    cart = {**CART, "validated_items": [CART["validated_items"][0], line]}  # type: ignore[index]
    retryable(UpdateInventory, context=CONTEXT, results={"validate_cart": cart})
    assert (on_the_shelf(1), on_the_shelf(2)) == (10, 10)


def test_the_same_product_on_two_lines_is_reserved_as_one() -> None:
    cart = {"validated_items": [{"product_id": 4, "quantity": 2}, {"product_id": 4, "quantity": 3}]}
    assert run_step(UpdateInventory, CONTEXT, {"validate_cart": cart})["inventory_changes"][0]["quantity"] == 5


@pytest.mark.usefixtures("same_task")
def test_a_warehouse_that_does_not_answer_is_asked_again() -> None:
    shop.break_service("inventory", code="reservation_failed", calls=1)
    retryable(UpdateInventory, context=CONTEXT, results={"validate_cart": CART})
    assert run_step(UpdateInventory, CONTEXT, {"validate_cart": CART}, attempt=2)["total_items_reserved"] == 3


@pytest.mark.parametrize("cart", [None, {}, {"validated_items": []}])
def test_a_reservation_needs_checked_items(cart: Any) -> None:
    permanent(UpdateInventory, "MISSING_VALIDATED_ITEMS", context=CONTEXT, results={"validate_cart": cart})


def test_a_reservation_needs_a_customer() -> None:
    permanent(UpdateInventory, "MISSING_CUSTOMER_INFO", context=context(customer_info={}), results={"validate_cart": CART})


# create_order


def test_an_order_gets_its_number() -> None:
    result = run_step(CreateOrder, CONTEXT, BEFORE_ORDER)
    assert re.fullmatch(r"ORD-\d{8}-[0-9a-f]{8}", result["order_number"])
    assert (result["status"], result["total_amount"], result["customer_email"]) == ("confirmed", 124.76, "customer@example.com")


def test_an_order_is_delivered_within_a_week() -> None:
    result = run_step(CreateOrder, CONTEXT, BEFORE_ORDER)
    assert (date.fromisoformat(result["estimated_delivery"]) - date.fromisoformat(result["created_at"][:10])).days == 7


@pytest.mark.usefixtures("same_task")
def test_a_second_attempt_enters_the_same_order() -> None:
    assert run_step(CreateOrder, CONTEXT, BEFORE_ORDER) == run_step(CreateOrder, CONTEXT, BEFORE_ORDER, attempt=2)


def test_orders_of_two_tasks_differ() -> None:
    first, second = (run_step(CreateOrder, CONTEXT, BEFORE_ORDER) for _ in range(2))
    assert first["order_number"] != second["order_number"]
    assert first["order_id"] != second["order_id"]


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ("validate_cart", "MISSING_CART_VALIDATION"),
        ("process_payment", "MISSING_PAYMENT_RESULT"),
        ("update_inventory", "MISSING_INVENTORY_RESULT"),
    ],
)
def test_an_order_needs_every_earlier_result(missing: str, code: str) -> None:
    permanent(CreateOrder, code, context=CONTEXT, results={**BEFORE_ORDER, missing: None})


def test_an_order_needs_a_customer() -> None:
    permanent(CreateOrder, "MISSING_CUSTOMER_INFO", context=context(customer_info={}), results=BEFORE_ORDER)


@pytest.mark.parametrize("wrong", [{"process_payment": {"amount_charged": 100.0}}, {"update_inventory": {"total_items_reserved": 2}}])
def test_an_order_must_be_paid_and_reserved_in_full(wrong: dict[str, Any]) -> None:
    permanent(CreateOrder, "ORDER_VALIDATION_FAILED", context=CONTEXT, results={**BEFORE_ORDER, **wrong})


# send_confirmation

BEFORE_MAIL = {"create_order": ORDER, "validate_cart": CART}


def test_a_confirmation_is_a_mail_that_can_be_read() -> None:
    result = run_step(SendConfirmation, CONTEXT, BEFORE_MAIL)
    message = email.message_from_bytes(Path(result["file"]).read_bytes(), policy=policy.default)
    assert message["To"] == "John Doe <customer@example.com>"
    assert message["Subject"] == "Your order ORD-20260101-0123abcd"
    assert message["Message-ID"] == result["message_id"]
    assert "124.76" in message.get_content()


@pytest.mark.usefixtures("same_task")
def test_a_second_attempt_does_not_write_twice(data_dir: Path) -> None:
    first = run_step(SendConfirmation, CONTEXT, BEFORE_MAIL)
    second = run_step(SendConfirmation, CONTEXT, BEFORE_MAIL, attempt=2)
    assert second["message_id"] == first["message_id"]
    assert len(list(data_dir.rglob("*.eml"))) == 1


def test_a_name_cannot_smuggle_in_a_header() -> None:
    customer = {**CONTEXT["customer_info"], "name": "Eve\r\nBcc: all@example.com"}
    result = run_step(SendConfirmation, context(customer_info=customer), BEFORE_MAIL)
    assert email.message_from_bytes(Path(result["file"]).read_bytes())["Bcc"] is None


def test_names_of_the_whole_world_can_be_written_to() -> None:
    customer = {**CONTEXT["customer_info"], "name": "María López 李"}
    result = run_step(SendConfirmation, context(customer_info=customer), BEFORE_MAIL)
    message = email.message_from_bytes(Path(result["file"]).read_bytes(), policy=policy.default)
    assert "María López 李" in str(message["To"])


@pytest.mark.parametrize(
    ("customer", "code"),
    [
        ({}, "MISSING_CUSTOMER_EMAIL"),
        ({"email": "nobody"}, "INVALID_EMAIL"),
        ({"email": "a@b.example\nBcc: x@y.example"}, "INVALID_EMAIL"),
        ({"email": "jösé@example.com"}, "INVALID_EMAIL"),
    ],
)
def test_a_confirmation_needs_an_address(customer: dict[str, Any], code: str) -> None:
    permanent(SendConfirmation, code, context=context(customer_info=customer), results=BEFORE_MAIL)


@pytest.mark.parametrize(("missing", "code"), [("create_order", "MISSING_ORDER_RESULT"), ("validate_cart", "MISSING_CART_VALIDATION")])
def test_a_confirmation_needs_every_earlier_result(missing: str, code: str) -> None:
    permanent(SendConfirmation, code, context=CONTEXT, results={**BEFORE_MAIL, missing: None})


@pytest.mark.usefixtures("same_task")
@pytest.mark.parametrize(("code", "delay"), [("rate_limited", 60), ("service_unavailable", None), ("timeout", None)])
def test_a_busy_mail_service_is_asked_again(code: str, delay: float | None) -> None:
    shop.break_service("mail", code=code, calls=1)
    retryable(SendConfirmation, delay, context=CONTEXT, results=BEFORE_MAIL)
    assert run_step(SendConfirmation, CONTEXT, BEFORE_MAIL, attempt=2)["email_sent"] is True


# Two orders at once


def test_two_orders_cannot_take_the_same_goods() -> None:
    """Forbids: both read a stock of 10, both take 6."""
    def take(number: int) -> bool:
        try:
            shop.reserve(f"order-{number}", {1: 6})
        except shop.OutOfStock:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(take, range(4)))
    assert taken.count(True) == 1
    assert on_the_shelf(1) == 4
