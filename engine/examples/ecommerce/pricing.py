"""What a cart costs, to the cent: goods, tax and shipping. Called by the step that checks the cart."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

TAX_RATE = Decimal("0.08")
POUNDS_PER_UNIT = Decimal("0.5")
# Up to so many pounds costs so many dollars; heavier parcels pay the last price.
SHIPPING_PRICES = ((Decimal(2), Decimal("5.99")), (Decimal(10), Decimal("9.99")))
HEAVY_SHIPPING = Decimal("14.99")


@dataclass(frozen=True, slots=True)
class Line:
    """One product of a cart with the catalogue's price per unit."""

    price: Decimal
    quantity: int


@dataclass(frozen=True, slots=True)
class Price:
    """The parts of an order's price, each rounded to whole cents."""

    subtotal: Decimal
    tax: Decimal
    shipping: Decimal

    @property
    def total(self) -> Decimal:
        return self.subtotal + self.tax + self.shipping


def price_of(lines: Iterable[Line]) -> Price:
    """The price of all `lines` together. Tax is taken on the goods, not on shipping."""
    lines = tuple(lines)
    subtotal = cents(sum((line.price * line.quantity for line in lines), Decimal(0)))
    weight = POUNDS_PER_UNIT * sum(line.quantity for line in lines)
    return Price(subtotal=subtotal, tax=cents(subtotal * TAX_RATE), shipping=shipping_for(weight))


def shipping_for(pounds: Decimal) -> Decimal:
    """The price of a parcel of this weight."""
    return next((price for limit, price in SHIPPING_PRICES if pounds <= limit), HEAVY_SHIPPING)


def cents(amount: Decimal | float | str) -> Decimal:
    """`amount` rounded half up to whole cents; a float is taken as it is written, so 124.76 stays 124.76."""
    return Decimal(str(amount)).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
