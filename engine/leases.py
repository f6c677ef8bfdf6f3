"""What one engine asks of the database about the steps it holds. Each function calls the SQL function of the same name; the worker calls them.

Arrays travel as text literals and results as one JSON array: a fraction of the cost of typed lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection

from engine.db import CALL_SECONDS, keeps_session

Rows = list[tuple[Any, ...]]
Held = tuple[int, int, int]
"""task_no, step_no and attempt: what a report must name for it to count."""


SESSION = "-c enable_seqscan=off -c enable_bitmapscan=off -c plan_cache_mode=force_generic_plan"
"""Settings of the sessions that claim and report. Plans stay in use while tables grow from nothing to millions of rows: one that is
right only for a small table must never be made, and none is made anew for each call, which costs more than the call itself."""


CUT_SECONDS = 1.0
"""What is left of a lease when another engine sees that the lock of `lock_worker` is free: the default grace of tasker_reap_workers."""


CALLS_PER_LEASE = 3
"""A call that stalls, and the same call made anew, must not cost the lease."""


FEW = 3
"""So many steps tasker_complete_few reports at a time."""

_COMPLETE_FEW: LiteralString = (
    "select task_no, step_no, definition_id, attempt from tasker_complete_few(%s, %s, %s::bigint[], %s::int[], %s::smallint[], %s::jsonb, %s)"
)
_COMPLETE_AND_CLAIM: LiteralString = (
    "select task_no, step_no, definition_id, attempt from tasker_complete_and_claim"
    "(%s, %s, %s::bigint[], %s::int[], %s::smallint[], %s::jsonb, %s, %s::int[], %s::int[], %s::int)"
)


class WorkerIdentity(NamedTuple):
    """Who a worker is to the database, for as long as its process lives."""

    worker_id: int
    lease: timedelta


def call_seconds(lease: timedelta) -> float:
    """How long one call of an engine with such a lease may take."""
    return min(CALL_SECONDS, lease.total_seconds() / CALLS_PER_LEASE)


def literal(numbers: Iterable[int]) -> str:
    """A PostgreSQL array literal of whole numbers."""
    return "{" + ",".join(map(str, numbers)) + "}"


def lanes(connection: Connection[Any], definitions: Sequence[int], labels: Sequence[str]) -> list[int]:
    """The lanes of the queue for steps of these definitions that need labels, none but these."""
    query: LiteralString = "select tasker_lanes(%s::int[], %s::text[])"
    return [row[0] for row in connection.execute(query, (literal(definitions), list(labels)))]


def register_worker(
    connection: Connection[Any],
    *,
    name: str,
    runner: str,
    concurrency: int,
    definitions: Sequence[int],
    lease: timedelta,
    labels: Sequence[str] = (),
) -> WorkerIdentity:
    """A new id for this process, and a lease that runs from now. Its sessions then hold `lock_worker`."""
    query: LiteralString = "select tasker_register_worker(%s, %s, %s, %s::int[], %s, %s, %s::text[])"
    parameters = (name, runner, concurrency, literal(definitions), lease, keeps_session(connection), list(labels))
    found = connection.execute(query, parameters).fetchone()
    assert found is not None
    return WorkerIdentity(found[0], lease)


def lock_worker(connection: Connection[Any], worker_id: int) -> None:
    """This session now proves that the worker lives; the lock goes with the connection."""
    connection.execute("select pg_advisory_lock_shared(77, %s)", (worker_id,))


def heartbeat(connection: Connection[Any], who: WorkerIdentity, *, definitions: Sequence[int], draining: bool, figures: str | None = None) -> bool:
    """Whether the worker's lease was still running; then it runs anew from now, and `figures`, JSON of engine.monitoring.own_figures, are on record."""
    query: LiteralString = "select tasker_heartbeat(%s, %s, %s::int[], %s, %s::jsonb)"
    found = connection.execute(query, (who.worker_id, who.lease, literal(definitions), draining, figures)).fetchone()
    return bool(found and found[0])


