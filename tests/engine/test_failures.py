"""Failed steps with one cause are one group, and one action is done to many."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from engine import batches, rollups, steps, tasks
from engine.db import Database
from engine.errors import NotFound, RequestError, WrongState
from engine.finding import failure_filter, failures
from engine.finding.failure_filter import FailureFilter, chosen_failures, count_failures, found_failures
from engine.finding.failures import FailedSteps, FailureNote
from engine.finding.tally import Tally
from engine.handlers import Workflow
from engine.requests import TaskRequest

GOING = threading.Event()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no answer in 30 s", "no answer in 4.5 s"),
        ("order 0198c2de-7f4e-7c1b-9d53-0a1b2c3d4e5f is gone", "order 11111111-2222-3333-4444-555555555555 is gone"),
        ("at 0x7f3a", "at 0xdeadbeef"),
        ("digest 9f86d081884c7d65", "digest e3b0c44298fc1c14"),
        ("two  spaces\nand a second line", "two spaces"),
        ("customer cus_NffrFeUfNV2Hib not found", "customer cus_9s6XKzkNRiz8i3 not found"),
        ("customer cus_NffrFeUfNVxHib not found", "customer cus_9s6XKzkNRiz8i3 not found"),
        ("at /v1/cards/01ARZ3NDEKTSV4RRFFQ69G5FAV/pay", "at /v1/cards/3BZZZ9NDEKTSV4RRFFQ69G5FXX/pay"),
        ("id=V1StGXR8_Z5jdHi6B-myT", "id=Uakgb_J5m9g-0JDMbcJqLJ"),
        ("pod pay-5d4f8c7b9-x2k4q", "pod pay-7c9d8b6f5-8zv2m"),
        ("file 'Report of Ann, 17.csv' is empty", "file 'Bob 18.csv' is empty"),
        ('no customer "Ann (cus_NffrFeUfNV2Hib)"', 'no customer "Bob (cus_9s6XKzkNRiz8i3)"'),
        ("no key `ann 1`", "no key `bob 2`"),
        ("can't read 'a 1'", "can't read 'b 2'"),
    ],
)
def test_errors_that_differ_in_numbers_and_ids_alone_have_one_signature(conn: psycopg.Connection[Any], one: str, other: str) -> None:
    assert signature(conn, one) == signature(conn, other)


@pytest.mark.parametrize(("one", "other"), [("no answer", "no entry"), ("field name", "field nested"), ("deadbeefs", "defaced"), ("HTTPError404 of a", "HTTPStatus404 of a"), ("column 'a'", "column 'b'"), ("can't take 1 of Ann's", "can't take 1 of Bob's")])
def test_errors_that_say_something_else_have_another_signature(conn: psycopg.Connection[Any], one: str, other: str) -> None:
    assert signature(conn, one) != signature(conn, other)


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("HTTPError404 by E1234, utf8, HTTP2, SQLSTATE 23505", "HTTPError# by E#, utf#, HTTP#, SQLSTATE #"),
        ("OAuth2TokenError in Base64Decoder of IPv4Address", "OAuth#TokenError in Base#Decoder of IPv#Address"),
        ("step_2_failed after_30s in eu-central-1a: sha256_mismatch", "step_#_failed after_#s in eu-central-#a: sha#_mismatch"),
        ("column 'line2' of \"orders_2024_01\" wants `TLSv1.2`", "column 'line#' of \"orders_#_#\" wants `TLSv#`"),
        ("test_SomeHandlerError is no a1b2c3", "test_SomeHandlerError is no a#b#c#"),
    ],
)
def test_names_and_short_codes_stay_in_a_signature(conn: psycopg.Connection[Any], message: str, kept: str) -> None:
    assert signature(conn, message) == f"Timeout: {kept}"


def signature(conn: psycopg.Connection[Any], message: str) -> str:
    row = conn.execute("select tasker_error_signature(jsonb_build_object('type', 'Timeout', 'message', %s::text))", [message]).fetchone()
    assert row is not None
    return str(row[0])


@pytest.fixture
def failed(db: Database, conn: psycopg.Connection[Any]) -> Callable[..., list[str]]:
    """Makes tasks of a workflow in a namespace whose only step failed, each with its message, all running at once."""

    def make(*messages: str, namespace: str = "shop", version: str = "1.0.0", step: str = "charge") -> list[str]:
        flow = Workflow("pay", namespace=namespace, version=version)
        flow.step(name=step, retry_limit=1)(lambda task: None)
        definition = tasks.register_definition(db, flow.definition)
        made = tasks.submit_many(db, [TaskRequest("pay", namespace, version)] * len(messages))
        worker = value(conn, "select tasker_register_worker('hand', 'threads', 4, array[%s], interval '1 hour', true)", definition)
        conn.execute("select * from tasker_claim_steps(%s, 1, 100, array[%s])", [worker, definition])
        for task_id, message in zip(made, messages, strict=True):
            number = value(conn, "select task_no from tasker_task where task_id = %s", task_id)
            conn.execute(
                "select tasker_fail_steps(%s, array[%s]::bigint[], array[0], array[1]::smallint[], jsonb_build_array(jsonb_build_object('type', 'Timeout', 'message', %s::text, 'retryable', false)))",
                [worker, number, message],
            )
        return made

    return make


def value(conn: psycopg.Connection[Any], query: str, *given: Any) -> Any:
    row = conn.execute(query.encode(), given).fetchone()
    assert row is not None
    return row[0]


def test_failures_with_one_cause_are_one_group_over_all_versions_and_none_once_mended(db: Database, failed: Callable[..., list[str]]) -> None:
    first = failed("no answer in 3 s", "no answer in 40 s", "card 17 refused")
    later = failed("no answer in 5 s", version="1.1.0")
    slow, refused = sorted(failures.failure_groups(db), key=lambda group: -group.step_count)

    assert (slow.signature, slow.step_count, slow.task_count) == ("Timeout: no answer in # s", 3, 3)
    assert slow.versions == ("1.0.0", "1.1.0")
    assert set(slow.samples) == {*first[:2], *later}
    assert (sum(slow.per_hour), slow.per_hour[-1]) == (3, 3)
    assert failures.failed_steps(db, slow) == FailedSteps(((later[0], "charge"), (first[1], "charge"), (first[0], "charge")), is_cut=False)
    assert refused.signature == "Timeout: card # refused"

    steps.resolve_step(db, first[2], "charge", result=None, actor="ana")
    assert [group.key for group in failures.failure_groups(db)] == [slow.key]
    with pytest.raises(NotFound):
        failures.failure_group(db, refused.key)


def test_when_a_group_failed_first_and_how_often_is_told_of_what_was_retried_too(db: Database, conn: psycopg.Connection[Any], failed: Callable[..., list[str]], later: Callable[..., Database]) -> None:
    [task] = failed("no answer in 3 s")
    first_at = value(conn, "select s.finished_at from tasker_step s")
    rollups.catch_up(db)
    steps.retry_step(db, task, "charge", actor="ana")
    tasks.cancel_task(db, task, actor="ana")
    after = later(hours=3)
    assert failures.failure_groups(after) == [], "nothing is failed now"

    conn.execute("set tasker.clock_offset = '3 hours'")
    failed("no answer in 4 s")
    [group] = failures.failure_groups(after)
    assert (group.step_count, group.first_at) == (1, first_at)
    assert (group.per_hour[-1], group.per_hour[-4], sum(group.per_hour)) == (1, 1, 2), "what is not counted yet stands there too"

    rollups.catch_up(after)
    assert failures.failure_groups(after) == [replace(group, fail_count=2)]


@pytest.fixture
def few_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two groups are listed, and three looked through for a text."""
    for module in (failures, failure_filter):
        monkeypatch.setattr(module, "LISTED", 2)
        monkeypatch.setattr(module, "SEARCHED", 3)


