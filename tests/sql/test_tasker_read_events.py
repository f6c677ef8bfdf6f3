"""tasker_read_events: every move as one event, complete and in order, whoever made it."""

import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import graphs
import psycopg
from graphs import (
    Conn,
    Task,
    cancel_step,
    cancel_task,
    claim,
    complete,
    expand,
    fail,
    given_task,
    given_worker,
    move_clock,
    release,
    report,
    resolve_dependencies,
    resolve_step,
    retry_downstream,
    retry_step,
    skip_step,
    start,
    update_status,
    value,
)
from psycopg.rows import dict_row

FIELDS = {
    "event_id", "type", "task_id", "step_name", "namespace", "task_name", "version", "context", "result", "error", "attempt", "duration", "timestamp",
    "correlation_id", "data",
}  # fmt: skip


def events(conn: Conn, *, after: int = 0, until: int = 1_000_000, types: list[str] | None = None, namespace: str | None = None) -> list[dict[str, Any]]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("select * from tasker_read_events(%s, %s, %s::text[], %s)", [after, until, types, namespace]).fetchall()


def told(conn: Conn, **only: Any) -> list[str]:
    """`step.started a` and the like, in order."""
    return [" ".join(filter(None, (event["type"], event["step_name"]))) for event in events(conn, **only)]


def last(conn: Conn, event_type: str) -> dict[str, Any]:
    return events(conn, types=[event_type])[-1]


# ---- which events


