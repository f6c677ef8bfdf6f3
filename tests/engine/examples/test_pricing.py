from decimal import Decimal

import pytest

from engine.examples.ecommerce.pricing import Line, cents, price_of, shipping_for


def test_the_sample_cart_costs_124_76() -> None:
    price = price_of([Line(Decimal("29.99"), 2), Line(Decimal("49.99"), 1)])
    assert (price.subtotal, price.tax, price.shipping) == (Decimal("109.97"), Decimal("8.80"), Decimal("5.99"))
    assert price.total == Decimal("124.76")


@pytest.mark.parametrize(
    ("pounds", "price"), [("0.5", "5.99"), ("2", "5.99"), ("2.5", "9.99"), ("10", "9.99"), ("10.5", "14.99"), ("500", "14.99")]
)
def test_shipping_is_priced_by_weight(pounds: str, price: str) -> None:
    assert shipping_for(Decimal(pounds)) == Decimal(price)


def test_each_unit_weighs_half_a_pound() -> None:
    assert price_of([Line(Decimal(1), 4)]).shipping == Decimal("5.99")
    assert price_of([Line(Decimal(1), 3), Line(Decimal(1), 2)]).shipping == Decimal("9.99")
    assert price_of([Line(Decimal(1), 21)]).shipping == Decimal("14.99")


@pytest.mark.parametrize(("amount", "rounded"), [(124.76, "124.76"), (0.1 + 0.2, "0.30"), ("1.005", "1.01"), ("2.675", "2.68"), (8.7976, "8.80")])
def test_half_cents_round_up(amount: float | str, rounded: str) -> None:
    assert cents(amount) == Decimal(rounded)


def test_a_hundred_cents_never_drift() -> None:
    assert price_of([Line(Decimal("0.10"), 30)] * 10).subtotal == Decimal("30.00")