def test_what_narrows_the_list_is_looked_for_beyond_the_groups_that_it_would_show(db: Database, failed: Callable[..., list[str]], few_listed: None) -> None:
    failed("the oldest", step="check", version="2.0.0")
    [oldest] = failures.failure_groups(db)
    failures.keep_note(db, oldest, FailureNote("Ann of payments"), actor="ana")
    failed("no answer", "no entry", "no way")

    assert len(chosen_failures(db, FailureFilter())) == 2
    for chosen in (FailureFilter(owner="ANN"), FailureFilter(step="check"), FailureFilter(step="check", owner="payments", error="OLDEST")):
        assert [group.key for group in chosen_failures(db, chosen)] == [oldest.key], chosen
    for nobody in (FailureFilter(owner="bob"), FailureFilter(owner="%"), FailureFilter(step="che"), FailureFilter(step="check", error="answer")):
        assert found_failures(db, nobody).groups == (), nobody


def test_a_list_of_failures_says_how_far_it_was_looked(db: Database, failed: Callable[..., list[str]], few_listed: None) -> None:
    failed("the oldest", "no answer", "no entry", "no way")
    cut = found_failures(db, FailureFilter())
    assert (len(cut.groups), cut.looked_at, cut.group_count) == (2, 2, 4)
    assert (found_failures(db, FailureFilter(error="oldest")).groups, found_failures(db, FailureFilter(error="oldest")).looked_at) == ((), 3)
    answered = found_failures(db, FailureFilter(error="answer"))
    assert ([group.signature for group in answered.groups], answered.looked_at) == (["Timeout: no answer"], 3)
    failed("the last", namespace="bank")
    bank = found_failures(db, FailureFilter(namespace="bank", error="last"))
    assert (len(bank.groups), bank.looked_at) == (1, None)


