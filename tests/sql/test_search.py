"""`engine.finding.search` and the functions it stands on: whatever is known of a task, a failure or a workflow finds it, and nothing else does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import test_plans
from graphs import Conn, Task, complete, fail, given_task, move_clock, retry_downstream, roll_up, task_of, value

from engine.db import Database
from engine.errors import RequestError
from engine.finding import search
from engine.hiding.masking import SECRET_NAMES

PATIENCE_SECONDS = 10.0


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def index(conn: Conn) -> None:
    """Everything can be found by its words."""
    roll_up(conn)
    last = value(conn, "select coalesce(max(task_no), 0) from tasker_task")
    while value(conn, "select tasker_index_words(2000, %s)", list(SECRET_NAMES)) or value(conn, "select tasks_to from tasker_words_place") < last:
        pass  # transactions of others on this server may hold it for a moment


def catches_up(conn: Conn) -> bool:
    """Whether the index comes to the newest task; calls are made for a while, as transactions of others on this server may hold it."""
    last, until = value(conn, "select max(task_no) from tasker_task"), time.monotonic() + PATIENCE_SECONDS
    while value(conn, "select tasks_to from tasker_words_place") < last and time.monotonic() < until:
        conn.execute("select tasker_index_words(2000, %s)", [list(SECRET_NAMES)])
    return bool(value(conn, "select tasks_to from tasker_words_place") >= last)


def tasks(db: Database, text: str, **options: Any) -> list[str]:
    return [one.task_id for one in search.find(db, text, **options).tasks]


def given_orders(conn: Conn) -> tuple[Task, Task]:
    first = given_task(conn, "charge -> ship", name="process_order", tags=["eu-west", "vip"], reason="asked by Ümit", context={
        "order_id": 48151, "customer": {"name": "Ada Lovelace", "mail": "ada@example.com"}, "lines": [{"sku": "AB-2342", "gift": True}],
    })  # fmt: skip
    second = task_of(conn, first.definition_id, first.names, context={"order_id": 77, "customer": {"name": "Kurt Gödel"}}, tags=["us"])
    return first, second


@pytest.mark.parametrize("text", [
    "48151", "Ada", "lovelace ada", "ADA LOVELACE", "love", "ada@example.com", "AB-2342", "eu-west", "vip", "Ümit", "ümit lovelace vip", "  vip \x00 ",
])  # fmt: skip
@pytest.mark.parametrize("indexed", [False, True])
def test_a_task_is_found_by_its_context_its_tags_and_its_reason(conn: Conn, db: Database, text: str, indexed: bool) -> None:
    first, _ = given_orders(conn)
    if indexed:
        index(conn)
        conn.execute("update tasker_task set context = '{}', tags = '{}', reason = null")   # so that only the index knows it
    assert tasks(db, text) == [first.id]


@pytest.mark.parametrize("indexed", [False, True])
def test_no_secret_is_found_and_what_stands_beside_it_is(conn: Conn, db: Database, indexed: bool) -> None:
    """By its name at any depth; where the schema marks a secret, nothing of the context."""
    first = given_task(conn, "only", name="named", context={"cards": [{"api_key": "hush-1", "Session_Token": {"deep": "hush-2"}, "holder": "Ada"}], "password": "hush-3"})
    marked = given_task(conn, "only", name="marked", tags=["open"], context={"pin": "hush-4", "holder": "Kurt"})
    conn.execute("""update tasker_definition set schema = '{"properties": {"pin": {"writeOnly": true}}}' where definition_id = %s""", [marked.definition_id])
    if indexed:
        index(conn)
    assert [tasks(db, text) for text in ("hush", "hush-1", "hush-2", "hush-3", "hush-4", "kurt")] == [[]] * 6
    assert (tasks(db, "ada"), tasks(db, "open")) == ([first.id], [marked.id])


def test_what_goes_by_a_further_name_of_a_secret_is_not_found_from_the_moment_that_name_is_known(conn: Conn, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # Forbids that words written down before the name was known are found while the engines write them anew, and that an engine without the name brings them back.
    first = given_task(conn, "only", name="paid", context={"payer": {"home_IBAN": "DE4711", "holder": "Ada"}})
    index(conn)
    assert tasks(db, "de4711") == [first.id]
    monkeypatch.setattr(search, "SECRET_NAMES", (*SECRET_NAMES, "iban"))
    second = task_of(conn, first.definition_id, first.names, context={"iban": "DE4712", "holder": "Ada"})
    fail(conn, second, "only", message="no account with token=hush-9")
    told = [(tasks(db, "de471"), tasks(db, "ada"))]
    conn.execute("select tasker_index_words(2000, %s)", [[*SECRET_NAMES, "iban"]])
    for _ in range(2):
        told.append((tasks(db, "de471"), tasks(db, "ada")))
        index(conn)
    assert told == [([], [second.id, first.id])] * 3
    assert [one.error for one in search.find(db, "account").steps] == ["ValueError: no account with token=***"]
    assert value(conn, "select count(*)::int from tasker_task_words where words @@ tasker_words_query('de471')") == 0


def test_a_task_is_found_by_its_id_and_the_beginning_of_it(conn: Conn, db: Database) -> None:
    first, second = given_orders(conn)
    assert tasks(db, first.id) == tasks(db, first.id[:13]) == tasks(db, first.id.upper()) == [first.id]
    assert tasks(db, second.id[:8]) == [second.id]


@pytest.mark.parametrize("text", ["", " ", "\x00", "nobody", "ada kurt", "customer", "' & | !", ":*", "a:*b", "%", "(((", "\\", "🙂", "x" * 5000, "5d1c' or 1=1"])
def test_what_is_nowhere_is_not_found(conn: Conn, db: Database, text: str) -> None:
    given_orders(conn)
    index(conn)
    assert search.find(db, text) == search.Found((), (), ())


def test_a_failed_step_is_found_by_its_last_error(conn: Conn, db: Database) -> None:
    task = given_orders(conn)[0]
    fail(conn, task, "charge", retryable=True, delay=1, type="ConnectionError", message="gateway away", code="GW7")
    index(conn)
    [found] = search.find(db, "gateway away").steps
    assert (found.task_id, found.step_name, found.state, found.name, found.error) == (task.id, "charge", "retrying", "process_order", "ConnectionError: gateway away")
    assert search.find(db, "gw7").steps == search.find(db, "connectionerr").steps == (found,)
    move_clock(conn, minutes=1)
    fail(conn, task, "charge", message="card refused")
    index(conn)
    assert search.find(db, "gateway").steps == ()
    assert [one.state for one in search.find(db, "refused").steps] == ["failed"]


def test_workflows_are_found_by_name_description_and_steps(conn: Conn, db: Database) -> None:
    given_orders(conn)
    [found] = search.find(db, "ocess_ord").workflows
    assert (found.namespace, found.name, found.step_name) == ("tests", "process_order", None)
    assert [one.step_name for one in search.find(db, "harg").workflows] == ["charge"]
    assert search.find(db, "processXorder").workflows == ()


def test_the_newest_come_first_and_cursors_lead_on_to_every_one_once(conn: Conn, db: Database) -> None:
    first = given_task(conn, "a, b", context={"who": "zoe"})
    made = [first, *(task_of(conn, first.definition_id, first.names, context={"who": "zoe"}) for _ in range(6))]
    for task in made:
        fail(conn, task, "a", message="flood")
        fail(conn, task, "b", message="flood")
    index(conn)
    made += [task_of(conn, first.definition_id, first.names, context={"who": "zoe"})]   # not indexed yet
    expected = [task.id for task in reversed(made)]
    found, steps, page = [], [], search.find(db, "zoe", limit=3)
    while True:
        found += [one.task_id for one in page.tasks]
        if page.older_tasks is None:
            break
        page = search.find(db, "zoe", limit=3, tasks_before=page.older_tasks)
    assert found == expected
    page = search.find(db, "flood", limit=4)
    while True:
        steps += [(one.task_id, one.step_name) for one in page.steps]
        if page.older_steps is None:
            break
        page = search.find(db, "flood", limit=4, steps_before=page.older_steps)
    assert steps == [(task.id, name) for task in reversed(made[:-1]) for name in ("b", "a")]
    for damaged in ("x", "1.2.3", "9" * 30, "", "1;2"):
        with pytest.raises(RequestError, match="no place in a list"):
            search.find(db, "zoe", tasks_before=damaged)


def test_nothing_of_another_namespace_is_found(conn: Conn, db: Database) -> None:
    task = given_orders(conn)[0]
    fail(conn, task, "charge", message="card refused")
    texts = ["ada", task.id, "process_order"]
    for more in ([], ["refused"]):
        for text in texts + more:
            assert search.find(db, text) != search.NOTHING
            for where in (frozenset({"other"}), frozenset[str]()):
                assert search.find(db, text, tasks_in=where, steps_in=where, workflows_in=where) == search.NOTHING
        index(conn)


def test_a_task_made_in_a_transaction_that_commits_late_is_indexed_then(conn: Conn, db: Database, connect: Callable[..., Conn]) -> None:
    # Forbids that the place goes past a number whose creation is still open while higher ones are visible.
    first = given_task(conn, "a", context={"who": "early"})
    other = connect()
    with other.transaction():
        late = task_of(other, first.definition_id, first.names, context={"who": "late"})
        task_of(conn, first.definition_id, first.names)
        for _ in range(5):
            conn.execute("select tasker_index_words(2000, %s)", [list(SECRET_NAMES)])
        assert value(conn, "select tasks_to from tasker_words_place") < late.no
    index(conn)
    assert value(conn, "select count(*)::int from tasker_task_words where task_no = %s", late.no) == 1


def test_a_call_that_began_before_another_leads_the_index_no_way_back(conn: Conn, connect: Callable[..., Conn]) -> None:
    # Forbids: one engine reads the newest number, another makes its whole call, and the first writes down the older number, from which neither goes on.
    first = given_task(conn, "a")
    index(conn)
    call = "select tasker_index_words(2000, %s)"
    other, early, patience = connect(), connect(), threading.Event()
    early.execute(call, [list(SECRET_NAMES)])   # it knows the table by now, and waits for it no sooner than it reads it
    task_of(conn, first.definition_id, first.names)
    calling = threading.Thread(target=early.execute, args=(call, [list(SECRET_NAMES)]))
    with other.transaction():
        other.execute("lock table tasker_words_place")
        calling.start()
        while not value(conn, "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s", early.info.backend_pid):
            assert calling.is_alive(), "it did not wait"
            patience.wait(0.005)
        task_of(conn, first.definition_id, first.names)
        other.execute(call, [list(SECRET_NAMES)])
    calling.join(PATIENCE_SECONDS)
    assert catches_up(conn)
    task_of(conn, first.definition_id, first.names)
    assert catches_up(conn)


def test_an_index_that_was_led_past_what_it_knew_of_goes_on(conn: Conn) -> None:
    first = given_task(conn, "a")
    index(conn)
    conn.execute("update tasker_words_place set known_to = tasks_to - 1")
    task_of(conn, first.definition_id, first.names)
    assert catches_up(conn)


def test_a_context_that_a_retry_changed_is_found_as_it_is_now(conn: Conn, db: Database) -> None:
    task = given_task(conn, "a", context={"who": "before"})
    complete(conn, task, "a")
    index(conn)
    retry_downstream(conn, task, "a", {"who": "afterwards"})
    index(conn)
    assert tasks(db, "afterwards") == [task.id]
    assert tasks(db, "before") == []


@pytest.mark.parametrize("context", [{"text": "word " * 60_000}, {"text": "y" * 200_000}, {"list": [f"w{number}" for number in range(60_000)]}, {"deep": [[[[{"x": "found"}]]]]}])
def test_a_large_context_does_not_stop_the_index(conn: Conn, db: Database, context: dict[str, Any]) -> None:
    task = given_task(conn, "a", context={"first": "findme", **context})
    after = task_of(conn, task.definition_id, task.names, context={"who": "next"})
    index(conn)
    assert tasks(db, "next") == [after.id]


def test_searching_reads_little_where_nothing_was_ever_analysed(new_database_url: str) -> None:
    with psycopg.connect(new_database_url, autocommit=True) as conn:
        conn.execute("set plan_cache_mode = force_generic_plan")
        task = given_task(conn, "a", context={"who": "rare"})
        test_plans.fill(conn, task.definition_id, 8_000)
        index(conn)
        found = test_plans.rows_read(conn, lambda: conn.execute("select * from tasker_find_tasks('rare', null, 9223372036854775807, 20, %s)", [list(SECRET_NAMES)]).fetchall())
        assert {table: rows for table, rows in found.items() if rows > 5_600} == {}
        assert value(conn, "select count(*)::int from tasker_find_tasks('rare', null, 9223372036854775807, 20, %s)", list(SECRET_NAMES)) == 1


LOUD = 30_000
FOUND = "select * from tasker_find_tasks('flood', %s, 9223372036854775807, 20, %s)"
FOUND_STEPS = "select * from tasker_find_steps('flood', %s, 9223372036854775807, 2147483647, 20)"


@pytest.fixture
def beside_a_loud_one(new_database_url: str) -> Iterator[tuple[Conn, Task, Task]]:
    """A few old tasks of a quiet workflow and many newer ones of a loud one, all with one word, as are their failures; the first of either."""
    with psycopg.connect(new_database_url, autocommit=True) as conn:
        quiet = given_task(conn, "a", context={"who": "flood"})
        fail(conn, quiet, "a", message="flood")
        for _ in range(2):
            fail(conn, task_of(conn, quiet.definition_id, quiet.names, context={"who": "flood"}), "a", message="flood")
        loud = given_task(conn, "a", context={"who": "flood"})
        index(conn)
        numbers = "generate_series(%(first)s::bigint, %(first)s + %(count)s) as n"
        given = {"first": loud.no + 1, "count": LOUD, "loud": loud.definition_id}
        conn.execute(f"insert into tasker_task_words select n, %(loud)s, to_tsvector('simple', 'flood') from {numbers}".encode(), given)
        conn.execute(f"insert into tasker_step_words select n, 0, %(loud)s, to_tsvector('simple', 'flood') from {numbers}".encode(), given)
        conn.execute("update tasker_words_place set tasks_to = %(first)s + %(count)s, known_to = %(first)s + %(count)s", given)
        yield conn, quiet, loud


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
def test_a_word_of_a_loud_workflow_costs_the_readers_of_a_quiet_one_no_more_than_so_much(beside_a_loud_one: tuple[Conn, Task, Task], plans: str) -> None:
    conn, quiet, _ = beside_a_loud_one
    conn.execute(f"set plan_cache_mode = {plans}".encode())
    mine, names = [quiet.definition_id], list(SECRET_NAMES)
    for call, given in ((FOUND, [mine, names]), (FOUND_STEPS, [mine])):
        found: list[Any] = []
        rows = test_plans.rows_read(conn, lambda call=call, given=given, found=found: found.extend(conn.execute(call.encode(), given).fetchall()))  # type: ignore[misc]
        assert [row[0] for row in found] == [quiet.no + 2, quiet.no + 1, quiet.no], call
        assert max(rows.values()) < 16_000, call


def test_a_word_that_is_on_many_old_tasks_and_on_no_new_one_is_found(beside_a_loud_one: tuple[Conn, Task, Task]) -> None:
    conn, _, loud = beside_a_loud_one
    for table in ("tasker_task_words", "tasker_step_words"):
        conn.execute(f"update {table} set words = '' where task_no > %s".encode(), [loud.no + LOUD - 6_000])
    newest = [loud.no + LOUD - 6_000 - number for number in range(20)]
    for definitions in (None, [loud.definition_id]):
        assert [row[0] for row in conn.execute(FOUND_STEPS.encode(), [definitions]).fetchall()] == newest
    assert [row[0] for row in conn.execute(FOUND.encode(), [None, list(SECRET_NAMES)]).fetchall()] == newest
    assert conn.execute(FOUND.encode(), [[], list(SECRET_NAMES)]).fetchall() == conn.execute(FOUND_STEPS.encode(), [[]]).fetchall() == []
