"""Two real databases behind one command line and one `submit`: tasks go where their namespace lives, and are found there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from terminal import Terminal, until

from engine import Workflow, submit, submit_many
from engine.db import Database
from engine.errors import RequestError
from engine.registry import HandlerRegistry
from engine.requests import TaskRequest
from engine.testing.databases import Databases

FLOWS = """
from engine import TaskRequest, Workflow, submit

pay = Workflow("pay", namespace="payments", version="1.0.0")

@pay.step()
def book(task, step):
    return {"child": submit(TaskRequest("charge", "payments")), "told": submit(TaskRequest("tell", "mail"))}

charge = Workflow("charge", namespace="payments", version="1.0.0")

@charge.step()
def card(task):
    return 1

tell = Workflow("tell", namespace="mail", version="1.0.0")

@tell.step()
def letter(task):
    return 1
"""


@pytest.fixture
def payments_url(databases: Databases, template: str) -> Iterator[str]:
    with databases.fresh(template) as url:
        yield url


@pytest.fixture
def both(terminal: Terminal, database_url: str, payments_url: str) -> Terminal:
    """A terminal whose namespace `payments` has a database of its own."""
    terminal.environment["TASKER_SHARDS"] = f"payments={payments_url};*={database_url}"
    terminal.environment["TASKER_HANDLERS"] = str(terminal.write(FLOWS))
    del terminal.environment["TASKER_DATABASE_URL"]
    return terminal


@pytest.fixture
def payments(payments_url: str) -> Iterator[Database]:
    database = Database(payments_url, max_size=1)
    yield database
    database.close()


def count(db: Database) -> int:
    return int(db.value("select count(*)::int from tasker_task"))


def test_a_task_goes_where_its_namespace_lives_and_is_found_listed_and_acted_on_there(both: Terminal, db: Database, payments: Database, database_url: str) -> None:
    assert both.run("db", "upgrade").out.count(" is at ") == 2
    launched = [both.run("launch", name, "--json").json()["task_id"] for name in ("payments/pay", "mail/tell", "payments/charge", "mail/tell", "payments/pay")]
    assert (count(db), count(payments)) == (2, 3)
    seen, cursor = [], None
    while cursor or not seen:
        page = both.run("tasks", "--json", "--limit", 2, *(["--cursor", cursor] if cursor else [])).json()
        seen += [task["task_id"] for task in page["tasks"]]
        cursor = page["next_cursor"]
    assert seen == launched[::-1]
    assert [task["task_id"] for task in both.run("tasks", "--namespace", "mail", "--json").json()["tasks"]] == [launched[3], launched[1]]
    assert both.run("show", launched[0], "--json").json()["name"] == "pay"
    assert both.run("cancel", launched[2], "--reason", "twice").status == 0
    assert both.run("show", launched[2], "--json").json()["state"] == "cancelled"
    assert launched[0] in both.run("show", launched[0], "--report").out
    assert both.run("show", "00000000-0000-0000-0000-000000000000").status == 2
    assert "no cursor of an earlier page" in both.run("tasks", "--cursor", "bm9uc2Vuc2U=").err

    both.environment["TASKER_SHARDS"] = f"payments=postgresql://127.0.0.1:1/gone;*={database_url}"
    listed = both.run("tasks", "--json")
    assert {task["task_id"] for task in listed.json()["tasks"]} == {launched[1], launched[3]}
    assert "without payments: cannot reach PostgreSQL at 127.0.0.1:1" in listed.err
    assert both.run("show", launched[1]).status == 0
    well, ill = (each for each in both.run("doctor", "--json").json()["checks"] if each["name"].startswith("shard"))
    assert (well["state"], ill["name"], ill["state"]) == ("ok", "shard payments", "problem")
    unknown = both.run("show", launched[0])
    assert (unknown.status, "is in no database that answers" in unknown.err) == (2, True)
    assert both.run("launch", "payments/charge").status == 2
    assert count(db) == 2


def test_an_engine_works_on_one_database_and_what_its_handlers_submit_goes_to_the_right_one(both: Terminal, db: Database, payments: Database) -> None:
    """A child in the same database has its parent; one in another has the correlation id alone."""
    engine = both.start("--shard", "payments", "engine", "--runner", "threads")
    task_id = both.run("launch", "payments/pay", "--json").json()["task_id"]
    until(lambda: payments.value("select count(*) from tasker_tasks where state = 'completed'") == 2 or engine.poll() is not None, "both tasks of payments to end")
    result = both.run("show", task_id, "--json").json()["steps"]["book"]["result"]
    child = payments.rows("select parent_task_id::text, correlation_id from tasker_tasks where task_id = %(id)s", {"id": result["child"]})
    told = db.rows("select state, parent_task_id::text, correlation_id from tasker_tasks where task_id = %(id)s", {"id": result["told"]})
    assert (child, told) == ([(task_id, task_id)], [("pending", None, task_id)])
    assert payments.rows("select distinct namespace from tasker_definition") == [("payments",)], "nothing is made known where it does not live"
    wrong = both.run("--shard", "payments", "engine", "--only", "mail")
    assert (wrong.status, "mail lives in the database main" in wrong.err) == (2, True)
    nobody = both.run("--shard", "elsewhere", "tasks")
    assert (nobody.status, 'no shard "elsewhere"' in nobody.err) == (2, True)


def test_tasks_of_two_databases_are_not_submitted_in_one_transaction(both: Terminal, db: Database, payments: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKER_SHARD", raising=False)
    monkeypatch.setenv("TASKER_SHARDS", both.environment["TASKER_SHARDS"])
    monkeypatch.setattr(HandlerRegistry, "_instance", HandlerRegistry())
    for namespace in ("payments", "mail"):
        Workflow("flow", namespace=namespace, version="1.0.0").step()(nothing)
    with pytest.raises(RequestError, match="mail, payments live in different databases"):
        submit_many([TaskRequest("flow", "payments"), TaskRequest("flow", "mail")])
    assert (count(db), count(payments)) == (0, 0)
    assert len(submit_many([TaskRequest("flow", "payments")] * 2)) == 2
    submit(TaskRequest("flow", "mail"))
    assert (count(db), count(payments)) == (1, 2)


def nothing(task: object) -> None: ...
