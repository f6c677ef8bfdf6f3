"""`tasker batch`: all failed steps of one cause, from a terminal."""

from __future__ import annotations

import threading

import psycopg
from terminal import Terminal

from engine import batches
from engine.db import Database
from engine.finding import failures

TASK = ("launch", "shop/process_order", "--context", '{"order_id": 7}')


def test_all_steps_of_one_cause_are_resolved_and_the_batch_says_what_came_of_it(shop: Terminal) -> None:
    shop.run(*TASK)
    with psycopg.connect(shop.environment["TASKER_DATABASE_URL"], autocommit=True) as conn:
        [worker] = conn.execute("select tasker_register_worker('hand', 'threads', 1, array(select definition_id from tasker_definition), interval '1 hour', true)").fetchone() or [0]
        conn.execute("select * from tasker_claim_steps(%s, 1, 1, array(select definition_id from tasker_definition))", [worker])
        error = '[{"type": "Error", "message": "down", "retryable": false}]'
        conn.execute("select tasker_fail_steps(%s, array[task_no], array[step_no], array[1]::smallint[], %s::jsonb) from tasker_step where state = 2", [worker, error])
    db = Database(shop.environment["TASKER_DATABASE_URL"], max_size=1)
    try:
        [group] = failures.failure_groups(db)
        made = shop.run("batch", "begin", "resolve", group.key, "--result", '{"by": "hand"}', "--reason", "checked", "--json").json()
        assert made["item_count"] == 1
        assert "at it" in shop.run("batch", "list").out
        batches.run_due(db, threading.Event())
    finally:
        db.close()
    shown = shop.run("batch", "show", str(made["batch_id"]), "--json").json()
    assert (shown["done_count"], shown["items"][0]["outcome"]) == (1, "done")
    assert shop.run("batch", "stop", str(made["batch_id"])).status != 0, "a batch that has ended was stopped"
    assert shop.run("batch", "begin", "retry", group.key, "--result", "1").status == 2
    assert "none of these failures is left" in shop.run("batch", "begin", "resolve", group.key).err
