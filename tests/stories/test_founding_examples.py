"""The examples by which the product was first described, run as they stand there; docs/seed-coverage.md names them."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from story import Story, until

from engine import HandlerRegistry, RequestError, TaskRequest, Workflow, tasks
from engine.definition import StepTemplate, TaskDefinition
from engine.requests import checked_context

ROOT = Path(__file__).resolve().parents[2]

SHOP = '''
from datetime import timedelta

from engine import EventSubscriber


@register_handler("process_order", namespace_name="ecommerce", version="2.1.0")
class OrderProcessing(TaskHandler):
    def define_step_templates(self, templates):
        templates.define(name="validate_payment", handler_class=ValidatePayment, retryable=True, retry_limit=3, backoff={"base": 0.001})
        templates.define(name="reserve_inventory", depends_on_step="validate_payment", handler_class="flows.ReserveInventory")
        templates.define(name="send_confirmation", depends_on_step=["validate_payment", "reserve_inventory"])

    def schema(self):
        return {"type": "object", "required": ["order_id"], "properties": {
            "order_id": {"type": "integer"}, "priority": {"type": "string", "enum": ["normal", "high", "urgent"]}}}


class ValidatePayment(StepHandler):
    def process(self, task, sequence, step):
        if step.attempt == 1:
            raise RetryableError("server error", delay=timedelta(milliseconds=1))
        return {"payment_validated": True, "payment_id": "pay_1", "amount_charged": 40}


class ReserveInventory(StepHandler):
    def process(self, task, sequence, step):
        payment = self.step_results(sequence, "validate_payment")
        if task.context.get("priority") == "urgent":
            raise PermanentError("nothing on the shelf", error_code="sold_out")
        return {"inventory_reserved": True, "reservation_id": f"res_{task.context['order_id']}", "payment_id": payment["payment_id"]}


class OrderMonitor(EventSubscriber):
    subscribe_to = ["step.completed", "step.failed", "task.completed"]

    def handle_step_completed(self, event):
        if event["namespace"] == "ecommerce" and event["step_name"] == "validate_payment":
            note("analytics", event["context"]["order_id"], event["result"]["amount_charged"], type(event["duration"]).__name__)

    def handle_step_failed(self, event):
        if event["attempt"] == 1 and event["step_name"] == "reserve_inventory":
            note("chat", event["step_name"], event["error"]["code"])

    def handle_task_completed(self, event):
        note("mail", event["context"]["order_id"], event["correlation_id"])
'''

NAMESPACES = {
    "payments": ["process_payment", "process_refund", "update_billing"],
    "inventory": ["reserve_items", "update_stock", "reorder_products"],
    "notifications": ["welcome_email", "order_updates", "marketing_campaigns"],
    "data_processing": ["daily_etl", "user_analytics", "report_generation"],
}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> HandlerRegistry:
    """An empty registry in place of the process's own."""
    fresh = HandlerRegistry()
    monkeypatch.setattr(HandlerRegistry, "_instance", fresh)
    return fresh


def test_the_workflow_of_the_readme_runs_as_printed(story: Story) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    story.write(blocks[0], "orders.py")
    story.start()
    outcome = story.run("process_order", {"order_id": 7}, namespace="shop")
    assert outcome["state"] == "completed"
    assert outcome["steps"]["charge_card"]["attempts"] == 2
    assert outcome["steps"]["send_receipt"]["result"] == "receipt over 40"


def test_the_six_parts_work_together(story: Story) -> None:
    story.write(SHOP)
    story.start()
    outcome = story.run("process_order", {"order_id": 12345}, namespace="ecommerce", version="2.1.0", correlation_id="req_abc123")
    assert outcome["state"] == "completed"
    steps = outcome["steps"]
    assert steps["validate_payment"] == {
        "state": "completed", "attempts": 2, "error": None, "result": {"payment_validated": True, "payment_id": "pay_1", "amount_charged": 40},
    }
    assert steps["reserve_inventory"]["result"] == {"inventory_reserved": True, "reservation_id": "res_12345", "payment_id": "pay_1"}
    assert steps["send_confirmation"]["state"] == "completed"
    assert story.noted("mail")[0][1:3] == ["12345", "req_abc123"]