def test_what_is_counted_among_the_newest_failures_says_so_and_all_of_a_group_is_reached(db: Database, failed: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbids: of 15,000 failures of one cause 10,000 are told as if they were all, and the others are never retried."""
    oldest, *_ = made = failed("no answer", "no answer", "no answer")
    monkeypatch.setattr(failures, "LOOKED_AT", 3)
    whole = found_failures(db, FailureFilter())
    assert ([(group.step_count, group.is_cut) for group in whole.groups], whole.tasks_looked_at, count_failures(db, FailureFilter())) == ([(3, False)], None, Tally(1))

    failed("no answer", "no answer", namespace="bank")
    cut = found_failures(db, FailureFilter())
    assert (sorted((group.namespace, group.step_count, group.is_cut) for group in cut.groups), cut.tasks_looked_at) == ([("bank", 2, True), ("shop", 1, True)], 3)
    assert count_failures(db, FailureFilter()) == Tally(2, is_least=True)
    nothing = found_failures(db, FailureFilter(step="check"))
    assert (nothing.groups, nothing.tasks_looked_at, count_failures(db, FailureFilter(step="check"))) == ((), 3, Tally(0, is_least=True))
    [shop] = [group for group in cut.groups if group.namespace == "shop"]
    assert failures.failure_group(db, shop.key) == replace(shop, step_count=3, fail_count=3, task_count=3, first_at=whole.groups[0].first_at, samples=tuple(reversed(made)), per_hour=whole.groups[0].per_hour, is_cut=False)

    monkeypatch.setattr(failures, "LOOKED_AT", 2)
    with pytest.raises(NotFound, match="or are older"):
        failures.failure_group(db, shop.key)
    assert len(failures.failed_steps(db, shop).steps) == 3, "only those that were counted are reached"
    newest = failures.failed_steps(db, shop, most=2)
    assert (newest.is_cut, (oldest, "charge") in newest.steps, failures.failed_steps(db, shop, most=3).is_cut) == (True, False, False)
    monkeypatch.setattr(failures, "REACHED", 2)
    assert failures.failed_steps(db, shop, most=3) == newest


def test_a_secret_of_the_task_is_masked_in_what_a_group_is_called(db: Database, conn: psycopg.Connection[Any], failed: Callable[..., list[str]]) -> None:
    [task_id] = failed("the gateway refused hush-4711-hush, code 12")
    conn.execute("""update tasker_task set context = '{"password": "hush-4711-hush"}' where task_id = %s""", [task_id])
    [group] = failures.failure_groups(db)
    assert "hush" not in group.signature
    assert group.signature.endswith(", code 12")


def test_groups_of_other_namespaces_are_not_seen(db: Database, failed: Callable[..., list[str]]) -> None:
    failed("no answer")
    failed("no answer", namespace="bank")
    [shop] = failures.failure_groups(db, namespaces=frozenset({"shop"}))
    [bank] = failures.failure_groups(db, namespace="bank")
    assert (shop.namespace, bank.namespace) == ("shop", "bank")
    assert shop.key != bank.key
    with pytest.raises(NotFound):
        failures.failure_group(db, bank.key, namespaces=frozenset({"shop"}))


def test_a_group_is_acknowledged_until_its_time_is_over(db: Database, conn: psycopg.Connection[Any], failed: Callable[..., list[str]]) -> None:
    failed("no answer")
    [group] = failures.failure_groups(db)
    now = value(conn, "select tasker_clock()")
    failures.keep_note(db, group, FailureNote("payments", "the gateway is down", "https://wiki.example/gateway", now + timedelta(hours=1)), actor="ana")
    [known] = failures.failure_groups(db)
    assert (known.acknowledged, known.known.owner, known.known.changed_by) == (True, "payments", "ana")

    failures.keep_note(db, group, FailureNote("payments", until=now - timedelta(seconds=1)), actor="ana")
    assert not failures.failure_groups(db)[0].acknowledged

    failures.keep_note(db, group, FailureNote(), actor="ana")
    assert failures.failure_groups(db)[0].known == FailureNote()


def test_a_note_with_a_runbook_that_is_no_address_is_refused_with_all_that_is_wrong(db: Database, failed: Callable[..., list[str]]) -> None:
    failed("no answer")
    [group] = failures.failure_groups(db)
    with pytest.raises(RequestError) as refused:
        failures.keep_note(db, group, FailureNote("a" * 101, None, "javascript:alert(1)"), actor="ana")
    assert [problem.path for problem in refused.value.problems] == ["owner", "runbook"]


# ---- batches


def test_a_batch_does_what_can_be_done_and_says_why_the_rest_was_not(db: Database, failed: Callable[..., list[str]]) -> None:
    made = failed(*["no answer"] * 30)
    steps.retry_step(db, made[7], "charge", actor="bob")
    number = batches.make_batch(db, "retry", [(task, "charge") for task in made], about="all of them", actor="ana", reason="the gateway is back")

    assert batches.batch(db, number).left_count == 30
    assert batches.run_due(db, GOING) == 30

    done = batches.batch(db, number)
    assert (done.done_count, done.refused_count, done.left_count) == (29, 1, 0)
    assert done.finished_at is not None
    [refused, *others] = batches.batch_items(db, number)
    assert (refused.task_id, refused.outcome) == (made[7], "refused")
    assert refused.message
    assert {item.outcome for item in others} == {"done"}
    assert failures.failure_groups(db) == []
    history = db.rows("select h.actor, h.reason from tasker_history h join tasker_task t using (task_no) where t.task_id = %(id)s and h.to_state = 1 and h.step_no = 0 and h.actor is not null", {"id": made[0]})
    assert history == [("ana", "the gateway is back")]


@pytest.mark.parametrize("action", ["retry", "skip", "resolve"])
def test_steps_that_would_be_refused_are_told_before_as_the_batch_tells_after(db: Database, failed: Callable[..., list[str]], conn: psycopg.Connection[Any], action: batches.BatchAction) -> None:
    made = failed(*["no answer"] * 6)
    steps.retry_step(db, made[1], "charge", actor="bob")
    steps.resolve_step(db, made[2], "charge", result=None, actor="bob")
    conn.execute("update tasker_task set cancel_requested_at = tasker_clock() where task_id = %s", [made[4]])
    conn.execute("update tasker_step s set attempts = 32767 from tasker_task t where t.task_no = s.task_no and t.task_id = %s", [made[5]])
    items: list[tuple[str, str | None]] = [(task, "charge") for task in made]
    compare(db, action, items)
    assert batches.weigh(db, action, [(made[0], "gone"), ("0198c2de-7f4e-7c1b-9d53-0a1b2c3d4e5f", "charge")]).refused == {"the step is gone": 1, "the task is gone": 1}


@pytest.mark.parametrize("action", ["retry", "cancel", "pause", "resume"])
def test_tasks_that_would_be_refused_are_told_before_as_the_batch_tells_after(db: Database, failed: Callable[..., list[str]], action: batches.BatchAction) -> None:
    made = failed(*["no answer"] * 3)
    steps.resolve_step(db, made[1], "charge", result=None, actor="bob")
    steps.retry_step(db, made[2], "charge", actor="bob")
    waiting = tasks.submit_many(db, [TaskRequest("pay", "shop", "1.0.0")] * 4)
    for task in waiting[:2]:
        tasks.pause_task(db, task, actor="bob")
    for task in waiting[1:3]:
        tasks.cancel_task(db, task, actor="bob")
    compare(db, action, [(task, None) for task in (*made, *waiting)])


def compare(db: Database, action: batches.BatchAction, items: list[tuple[str, str | None]]) -> None:
    """What is weighed before is what becomes of each."""
    before = batches.weigh(db, action, items)
    number = batches.make_batch(db, action, items, about="all of them", actor="ana")
    batches.run_due(db, GOING)
    done = batches.batch(db, number)
    assert (done.done_count, done.refused_count) == (len(before.items), sum(before.refused.values()))
    assert 0 < done.done_count < done.item_count
    assert [(item.task_id, item.step_name) for item in batches.batch_items(db, number) if item.outcome == "done"] == before.items
    told = Counter(str(item.message).replace("charge has been", "it has been") for item in batches.batch_items(db, number) if item.outcome == "refused")
    assert before.refused == told


def test_a_stopped_batch_leaves_the_rest_as_it_is(db: Database, failed: Callable[..., list[str]]) -> None:
    made = failed(*["no answer"] * 30)
    number = batches.make_batch(db, "retry", [(task, None) for task in made], about="all of them", actor="ana")
    assert db.value("select tasker_run_batches(10)") == 10

    batches.stop_batch(db, number, actor="bob")
    assert batches.run_due(db, GOING) == 0

    stopped = batches.batch(db, number)
    assert (stopped.done_count, stopped.left_count, stopped.stopped_by) == (10, 20, "bob")
    assert db.value("select count(*) from tasker_task where state = 5") == 20
    with pytest.raises(WrongState):
        batches.stop_batch(db, number, actor="bob")


def test_two_engines_take_two_batches_and_never_one_item_twice(db: Database, database_url: str, failed: Callable[..., list[str]]) -> None:
    made = failed(*["no answer"] * 40)
    numbers = [batches.make_batch(db, "retry", [(task, None) for task in half], about="half", actor="ana") for half in (made[:20], made[20:])]
    with psycopg.connect(database_url) as one, psycopg.connect(database_url, autocommit=True) as other:
        assert value(one, "select tasker_run_batches(100)") == 20
        assert value(other, "select tasker_run_batches(100)") == 20
        assert value(other, "select tasker_run_batches(100)") == 0
    assert [batches.batch(db, number).done_count for number in numbers] == [20, 20]


def test_a_batch_is_seen_by_those_who_may_see_all_of_it(db: Database, failed: Callable[..., list[str]]) -> None:
    both = [*failed("no answer"), *failed("no answer", namespace="bank")]
    number = batches.make_batch(db, "retry", [(task, None) for task in both], about="both", actor="ana")
    assert batches.batch(db, number, namespaces=frozenset({"shop", "bank", "third"})).namespaces == ("bank", "shop")
    assert batches.batches(db, namespaces=frozenset({"shop"})) == []
    with pytest.raises(NotFound):
        batches.batch(db, number, namespaces=frozenset({"shop"}))


def test_a_batch_of_nothing_or_of_too_much_is_refused(db: Database) -> None:
    for items in ([], [("00000000-0000-0000-0000-000000000000", None)] * (batches.MOST_ITEMS + 1)):
        with pytest.raises(RequestError):
            batches.make_batch(db, "retry", items, about="", actor="ana")
    with pytest.raises(NotFound):
        batches.make_batch(db, "retry", [("00000000-0000-0000-0000-000000000000", None)], about="", actor="ana")


# ---- what a later run has healed


@pytest.fixture
def run(db: Database, conn: psycopg.Connection[Any]) -> Callable[..., str]:
    """A task of one step that has ended so; its id."""
    worker = value(conn, "select tasker_register_worker('hand', 'threads', 4, array[]::int[], interval '1 hour', true)")

    def make(*, well: bool, name: str = "pay", version: str = "1.0.0", **given: Any) -> str:
        flow = Workflow(name, namespace="shop", version=version)
        flow.step(name="charge", retry_limit=1)(lambda task: None)
        definition = tasks.register_definition(db, flow.definition)
        task_id = tasks.submit(db, TaskRequest(name, "shop", version, **{"correlation_id": "order-7", "context": {"order": 7}} | given))
        number = value(conn, "select task_no from tasker_task where task_id = %s", task_id)
        conn.execute("select * from tasker_claim_steps(%s, 1, 100, array[%s])", [worker, definition])
        if well:
            conn.execute("select * from tasker_complete_batch(%s, 2, array[%s]::bigint[], '{0}', '{1}', '[null]', 0)", [worker, number])
        else:
            error = '[{"type": "Timeout", "message": "no answer", "retryable": false}]'
            conn.execute("select tasker_fail_steps(%s, array[%s]::bigint[], '{0}', '{1}', %s)", [worker, number, error])
        return task_id

    return make


def healed(db: Database) -> tuple[int, int]:
    [group] = failures.failure_groups(db, name="pay")
    return group.healed_count, group.task_count


@pytest.mark.parametrize("again", [{}, {"version": "2.0.0"}, {"correlation_id": "another", "context": {}, "tags": ("schedule:3",)}])
def test_a_failure_is_healed_by_a_later_run_of_the_same(db: Database, run: Callable[..., str], again: dict[str, Any]) -> None:
    run(well=True, **again)
    run(well=False, tags=("schedule:3", "nightly"))
    assert healed(db) == (0, 1), "what went well before heals nothing"
    run(well=False, **again)
    assert healed(db) == (0, 2)
    run(well=True, **again)
    assert healed(db) == (2, 2)
    assert failures.failure_groups(db)[0].is_healed


@pytest.mark.parametrize(
    "other", [{"name": "refund"}, {"context": {"order": 8}}, {"correlation_id": "order-8"}, {"correlation_id": "another", "context": {}, "tags": ("schedule:4", "nightly")}]
)
def test_a_failure_is_not_healed_by_a_run_of_something_else(db: Database, run: Callable[..., str], other: dict[str, Any]) -> None:
    # Forbids: of a hundred children that bear one correlation id, ninety-nine hide the one that failed.
    run(well=False, tags=("schedule:3", "nightly"))
    run(well=True, **other)
    assert healed(db) == (0, 1)
