"""`tasker events`: what there is to hear, who hears it, and the events themselves."""

from __future__ import annotations

import json
import signal
import subprocess
import threading

import psycopg
import pytest
from terminal import Terminal, refused, until

from engine import events


def test_it_lists_every_event_with_its_meaning_and_fields(terminal: Terminal) -> None:
    listed = terminal.run("events")
    assert listed.status == 0
    for kind in events.CATALOGUE:
        assert kind.name in listed.out
    document = terminal.run("events", "--json").json()
    assert [kind["type"] for kind in document["events"]] == list(events.EVENT_TYPES)
    assert set(document["fields"]) == set(events.FIELDS)


def test_a_type_that_is_none_is_refused_with_the_nearest(terminal: Terminal) -> None:
    ended = terminal.run("events", "--type", "step.complete")
    assert ended.status == 2
    assert "did you mean 'step.completed'?" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--namespace", "shop"], "--namespace goes with --follow"),
        (["--subscribers", "--type", "step.failed"], "--type goes with --follow"),
        (["--undelivered", "--reason", "why"], "--reason goes with --forget"),
        (["--handlers", "flows"], "--handlers goes with --redeliver"),
        (["--follow", "--subscribers"], "--follow and --subscribers go without each other"),
    ],
)
def test_an_option_that_would_do_nothing_is_wrong_usage(bare: Terminal, arguments: list[str], said: str) -> None:
    ended = bare.run("events", *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert said in ended.err


def test_without_a_database_following_is_refused(terminal: Terminal) -> None:
    terminal.environment["TASKER_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    assert "cannot reach PostgreSQL" in refused(terminal.run("events", "--follow"))


def test_following_prints_each_event_on_a_line_as_it_comes(shop: Terminal) -> None:
    chosen = shop.start("events", "--follow", "--json", "--type", "task.completed", "--type", "step.failed", "--namespace", "shop")
    everything = shop.start("events", "--follow")
    documents, lines = lines_of(chosen), lines_of(everything)
    shop.start("engine", "--runner", "threads", TASKER_HANDLERS=shop.environment["TASKER_HANDLERS"])
    # both start at "now", whenever that is: these may have been before
    until(lambda: launch(shop, 7) and documents and lines, "both to follow", 60)
    good, bad = launch(shop, 7), launch(shop, -7)
    until(lambda: bad in documents[-1] and any(bad in line for line in lines), "the last task's events")
    told = [json.loads(line) for line in documents]
    assert [(event["type"], event["task_id"]) for event in told[-2:]] == [("task.completed", good), ("step.failed", bad)]
    assert (told[-1]["step_name"], told[-1]["error"]["code"], told[-1]["context"]) == ("charge", "declined", {"order_id": -7, "speed": "normal"})
    until(lambda: any("step.failed" in line for line in lines), "the failure")
    [failed] = [line for line in lines if "step.failed" in line]
    assert f"shop/process_order@1.1.0  {bad}  charge" in failed
    assert "PermanentError: card refused" in failed
    everything.send_signal(signal.SIGINT)
    assert everything.wait(10) == 130


def launch(shop: Terminal, order_id: int) -> str:
    """The id of a task that has ended."""
    context = json.dumps({"order_id": order_id})
    return str(shop.run("launch", "shop/process_order", "--context", context, "--wait", "--json").json()["task_id"])


def lines_of(process: subprocess.Popen[str]) -> list[str]:
    """What it has printed so far, at any time."""
    lines: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        lines.extend(process.stdout)

    threading.Thread(target=read, daemon=True).start()
    return lines


def test_the_engine_delivers_to_the_subscribers_of_its_handlers_and_one_can_see_it(shop: Terminal) -> None:
    shop.write(
        '''
        from pathlib import Path
        from engine import EventSubscriber

        class OrderMonitor(EventSubscriber):
            subscribe_to = ["step.completed", "task.completed"]

            def handle_step_completed(self, event):
                self.note(event["step_name"])

            def handle_task_completed(self, event):
                self.note("all of", event["context"]["order_id"])

            def note(self, *facts):
                with open(Path(__file__).parent / "heard", "a") as file:
                    print(*facts, file=file)
        ''',
        "monitor.py",
    )
    shop.run("launch", "shop/process_order", "--context", '{"order_id": 7}')
    shop.start("engine", "--runner", "threads", TASKER_HANDLERS=shop.environment["TASKER_HANDLERS"])
    heard = shop.folder / "handlers" / "heard"
    until(lambda: heard.exists() and heard.read_text().splitlines() == ["charge", "ship", "all of 7"], "three events", 30)
    rows = until(
        lambda: [row for row in shop.run("events", "--subscribers", "--json").json()["subscribers"] if row["delivered_count"] == 3], "the record", 10
    )
    assert rows[0]["name"].endswith("monitor.OrderMonitor")
    assert (rows[0]["behind_count"], rows[0]["attempts"], rows[0]["undelivered_count"], rows[0]["last_error"]) == (0, 0, 0, None)
    assert "OrderMonitor" in shop.run("events", "--subscribers").out


FUSSY = """
    from pathlib import Path
    from engine import EventSubscriber, PermanentError

    class Fussy(EventSubscriber):
        subscribe_to = "task.completed"

        def handle_task_completed(self, event):
            if not (Path(__file__).parent / "willing").exists():
                raise PermanentError("not that one")
            with open(Path(__file__).parent / "heard", "a") as file:
                print(event["context"]["order_id"], file=file)
"""


def test_what_was_laid_aside_is_listed_and_delivered_again_by_the_end_of_the_subscribers_name(shop: Terminal) -> None:
    shop.write(FUSSY, "fussy.py")
    shop.run("launch", "shop/process_order", "--context", '{"order_id": 7}')
    shop.start("engine", "--runner", "threads", TASKER_HANDLERS=shop.environment["TASKER_HANDLERS"])
    [row] = until(lambda: shop.run("events", "--undelivered", "--json").json()["undelivered"], "the event to be laid aside", 30)
    assert (row["name"].rpartition(".")[2], row["event_type"], row["attempts"], row["error"]) == ("Fussy", "task.completed", 1, "PermanentError: not that one")
    listed = shop.run("events", "--undelivered").out
    assert all(text in listed for text in (row["name"], str(row["event_id"]), row["task_id"], "not that one"))

    again = shop.run("events", "--redeliver", "Fussy")
    assert (again.status, again.out) == (1, f"{row['name']}: 0 delivered, 1 still laid aside\n")
    assert f"refused again: task.completed {row['event_id']}: PermanentError: not that one" in again.err

    (shop.folder / "handlers" / "willing").touch()
    again = shop.run("events", "--redeliver", "fussy.Fussy", "--json")
    assert (again.status, again.json()) == (0, {"subscriber": row["name"], "delivered": 1, "left": 0, "refused": []})
    assert (shop.folder / "handlers" / "heard").read_text() == "7\n"
    assert shop.run("events", "--undelivered", "--json").json() == {"undelivered": []}
    assert shop.run("events", "--redeliver", "Fussy").out == f"{row['name']}: 0 delivered, 0 still laid aside\n"


def test_a_subscriber_that_no_handlers_have_is_refused_by_name(shop: Terminal) -> None:
    shop.write(FUSSY, "fussy.py")
    shop.write(FUSSY, "other.py")
    assert "there is no subscriber 'Fuss' in " in refused(shop.run("events", "--redeliver", "Fuss"))
    several = refused(shop.run("events", "--redeliver", "Fussy"))
    assert several.startswith("tasker: 'Fussy' is the end of several names: ")
    del shop.environment["TASKER_HANDLERS"]
    assert "neither --handlers nor TASKER_HANDLERS" in refused(shop.run("events", "--redeliver", "Fussy"))


def test_a_subscriber_whose_code_is_gone_is_forgotten_by_the_end_of_its_name_and_that_is_on_record(shop: Terminal) -> None:
    with psycopg.connect(shop.environment["TASKER_DATABASE_URL"], autocommit=True) as conn:
        conn.execute("select tasker_subscribe(name, false) from unnest(array['gone.Monitor', 'old.Monitor', 'old.Other']) name")
        assert "is the end of several names: gone.Monitor, old.Monitor" in refused(shop.run("events", "--forget", "Monitor"))
        assert "there is no subscriber 'Othr'; did you mean 'old.Other'?" in refused(shop.run("events", "--forget", "Othr"))
        told = shop.run("events", "--forget", "Other", "--reason", "merged into Monitor")
        assert (told.status, told.out) == (0, "old.Other: forgotten, with 0 events that were laid aside for it\n")
        assert shop.run("events", "--forget", "gone.Monitor", "--json").json() == {"subscriber": "gone.Monitor", "undelivered": 0}
        assert [row["name"] for row in shop.run("events", "--subscribers", "--json").json()["subscribers"]] == ["old.Monitor"]
        noted = conn.execute("select object, reason, detail ->> 'act' from tasker_audit order by audit_no").fetchall()
    assert noted == [("subscription old.Other", "merged into Monitor", "forget it, and 0 undelivered events"), ("subscription gone.Monitor", None, "forget it, and 0 undelivered events")]


def test_what_a_handler_submits_from_its_own_process_is_a_child_of_its_task(terminal: Terminal) -> None:
    terminal.write(
        '''
        from engine import TaskRequest, Workflow, submit

        refund = Workflow("refund", namespace="shop")

        @refund.step
        def pay(task):
            return task.correlation_id

        returns = Workflow("take_back", namespace="shop")

        @returns.step
        def order_refund(task):
            return submit(TaskRequest("refund", "shop", idempotency_key=f"{task.task_id}:refund"))
        '''
    )
    terminal.environment["TASKER_HANDLERS"] = str(terminal.folder / "handlers")
    terminal.start("engine", "--runner", "processes")
    parent = terminal.run("launch", "shop/take_back", "--correlation-id", "req-9", "--wait", "--json").json()
    child = parent["steps"]["order_refund"]["result"]
    shown = until(lambda: (found := terminal.run("show", child, "--json").json())["state"] == "completed" and found, "the child to end", 30)
    assert shown["steps"]["pay"]["result"] == "req-9"


def test_a_handler_publishes_from_its_own_process(terminal: Terminal) -> None:
    terminal.write(
        '''
        from pathlib import Path
        from engine import EventSubscriber, Workflow, publish_event

        pricing = Workflow("price_order", namespace="shop")

        @pricing.step
        def price(task, step):
            publish_event("order.priced", {"total": 12}, task=task, step_name=step.name)
            return 12

        class Prices(EventSubscriber):
            subscribe_to = ["order.priced", "step.completed"]

            def handle_event(self, event):
                with open(Path(__file__).parent / "heard", "a") as file:
                    print(event["type"], event["step_name"], event["data"] or event["result"], file=file)
        '''
    )
    terminal.environment["TASKER_HANDLERS"] = str(terminal.folder / "handlers")
    terminal.start("engine", "--runner", "processes")
    terminal.run("launch", "shop/price_order")
    heard = terminal.folder / "handlers" / "heard"
    until(lambda: heard.exists() and len(heard.read_text().splitlines()) == 2, "two events", 30)
    assert heard.read_text().splitlines() == ["order.priced price {'total': 12}", "step.completed price 12"]