def complete_and_claim(
    connection: Connection[Any],
    who: WorkerIdentity,
    *,
    claim_no: int,
    done: Sequence[tuple[int, int, int, str]],
    want: int,
    definitions: str | None,
    closed_claims: Sequence[int] = (),
    hand: int | None = None,
) -> Rows:
    """Report steps as completed, each (task_no, step_no, attempt, result JSON) and all sorted; lease up to `want` others.

    Those are children that the report unlocks, at most `hand` of them, and, when `definitions` (an array literal) are given, ready steps of these.
    Rows are (task_no, step_no, definition_id, attempt). Raises psycopg errors; after a lost connection the outcome is unknown.
    """
    tasks, steps, attempts, results = zip(*done, strict=True) if done else ((), (), (), ())
    report = (who.worker_id, claim_no, literal(tasks), literal(steps), literal(attempts), "[" + ",".join(results) + "]")
    if 0 < len(done) <= FEW and definitions is None and not closed_claims:
        return connection.execute(_COMPLETE_FEW, (*report, want if hand is None else hand), prepare=True, binary=True).fetchall()
    closed = literal(closed_claims) if closed_claims else None
    return connection.execute(_COMPLETE_AND_CLAIM, (*report, want, definitions, closed, hand), prepare=True, binary=True).fetchall()


def decide_steps(connection: Connection[Any], who: WorkerIdentity, decided: Sequence[tuple[int, int, int, str]]) -> None:
    """Report decisions, each (task_no, step_no, attempt, JSON list of the children that go on); the others are passed over."""
    tasks, steps, attempts, choices = zip(*decided, strict=True)
    query: LiteralString = "select tasker_decide_steps(%s, %s::bigint[], %s::int[], %s::smallint[], %s::jsonb)"
    parameters = (who.worker_id, literal(tasks), literal(steps), literal(attempts), "[" + ",".join(choices) + "]")
    connection.execute(query, parameters, prepare=True)


def keep_objects(connection: Connection[Any], who: WorkerIdentity, stored: Sequence[tuple[int, int, int, str, int]]) -> None:
    """The results of these (task_no, step_no, attempt, key, bytes), which are about to be reported, lie in the object store."""
    tasks, steps, attempts, keys, sizes = map(list, zip(*stored, strict=True))
    query: LiteralString = "select tasker_keep_objects(%s, %s::bigint[], %s::int[], %s::smallint[], %s::text[], %s::bigint[])"
    connection.execute(query, (who.worker_id, tasks, steps, attempts, keys, sizes))


def expand_step(connection: Connection[Any], who: WorkerIdentity, held: Held) -> None:
    """A map step makes its items, or ends with their results; the database knows which of the two is due."""
    query: LiteralString = "select tasker_expand_step(%s, %s, %s, %s::smallint)"
    connection.execute(query, (who.worker_id, *held))


def fail_steps(connection: Connection[Any], who: WorkerIdentity, failed: Sequence[tuple[int, int, int, str]]) -> None:
    """Report attempts that ended badly, each (task_no, step_no, attempt, error JSON); the database decides what comes next."""
    tasks, steps, attempts, errors = zip(*failed, strict=True)
    query: LiteralString = "select tasker_fail_steps(%s, %s::bigint[], %s::int[], %s::smallint[], %s::jsonb)"
    parameters = (who.worker_id, literal(tasks), literal(steps), literal(attempts), "[" + ",".join(errors) + "]")
    connection.execute(query, parameters, prepare=True)


def release_steps(connection: Connection[Any], who: WorkerIdentity, held: Sequence[Held]) -> None:
    """Hand steps back; their attempts are not charged."""
    tasks, steps, attempts = zip(*held, strict=True)
    query: LiteralString = "select tasker_release_steps(%s, %s::bigint[], %s::int[], %s::smallint[])"
    connection.execute(query, (who.worker_id, literal(tasks), literal(steps), literal(attempts)))


def read_tasks(connection: Connection[Any], task_nos: Sequence[int]) -> Rows:
    """(task_no, task_id, context JSON, correlation_id, traceparent) of the tasks there are."""
    query: LiteralString = "select task_no, task_id::text, context, correlation_id, traceparent from tasker_read_tasks(%s::bigint[])"
    return connection.execute(query, (literal(task_nos),), prepare=True).fetchall()


