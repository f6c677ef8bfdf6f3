"""What the engine's statements read grows with the batch and not with the tables, whatever the planner knows or believes to know about them.

No plan is looked at and nothing is timed: PostgreSQL counts the rows each table gave up within the transaction.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import graphs
import psycopg
import pytest
from graphs import Conn, Held, definition, given_worker, register, request

from engine import leases

TASKS, LENGTH, BATCH = 2000, 10, 100
ENGINE_SESSION = leases.SESSION
# how often a row may be read that belongs to the batch: a failure counts its whole task anew
TIMES = 20

READ = """
select relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables
 where relname like 'tasker%' and coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) > 0"""


class Engine:
    """One engine's session on a large database, and what it holds."""

    def __init__(self, conn: Conn, known: int) -> None:
        self.conn, self.known = conn, known
        self.worker = given_worker(conn, definitions=[known])
        self.held: list[Held] = []

    def claim(self, want: int = BATCH) -> None:
        self.held += graphs.claim(self.conn, want=want, worker=self.worker, definitions=[self.known])
        self.held.sort()

    def complete(self, count: int = BATCH, want: int = BATCH) -> None:
        done, self.held = self.held[:count], self.held[count:]
        self.held = sorted(self.held + graphs.report(self.conn, done, want=want, worker=self.worker, definitions=[self.known]))

    def fail(self, count: int, *, retryable: bool) -> None:
        done, self.held = self.held[:count], self.held[count:]
        graphs.fail_all(self.conn, done, worker=self.worker, retryable=retryable, delay=0)

    def release(self, count: int) -> None:
        done, self.held = self.held[:count], self.held[count:]
        graphs.release(self.conn, done, worker=self.worker)

    def reads(self) -> None:
        tasks, steps, _ = graphs.columns(self.held[:BATCH])
        self.conn.execute("select * from tasker_read_tasks(%s)", [tasks]).fetchall()
        self.conn.execute("select * from tasker_read_results(%s, %s)", [tasks, steps]).fetchall()
        self.conn.execute("select * from tasker_cancel_requests(%s, %s)", [tasks, steps]).fetchall()
        self.conn.execute("select * from tasker_worker_steps(%s)", [self.worker]).fetchall()

    def wake(self) -> None:
        self.conn.execute("select tasker_wake_due(%s)", [BATCH])

    def acts(self) -> list[tuple[str, int, Callable[[], None]]]:
        """What an engine does, and how many steps it is about."""
        return [
            ("claim many", BATCH, self.claim),
            ("complete many and go on with their children", 2 * BATCH, self.complete),
            ("complete many and leave their children to the queue", 2 * BATCH, lambda: self.complete(want=0)),
            ("claim one", 1, lambda: self.claim(1)),
            ("complete one", 2, lambda: self.complete(1, 1)),
            ("claim many again", BATCH, self.claim),
            ("read what the handlers need", BATCH, self.reads),
            ("fail some for a while", 30, lambda: self.fail(30, retryable=True)),
            ("wake them", 30, self.wake),
            ("fail some for good", 30 * LENGTH, lambda: self.fail(30, retryable=False)),
            ("fail one for good", LENGTH, lambda: self.fail(1, retryable=False)),
            ("release some", 30, lambda: self.release(30)),
        ]


def rows_read(conn: Conn, act: Callable[[], None]) -> dict[str, int]:
    # The counters hold what earlier transactions have not handed on yet.
    with conn.transaction():
        before = dict(conn.execute(READ.encode()).fetchall())
        act()
        return {table: rows - before.get(table, 0) for table, rows in conn.execute(READ.encode()).fetchall()}


def fill(conn: Conn, known: int, tasks: int = TASKS) -> None:
    requests = json.dumps([request(known) for _ in range(tasks)])
    conn.execute("select count(*) from tasker_create_tasks(%s::jsonb)", [requests])


def assert_reads_little(engine: Engine) -> None:
    too_much = {}
    for name, size, act in engine.acts():
        found = {table: rows for table, rows in rows_read(engine.conn, act).items() if rows > TIMES * size}
        if found:
            too_much[name] = found
    assert too_much == {}
    assert len(engine.held) > 0


@pytest.fixture
def setup(new_database_url: str) -> Iterator[tuple[Conn, Callable[..., Conn], int]]:
    """A session that prepares, a way to open the engine's, and a definition; nothing is analysed behind the test's back."""
    opened: list[psycopg.Connection[Any]] = []

    def session(options: str = ENGINE_SESSION) -> Conn:
        opened.append(psycopg.connect(new_database_url, autocommit=True, options=options))
        return opened[-1]

    conn = session("")
    for (table,) in conn.execute("select relname from pg_class where relkind = 'r' and relname like 'tasker%'").fetchall():
        conn.execute(f"alter table {table} set (autovacuum_enabled = false)".encode())
    names = [f"s{no}" for no in range(LENGTH)]
    yield conn, session, register(conn, definition(" -> ".join(names)))
    for one in opened:
        one.close()


Setup = tuple[Conn, Callable[..., Conn], int]


def test_on_tables_that_were_never_analysed(setup: Setup) -> None:
    conn, session, known = setup
    fill(conn, known)
    assert_reads_little(Engine(session(), known))


def test_on_tables_that_were_analysed_when_they_were_empty(setup: Setup) -> None:
    conn, session, known = setup
    conn.execute("analyze")
    fill(conn, known)
    assert_reads_little(Engine(session(), known))


