"""The steps that `process_order` 2.0.0 adds."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from engine import PermanentError
from engine.examples.ecommerce import labels, payments
from engine.examples.ecommerce.checkout import CreateOrder, ProcessPayment, SendConfirmation
from engine.examples.ecommerce.fulfilment import (
    AuthorizePayment,
    AwardLoyaltyPoints,
    CapturePayment,
    CheckFraud,
    CreateShippingLabel,
)
from engine.testing import run_step

CONTEXT: dict[str, Any] = {
    "payment_info": {"method": "credit_card", "token": "test_success_visa"},
    "customer_info": {"email": "amir@example.com", "name": "Amir & Söhne", "tier": "premium"},
    "shipping_info": {"address": "12 Castle Street", "city": "Cardiff", "zip": "CF10 1BS"},
    "priority": "express",
}
CART = {
    "validated_items": [{"product_id": 2, "name": "Widget B", "quantity": 2, "line_total": 99.98}],
    "subtotal": 99.98,
    "tax": 8.0,
    "shipping": 5.99,
    "total": 113.97,
    "item_count": 2,
}
ORDER = {"order_number": "ORD-20260101-0123abcd", "estimated_delivery": "2026-01-08"}


def test_an_ordinary_order_is_trusted() -> None:
    assert run_step(CheckFraud, CONTEXT, {"validate_cart": CART})["score"] == 0


def test_an_order_with_many_signs_of_fraud_ends_the_step() -> None:
    context = {**CONTEXT, "customer_info": {"email": "x@mailinator.com", "name": "X"}}
    with pytest.raises(PermanentError, match="disposable mail address") as raised:
        run_step(CheckFraud, context, {"validate_cart": {**CART, "total": 900.0}})
    assert raised.value.error_code == "FRAUD_SUSPECTED"


def test_the_configuration_says_what_is_usual() -> None:
    strict = {"usual_amount": 100, "refuse_from": 40}
    with pytest.raises(PermanentError):
        run_step(CheckFraud, CONTEXT, {"validate_cart": CART}, handler_config=strict)


def test_refused_cards_count_against_the_customer() -> None:
    declined = {**CONTEXT, "payment_info": {"method": "credit_card", "token": "test_insufficient_1"}}
    for _ in range(2):
        with pytest.raises(PermanentError):
            run_step(ProcessPayment, declined, {"validate_cart": CART})
    with pytest.raises(PermanentError) as raised:
        run_step(CheckFraud, CONTEXT, {"validate_cart": CART})
    assert raised.value.error_code == "FRAUD_SUSPECTED"


@pytest.mark.usefixtures("same_task")
def test_money_is_held_first_and_taken_later() -> None:
    held = run_step(AuthorizePayment, CONTEXT, {"validate_cart": CART})
    taken = run_step(CapturePayment, CONTEXT, {"authorize_payment": held})
    assert (held["status"], taken["status"]) == ("authorized", "captured")
    assert taken["payment_id"] == held["payment_id"]
    assert run_step(CapturePayment, CONTEXT, {"authorize_payment": held}, attempt=2) == taken


def test_a_payment_that_was_never_held_cannot_be_taken() -> None:
    with pytest.raises(PermanentError) as raised:
        run_step(CapturePayment, CONTEXT, {"authorize_payment": {"payment_id": "pay_unknown"}})
    assert raised.value.error_code == "PAYMENT_NOT_FOUND"
    with pytest.raises(payments.GatewayError):
        payments.capture("pay_unknown")


def test_an_order_reads_the_steps_that_its_configuration_names() -> None:
    results = {"validate_cart": CART, "capture_payment": {"amount_charged": 113.97}, "reserve_inventory": {"total_items_reserved": 2}}
    config = {"payment_step": "capture_payment", "inventory_step": "reserve_inventory"}
    assert run_step(CreateOrder, CONTEXT, results, handler_config=config)["status"] == "confirmed"


def test_a_label_shows_carrier_and_address() -> None:
    result = run_step(CreateShippingLabel, CONTEXT, {"create_order": ORDER})
    assert result["carrier"] == "Express parcel"
    texts = [node.text for node in ElementTree.parse(result["file"]).iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["Express parcel", "Amir & Söhne", "12 Castle Street", "Cardiff", "CF10 1BS", ORDER["order_number"], result["tracking_number"]]


@pytest.mark.usefixtures("same_task")
def test_a_second_attempt_prints_the_same_label(data_dir: Path) -> None:
    first, second = (run_step(CreateShippingLabel, CONTEXT, {"create_order": ORDER}) for _ in range(2))
    assert first == second
    assert len(list(data_dir.rglob("*.svg"))) == 1


def test_a_tracking_number_ends_in_its_check_digit() -> None:
    assert labels.check_digit("629104150021") == "3"
    tracking = labels.tracking_number("task:create_shipping_label")
    assert len(tracking) == 14
    assert labels.check_digit(tracking[:-1]) == tracking[-1]


def test_the_bar_code_says_the_digits() -> None:
    """Read back as a scanner does: wide and narrow bars give the odd digits, wide and narrow gaps the even ones."""
    bars = list(labels.bars("3852"))[2:-2]
    gaps = [after[0] - (left + width) for (left, width), after in zip(bars, [*bars[1:], (list(labels.bars("3852"))[-2][0], 0)], strict=True)]
    wide = ["".join("1" if width > 2 else "0" for width in widths) for widths in ([width for _, width in bars], gaps)]
    assert wide == ["11000" + "10100", "10010" + "01001"]


@pytest.mark.usefixtures("same_task")
def test_points_are_credited_once() -> None:
    first = run_step(AwardLoyaltyPoints, CONTEXT, {"validate_cart": CART})
    assert first == {"points": 198, "balance": 198}
    assert run_step(AwardLoyaltyPoints, CONTEXT, {"validate_cart": CART}, attempt=2) == first


def test_the_mail_tells_the_tracking_number() -> None:
    results = {"create_order": ORDER, "validate_cart": CART, "create_shipping_label": {"tracking_number": "12345678901231"}}
    context = {**CONTEXT, "customer_info": {"email": "amir@example.com", "name": "Amir"}}
    result = run_step(SendConfirmation, context, results, handler_config={"tracking_step": "create_shipping_label"})
    assert "12345678901231" in Path(result["file"]).read_text(encoding="utf-8")