def read_results(connection: Connection[Any], wanted: Sequence[tuple[int, int]]) -> Rows:
    """(task_no, step_no, result JSON, or the mark of its object) of those of the wanted (task_no, step_no) that are satisfied."""
    tasks, steps = zip(*wanted, strict=True)
    query: LiteralString = "select task_no, step_no, result from tasker_read_results(%s::bigint[], %s::int[])"
    return connection.execute(query, (literal(tasks), literal(steps)), prepare=True).fetchall()


def read_items(connection: Connection[Any], wanted: Sequence[tuple[int, int]]) -> Rows:
    """(task_no, step_no, map_no, item_no, item JSON) of the wanted items of map steps."""
    tasks, steps = zip(*wanted, strict=True)
    query: LiteralString = "select task_no, step_no, map_no, item_no, item from tasker_read_items(%s::bigint[], %s::int[])"
    return connection.execute(query, (literal(tasks), literal(steps)), prepare=True).fetchall()


def cancel_requests(connection: Connection[Any], held: Sequence[tuple[int, int]]) -> Rows:
    """Those of the held (task_no, step_no) that were asked to stop."""
    tasks, steps = zip(*held, strict=True)
    query: LiteralString = "select task_no, step_no from tasker_cancel_requests(%s::bigint[], %s::int[])"
    return connection.execute(query, (literal(tasks), literal(steps))).fetchall()


def worker_steps(connection: Connection[Any], who: WorkerIdentity) -> Rows:
    """(task_no, step_no, definition_id, attempt, claim_no) of everything the database says this worker holds."""
    query: LiteralString = "select task_no, step_no, definition_id, attempt, claim_no from tasker_worker_steps(%s)"
    return connection.execute(query, (who.worker_id,)).fetchall()


def keep_journal(connection: Connection[Any], who: WorkerIdentity, batch: int, held: Sequence[Held], lines: str, progress: str) -> bool:
    """Write down what attempts have said; `lines` and `progress` are JSON lists that name the attempts by their place in `held`, from 1.

    False when this batch was taken before or the worker is gone: either way there is nothing more to do about it.
    """
    tasks, steps, attempts = zip(*held, strict=True)
    query: LiteralString = "select tasker_keep_journal(%s, %s, %s::bigint[], %s::int[], %s::smallint[], %s::jsonb, %s::jsonb)"
    parameters = (who.worker_id, batch, literal(tasks), literal(steps), literal(attempts), lines, progress)
    found = connection.execute(query, parameters).fetchone()
    return bool(found and found[0])


def free_places(connection: Connection[Any], task_nos: Iterable[int]) -> bool:
    """Whether the end of something in these tasks may let others begin that wait before a limit; the next claim lets them in."""
    found = connection.execute("select tasker_free_places(%s::bigint[])", (literal(sorted(task_nos)),)).fetchone()
    return bool(found and found[0])


def sweep_places(connection: Connection[Any]) -> int:
    """How many lines before limits have places that nobody holds any more, such as a dead engine's; the next claim lets others in."""
    found = connection.execute("select tasker_sweep_places()").fetchone()
    return int(found[0]) if found else 0


def heads(connection: Connection[Any], lanes: str) -> dict[str, str]:
    """Who is first in each place where steps wait for one of these lanes (an array literal)."""
    return dict(connection.execute("select place, head from tasker_heads(%s::int[])", (lanes,)).fetchall())


def reap_workers(connection: Connection[Any], who: WorkerIdentity) -> int:
    """How many steps of dead engines were taken back."""
    found = connection.execute("select tasker_reap_workers(%s)", (who.worker_id,)).fetchone()
    return int(found[0]) if found else 0


def retire_worker(connection: Connection[Any], who: WorkerIdentity) -> None:
    """Nothing is left under this worker's name."""
    connection.execute("select tasker_retire_worker(%s)", (who.worker_id,))
