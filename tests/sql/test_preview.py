"""`tasker_preview` and `tasker_act`: what an action would do is told before, and then it does that or nothing."""

import itertools
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import graphs
import psycopg
import pytest
from graphs import (
    Conn,
    Effect,
    Task,
    act,
    cancel_step,
    claim,
    complete,
    expand,
    fail,
    given_task,
    pause_task,
    preview,
    refused,
    retry_downstream,
    retry_step,
    start,
    states,
    value,
)
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from test_histories import Histories, Model

TASK, STEP = False, True
AT_FIRST = [("cancel", TASK), ("cancel", STEP), ("pause", TASK), ("skip", STEP), ("resolve", STEP), ("retry_downstream", STEP)]
WHEN_FAILED = [("retry", TASK), ("retry", STEP), ("resolve", STEP), ("retry_downstream", STEP)]
WHEN_PAUSED = [("resume", TASK), ("skip", STEP)]


def effects(conn: Conn, task: Task, action: str, name: str | None = None, given: Any = None) -> dict[str, str]:
    """The steps that change, by the effect on them."""
    found, _ = preview(conn, task, action, name, given)
    return {step: row.effect for step, row in found.items() if step is not None and row.effect != "kept"}


def task_effect(conn: Conn, task: Task, action: str, name: str | None = None) -> Effect:
    return preview(conn, task, action, name)[0][None]


# ---- what each action shows