def test_on_tables_that_were_analysed_when_every_step_was_waiting(setup: Setup) -> None:
    # Such statistics say that no step is running: a plan that believes them starts from the whole table.
    conn, session, known = setup
    fill(conn, known)
    conn.execute("analyze")
    assert_reads_little(Engine(session(), known))


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
def test_with_either_kind_of_plan(setup: Setup, mode: str) -> None:
    conn, session, known = setup
    fill(conn, known)
    assert_reads_little(Engine(session(f"{ENGINE_SESSION} -c plan_cache_mode={mode}"), known))


def test_with_plans_made_while_the_tables_were_tiny(setup: Setup) -> None:
    # A session keeps its plans for as long as it lives, and an engine may start on an empty database.
    conn, session, known = setup
    fill(conn, known, 20)
    engine = Engine(session(), known)
    for _ in range(8):
        for *_, act in engine.acts():
            if engine.held or act == engine.claim:
                act()
    graphs.release(engine.conn, engine.held, worker=engine.worker)
    engine.held = []
    fill(conn, known)
    assert_reads_little(engine)


def test_behind_a_long_history(setup: Setup) -> None:
    conn, session, known = setup
    fill(conn, known, 200)
    first = Engine(session(), known)
    for _ in range(LENGTH * 2 + 2):
        first.claim()
        first.complete(want=0)
    assert graphs.value(conn, "select count(*) from tasker_task where state = 4") == 200
    fill(conn, known)
    assert_reads_little(Engine(session(), known))


@pytest.mark.parametrize("options", ["", ENGINE_SESSION])
@pytest.mark.parametrize("analysed", [False, True])
def test_a_reader_finds_the_next_event_of_a_long_history_by_its_number(setup: Setup, analysed: bool, options: str) -> None:
    conn, session, _ = setup
    if analysed:
        conn.execute("analyze")
    conn.execute("insert into tasker_history (task_no, at, to_state) select 1, now(), 2 from generate_series(1, 20000)")
    conn.execute("delete from tasker_history where event_id between 5 and 19000")
    reader = session(options)
    found: dict[int, int] = {}
    read = rows_read(reader, lambda: found.update({after: graphs.value(reader, "select tasker_next_event(%s, 1000000)", after) for after in (0, 9, 50000)}))
    assert found == {0: 1, 9: 2 * 19001 - 1, 50000: 1000000}
    assert sum(read.values()) <= TIMES


def test_the_count_would_notice_a_scan(setup: Setup) -> None:
    conn, session, known = setup
    fill(conn, known)
    engine = session()
    found = rows_read(engine, lambda: engine.execute("select count(*) from tasker_step where state = 2 and result is null") and None)
    assert found["tasker_step"] == TASKS * LENGTH > TIMES * 3 * BATCH


OPERATORS: list[Callable[[Conn, graphs.Task], object]] = [
    lambda conn, task: graphs.skip_step(conn, task, "s0"),
    lambda conn, task: graphs.skip_step(conn, task, "s3"),
    lambda conn, task: graphs.resolve_step(conn, task, "s1"),
    lambda conn, task: graphs.cancel_step(conn, task, "s7"),
    lambda conn, task: graphs.update_status(conn, task, "s2", "ready", "running"),
    lambda conn, task: graphs.update_status(conn, task, "s2", "running", "failed"),
    lambda conn, task: graphs.resolve_dependencies(conn, task),
    lambda conn, task: graphs.readiness(conn, task),
    lambda conn, task: graphs.ready(conn, task),
    lambda conn, task: graphs.retry_step(conn, task, "s2"),
    lambda conn, task: graphs.cancel_task(conn, task),
]


@pytest.mark.parametrize("before", [0, 20])
def test_what_an_operator_does_reads_one_task(setup: Setup, before: int) -> None:
    # The dashboard's sessions plan as they like; those of the second case made their plans while the tables were tiny.
    conn, session, known = setup
    operator = session("")
    names = [f"s{no}" for no in range(LENGTH)]
    for _ in range(before):
        task = graphs.task_of(operator, known, names)
        for act in OPERATORS:
            act(operator, task)
    fill(conn, known)
    task = graphs.task_of(operator, known, names)
    found = {number: rows_read(operator, lambda act=act: act(operator, task)) for number, act in enumerate(OPERATORS)}
    assert {number: rows for number, rows in found.items() if max(rows.values()) > 2 * TIMES * LENGTH} == {}


LISTS: dict[str, tuple[str, int]] = {
    "the newest of a definition": ("select * from tasker_latest_tasks({known}, 50)", 50),
    "the newest of a rare definition": ("select * from tasker_latest_tasks({rare}, 50)", 50),
    "further back in a definition": ("select * from tasker_latest_tasks({known}, 50, {middle})", 50),
    "the tasks made at a time": ("select tasker_task_no_at(now() - interval '1 second')", 64),
}


@pytest.mark.parametrize("analysed", ["never", "empty", "full"])
def test_a_list_reads_no_more_than_it_shows(setup: Setup, analysed: str) -> None:
    conn, session, known = setup
    rare = register(conn, definition("rare"))
    if analysed == "empty":
        conn.execute("analyze")
    fill(conn, rare, 3)
    fill(conn, known)
    if analysed == "full":
        conn.execute("analyze")
    middle = graphs.value(conn, "select max(task_no) - 500 from tasker_task")
    reader, found = session(""), {}
    for name, (query, size) in LISTS.items():
        text = query.format(known=known, rare=rare, middle=middle).encode()
        rows = rows_read(reader, lambda text=text: reader.execute(text) and None)
        found[name] = (rows, size)
    assert {name: rows for name, (rows, size) in found.items() if max(rows.values(), default=0) > 2 * size} == {}