def test_each_move_is_one_event_in_the_order_in_which_it_happened(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    complete(conn, task, "a", "b")
    assert told(conn) == [
        "task.started", "step.started a", "step.completed a", "step.started b", "step.completed b", "task.completed",
    ]  # fmt: skip


def test_a_child_that_is_handed_over_starts_after_its_parent_has_completed(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    [held] = claim(conn)
    [child] = report(conn, [held], want=1)
    report(conn, [child])
    assert told(conn)[2:] == ["step.completed a", "step.started b", "step.completed b", "task.completed"]
    assert task.names == ("a", "b")


def test_a_retry_is_told_right_after_the_failure_and_each_attempt_starts_once(conn: Conn) -> None:
    task = given_task(conn, "a", retry_limit=2)
    fail(conn, task, "a", retryable=True)
    move_clock(conn, minutes=2)
    fail(conn, task, "a", retryable=True)
    assert told(conn) == [
        "task.started", "step.started a", "step.failed a", "step.retried a", "step.started a", "step.failed a", "task.failed",
    ]  # fmt: skip
    assert [event["attempt"] for event in events(conn)] == [None, 1, 1, 1, 2, 2, None]


def test_a_step_that_is_handed_back_starts_once_in_the_same_attempt(conn: Conn) -> None:
    task = given_task(conn, "a")
    for _ in range(2):
        release(conn, [start(conn, task, "a")])
    complete(conn, task, "a")
    assert told(conn) == ["task.started", "step.started a", "step.completed a", "task.completed"]


def test_a_note_is_no_event(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    start(conn, task, "a")
    cancel_step(conn, task, "a")
    skip_step(conn, task, "b")
    assert told(conn) == ["task.started", "step.started a"]


def test_leading_a_task_out_of_failure_is_no_event_and_its_end_is_told_again(conn: Conn) -> None:
    task = given_task(conn, "a", retryable=False)
    fail(conn, task, "a")
    retry_step(conn, task, "a")
    complete(conn, task, "a")
    assert told(conn) == [
        "task.started", "step.started a", "step.failed a", "task.failed", "step.started a", "step.completed a", "task.completed",
    ]  # fmt: skip


def test_what_operators_do_is_told(conn: Conn) -> None:
    task = given_task(conn, "a, b, c -> d", retryable=False)
    fail(conn, task, "a")
    skip_step(conn, task, "a")
    resolve_step(conn, task, "b", {"by": "hand"})
    cancel_step(conn, task, "c")
    assert told(conn) == [
        "task.started", "step.started a", "step.failed a", "step.skipped a", "step.resolved b", "step.cancelled c", "step.cancelled d", "task.cancelled",
    ]  # fmt: skip
    assert last(conn, "step.resolved")["result"] == {"by": "hand"}


def test_a_cancelled_task_tells_of_each_step_and_of_itself(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    held = start(conn, task, "a")
    cancel_task(conn, task)
    graphs.fail_all(conn, [held], worker=graphs.own_worker(conn))
    assert told(conn) == ["task.started", "step.started a", "step.cancelled b", "step.cancelled a", "task.cancelled"]


def test_moves_made_by_hand_are_told_too(conn: Conn) -> None:
    task = given_task(conn, "a -> b", retry_limit=3)
    assert update_status(conn, task, "a", "ready", "running")
    assert update_status(conn, task, "a", "running", "retrying")
    assert update_status(conn, task, "a", "retrying", "running")
    assert update_status(conn, task, "a", "running", "completed")
    resolve_dependencies(conn, task)
    assert update_status(conn, task, "b", "ready", "skipped")
    resolve_dependencies(conn, task)
    assert told(conn) == [
        "step.started a", "task.started", "step.failed a", "step.retried a", "step.started a", "step.completed a", "step.skipped b", "task.completed",
    ]  # fmt: skip
    assert events(conn, types=["step.failed"])[0]["error"]["type"] == "reported"


def test_a_dead_engines_step_fails_and_is_retried(conn: Conn) -> None:
    task = given_task(conn, "a")
    dead = given_worker(conn, lease=graphs.timedelta(seconds=1))
    start(conn, task, "a", worker=dead)
    move_clock(conn, hours=1)
    graphs.reap(conn)
    assert told(conn)[2:] == ["step.failed a", "step.retried a"]
    assert last(conn, "step.retried")["error"]["type"] == "worker_crashed"


# ---- what they say


def test_an_event_has_every_field_of_the_contract(conn: Conn) -> None:
    [(task_id, _)] = graphs.create(
        conn, graphs.request(graphs.register(conn, graphs.definition("a", name="orders", version="2.1.0")), context={"order_id": 7}, correlation_id="req-1")
    )
    task = Task(value(conn, "select tasker_task_no(%s)", task_id), task_id, 0, ("a",))
    start(conn, task, "a")
    move_clock(conn, seconds=1.25)
    complete(conn, task, "a", result={"paid": True})
    event = last(conn, "step.completed")
    assert set(event) == FIELDS
    assert event["type"] == "step.completed"
    assert (str(event["task_id"]), event["step_name"], event["attempt"]) == (task_id, "a", 1)
    assert (event["namespace"], event["task_name"], event["version"]) == ("tests", "orders", "2.1.0")
    assert (event["context"], event["result"], event["error"]) == ({"order_id": 7}, {"paid": True}, None)
    assert event["correlation_id"] == "req-1"
    assert 1250 <= event["duration"] < 2250
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["timestamp"])
    assert abs((datetime.fromisoformat(event["timestamp"]) - graphs.now(conn)).total_seconds()) < 60


def outcomes(conn: Conn, event_type: str = "step.completed") -> list[tuple[str, Any]]:
    return [(event["step_name"], event["result"]) for event in events(conn, types=[event_type])]


def test_a_result_is_that_of_the_run_that_has_ended_when_the_step_has_run_again_since(conn: Conn) -> None:
    task = given_task(conn, "a -> b, a -> c")
    complete(conn, task, "a", result={"run": 1})
    complete(conn, task, "b", "c", result={"run": 1})
    first = [("a", {"run": 1}), ("b", {"run": 1}), ("c", {"run": 1})]
    retry_downstream(conn, task, "b")
    assert outcomes(conn) == first  # while it waits
    complete(conn, task, "b", result={"run": 2})
    retry_downstream(conn, task, "a")
    complete(conn, task, "a", result={"run": 3})
    assert outcomes(conn) == [*first, ("b", {"run": 2}), ("a", {"run": 3})]
    complete(conn, task, "b", result={"run": 3})
    assert outcomes(conn) == [*first, ("b", {"run": 2}), ("a", {"run": 3}), ("b", {"run": 3})]


def test_what_returned_nothing_says_so_when_the_step_has_returned_something_since(conn: Conn) -> None:
    task = given_task(conn, "a")
    complete(conn, task, "a")
    retry_downstream(conn, task, "a")
    complete(conn, task, "a", result=5)
    assert outcomes(conn) == [("a", None), ("a", 5)]


def test_an_outcome_is_the_operators_or_the_handlers_whichever_it_was_then(conn: Conn) -> None:
    task = given_task(conn, "a")
    complete(conn, task, "a", result={"by": "handler"})
    for by in ("ann", "bob"):
        retry_downstream(conn, task, "a")
        resolve_step(conn, task, "a", {"by": by})
    assert outcomes(conn) == [("a", {"by": "handler"})]
    assert outcomes(conn, "step.resolved") == [("a", {"by": "ann"}), ("a", {"by": "bob"})]


def test_a_context_is_that_of_the_time(conn: Conn) -> None:
    task = given_task(conn, "a -> b", context={"order": 1})
    complete(conn, task, "a")
    for order in (2, 3):
        complete(conn, task, "b")
        retry_downstream(conn, task, "b", {"order": order})
    complete(conn, task, "b")
    found = [(event["type"], event["step_name"], event["context"]["order"]) for event in events(conn, types=["step.completed", "task.completed"])]
    assert found == [
        ("step.completed", "a", 1), ("step.completed", "b", 1), ("task.completed", None, 1),
        ("step.completed", "b", 2), ("task.completed", None, 2), ("step.completed", "b", 3), ("task.completed", None, 3),
    ]  # fmt: skip


def test_a_map_step_that_runs_again_starts_once_in_each_run(conn: Conn) -> None:
    task = given_task(conn, "list -> m", steps={"m": {"for_each": "list", "handler_class": "flows.work"}})
    complete(conn, task, "list", result=[1, 2])

    def starts() -> list[str]:
        return [each for each in told(conn, types=["step.started"]) if each.endswith(" m")]

    def run() -> None:
        expand(conn, task, "m")
        report(conn, claim(conn))  # its items
        complete(conn, task, "m")

    run()
    assert starts() == ["step.started m"]
    retry_downstream(conn, task, "m")
    assert starts() == ["step.started m"]
    run()
    assert starts() == ["step.started m"] * 2


def test_an_error_is_type_message_and_code_and_a_failed_task_has_its_steps(conn: Conn) -> None:
    task = given_task(conn, "a", retryable=False)
    fail(conn, task, "a", type="PermanentError", message="card refused", code="declined", traceback="secret lines")
    for event_type in ("step.failed", "task.failed"):
        assert last(conn, event_type)["error"] == {"type": "PermanentError", "message": "card refused", "code": "declined"}


def test_the_duration_of_an_attempt_is_its_own_when_others_have_followed(conn: Conn) -> None:
    task = given_task(conn, "a", retry_limit=3)
    for seconds in (1, 5):
        start(conn, task, "a")
        move_clock(conn, seconds=seconds)
        fail(conn, task, "a", retryable=True)
        move_clock(conn, minutes=2)
    start(conn, task, "a")
    assert [round(event["duration"] / 1000) for event in events(conn, types=["step.failed"])] == [1, 5]


def test_the_duration_of_a_task_counts_from_its_first_step(conn: Conn) -> None:
    task = given_task(conn, "a")
    move_clock(conn, hours=1)
    start(conn, task, "a")
    move_clock(conn, seconds=3)
    complete(conn, task, "a")
    assert 3000 <= last(conn, "task.completed")["duration"] < 6000
    assert {event["duration"] for event in events(conn, types=["task.started", "step.started"])} == {None}


def test_what_a_handler_publishes_stands_among_its_tasks_events(conn: Conn) -> None:
    task = given_task(conn, "a")
    start(conn, task, "a")
    published = value(conn, "select tasker_publish_event('order.priced', %s, 'a', '{\"total\": 12}')", task.id)
    complete(conn, task, "a")
    assert told(conn) == ["task.started", "step.started a", "order.priced a", "step.completed a", "task.completed"]
    event = last(conn, "order.priced")
    assert (event["event_id"], event["data"], event["result"], str(event["task_id"])) == (published, {"total": 12}, None, task.id)


def test_publishing_for_an_unknown_step_is_refused(conn: Conn) -> None:
    task = given_task(conn, "a")
    with graphs.refused("WF001"):
        conn.execute("select tasker_publish_event('order.priced', %s, 'nowhere', null)", [task.id])


# ---- reading on


def test_an_id_is_told_once_whatever_the_pieces_in_which_it_is_read(conn: Conn) -> None:
    task = given_task(conn, "a -> b, a -> c", retry_limit=2)
    fail(conn, task, "a", retryable=True)
    move_clock(conn, minutes=2)
    complete(conn, task, "a", "b", "c")
    whole = events(conn)
    first, last = whole[0]["event_id"], whole[-1]["event_id"]
    assert events(conn, until=first - 1) == []
    pieces = [event for place in range(first - 1, last + 1) for event in events(conn, after=place, until=place + 1)]
    assert pieces == whole
    assert set(Counter(event["event_id"] for event in whole).values()) == {1}
    assert [event["event_id"] for event in whole] == sorted(event["event_id"] for event in whole)


def test_types_and_namespace_narrow_it(conn: Conn) -> None:
    task = given_task(conn, "a")
    complete(conn, task, "a")
    assert told(conn, types=["task.completed", "step.started"]) == ["step.started a", "task.completed"]
    assert told(conn, namespace="tests") == told(conn)
    assert told(conn, namespace="others") == []


def test_reading_goes_by_key_where_nothing_was_ever_analysed(conn: Conn) -> None:
    conn.execute("insert into tasker_history (task_no, step_no, at, from_state, to_state) select 0, 0, now(), 1, 1 from generate_series(1, 20000)")
    task = given_task(conn, "a")
    complete(conn, task, "a")
    newest = horizon(conn)[0]
    for _ in range(8):  # past the point where a session settles on a plan for all parameters
        with conn.transaction():
            assert told(conn, after=newest - 100)[-1] == "task.completed"
            read = "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) from pg_stat_xact_user_tables where relname like 'tasker\\_%%'"
            assert value(conn, read) < 2000, "the session counts all eight"


# ---- the horizon


def horizon(conn: Conn) -> tuple[int, int, int]:
    row = conn.execute("select event_id, low_xid, high_xid from tasker_event_horizon()").fetchone()
    assert row is not None
    return row


def test_a_move_that_commits_late_is_before_the_horizon_only_once_it_is_visible(conn: Conn, connect: Callable[..., Conn]) -> None:
    # the interleaving that would lose an event: the higher number is visible while the lower one is not
    early, late = given_task(conn, "a"), given_task(conn, "a")
    other = connect()
    with other.transaction():
        complete(other, early, "a")
        complete(conn, late, "a")
        newest, low, high = horizon(conn)
        assert {str(event["task_id"]) for event in events(conn)} == {late.id}
        own = int(value(other, "select pg_current_xact_id()::text::bigint"))
        assert low <= own < high, "nothing up to the newest is decided while a lower number may still appear"
    while horizon(conn)[1] < high:
        pass  # others on this server may hold it for a moment
    assert [str(event["task_id"]) for event in events(conn, until=newest)] == [early.id] * 4 + [late.id] * 4


def test_the_newest_transaction_holds_the_horizon_too(conn: Conn, connect: Callable[..., Conn]) -> None:
    # the interleaving that would lose an event: nothing has ended since that transaction began, so no snapshot knows of it
    early, late = given_task(conn, "a"), given_task(conn, "a")
    other = connect()
    with other.transaction():
        complete(other, late, "a")
        newest, low, high = horizon(conn)
        own = int(value(other, "select pg_current_xact_id()::text::bigint"))
        assert low <= own < high, "its moves have numbers already, and nobody can see them"
    complete(conn, early, "a")
    while horizon(conn)[1] < high:
        pass  # others on this server may hold it for a moment
    assert [str(event["task_id"]) for event in events(conn, until=newest)] == [late.id] * 4


def test_where_nothing_is_newer_the_horizon_is_free(conn: Conn) -> None:
    complete(conn, given_task(conn, "a"), "a")
    with conn.transaction():
        decided = horizon(conn)[0]
    with conn.transaction():
        row = conn.execute("select event_id, low_xid >= high_xid from tasker_event_horizon(%s)", [decided]).fetchone()
        assert row == (decided, True)
        assert value(conn, "select pg_current_xact_id_if_assigned()") is None


def test_the_horizon_before_anything_has_happened_covers_nothing(conn: Conn) -> None:
    first = horizon(conn)[0]
    task = given_task(conn, "a")
    complete(conn, task, "a")
    assert len(events(conn, after=first)) == 4


def test_an_event_of_a_task_that_was_deleted_is_left_out(conn: Conn) -> None:
    gone, kept = given_task(conn, "a"), given_task(conn, "a")
    complete(conn, gone, "a")
    complete(conn, kept, "a")
    conn.execute("delete from tasker_task where task_no = %s", [gone.no])
    assert {str(event["task_id"]) for event in events(conn)} == {kept.id}


def test_a_plain_session_may_read(connect: Callable[..., psycopg.Connection[Any]]) -> None:
    assert events(connect("-c default_transaction_read_only=on")) == []