def test_a_retry_resets_the_step_and_unblocks_what_waits_behind_it(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c, a -> d", retry_limit=1)
    complete(conn, task, "a", "d")
    fail(conn, task, "b")
    found, _ = preview(conn, task, "retry", "b")
    assert found == {
        "a": Effect("kept", "completed", "completed"),
        "b": Effect("reset", "failed", "ready"),
        "c": Effect("unblocked", "pending", "pending"),
        "d": Effect("kept", "completed", "completed"),
        None: Effect("reopened", "failed", "running"),
    }


def test_a_retry_of_the_task_resets_every_failed_step(conn: Conn) -> None:
    task = given_task(conn, "a, b, c", retry_limit=1)
    fail(conn, task, "a")
    fail(conn, task, "b")
    assert effects(conn, task, "retry") == {"a": "reset", "b": "reset"}


def test_a_downstream_retry_resets_the_step_and_what_has_ended_below(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> d, a -> c -> d")
    complete(conn, task, "a", "b", "c", "d")
    assert effects(conn, task, "retry_downstream", "b") == {"b": "reset", "d": "reset"}
    assert task_effect(conn, task, "retry_downstream", "b") == Effect("reopened", "completed", "running")


def test_a_downstream_retry_says_which_items_are_made_anew(conn: Conn) -> None:
    task = given_task(conn, "list -> each -> end", steps={"each": {"for_each": "list", "handler_class": "flows.work"}})
    complete(conn, task, "list", result=[1, 2])
    expand(conn, task, "each")
    complete(conn, task, "each[0]")
    assert effects(conn, task, "retry_downstream", "list") == {"list": "reset", "each[0]": "replaced", "each[1]": "replaced"}


def test_items_of_before_are_not_told_of_again(conn: Conn) -> None:
    task = given_task(conn, "list -> each", steps={"each": {"for_each": "list", "handler_class": "flows.work"}})
    complete(conn, task, "list", result=[1, 2])
    expand(conn, task, "each")
    retry_downstream(conn, task, "list")
    assert set(preview(conn, task, "cancel")[0]) == {"list", "each", None}


def test_a_cancelled_step_takes_along_what_waits_for_it(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c, d")
    assert effects(conn, task, "cancel", "b") == {"b": "cancelled", "c": "cancelled"}
    assert task_effect(conn, task, "cancel", "b") == Effect("kept", "pending", "pending")


def test_what_runs_is_asked_to_stop(conn: Conn) -> None:
    task = given_task(conn, "a -> b, c")
    start(conn, task, "a")
    assert effects(conn, task, "cancel", "a") == {"a": "stopping"}
    assert effects(conn, task, "cancel") == {"a": "stopping", "b": "cancelled", "c": "cancelled"}
    assert task_effect(conn, task, "cancel") == Effect("stopping", "running", "running")


def test_the_last_step_that_is_cancelled_ends_the_task(conn: Conn) -> None:
    task = given_task(conn, "a")
    assert task_effect(conn, task, "cancel", "a") == Effect("ended", "pending", "cancelled")


def test_a_skipped_step_unblocks_its_children_and_a_pending_one_is_marked(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> c")
    assert effects(conn, task, "skip", "a") == {"a": "skipped", "b": "unblocked"}
    assert effects(conn, task, "skip", "b") == {"b": "bypassed"}


def test_a_resolved_decision_skips_what_it_does_not_choose(conn: Conn) -> None:
    task = given_task(conn, "a -> b -> d, a -> c", steps={"a": {"decision": True, "handler_class": "flows.decide"}})
    assert effects(conn, task, "resolve", "a", ["c"]) == {"a": "resolved", "b": "skipped", "c": "unblocked", "d": "skipped"}
    assert effects(conn, task, "resolve", "a", ["b"]) == {"a": "resolved", "b": "unblocked", "c": "skipped"}


def test_a_pause_holds_what_has_not_started_and_a_resumption_releases_it(conn: Conn) -> None:
    task = given_task(conn, "a -> b, c")
    start(conn, task, "a")
    assert effects(conn, task, "pause") == {"b": "held", "c": "held"}
    pause_task(conn, task)
    assert effects(conn, task, "resume") == {"b": "released", "c": "released"}
    assert task_effect(conn, task, "resume") == Effect("released", "running", "running")


# ---- it changes nothing, and refuses as the action does


def test_a_preview_changes_nothing_and_wakes_nobody(conn: Conn, connect: Callable[..., Conn]) -> None:
    task = given_task(conn, "a -> b, c", retry_limit=1)
    fail(conn, task, "a")
    listener = connect()
    listener.execute("listen tasker_ready; listen tasker_news; listen tasker_cancel")
    with unchanged(conn):
        for action, name in (("retry", None), ("cancel", None), ("skip", "a"), ("resolve", "a"), ("cancel", "c")):
            preview(conn, task, action, name)
    assert list(listener.notifies(timeout=0.05)) == []
    assert len(claim(conn)) == 1


def test_it_refuses_what_the_action_refuses(conn: Conn) -> None:
    task = given_task(conn, "a -> b")
    complete(conn, task, "a")
    for sqlstate, action, name in (("WF002", "skip", "a"), ("WF002", "retry", None), ("WF001", "skip", "z"), ("22023", "nonsense", None), ("22023", "skip", None)):
        with refused(sqlstate):
            preview(conn, task, action, name)
        with refused(sqlstate):
            act(conn, task, action, name)
    with refused("WF001"):
        conn.execute("select * from tasker_preview(gen_random_uuid(), 'cancel')")


# ---- the token


def test_what_was_seen_is_done_and_stands_in_the_history(conn: Conn) -> None:
    task = given_task(conn, "a -> b", retry_limit=1)
    fail(conn, task, "a")
    _, seen = preview(conn, task, "skip", "a")
    assert act(conn, task, "skip", "a", seen=seen) == "skipped"
    assert states(conn, task) == {"a": "skipped", "b": "ready"}
    assert value(conn, "select reason from tasker_history where task_no = %s and to_state = 7", task.no) == "as shown"


def test_a_step_that_ran_again_meanwhile_is_another_one(conn: Conn) -> None:
    task = given_task(conn, "a -> b", retry_limit=1)
    fail(conn, task, "a")
    _, seen = preview(conn, task, "resolve", "a")
    retry_step(conn, task, "a")
    fail(conn, task, "a")
    assert_stale(conn, task, "resolve", "a", seen)


def test_a_consequence_that_is_another_one_makes_it_stale(conn: Conn) -> None:
    task = given_task(conn, "a -> c, b -> c", retry_limit=1)
    fail(conn, task, "a")
    _, seen = preview(conn, task, "skip", "a")
    complete(conn, task, "b")
    assert_stale(conn, task, "skip", "a", seen)


def test_what_the_action_leaves_alone_may_change(conn: Conn) -> None:
    task = given_task(conn, "a -> b, c -> d, e", retry_limit=1)
    fail(conn, task, "a")
    _, seen = preview(conn, task, "retry", "a")
    complete(conn, task, "c")
    assert act(conn, task, "retry", "a", seen=seen) == "ready"


def test_a_pause_makes_it_stale(conn: Conn) -> None:
    task = given_task(conn, "a, b", retry_limit=1)
    fail(conn, task, "a")
    _, seen = preview(conn, task, "retry", "a")
    pause_task(conn, task)
    assert_stale(conn, task, "retry", "a", seen)


def test_another_context_makes_it_stale(conn: Conn) -> None:
    task = given_task(conn, "a, b")
    complete(conn, task, "a", "b")
    _, seen = preview(conn, task, "retry_downstream", "a")
    retry_downstream(conn, task, "b", {"order_id": 2})
    complete(conn, task, "b")
    assert_stale(conn, task, "retry_downstream", "a", seen)


def test_a_context_of_its_own_does_not(conn: Conn) -> None:
    task = given_task(conn, "a")
    complete(conn, task, "a")
    _, seen = preview(conn, task, "retry_downstream", "a")
    assert act(conn, task, "retry_downstream", "a", {"order_id": 3}, seen) == "ready"


def test_what_moves_between_the_first_look_and_the_locks_is_noticed(conn: Conn, connect: Callable[..., Conn]) -> None:
    """The second looks while the first has not committed, waits for its locks, and must not act on what was true before."""
    task = given_task(conn, "a -> c, b -> c", retry_limit=1)
    fail(conn, task, "a")
    _, seen = preview(conn, task, "skip", "a")
    other, watcher = connect(), connect()
    with ThreadPoolExecutor(1) as second:
        with other.transaction():
            cancel_step(other, task, "b")
            late = second.submit(act, conn, task, "skip", "a", None, seen)
            while not late.done() and not value(watcher, "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s", conn.info.backend_pid):
                pass
        with refused("WF006"):
            late.result()
    assert states(conn, task) == {"a": "failed", "b": "cancelled", "c": "cancelled"}


def test_the_token_is_the_same_in_every_session(conn: Conn, connect: Callable[..., Conn]) -> None:
    task = given_task(conn, "a")
    complete(conn, task, "a")
    tokens = {preview(session, task, "retry_downstream", "a")[1] for session in (conn, connect("-c timezone=Asia/Tokyo -c datestyle=german"))}
    assert len(tokens) == 1


def assert_stale(conn: Conn, task: Task, action: str, name: str | None, seen: str) -> None:
    with unchanged(conn), refused("WF006"):
        act(conn, task, action, name, 1 if action == "resolve" else None, seen)


# ---- at any time, for every action: what is shown is what happens


class Previews(Histories):
    """Histories whose end is looked at: every action on every task is shown, done, compared and undone."""

    counts: Counter[str]

    def _compare(self) -> None:
        """That the model is right is the business of the histories' own test."""
        for model in self.models:
            model.settle()

    def teardown(self) -> None:
        """As the histories left them, then with what could run failed, then paused: so that every action has enough to act on."""
        for change, actions in ((lambda: None, AT_FIRST), (self._fail_all, WHEN_FAILED), (self._pause_all, WHEN_PAUSED)):
            change()
            with unchanged(self.conn):
                for model, (action, of_step) in itertools.product(self.models, actions):
                    self._look(model, action, of_step)
        self.counts["tasks"] += len(self.models)

    def _fail_all(self) -> None:
        self.claim(want=100, who=0)
        held = [(model, step) for model, step in self._held() if step.worker == self.workers[0]]
        for (model, step), retryable in zip(held, itertools.cycle([False, True])):
            graphs.fail_all(self.conn, [self._handle(model, step)], worker=self.workers[0], retryable=retryable)
            self._failed(model, step, retryable=retryable, delay=None)
        self._compare()

    def _pause_all(self) -> None:
        for model in self.models:
            if not (model.ended or model.paused or model.cancel_requested):
                model.paused = True
                graphs.pause_task(self.conn, model.task)

    def _step_for(self, model: Model, action: str) -> str:
        """A step that the action is likely to take: any, but the same for the same history."""
        wanted = {"retry": ("failed", "retrying"), "retry_downstream": ("completed", "failed", "skipped", "resolved", "cancelled")}
        fitting = [step.name for step in model.steps.values() if step.state in wanted.get(action, ("pending", "ready", "retrying", "failed", "running"))]
        names = fitting or list(model.steps)
        history = repr([(step.name, step.state, step.attempts) for step in model.steps.values()])
        return names[zlib.crc32(f"{action} {history}".encode()) % len(names)]

    def _look(self, model: Model, action: str, of_step: bool) -> None:
        conn, task = self.conn, model.task
        name = self._step_for(model, action) if of_step else None
        given = self._given(model, name) if action == "resolve" else None
        try:
            shown, token = preview(conn, task, action, name, given)
        except psycopg.Error as refusal:
            with refused(str(refusal.sqlstate)):
                act(conn, task, action, name, given)
            return
        before = _standing(conn, task)
        with conn.transaction(force_rollback=True):
            act(conn, task, action, name, given, token)
            after = _standing(conn, task)
        expected = {step: Effect(_effect(step, row, after[step]), row[0], after[step][0]) for step, row in before.items() if row[-1]}
        assert shown == expected
        self.counts[f"{action} {'step' if of_step else 'task'}"] += 1

    def _given(self, model: Model, name: str | None) -> list[str]:
        """A result; of a decision the first of its children."""
        step = model.steps[str(name)]
        return [child.name for child in model.children(step.name)][:1] if step.decision else ["x"]


def _standing(conn: Conn, task: Task) -> dict[str | None, tuple[Any, ...]]:
    """Name -> state, asked to stop, to be skipped, paused, blocked, present; read without the functions under test."""
    rows = conn.execute(
        """
        with recursive blocked (step_no) as (
          select c.step_no from tasker_step s, unnest(s.children) as c (step_no) where s.task_no = %(task)s and s.state = 5
          union
          select c.step_no from blocked b join tasker_step s on s.task_no = %(task)s and s.step_no = b.step_no and s.state = 0, unnest(s.children) as c (step_no)
        )
        select v.name || case when present.yes then '' else ' of before ' || s.step_no end, v.state, s.cancel_requested, s.bypass,
               s.paused, s.state = 0 and s.step_no in (table blocked), present.yes
          from tasker_step s join tasker_steps v using (task_no, step_no)
          left join tasker_step m on m.task_no = s.task_no and m.step_no = s.map_no
         cross join lateral (select coalesce(s.map_no is null or s.step_no >= m.first_item and s.step_no < m.first_item + m.item_count, false)) present (yes)
         where s.task_no = %(task)s
        union all
        select null, tasker_state_name(t.state), t.cancel_requested_at is not null, false, t.paused, false, true from tasker_task t where t.task_no = %(task)s
        """,
        {"task": task.no},
    ).fetchall()
    return _with_lost_names({row[0]: row[1:] for row in rows})


def _with_lost_names(found: dict[str | None, tuple[Any, ...]]) -> dict[str | None, tuple[Any, ...]]:
    """An item that is no longer present is still found by the name it had, unless a newer one bears it."""
    lost = {name.partition(" of before")[0]: row for name, row in found.items() if name and " of before" in name}
    return {**lost, **found}


def _effect(name: str | None, before: tuple[Any, ...], after: tuple[Any, ...]) -> str:
    """The effect by its definition, from what the tables say before and after."""
    (was, stopping, bypass, paused, blocked, _), (state, to_stopping, to_bypass, to_paused, to_blocked, present) = before, after
    if not present:
        return "replaced"
    if state != was:
        if name is None:
            return "reopened" if state in ("pending", "running") else "ended"
        return state if state in ("skipped", "resolved", "cancelled") else "unblocked" if was == "pending" else "reset"
    if to_stopping and not stopping:
        return "stopping"
    if to_bypass and not bypass:
        return "bypassed"
    if blocked and not to_blocked:
        return "unblocked"
    if paused != to_paused and (name is None or state in ("pending", "ready", "retrying")):
        return "held" if to_paused else "released"
    return "kept"


@contextmanager
def unchanged(conn: Conn) -> Iterator[None]:
    """Whatever the block does or is refused leaves every table as it was."""
    before = _contents(conn)
    try:
        yield
    finally:
        assert _contents(conn) == before


def _contents(conn: Conn) -> dict[str, Any]:
    tables = ("task", "step", "ready", "delayed", "history", "claim")
    query = " union all ".join(f"select '{table}', jsonb_agg(to_jsonb(t) order by t) from tasker_{table} t" for table in tables)
    return dict(conn.execute(query.encode()).fetchall())


@pytest.mark.long
@pytest.mark.timeout(600)
def test_what_is_shown_is_what_happens(conn: Conn) -> None:
    counts: Counter[str] = Counter()
    machine = type("PreviewsHere", (Previews,), {"conn": conn, "counts": counts})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25, derandomize=True, stateful_step_count=12, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
        ),
    )
    assert counts["tasks"] >= 50
    assert len(counts) == 1 + len({*AT_FIRST, *WHEN_FAILED, *WHEN_PAUSED})
    assert min(counts.values()) >= 10, counts
