"""What `tasker demo` runs: the requests with the states they should end in, and the services they need while they run."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import TaskerError
from engine.requests import TaskRequest

if TYPE_CHECKING:
    from engine.examples.services import Services

SOURCE = "tasker demo"


@dataclass(frozen=True, slots=True)
class Expected:
    """A request and the state its task ends in when nobody steps in."""

    request: TaskRequest
    state: str = "completed"


@contextmanager
def prepared(data_dir: Path) -> Iterator[dict[str, str]]:
    """The shop is open and the accounts service answers for the length of the block.

    Yields the environment variables that the engine's processes need to find both. Everything they write lies in
    `data_dir/examples`. Raises `TaskerError` when that cannot be written.
    """
    from engine.examples import services

    with _opened(data_dir) as running:
        yield {services.URL_VARIABLE: running.url, "TASKER_DATA_DIR": str(data_dir)}


def _opened(data_dir: Path) -> "Services":
    from engine.examples import services, storage
    from engine.examples.ecommerce import shop

    try:
        shop.new_day(data_dir)
        return services.start_services(folder=storage.folder("accounts", below=data_dir))
    except (OSError, sqlite3.Error) as error:
        raise TaskerError(f"the examples cannot write to {data_dir}: {error}; set TASKER_DATA_DIR to a folder of this account") from error


def demo_requests() -> list[Expected]:
    """Orders in both versions, returns, registrations, one audit; and one order that waits for an operator.

    That order's payment gateway is down for as long as the step may try and works from then on: Retry completes it.
    """
    return [*_orders(), *_returns(), *_registrations(), _audit()]


def _orders() -> list[Expected]:
    return [
        Expected(
            _order(
                "1.0.0",
                items=[_item(1, "Widget A", 29.99, 2), _item(2, "Widget B", 49.99, 1)],
                amount=124.76,
                token="tok_visa_valid",
                customer=_customer(123, "customer@example.com", "John Doe", "standard"),
                shipping=_address("350 Fifth Avenue", "New York", "NY", "10118"),
                reason="web order",
            )
        ),
        Expected(
            _order(
                "1.0.0",
                items=[_item(3, "Desk lamp", 39.50, 1), _item(4, "Notebook, ruled", 4.25, 5)],
                amount=75.60,
                token="test_temp_fail_once",
                customer=_customer(204, "maria.lopez@example.com", "María López", "premium"),
                shipping=_address("Calle de Alcalá 20", "Madrid", "", "28014", "Spain"),
                priority="express",
                reason="mobile order; the gateway drops the first call",
            )
        ),
        Expected(
            _order(
                "2.0.0",
                items=[_item(3, "Desk lamp", 39.50, 2), _item(1, "Widget A", 29.99, 1)],
                amount=123.70,
                token="test_success_visa",
                customer=_customer(17, "purchasing@northwind.example", "Northwind Traders", "enterprise"),
                shipping=_address("1 Harbour Street", "Seattle", "WA", "98101"),
                priority="overnight",
                reason="standing order of an enterprise customer",
            )
        ),
        Expected(
            _order(
                "2.0.0",
                items=[_item(2, "Widget B", 49.99, 2)],
                amount=113.97,
                token="test_temp_fail_once",
                customer=_customer(341, "amir@example.com", "Amir Khan", "standard"),
                shipping=_address("12 Castle Street", "Cardiff", "", "CF10 1BS", "United Kingdom"),
                reason="web order; the gateway drops the first call",
            )
        ),
        Expected(
            _order(
                "1.0.0",
                items=[_item(2, "Widget B", 49.99, 1), _item(4, "Notebook, ruled", 4.25, 2)],
                amount=69.16,
                token="test_outage_short",
                customer=_customer(358, "sofia.rossi@example.com", "Sofia Rossi", "standard"),
                shipping=_address("Via Roma 5", "Torino", "", "10123", "Italy"),
                reason="the gateway was down while this was tried; Retry completes it",
            ),
            state="failed",
        ),
    ]


def _returns() -> list[Expected]:
    amir = {"email": "amir@example.com", "name": "Amir Khan"}
    maria = {"email": "maria.lopez@example.com", "name": "María López"}
    lamp, widget, notebook = 3, 1, 4
    return [
        _return(amir, [(widget, 2, "unopened"), (lamp, 1, "opened"), (notebook, 3, "unopened")], reason="changed his mind"),
        _return(maria, [(lamp, 1, "opened")], wish="voucher", reason="does not match the desk"),
        _return(amir, [(widget, 1, "damaged"), (lamp, 1, "damaged")], reason="fell off the table"),
    ]


def _return(customer: Mapping[str, str], articles: Sequence[tuple[int, int, str]], *, wish: str = "money", reason: str) -> Expected:
    listed = [{"product_id": number, "quantity": quantity, "condition": condition} for number, quantity, condition in articles]
    request = TaskRequest(
        "return_goods",
        namespace="ecommerce",
        context={"customer_info": customer, "articles": listed, "wish": wish},
        initiator="demo",
        source_system=SOURCE,
        reason=reason,
        tags=("demo", "return"),
    )
    return Expected(request)


def _registrations() -> list[Expected]:
    newsletter = {"newsletter": True, "product_updates": True}
    card = {"payment_method": "credit_card"}
    office = {**card, "billing_address": {"street": "1 Harbour Street", "city": "Seattle", "state": "WA", "zip": "98101"}}
    sam = {"email": "sam@example.com", "name": "Sam Okafor", "source": "mobile"}
    return [
        _registration({"email": "newuser@example.com", "name": "Jane Smith", "plan": "pro"}, billing=card, preferences=newsletter),
        _registration(
            {"email": "it@northwind.example", "name": "Ingrid Berg", "plan": "enterprise", "company": "Northwind Traders", "source": "api"},
            billing=office,
            preferences={**newsletter, "timezone": "America/Los_Angeles"},
        ),
        _registration(sam),
        _registration(sam, reason="the form was sent twice; the second finds the account and goes on"),
        _registration({"email": "li.wei@example.com", "name": "Li Wei", "plan": "pro"}, reason="paid plan, payment method still missing"),
        _registration({"email": "ana@example.com", "name": "Ana Souza", "referral_code": "SAM10"}, preferences={"newsletter": True}),
    ]


def _audit() -> Expected:
    request = TaskRequest(
        "dependency_audit",
        namespace="compliance",
        context={"title": "Packages beside this engine", "largest": 10},
        initiator="demo",
        source_system=SOURCE,
        reason="yearly licence review",
        tags=("demo", "audit"),
    )
    return Expected(request)


def _order(
    version: str,
    *,
    items: Sequence[Mapping[str, Any]],
    amount: float,
    token: str,
    customer: Mapping[str, Any],
    shipping: Mapping[str, str],
    priority: str = "standard",
    reason: str,
) -> TaskRequest:
    context = {
        "cart_items": items,
        "payment_info": {"method": "credit_card", "amount": amount, "currency": "USD", "card_last_four": "4242", "token": token},
        "customer_info": customer,
        "shipping_info": shipping,
        "priority": priority,
    }
    return TaskRequest(
        "process_order",
        namespace="ecommerce",
        version=version,
        context=context,
        initiator="demo",
        source_system=SOURCE,
        reason=reason,
        tags=("demo", "order"),
    )


def _item(product_id: int, name: str, price: float, quantity: int) -> dict[str, Any]:
    return {"product_id": product_id, "name": name, "price": price, "quantity": quantity}


def _customer(number: int, email: str, name: str, tier: str) -> dict[str, Any]:
    return {"id": number, "email": email, "name": name, "tier": tier}


def _address(street: str, city: str, state: str, code: str, country: str = "USA") -> dict[str, str]:
    given = {"address": street, "city": city, "state": state, "zip": code, "country": country}
    return {part: text for part, text in given.items() if text}


def _registration(
    user: Mapping[str, str],
    *,
    billing: Mapping[str, Any] | None = None,
    preferences: Mapping[str, Any] | None = None,
    reason: str = "sign-up form",
) -> Expected:
    given = {"user_info": user, "billing_info": billing, "preferences": preferences}
    request = TaskRequest(
        "user_registration",
        namespace="accounts",
        context={part: values for part, values in given.items() if values},
        initiator="demo",
        source_system=SOURCE,
        reason=reason,
        tags=("demo", "registration"),
    )
    return Expected(request)
