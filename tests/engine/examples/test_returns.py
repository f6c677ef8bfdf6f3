"""Goods that come back: each article inspected on its own, and one of three settlements."""

from pathlib import Path
from typing import Any

import pytest

from engine import PermanentError, RetryableError
from engine.examples.ecommerce import shop
from engine.examples.ecommerce.returns import (
    decline,
    inspect_article,
    issue_voucher,
    list_articles,
    refund,
    settle,
    tell_customer,
)
from engine.testing import run_step

AMIR = {"email": "amir@example.com", "name": "Amir"}
CONTEXT: dict[str, Any] = {"customer_info": AMIR, "articles": [{"product_id": 1, "quantity": 2, "condition": "unopened"}], "wish": "money"}
WIDGET = {"product_id": 1, "quantity": 2, "condition": "unopened", "name": "Widget A", "price": 29.99}
INSPECTED = [{"name": "Widget A", "condition": "unopened", "quantity": 2, "restocked": 2, "credit": 59.98}, None]


def stock(product_id: int) -> int:
    product = shop.find_product(product_id)
    assert product is not None
    return product.stock


def test_the_catalogues_price_counts() -> None:
    assert run_step(list_articles, CONTEXT)["articles"] == [WIDGET]


def test_a_product_that_was_never_sold_ends_the_return() -> None:
    with pytest.raises(PermanentError) as raised:
        run_step(list_articles, {**CONTEXT, "articles": [{"product_id": 99, "condition": "opened"}]})
    assert raised.value.error_code == "PRODUCT_NOT_FOUND"


@pytest.mark.parametrize(("condition", "credit", "restocked"), [("unopened", 59.98, 2), ("opened", 47.98, 0), ("damaged", 0.0, 0)])
def test_an_article_is_worth_what_its_condition_says(condition: str, credit: float, restocked: int) -> None:
    result = run_step(inspect_article, CONTEXT, item={**WIDGET, "condition": condition})
    assert (result["credit"], result["restocked"]) == (credit, restocked)


@pytest.mark.usefixtures("same_task")
def test_unopened_goods_go_back_on_the_shelf_once() -> None:
    before = stock(1)
    for attempt in (1, 2):
        run_step(inspect_article, CONTEXT, item=WIDGET, attempt=attempt)
    assert stock(1) == before + 2


@pytest.mark.usefixtures("same_task")
def test_two_articles_of_one_product_are_both_put_back() -> None:
    before = stock(1)
    for index in (0, 1):
        run_step(inspect_article, CONTEXT, item=WIDGET, index=index)
    assert stock(1) == before + 4


@pytest.mark.parametrize(
    ("wish", "credit", "branch"), [("money", 10.0, "refund"), ("voucher", 10.0, "issue_voucher"), ("money", 0.0, "decline"), ("voucher", 0.0, "decline")]
)
def test_the_credit_and_the_wish_decide(wish: str, credit: float, branch: str) -> None:
    assert run_step(settle, {**CONTEXT, "wish": wish}, {"inspect_article": [{"credit": credit}, None]}) == branch


@pytest.mark.usefixtures("same_task")
def test_money_is_paid_back_once() -> None:
    for attempt in range(1, 4):
        try:
            first = run_step(refund, CONTEXT, {"inspect_article": INSPECTED}, attempt=attempt)
            break
        except RetryableError:  # the gateway drops a call now and then
            continue
    assert (first["settlement"], first["amount"]) == ("refund", 59.98)
    assert run_step(refund, CONTEXT, {"inspect_article": INSPECTED}, attempt=4) == first


def test_a_voucher_is_worth_a_tenth_more(data_dir: Path) -> None:
    result = run_step(issue_voucher, CONTEXT, {"inspect_article": INSPECTED})
    assert result["amount"] == 65.98
    assert f"Voucher {result['code']} over $65.98" in Path(result["file"]).read_text(encoding="utf-8")
    assert Path(result["file"]).is_relative_to(data_dir)


def test_the_mail_tells_what_became_of_the_return() -> None:
    declined = run_step(decline, CONTEXT, {"inspect_article": [{"name": "Lamp", "condition": "damaged"}]})
    assert declined["why"] == "Lamp is damaged"
    results = {"inspect_article": INSPECTED, "refund": None, "issue_voucher": None, "decline": declined}
    result = run_step(tell_customer, CONTEXT, results)
    assert result["settlement"] == "none"
    letter = Path(result["file"]).read_text(encoding="utf-8")
    assert "2 x Widget A, unopened: $59.98" in letter
    assert "cannot give anything back" in letter