def test_an_order_monitor_tells_analytics_the_chat_and_the_customer(story: Story) -> None:
    story.write(SHOP)
    story.start(runner="threads")
    good = story.launch("process_order", {"order_id": 1}, namespace="ecommerce", correlation_id="req_1")
    bad = story.launch("process_order", {"order_id": 2, "priority": "urgent"}, namespace="ecommerce", correlation_id="req_2")
    assert story.all_ended([good, bad]) == ["completed", "failed"]
    until(lambda: len(story.ledger()) >= 4, "the monitor to tell")
    assert sorted(line[1:4] for line in story.ledger("analytics")) == [["1", "40", "int"], ["2", "40", "int"]]
    assert [line[1:3] for line in story.ledger("chat")] == [["reserve_inventory", "sold_out"]]
    assert [line[1:3] for line in story.ledger("mail")] == [["1", "req_1"]]


def test_the_schema_of_an_order_takes_what_it_should() -> None:
    schema = {
        "type": "object", "required": ["order_id"],
        "properties": {"order_id": {"type": "integer"}, "priority": {"type": "string", "enum": ["normal", "high", "urgent"]}},
    }

    def paths(context: dict[str, Any]) -> list[str]:
        try:
            checked_context(TaskRequest("process_order", context=context), schema)
        except RequestError as error:
            return [problem.path for problem in error.problems]
        return []

    assert paths({"order_id": 1}) == paths({"order_id": 1, "priority": "urgent", "note": "by the door"}) == []
    assert paths({}) == paths({"order_id": "1"}) == ["$.order_id"]
    assert paths({"order_id": 1, "priority": "soon"}) == ["$.priority"]


def test_each_step_keeps_its_own_limits(story: Story) -> None:
    flow = TaskDefinition(
        "tests", "limits", version="1.0.0",
        steps=(StepTemplate("external_api_call", retry_limit=5, timeout=30_000), StepTemplate("database_operation", retry_limit=2, timeout=5_000)),
    )
    tasks.register_definition(story.db, flow)
    rows = story.db.rows("select name, retryable, retry_limit, timeout_ms from tasker_template order by step_no")
    assert rows == [("external_api_call", True, 5, 30_000), ("database_operation", True, 2, 5_000)]


def test_the_namespaces_of_the_examples_stand_side_by_side(registry: HandlerRegistry) -> None:
    for namespace, names in NAMESPACES.items():
        for name in names:
            Workflow(name, namespace=namespace, version="1.0.0").define("only")
    every = {f"{namespace}/{name}" for namespace, names in NAMESPACES.items() for name in names}
    assert set(registry.handlers) == every
    assert len(registry.registered_handlers()) == 12
    for namespace, names in NAMESPACES.items():
        found = registry.handlers_for_namespace(namespace)
        assert len(found) == 3
        assert all(any(name in str(one) for one in found) for name in names)
    assert registry.get("process_refund", namespace_name="payments").definition.key == "payments/process_refund@1.0.0"


def test_a_request_picks_its_version(story: Story) -> None:
    story.write(
        """
        for version, middle in (("1.0.0", []), ("2.0.0", ["check_inventory"])):
            orders = Workflow("process_order", namespace="ecommerce", version=version)
            orders.define("validate_order")
            for name in middle:
                orders.define(name, depends_on_step="validate_order")
            orders.define("process_payment", depends_on_step=["validate_order", *middle])
        """
    )
    story.start(runner="threads")
    legacy = story.run("process_order", {"order_id": 1}, namespace="ecommerce", version="1.0.0")
    latest = story.run("process_order", {"order_id": 2}, namespace="ecommerce")
    assert (legacy["version"], list(legacy["steps"])) == ("1.0.0", ["validate_order", "process_payment"])
    assert (latest["version"], list(latest["steps"])) == ("2.0.0", ["validate_order", "check_inventory", "process_payment"])
    assert legacy["state"] == latest["state"] == "completed"


def test_no_index_repeats_another(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        rows = conn.execute(
            "select i.indrelid::regclass::text, i.indexrelid::regclass::text, am.amname || coalesce(pg_get_expr(i.indpred, i.indrelid), ''), i.indisunique,"
            "       array(select pg_get_indexdef(i.indexrelid, k, true) from generate_series(1, i.indnkeyatts) k)"
            "  from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am am on am.oid = c.relam where c.relname like 'tasker%'"
        ).fetchall()
    assert rows
    repeated = [
        (one[1], other[1])
        for one, other in itertools.permutations(rows, 2)
        if one[0] == other[0] and one[2] == other[2] and not one[3] and other[4][: len(one[4])] == one[4]
    ]
    assert repeated == []
