"""The shop's own records: catalogue, stock, reservations and orders in one SQLite file.

Everything that changes takes a key (task and step) and is done once per key: asked again, it answers as it did the first time.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from engine.examples import storage

STOCK_PER_PRODUCT = 10
CATALOGUE = (
    (1, "Widget A", "29.99", True),
    (2, "Widget B", "49.99", True),
    (3, "Desk lamp", "39.50", True),
    (4, "Notebook, ruled", "4.25", True),
    (5, "Widget Classic", "19.99", False),
)

SCHEMA = """
create table if not exists products (
  product_id integer primary key, name text not null, price text not null, active integer not null, stock integer not null check (stock >= 0));
create table if not exists reservations (key text primary key, changes text not null);
create table if not exists orders (key text primary key, number text not null unique, email text not null, total text not null, created_at text not null);
create table if not exists payments (
  key text primary key, payment_id text not null, email text not null, amount text not null, currency text not null, method text not null,
  status text not null, created_at text not null);
create table if not exists gateway_calls (key text primary key, calls integer not null);
create table if not exists declines (email text not null, declined_at text not null);
create table if not exists mails (key text primary key, message_id text not null, file text not null);
create table if not exists loyalty (key text primary key, email text not null, points integer not null);
create table if not exists outages (service text primary key, code text not null, calls integer not null)
"""


class OutOfStock(Exception):
    """The shelf does not hold what was asked for; a delivery may change that."""


class ServiceDown(Exception):
    """A service of the shop refused the call; `code` says how."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the service answered {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Product:
    """One line of the catalogue with what is on the shelf now."""

    product_id: int
    name: str
    price: Decimal
    active: bool
    stock: int


@contextmanager
def open_shop(data_dir: Path | None = None) -> Iterator[sqlite3.Connection]:
    """One transaction on the shop's records; a new shop starts with a full catalogue."""
    with storage.transaction(storage.folder("shop", below=data_dir) / "shop.sqlite3", SCHEMA) as shop:
        _fill_catalogue(shop)
        yield shop


def new_day(data_dir: Path | None = None) -> None:
    """Every product is on the shelf again in full, no outage is in force and refused cards are forgotten."""
    with open_shop(data_dir) as shop:
        shop.execute("update products set stock = ?", (STOCK_PER_PRODUCT,))
        shop.execute("delete from outages")
        shop.execute("delete from declines")


def find_product(product_id: int) -> Product | None:
    """The product, or None when the catalogue does not have it."""
    with open_shop() as shop:
        row = shop.execute("select product_id, name, price, active, stock from products where product_id = ?", (product_id,)).fetchone()
    return _product(row) if row else None


def reserve(key: str, quantities: Mapping[int, int]) -> list[dict[str, Any]]:
    """Take `quantities` (product id to units) from the shelf, all or nothing, once per `key`.

    Returns one change per product: `product_id, quantity, previous_stock, new_stock`. Raises `OutOfStock` and takes nothing when
    one product is short, `ServiceDown` when the warehouse does not answer.
    """
    fail_if_down("inventory")
    with open_shop() as shop:
        earlier = shop.execute("select changes from reservations where key = ?", (key,)).fetchone()
        if earlier:
            return _decoded(earlier["changes"])
        changes = [_take(shop, product_id, quantity) for product_id, quantity in quantities.items()]
        shop.execute("insert into reservations (key, changes) values (?, ?)", (key, json.dumps(changes)))
    return changes


def restock(key: str, product_id: int, quantity: int) -> None:
    """Put units back on the shelf, once per `key`."""
    with open_shop() as shop:
        taken = json.dumps([{"product_id": product_id, "quantity": -quantity}])
        if shop.execute("insert into reservations (key, changes) values (?, ?) on conflict (key) do nothing", (key, taken)).rowcount:
            shop.execute("update products set stock = stock + ? where product_id = ?", (quantity, product_id))


def place_order(key: str, *, email: str, total: Decimal, created_at: str) -> sqlite3.Row:
    """The order with its `order_id`, `number`, `created_at`; entered once per `key`."""
    with open_shop() as shop:
        shop.execute(
            "insert into orders (key, number, email, total, created_at) values (?, ?, ?, ?, ?) on conflict (key) do nothing",
            (key, order_number(key, created_at), email, str(total), created_at),
        )
        row: sqlite3.Row = shop.execute("select rowid as order_id, number, created_at from orders where key = ?", (key,)).fetchone()
    return row


def order_number(key: str, created_at: str) -> str:
    """`ORD-YYYYMMDD-` and eight hexadecimal digits that belong to `key`."""
    return f"ORD-{created_at[:10].replace('-', '')}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def award_points(key: str, *, email: str, points: int) -> int:
    """The customer's balance after `points` were credited, once per `key`."""
    with open_shop() as shop:
        shop.execute("insert into loyalty (key, email, points) values (?, ?, ?) on conflict (key) do nothing", (key, email, points))
        balance: int = shop.execute("select sum(points) from loyalty where email = ?", (email,)).fetchone()[0]
    return balance


def break_service(service: str, *, code: str, calls: int) -> None:
    """The next `calls` calls of `service` ("inventory", "mail") are refused with `code`; after them it works again."""
    with open_shop() as shop:
        shop.execute("insert or replace into outages (service, code, calls) values (?, ?, ?)", (service, code, calls))


def fail_if_down(service: str) -> None:
    """Count one call of `service`; raises `ServiceDown` while its outage lasts."""
    with open_shop() as shop:
        row = shop.execute("select code, calls from outages where service = ?", (service,)).fetchone()
        if not row or row["calls"] < 1:
            return
        shop.execute("update outages set calls = calls - 1 where service = ?", (service,))
    raise ServiceDown(row["code"])


def _fill_catalogue(shop: sqlite3.Connection) -> None:
    if shop.execute("select 1 from products limit 1").fetchone():
        return
    rows = [(*product, STOCK_PER_PRODUCT) for product in CATALOGUE]
    shop.executemany("insert into products (product_id, name, price, active, stock) values (?, ?, ?, ?, ?)", rows)


def _take(shop: sqlite3.Connection, product_id: int, quantity: int) -> dict[str, Any]:
    row = shop.execute("select name, stock from products where product_id = ?", (product_id,)).fetchone()
    if row is None or row["stock"] < quantity:
        raise OutOfStock(f"{row['name'] if row else product_id}: {quantity} wanted, {row['stock'] if row else 0} on the shelf")
    left = row["stock"] - quantity
    shop.execute("update products set stock = ? where product_id = ?", (left, product_id))
    return {"product_id": product_id, "quantity": quantity, "previous_stock": row["stock"], "new_stock": left}


def _product(row: sqlite3.Row) -> Product:
    return Product(row["product_id"], row["name"], Decimal(row["price"]), bool(row["active"]), row["stock"])


def _decoded(text: str) -> list[dict[str, Any]]:
    changes: list[dict[str, Any]] = json.loads(text)
    return changes
