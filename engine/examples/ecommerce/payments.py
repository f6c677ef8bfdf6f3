"""The payment gateway: charges a card at once (1.0.0) or holds the amount and captures it later (2.0.0).

The token decides how the card behaves, so that each outcome can be ordered from the launch form:

- `test_success_…` is accepted, `test_insufficient_…`, `test_declined_…` and `test_invalid_…` are refused for good;
- `test_timeout_…` and `test_rate_limit_…` fail every time, `test_temp_fail_…` fails once;
- `test_outage_…` fails as often as the step may try (three times), then the gateway is up again;
- any other token meets a gateway that drops about one call in twenty, but never twice for the same payment.
"""

import hashlib
import sqlite3
from dataclasses import dataclass
from decimal import Decimal

from engine.examples.ecommerce.shop import open_shop

REFUSALS = {"test_insufficient_": "insufficient_funds", "test_declined_": "card_declined", "test_invalid_": "invalid_card"}
_ALWAYS = 1_000_000
# Token prefix -> what the gateway answers, and to how many calls for one payment.
FAULTS = {
    "test_timeout_": ("timeout", _ALWAYS),
    "test_rate_limit_": ("rate_limited", _ALWAYS),
    "test_temp_fail_": ("service_unavailable", 1),
    "test_outage_": ("service_unavailable", 3),
    "test_success_": ("", 0),
}


class GatewayError(Exception):
    """The gateway did not take the payment; `code` is its word for it."""

    def __init__(self, code: str) -> None:
        super().__init__(f"payment gateway: {code.replace('_', ' ')}")
        self.code = code


class CardRefused(GatewayError):
    """The card's bank said no; asking again will not help."""


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment as the gateway recorded it; status `completed`, `authorized`, `captured` or `refunded`."""

    payment_id: str
    transaction_id: str
    amount: Decimal
    currency: str
    method: str
    status: str
    created_at: str


@dataclass(frozen=True, slots=True)
class Charge:
    """What the shop asks for."""

    email: str
    amount: Decimal
    currency: str
    method: str
    token: str


def charge(key: str, wanted: Charge, *, now: str) -> Payment:
    """Take the money, once per `key`. Raises `CardRefused`, or `GatewayError` when it may work later."""
    return _pay(key, wanted, status="completed", now=now)


def authorize(key: str, wanted: Charge, *, now: str) -> Payment:
    """Hold the money without taking it, once per `key`. Raises as `charge` does."""
    return _pay(key, wanted, status="authorized", now=now)


def capture(payment_id: str) -> Payment:
    """Take the money that was held; a payment already captured stays as it is. Raises `GatewayError` for an unknown one."""
    with open_shop() as shop:
        shop.execute("update payments set status = 'captured' where payment_id = ? and status = 'authorized'", (payment_id,))
        row = shop.execute("select * from payments where payment_id = ?", (payment_id,)).fetchone()
    if row is None:
        raise GatewayError("unknown_payment")
    return _payment(row)


def refund(key: str, wanted: Charge, *, now: str) -> Payment:
    """Pay money back, once per `key`; its status is `refunded`. Raises as `charge` does."""
    return _pay(key, wanted, status="refunded", now=now)


def declined_count(email: str, *, since: str) -> int:
    """How many cards of this customer were refused since the ISO-8601 time `since`."""
    with open_shop() as shop:
        count: int = shop.execute("select count(*) from declines where email = ? and declined_at >= ?", (email, since)).fetchone()[0]
    return count


def _pay(key: str, wanted: Charge, *, status: str, now: str) -> Payment:
    with open_shop() as shop:
        row = _find(shop, key) or _answer(shop, key, wanted, status=status, now=now)
    if isinstance(row, GatewayError):
        # Raised outside the transaction: the gateway remembers the call although it failed.
        raise row
    return _payment(row)


def _answer(shop: sqlite3.Connection, key: str, wanted: Charge, *, status: str, now: str) -> sqlite3.Row | GatewayError:
    refusal = _outcome(REFUSALS, wanted.token)
    if refusal:
        shop.execute("insert into declines (email, declined_at) values (?, ?)", (wanted.email, now))
        return CardRefused(refusal)
    fault = _fault(key, wanted.token, call=_count_call(shop, key))
    return GatewayError(fault) if fault else _record(shop, key, wanted, status=status, now=now)


def _outcome(table: dict[str, str], token: str) -> str | None:
    return next((outcome for prefix, outcome in table.items() if token.startswith(prefix)), None)


def _fault(key: str, token: str, *, call: int) -> str | None:
    code, calls = next((fault for prefix, fault in FAULTS.items() if token.startswith(prefix)), ("network", _dropped_calls(key)))
    return code if call <= calls else None


def _dropped_calls(key: str) -> int:
    return int(hashlib.sha256(key.encode()).digest()[0] % 20 == 0)


def _count_call(shop: sqlite3.Connection, key: str) -> int:
    shop.execute("insert into gateway_calls (key, calls) values (?, 1) on conflict (key) do update set calls = calls + 1", (key,))
    calls: int = shop.execute("select calls from gateway_calls where key = ?", (key,)).fetchone()[0]
    return calls


def _record(shop: sqlite3.Connection, key: str, wanted: Charge, *, status: str, now: str) -> sqlite3.Row:
    shop.execute(
        "insert into payments (key, payment_id, email, amount, currency, method, status, created_at) values (?, ?, ?, ?, ?, ?, ?, ?)",
        (key, f"pay_{_digest(key)}", wanted.email, str(wanted.amount), wanted.currency, wanted.method, status, now),
    )
    row = _find(shop, key)
    assert row is not None
    return row


def _find(shop: sqlite3.Connection, key: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = shop.execute("select * from payments where key = ?", (key,)).fetchone()
    return row


def _payment(row: sqlite3.Row) -> Payment:
    return Payment(
        payment_id=row["payment_id"],
        transaction_id=f"txn_{_digest(row['payment_id'])}",
        amount=Decimal(row["amount"]),
        currency=row["currency"],
        method=row["method"],
        status=row["status"],
        created_at=row["created_at"],
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
