"""What `tasker bench` measures, on an empty database and on one with ten million steps behind it, by turns: `python -m engine.bench.grown`.

A number given is that of the steps, a second one that of the turns; with `--json` the last word is one document. Apart from `tasker bench` because it takes twenty minutes or more, and 12 GB of disk.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from engine import rollups, tasks
from engine.bench import flows
from engine.bench.document import numbers, publish, say
from engine.bench.floors import commit_seconds, steps_per_second
from engine.bench.past import fill
from engine.bench.place import BULK_SECONDS, throwaway_database
from engine.bench.sizes import FULL, Sizes
from engine.bench.statements import Clear, claim_latency, creation_rate, readiness
from engine.bench.workloads import let_rest, measure_runner
from engine.db import Database
from engine.finding import words
from engine.settings import Settings

STEPS = 10_000_000
TURNS = 3
ROUNDS = 3
BITE = 500_000
GOAL = 0.20
"""By so much may a figure be worse with all that history behind it."""
RUNNERS = ("threads", "processes")
LEFT_OUT = "left out, for each takes minutes a turn: claims with 1,000,000 steps ready, tasks of 10, 100 and 10,000 steps"
SIZES = Sizes(
    floor_steps=50_000, floor_commits=300, w1=FULL.w1, w2=FULL.w2, w3=FULL.w3, hops=10, submits=50, created=FULL.created, backlogs=(1_000, 100_000), claims=FULL.claims, task_steps=(1_000,)
)  # fmt: skip


def main(steps: int = STEPS, turns: int = TURNS) -> None:
    """Prints each measure of the two databases: the middle of all turns, the middle of what it is in the same turn beside the other, and whether that is within the goal."""
    publish(lambda: _compared(steps, turns))


def _compared(steps: int, turns: int) -> dict[str, Any]:
    with ExitStack() as opened:
        empty, grown = (opened.enter_context(throwaway_database(Settings.from_environ())) for _ in range(2))
        behind = _let_live(grown, steps)
        found = [(_measured(empty), _measured(grown)) for _ in range(turns)]
    rows = [_row(name, [before[name] for before, _ in found], [after[name] for _, after in found]) for name in found[0][0]]
    for row in rows:
        _show(row)
    say(LEFT_OUT)
    return behind | {"turns": turns, "goal": GOAL, "rows": rows, "left_out": LEFT_OUT}


def _let_live(url: str, steps: int) -> dict[str, Any]:
    """The database has ended so many steps in the last 90 days, and has counted and indexed them; what lies in it now."""
    db = Database(url, max_size=2, call_seconds=BULK_SECONDS)
    try:
        definition_id = tasks.register_definition(db, flows.w1.definition)
        _say("written", lambda: fill(url, definition_id, steps // len(flows.w1.definition.steps)))
        _say("counted and indexed", lambda: _count_all(db))
        _say("at rest", lambda: let_rest(db))
        moves, size = db.rows("select count(*), pg_size_pretty(pg_database_size(current_database())) from tasker_history")[0]
        say(f"{steps:,} steps, {moves:,} moves of history, {size}")
        return {"steps": steps, "moves": moves, "size": size}
    finally:
        db.close()


def _count_all(db: Database) -> None:
    """As engines do it, in larger bites."""
    rollups.catch_up(db, limit=BITE)
    while words.index_words(db, limit=BITE // 10):
        pass


def _say(what: str, work: Callable[[], object]) -> None:
    begin = time.monotonic()
    work()
    say(f"{what} in {time.monotonic() - begin:.0f} s")


def _measured(url: str) -> dict[str, float]:
    """Rates as shares of F2 and a hop as a multiple of C1, floors of before and after; all else in milliseconds."""
    before = _floors(url)
    found = {runner: measure_runner(url, runner, SIZES, ROUNDS) for runner in RUNNERS}
    clear = _newer_than(url)
    rates = {f"{name}, {runner}": found[runner][name] for runner in RUNNERS for name in ("W1", "W2", "W3")}
    rates |= {"creating tasks": creation_rate(url, SIZES, ROUNDS, clear)["steps_per_s"]}
    claims = {f"a claim, {row['ready']:,} ready, ms": row["p50_ms"] for row in claim_latency(url, SIZES, clear)}
    (inside,) = readiness(url, SIZES, clear)
    f2, c1 = ((one + other) / 2 for one, other in zip(before, _floors(url), strict=True))
    shares = {f"{name}, F2": rate / f2 for name, rate in rates.items()}
    for runner in RUNNERS:
        shares |= {f"a hop, {runner}, C1": found[runner]["hop"][0] / c1, f"submit to claimed, {runner}, ms": found[runner]["submit"][0]}
    return shares | claims | {"what is ready, ms": inside["ready_in_chain_ms"], "complete and hand over, ms": inside["hand_over_ms"]}


def _floors(url: str) -> tuple[float, float]:
    """F2 in steps per second, C1 in milliseconds."""
    return steps_per_second(url, SIZES.floor_steps, ROUNDS), commit_seconds(url, SIZES.floor_commits) * 1000


def _newer_than(url: str) -> Clear:
    """Takes away what is made from now on, and leaves what lies behind."""
    db = Database(url, max_size=1, call_seconds=BULK_SECONDS)
    newest = db.value("select coalesce(max(task_no), 0) from tasker_task")
    db.close()
    return partial(_clear, newest)


def _clear(newest: int, db: Database) -> None:
    with db.connection() as connection:
        connection.execute("truncate tasker_ready, tasker_delayed, tasker_claim, tasker_worker")
        for table in ("tasker_task", "tasker_step", "tasker_history"):
            connection.execute(f"delete from {table} where task_no > %s".encode(), [newest])


def _row(name: str, empty: list[float], grown: list[float]) -> dict[str, Any]:
    """Medians, and whether the grown database is at most `GOAL` worse: a rate that much lower, a time that much longer."""
    beside = [after / before for before, after in zip(empty, grown, strict=True)]
    ratio = statistics.median(beside)
    met = ratio >= 1 - GOAL if name.endswith(", F2") else ratio <= 1 + GOAL
    return {"name": name, "empty": statistics.median(empty), "grown": statistics.median(grown), "ratio": ratio, "least": min(beside), "most": max(beside), "met": met}


def _show(row: dict[str, Any]) -> None:
    say(
        f"{row['name']:<32} empty {row['empty']:8.3f}   grown {row['grown']:8.3f}   grown to empty {row['ratio']:5.2f} ({row['least']:.2f} to {row['most']:.2f})"
        f"   {'within' if row['met'] else 'MISSES'} {GOAL:.0%}"
    )


if __name__ == "__main__":
    main(*numbers())
