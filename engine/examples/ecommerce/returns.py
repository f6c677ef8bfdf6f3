"""`ecommerce/return_goods` 1.0.0 in the decorator form: each returned article is inspected on its own, then one of three settlements follows.

`inspect_article` is a map step, one item per article; `settle` is a decision. Every step works once per task, however often it runs.
"""

import hashlib
from typing import Any

from engine import PermanentError, RetryableError, Workflow
from engine.examples import clock, storage
from engine.examples.ecommerce import mail, payments, shop
from engine.examples.ecommerce.pricing import cents
from engine.handlers import Step, Task

# The share of the price that is given back, by the condition in which an article arrives.
WORTH = {"unopened": 100, "opened": 80, "damaged": 0}
QUICK = {"base": 0.3, "multiplier": 2.0, "cap": 5.0, "jitter": 0.1}
MAIL_LIMIT_SECONDS = 60

SCHEMA = {
    "type": "object",
    "required": ["customer_info", "articles"],
    "properties": {
        "customer_info": {
            "type": "object",
            "title": "Customer",
            "required": ["email", "name"],
            "properties": {"email": {"type": "string", "format": "email", "title": "Email"}, "name": {"type": "string", "minLength": 1, "title": "Name"}},
        },
        "articles": {
            "type": "array",
            "title": "Returned articles",
            "minItems": 1,
            "maxItems": 100,
            "items": {
                "type": "object",
                "title": "Article",
                "required": ["product_id", "condition"],
                "properties": {
                    "product_id": {"type": "integer", "title": "Product number"},
                    "quantity": {"type": "integer", "minimum": 1, "default": 1, "title": "Quantity"},
                    "condition": {"type": "string", "enum": list(WORTH), "title": "Condition on arrival"},
                },
            },
        },
        "wish": {"type": "string", "enum": ["money", "voucher"], "default": "money", "title": "What the customer would like"},
    },
}

returns = Workflow(
    "return_goods",
    namespace="ecommerce",
    version="1.0.0",
    description="Takes goods back: inspects each article, puts what is fit for sale on the shelf again, and settles with the customer.",
    schema=SCHEMA,
)

Result = dict[str, Any]


@returns.step(timeout=15_000, backoff=QUICK)
def list_articles(task: Task) -> Result:
    """Looks each returned article up in the catalogue, whose price is what counts."""
    return {"articles": [_known(article) for article in task.context["articles"]], "received_at": clock.now()}


@returns.step(depends_on_step="list_articles", for_each="list_articles.articles", timeout=15_000, backoff=QUICK)
def inspect_article(task: Task, step: Step, item: Result) -> Result:
    """Works out what the article is still worth; unopened goods go back on the shelf."""
    credit = cents(item["price"]) * item["quantity"] * WORTH[item["condition"]] / 100
    restocked = item["quantity"] if item["condition"] == "unopened" else 0
    if restocked:
        shop.restock(_key(task, step), item["product_id"], restocked)
    return {"name": item["name"], "condition": item["condition"], "quantity": item["quantity"], "restocked": restocked, "credit": float(cents(credit))}


@returns.step(depends_on_step="inspect_article", decision=True, backoff=QUICK)
def settle(task: Task, inspect_article: list[Result]) -> str:
    """Chooses how the return is settled: there may be nothing to give back, else the customer's wish decides."""
    if not _credit(inspect_article):
        return "decline"
    return "refund" if task.context["wish"] == "money" else "issue_voucher"


@returns.step(depends_on_step="settle", timeout=30_000, backoff=QUICK)
def refund(task: Task, step: Step, inspect_article: list[Result]) -> Result:
    """Pays the credit back to the customer's card."""
    email = task.context["customer_info"]["email"]
    wanted = payments.Charge(email=email, amount=cents(_credit(inspect_article)), currency="USD", method="credit_card", token="refund")
    try:
        paid = payments.refund(_key(task, step), wanted, now=clock.now())
    except payments.GatewayError as error:
        raise RetryableError(f"The gateway did not answer ({error.code}).") from error
    return {"settlement": "refund", "amount": float(paid.amount), "payment_id": paid.payment_id}


@returns.step(depends_on_step="settle", timeout=15_000, backoff=QUICK)
def issue_voucher(task: Task, step: Step, inspect_article: list[Result]) -> Result:
    """Writes a voucher over the credit and a tenth more, as the shop keeps the sale."""
    amount = cents(_credit(inspect_article) * 1.1)
    code = hashlib.sha256(_key(task, step).encode()).hexdigest()[:10].upper()
    text = f"The Widget Shop\nVoucher {code} over ${amount}\nfor {task.context['customer_info']['name']}\n"
    file = storage.write_file(storage.folder("vouchers") / f"{code}.txt", text)
    return {"settlement": "voucher", "amount": float(amount), "code": code, "file": str(file)}


@returns.step(depends_on_step="settle", backoff=QUICK)
def decline(inspect_article: list[Result]) -> Result:
    """Notes why nothing is given back."""
    return {"settlement": "none", "amount": 0.0, "why": ", ".join(f"{one['name']} is {one['condition']}" for one in inspect_article if one)}


@returns.step(depends_on_step=["refund", "issue_voucher", "decline"], timeout=15_000, retry_limit=5, backoff=QUICK)
def tell_customer(
    task: Task, step: Step, inspect_article: list[Result], refund: Result | None, issue_voucher: Result | None, decline: Result | None
) -> Result:
    """Mails the customer what became of the return, whichever way it was settled."""
    settled = refund or issue_voucher or decline or {"settlement": "none", "amount": 0.0}
    customer = task.context["customer_info"]
    letter = {"subject": "Your return", "body": _letter(customer["name"], inspect_article, settled), "sent_at": clock.now()}
    try:
        message_id, file = mail.send(_key(task, step), to=customer["email"], name=customer["name"], **letter)
    except shop.ServiceDown as error:
        raise RetryableError(f"The mail service refused ({error.code}).", delay=MAIL_LIMIT_SECONDS) from error
    return {"message_id": message_id, "file": str(file), "settlement": settled["settlement"], "amount": settled["amount"]}


def _known(article: Result) -> Result:
    product = shop.find_product(article["product_id"])
    if product is None:
        raise PermanentError(f"The shop never sold product {article['product_id']}.", error_code="PRODUCT_NOT_FOUND")
    return {**article, "quantity": article.get("quantity", 1), "name": product.name, "price": float(product.price)}


def _credit(inspected: list[Result]) -> float:
    # An article whose inspection an operator skipped has no result, and so no credit.
    return float(sum(cents(one["credit"]) for one in inspected if one))


def _letter(name: str, inspected: list[Result], settled: Result) -> str:
    lines = [f"  {one['quantity']} x {one['name']}, {one['condition']}: ${one['credit']:.2f}" for one in inspected if one]
    ending = {
        "refund": f"We have paid ${settled['amount']:.2f} back to your card.",
        "voucher": f"Your voucher {settled.get('code')} is worth ${settled['amount']:.2f}.",
        "none": "We are sorry that we cannot give anything back for these goods.",
    }
    return "\n".join([f"Dear {name},", "", "we have received:", *lines, "", ending[settled["settlement"]], "", "The Widget Shop", ""])


def _key(task: Task, step: Step) -> str:
    return f"{task.task_id}:{step.name}"
