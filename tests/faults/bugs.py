"""Mistakes that are made on purpose, to see that they are found: each is a change of an SQL function in the throw-away database, or of a method in the engines.

The product's own files are never touched. A change that no longer fits its function fails the test that makes it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import faults
import psycopg

SELDOM_SECONDS = 20
REST_SECONDS = 14
FUNCTIONS = Path(__file__).resolve().parents[2] / "sql" / "functions"
Change = tuple[str, str, str]
"""Function, what stands there, what stands there by mistake."""


@dataclass(frozen=True, slots=True)
class Bug:
    """A mistake, where it shows, and as the violation of which invariants it must be found."""

    found_as: frozenset[str]
    changes: tuple[Change, ...] = ()
    patch: str = ""
    provoked_by: tuple[faults.Fault, ...] = ()
    load: str = "tree"
    alone: bool = False
    """Nothing else is to be done meanwhile."""


def seed(conn: psycopg.Connection[Any], changes: tuple[Change, ...]) -> None:
    """The functions are replaced by their faulty forms."""
    texts: dict[str, str] = {}
    for name, right, wrong in changes:
        text = texts.get(name) or (FUNCTIONS / f"{name}.sql").read_text()
        assert right in text, f"{name} no longer says {right!r}"
        texts[name] = text.replace(right, wrong)
    for text in texts.values():
        conn.execute(text.encode())


BUGS: dict[str, Bug] = {
    "a report names neither its worker nor its attempt, and its lease is not looked at": Bug(
        frozenset({"I3", "I5", "I6"}),
        (
            ("tasker_complete_few", "and s.state = 2 and s.worker_id = p_worker and s.attempts = p_attempts[i]", "and s.state = 2"),
            ("tasker_complete_batch", "case when s.state = 2 and s.worker_id = p_worker and s.attempts = outcome.attempt then true end", "s.state = 2"),
            ("tasker_complete_few", "and w.lease_until > tasker_clock()", ""),
            ("tasker_complete_and_claim", "and w.lease_until > tasker_clock()", ""),
            ("tasker_claim_steps", "and w.lease_until > v_now", ""),
        ),
        provoked_by=(faults.deliver_late_to_slow_steps, faults.deliver_late_to_slow_steps),
        alone=True,
    ),
    "a rescue takes steps by their id alone": Bug(
        frozenset({"I4", "I5", "I6"}),
        (
            ("tasker_rescue_steps", "and k.state = 2 and k.worker_id = p_worker offset 0", "offset 0"),
            ("tasker_fail_steps", "and s.state = 2 and s.worker_id = p_worker and s.attempts = v_lost.attempt", ""),
        ),
        provoked_by=(faults.kill_engine, faults.kill_engine),
    ),
    "attempts are not counted at the claim": Bug(frozenset({"I7"}), (("tasker_claim_steps", "attempts = s.attempts + 1", "attempts = s.attempts"),)),
    "a child starts when its first parent is done": Bug(
        frozenset({"I2"}),
        (
            ("tasker_complete_few", "s.pending <> v_parents", "false"),
            ("tasker_complete_few", "case when s.pending = 0 and s.state", "case when s.state"),
            ("tasker_complete_batch", "s.pending <> child.parents_done", "false"),
            ("tasker_complete_batch", "case when s.pending = 0 and s.state", "case when s.state"),
        ),
    ),
    "parents are counted before their child is locked": Bug(
        frozenset({"I1"}),
        (
            ("tasker_complete_few", "    update tasker_step s\n       set pending = s.pending - v_parents,",
             "    v_state := (select s.pending from tasker_step s where s.task_no = v_task and s.step_no = v_step);\n"
             "    perform pg_sleep(0.01);\n    update tasker_step s\n       set pending = v_state - v_parents,"),
        ),
        load="fan",
    ),
    "the end of a task is recorded by every last step": Bug(
        frozenset({"I5"}),
        (
            ("tasker_count_off", "values (v_off.task_no, v_task.finished_at,", "select v_off.task_no, v_task.finished_at,"),
            ("tasker_count_off", "v_task.state, p_worker);", "v_task.state, p_worker from generate_series(1, 2);"),
            ("tasker_complete_batch", "from task t where t.remaining = 0", "from task t, generate_series(1, 2) where t.remaining = 0"),
        ),
    ),
    "a completion is not recorded": Bug(
        frozenset({"I6"}),
        (
            ("tasker_complete_few", "    values (v_ended.task_no, v_ended.step_no, v_ended.finished_at, 2, 4, v_ended.attempts, p_worker);",
             "    select v_ended.task_no, v_ended.step_no, v_ended.finished_at, 2, 4, v_ended.attempts, p_worker where v_ended.step_no <> 3;"),
            ("tasker_complete_batch", "2::smallint, 4::smallint, e.attempts, p_worker from ended e", "2::smallint, 4::smallint, e.attempts, p_worker from ended e where e.step_no <> 3"),
        ),
    ),
    "a request asked again with its key makes a second task": Bug(
        frozenset({"I1"}),
        (("tasker_create_tasks", "request.value ->> 'idempotency_key' is not null\n", "false\n"),),
        provoked_by=(faults.cut_replies, faults.cut_replies),
    ),
    "engines that live are rescued from": Bug(
        frozenset({"I3"}),
        (
            ("tasker_reap_workers", "w.lease_until <= tasker_clock() and exists", "w.lease_until <= tasker_clock() + interval '2.5 seconds' and exists"),
            ("tasker_reap_workers", "if v_worker.lease_until <= tasker_clock() then", "if v_worker.lease_until <= tasker_clock() + interval '2.5 seconds' then"),
            ("tasker_rescue_steps", "w.lease_until <= tasker_clock() for update", "w.lease_until <= tasker_clock() + interval '2.5 seconds' for update"),
        ),
    ),
    "what waited for its next attempt is forgotten": Bug(
        frozenset({"I1"}), (("tasker_wake_due", "and case when s.state = 3 or s.state = 0 and s.pending = 0 then true end", "and s.state = 0 and s.pending = 0"),)
    ),
    "attempts have no limit": Bug(
        frozenset({"I1", "I7"}),
        (("tasker_fail_steps", "(v_lost.error ->> 'retryable')::boolean and v_step.attempts < v_step.retry_limit", "(v_lost.error ->> 'retryable')::boolean"),),
        load="hopeless",
    ),
    "an engine that ends forgets what it holds": Bug(
        frozenset({"I1"}),
        (
            ("tasker_retire_worker", "from tasker_worker_steps(p_worker) h having count(*) > 0", "from tasker_worker_steps(p_worker) h having false"),
            ("tasker_release_steps", "where s.task_no = v_held.task_no and", "where false and s.task_no = v_held.task_no and"),
        ),
        provoked_by=(faults.drain_engine_with_long_steps,),
        load="slow",
    ),
    "a draining engine goes on claiming": Bug(frozenset({"I7"}), patch="claims_while_draining", provoked_by=(faults.drain_engine_with_long_steps,)),
    "claims whose reply was lost are not looked for": Bug(frozenset({"I1"}), patch="never_unsure", provoked_by=(faults.cut_replies, faults.cut_replies)),
    "outcomes whose report failed are not reported again": Bug(frozenset({"I1"}), patch="forgets_outcomes", provoked_by=(faults.cut_reports,)),
    "a listener that is connected again does not listen": Bug(frozenset({"I8"}), patch="never_listens_again", provoked_by=(faults.deafen, faults.rest)),
    "a session rests in a transaction for a while": Bug(frozenset({"I10"}), patch="rests_in_a_transaction", provoked_by=(faults.rest,) * 4),
    "results come to the wrong step": Bug(
        frozenset({"I1"}),
        (
            ("tasker_complete_few", "result = p_results -> (i - 1)", "result = p_results -> (i % cardinality(p_task_nos))"),
        ),
        load="tree",
    ),
}


# ---- mistakes of the engine, by the name that buggy.py is given


def claims_while_draining() -> None:
    from engine.worker import Worker

    def reserve(self: Worker, ended: int) -> int:
        with self._book:
            want = 4
            self._reserved += want
        return want

    Worker._reserve = reserve  # type: ignore[method-assign]


def never_unsure() -> None:
    from engine.worker import Worker

    def find_again(self: Worker, connection: object) -> None:
        self._unsure = False

    Worker._find_again = find_again  # type: ignore[method-assign]


def forgets_outcomes() -> None:
    from engine.worker import Worker

    def put_back(self: Worker, outcomes: list[Any], error: Exception) -> None:
        self._unsure = True

    Worker._put_back = put_back  # type: ignore[method-assign]


def polls_seldom() -> None:
    """No mistake: who has heard nothing looks so seldom that it shows."""
    from engine import scheduler

    scheduler.POLL_SECONDS = SELDOM_SECONDS


def never_listens_again() -> None:
    from engine.scheduler import Engine

    polls_seldom()
    hear, times = Engine._hear, count()

    class Deaf:
        def __init__(self, connection: Any) -> None:
            self.notifies, self._connection = connection.notifies, connection

        def execute(self, query: str | bytes) -> None:
            if not query.startswith(b"listen" if isinstance(query, bytes) else "listen"):
                self._connection.execute(query)

    Engine._hear = lambda self, connection: hear(self, Deaf(connection) if next(times) else connection)  # type: ignore[method-assign]


def rests_in_a_transaction() -> None:
    from engine.db import connect
    from engine.scheduler import Engine

    right = Engine._listen

    def listen(self: Engine) -> None:
        def rest() -> None:
            with connect(self.url, application_name="tasker engine duties", autocommit=False) as connection:
                connection.execute("select 1")
                time.sleep(REST_SECONDS)

        threading.Thread(target=rest, daemon=True).start()
        right(self)

    Engine._listen = listen  # type: ignore[method-assign]


PATCHES: dict[str, Callable[[], None]] = {patch.__name__: patch for patch in (claims_while_draining, never_unsure, forgets_outcomes, polls_seldom, never_listens_again, rests_in_a_transaction)}
