"""`tasker_make_batch`: what is counted is what is on record."""

import threading
from collections.abc import Callable

from graphs import Conn, given_task, make_batch, value

PATIENCE_SECONDS = 30.0


def waits_for_a_lock(conn: Conn, session: Conn) -> bool:
    return bool(value(conn, "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s", session.info.backend_pid))


def test_items_are_numbered_from_one_in_the_order_of_their_tasks(conn: Conn) -> None:
    first, second = given_task(conn, "a"), given_task(conn, "a")
    made = make_batch(conn, second, first, second)
    rows = conn.execute("select item_no, task_id::text from tasker_batch_item where batch_id = %s order by item_no", [made]).fetchall()
    assert rows == [(1, first.id), (2, second.id), (3, second.id)]
    assert value(conn, "select item_count from tasker_batch where batch_id = %s", made) == 3


def test_a_task_that_is_gone_already_is_no_item(conn: Conn) -> None:
    first, second = given_task(conn, "a"), given_task(conn, "a")
    conn.execute("select tasker_forget_tasks(array[%s::bigint])", [first.no])
    made = make_batch(conn, first, second)
    assert conn.execute("select item_no, task_id::text from tasker_batch_item where batch_id = %s", [made]).fetchall() == [(1, second.id)]
    assert value(conn, "select item_count from tasker_batch where batch_id = %s", made) == 1


def test_a_task_that_is_dropped_while_the_batch_is_made_is_counted_and_listed_alike(conn: Conn, connect: Callable[..., Conn]) -> None:
    # forbids: the items are counted, a task is dropped, the items are put on record without it, and the count is never reached
    first, second = given_task(conn, "a"), given_task(conn, "a")
    holder, maker, made = connect(), connect(), []
    with holder.transaction(force_rollback=True):
        make_batch(holder, first, key="k")
        making = threading.Thread(target=lambda: made.append(make_batch(maker, first, second, key="k")))
        making.start()
        patience = threading.Event()
        while not waits_for_a_lock(conn, maker):
            assert making.is_alive(), "it did not wait for the key"
            patience.wait(0.005)
        conn.execute("select tasker_forget_tasks(array[%s::bigint])", [second.no])
    making.join(PATIENCE_SECONDS)
    counts = "select b.item_count, (select count(*) from tasker_batch_item i where i.batch_id = b.batch_id) from tasker_batch b where b.batch_id = %s"
    assert conn.execute(counts, made).fetchall() == [(2, 2)]
