"""How soon a search answers beside a million steps: `python -m engine.bench.search`, apart from `tasker bench` because it fills a gigabyte."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

from engine import rollups, tasks
from engine.bench import flows
from engine.bench.past import end_all
from engine.bench.place import bulk_database
from engine.db import Database
from engine.finding import search, words
from engine.requests import TaskRequest

TASKS = 100_000
LENGTH = 10
FAILURES_IN = 20
TIMES = 15
LIMIT_MS = 300
CITIES = ("Oslo", "Porto", "Graz", "Lyon", "Gdynia", "Cork", "Turku")


def main() -> None:
    """Prints what was measured."""
    with bulk_database() as db:
        _fill(db)
        _measure(db)


def _fill(db: Database) -> None:
    definition = tasks.register_definition(db, flows.w10.definition)
    for first in range(0, TASKS, 10_000):
        tasks.submit_many(db, [_request(number) for number in range(first, first + 10_000)])
    end_all(db.url, definition, "(t.task_no %% 43200) * interval '1 minute'")
    with db.connection() as connection:
        connection.execute(
            "insert into tasker_history (task_no, step_no, at, from_state, to_state, attempt, detail)"
            " select s.task_no, s.step_no, s.finished_at, 2, 5, 1, jsonb_build_object('type', 'ConnectionError', 'message',"
            "        format('the gateway of %%s refused order %%s', (array['Oslo', 'Porto', 'Graz'])[1 + s.task_no %% 3], s.task_no))"
            "   from tasker_step s where (s.task_no * 10 + s.step_no) %% %(every)s = 0", {"every": FAILURES_IN}
        )
    begin = time.perf_counter()
    rollups.catch_up(db)
    print(f"{TASKS * LENGTH:,} steps in {TASKS:,} tasks, {db.value('select count(*) from tasker_history'):,} moves counted in {time.perf_counter() - begin:.0f} s", flush=True)
    begin = time.perf_counter()
    while words.index_words(db) or db.value("select tasks_to < (select max(task_no) from tasker_task) from tasker_words_place"):
        pass
    size = db.value("select pg_size_pretty(pg_total_relation_size('tasker_task_words') + pg_total_relation_size('tasker_step_words'))")
    print(f"indexed in {time.perf_counter() - begin:.0f} s, {db.value('select count(*) from tasker_step_words'):,} failures, {size}", flush=True)


def _request(number: int) -> TaskRequest:
    context = {"order_id": number, "customer": {"name": f"Customer {number * 7919 % TASKS}", "city": CITIES[number % 7]}, "total": number * 13 % 5000 / 100, "currency": "EUR"}
    return TaskRequest("chain_of_10", flows.NAMESPACE, context=context, tags=(f"batch-{number // 1000}", "web"), correlation_id=f"req-{number}")


def _measure(db: Database) -> None:
    known = db.value("select task_id::text from tasker_task where task_no = (select max(task_no) / 2 from tasker_task)")
    asked = {
        "a task's id": known,
        "the beginning of an id": known[:6],
        "a number of one context": "48151",
        "a word of every context": "eur",
        "a word of a seventh": "gdynia",
        "two words that never meet": "oslo porto",
        "two common words that meet in one old task": "customer graz 2",
        "a tag": "batch-3",
        "a beginning": "cust",
        "an error": "gateway refused",
        "a rare error": "refused 100",
        "a workflow": "chain",
        "what is nowhere": "zanzibar",
    }
    for words_, text in asked.items():
        _show(f"{words_}: {text[:20]}", partial(search.find, db, text))


def _show(what: str, ask: Callable[[], search.Found]) -> None:
    found = ask()
    times = sorted(_milliseconds(ask) for _ in range(TIMES))
    counts = f"{len(found.tasks)}{'+' if found.older_tasks else ''} tasks, {len(found.steps)}{'+' if found.older_steps else ''} steps"
    late = f"   MORE THAN {LIMIT_MS}" if times[-1] > LIMIT_MS else ""
    print(f"{what:<62} p50 {statistics.median(times):6.1f} ms   worst {times[-1]:6.1f} ms   {counts}{late}", flush=True)


def _milliseconds(ask: Callable[[], object]) -> float:
    begin = time.perf_counter()
    ask()
    return 1000 * (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
