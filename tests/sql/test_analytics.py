"""`engine.measures.analytics`: every figure is what plain SQL says of the tasks, steps and history of the same range."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import graphs
import pytest
from graphs import Conn, complete, fail, given_task, move_clock, roll_up, task_of, value

from engine.db import Database
from engine.errors import NotFound
from engine.measures import analytics, critical_shares, spans
from engine.measures.figures import Performance, Scope, StepFigures
from engine.measures.quantiles import LIMITS, Spread
from engine.measures.spans import Range

TO_A_BIN = 1.28


@pytest.fixture
def reader(database_url: str) -> Iterator[Callable[[Conn], Database]]:
    """Opens the engine's way to the database at the time of a connection's clock."""
    with ExitStack() as stack:

        def at_the_time_of(conn: Conn) -> Database:
            ahead = value(conn, "select coalesce(nullif(current_setting('tasker.clock_offset', true), ''), '0')")
            db = Database(database_url, options=f"-c tasker.clock_offset={ahead.replace(' seconds', 's')}")
            stack.callback(db.close)
            return db

        yield at_the_time_of


def figures_by_hand(conn: Conn, asked: Range) -> dict[str, int]:
    rows = conn.execute(
        "select tasker_state_name(state) || '_count', count(*)::int from tasker_task where finished_at >= %s and finished_at < %s group by 1", [asked.from_at, asked.to_at]
    ).fetchall()
    return dict(rows)


ATTEMPTS = """
  select extract(epoch from e.at - (select max(b.at) from tasker_history b
           where b.task_no = e.task_no and b.step_no = e.step_no and b.to_state = 2 and b.attempt = e.attempt and b.event_id < e.event_id))::float8 as took
    from tasker_history e where e.step_no is not null and e.from_state = 2 and e.to_state = 4 and e.at >= %s and e.at < %s
"""
WAITS = """
  select extract(epoch from h.at - greatest(t.created_at,
           (select max(s.finished_at) from tasker_step s where s.task_no = h.task_no and s.step_no = any (p.parents)),
           (select coalesce((b.detail ->> 'run_at')::timestamptz, b.at) from tasker_history b
             where b.task_no = h.task_no and b.step_no = h.step_no and b.event_id < h.event_id order by b.event_id desc limit 1)))::float8 as took
    from tasker_history h join tasker_task t using (task_no) join tasker_template p using (definition_id, step_no) where h.to_state = 2 and h.at >= %s and h.at < %s
"""
RUNS = "select extract(epoch from t.finished_at - t.started_at)::float8 as took from tasker_task t where t.state = 4 and t.finished_at >= %s and t.finished_at < %s"


def assert_spread(conn: Conn, told: Spread, query: str, asked: Range) -> None:
    """Number, mean and longest are exact; a percentile lies in the bin of the true one."""
    summed = f"select count(*)::int, avg(took), max(took), percentile_disc(array[0.5, 0.95, 0.99]) within group (order by took) from ({query}) x"
    row = conn.execute(summed.encode(), [asked.from_at, asked.to_at]).fetchone()
    assert row is not None
    count, mean, longest, percentiles = row
    assert told.count == count
    if not count:
        assert (told.mean, told.p50, told.p95, told.p99, told.longest) == (None,) * 5
        return
    assert told.mean == pytest.approx(mean)
    assert told.longest == pytest.approx(longest)
    for said, true in zip((told.p50, told.p95, told.p99), percentiles, strict=True):
        assert said is not None
        assert max(true, 0.001) / TO_A_BIN <= max(said, 0.001) <= max(true, 0.001) * TO_A_BIN


def assert_told(conn: Conn, told: Performance, asked: Range) -> None:
    by_hand = figures_by_hand(conn, asked)
    ends = told.ends
    assert {key: number for key in ("completed_count", "failed_count", "cancelled_count", "resolved_count") if (number := getattr(ends, key))} == by_hand
    assert ends.ended_count == sum(by_hand.values())
    if ends.ended_count:
        assert ends.completion_rate == by_hand.get("completed_count", 0) / ends.ended_count
        assert ends.error_rate == by_hand.get("failed_count", 0) / ends.ended_count
    assert_spread(conn, told.task, RUNS, asked)
    assert_spread(conn, told.step, ATTEMPTS, asked)
    assert_spread(conn, told.queue, WAITS, asked)
    assert sum(slot.ends.ended_count for slot in told.slots) == ends.ended_count
    for slot in told.slots:
        part = Range(max(slot.begins_at, asked.from_at), min(slot.begins_at + asked.slot, asked.to_at), asked.slot, ())
        assert slot.ends.ended_count == sum(figures_by_hand(conn, part).values())
        if slot.ends.ended_count:
            assert_spread(conn, slot.took, RUNS, part)
    assert sum(row.ends.ended_count for row in told.workflows) == ends.ended_count


def test_every_figure_of_any_range_is_what_the_rows_say(conn: Conn, reader: Callable[[Conn], Database]) -> None:
    once_only(conn)
    move_clock(conn, hours=20)
    once_only(conn)
    roll_up(conn)
    db = reader(conn)
    now = analytics.now(db)
    ranges = [spans.last(length, now) for length in spans.PERIODS.values()]
    ranges += [spans.between(now - timedelta(hours=hours), now - timedelta(hours=hours / 3), now) for hours in (3, 26, 31.7)]
    for asked in ranges:
        assert_told(conn, analytics.performance(db, Scope(), asked), asked)
    assert analytics.performance(db, Scope(), ranges[2]).ends.ended_count > 0
    assert analytics.performance(db, Scope(), ranges[3]).tasks_per_hour == pytest.approx(value(conn, "select count(*) from tasker_task where finished_at is not null") / (7 * 24), rel=0.02)


def once_only(conn: Conn) -> None:
    """Tasks that end in every way, some after hours. What is repaired counts as what it became; a completed one that is led back keeps its first run in the durations."""
    task = given_task(conn, "a -> b, a -> c", retry_limit=2)
    for seconds in (0.4, 3, 60, 2000):
        complete(conn, task, "a")
        fail(conn, task, "b", retryable=True)
        move_clock(conn, seconds=seconds + 120)
        complete(conn, task, "c", "b")
        task = task_of(conn, task.definition_id, task.names)
    for how in (lambda it: graphs.cancel_task(conn, it), lambda it: fail(conn, it, "a"), lambda it: [fail(conn, it, "a"), move_clock(conn, hours=3), graphs.skip_step(conn, it, "a"), complete(conn, it, "b", "c")]):
        how(task)
        task = task_of(conn, task.definition_id, task.names)
        move_clock(conn, minutes=61)


def test_it_is_narrowed_to_what_is_named_and_to_what_one_may_see(conn: Conn, reader: Callable[[Conn], Database]) -> None:
    for name, versions in (("one", ("1.0.0", "2.0.0")), ("two", ("1.0.0",))):
        for version in versions:
            complete(conn, given_task(conn, "a", name=name, version=version), "a")
    roll_up(conn)
    db = reader(conn)
    asked = spans.last(timedelta(hours=1), analytics.now(db))

    def ended(scope: Scope, **limits: Any) -> int:
        return analytics.performance(db, scope, asked, **limits).ends.ended_count

    assert ended(Scope()) == ended(Scope("tests")) == 3
    assert ended(Scope("tests", "one")) == 2
    assert ended(Scope("tests", "one", "2.0.0")) == 1
    assert ended(Scope(), namespaces=frozenset({"tests"})) == 3
    assert ended(Scope(), namespaces=frozenset({"other"})) == ended(Scope(), namespaces=frozenset()) == 0
    for scope, limits in ((Scope("nowhere"), {}), (Scope("tests", "none"), {}), (Scope("tests"), {"namespaces": frozenset({"other"})})):
        with pytest.raises(NotFound, match="there is no namespace"):
            ended(scope, **limits)
        with pytest.raises(NotFound):
            analytics.bottlenecks(db, scope, asked, **limits)


def test_where_nothing_happened_nothing_is_told(conn: Conn, reader: Callable[[Conn], Database]) -> None:
    db = reader(conn)
    asked = spans.last(timedelta(days=1), analytics.now(db))
    told = analytics.performance(db, Scope(), asked)
    assert (told.ends.ended_count, told.ends.completion_rate, told.ends.error_rate, told.task.p50, told.workflows) == (0, None, None, None, ())
    found = analytics.bottlenecks(db, Scope(), asked)
    assert (found.slowest_steps, found.longest_waits, found.retry_hot_spots, found.slowest_workflows, found.slowest_tasks, found.critical) == ((), (), (), (), (), None)


def test_what_is_not_counted_yet_is_said(conn: Conn, reader: Callable[[Conn], Database]) -> None:
    complete(conn, given_task(conn, "a"), "a")
    db = reader(conn)
    asked = spans.last(timedelta(hours=1), analytics.now(db))
    assert analytics.performance(db, Scope(), asked).uncounted_count == 4
    roll_up(conn)
    assert analytics.performance(db, Scope(), asked).uncounted_count == 0


# ---- bottlenecks


def named(found: tuple[StepFigures, ...]) -> list[str]:
    return [row.step_name for row in found]


def test_the_steps_that_are_slow_wait_or_fail_come_first(conn: Conn, reader: Callable[[Conn], Database]) -> None:
    task = given_task(conn, "slow -> waits -> shaky", retry_limit=5)
    graphs.start(conn, task, "slow")
    move_clock(conn, seconds=100)
    complete(conn, task, "slow")
    move_clock(conn, seconds=300)
    complete(conn, task, "waits")
    for kind in ("timeout", "worker_crashed", "ValueError"):
        graphs.start(conn, task, "shaky")
        move_clock(conn, seconds=7)
        fail(conn, task, "shaky", retryable=True, delay=1, type=kind)
        move_clock(conn, seconds=2)
    complete(conn, task, "shaky")
    roll_up(conn)
    db = reader(conn)
    found = analytics.bottlenecks(db, Scope(), spans.last(timedelta(hours=4), analytics.now(db)))
    assert named(found.slowest_steps)[0] == "slow"
    assert named(found.longest_waits)[0] == "waits"
    assert named(found.retry_hot_spots) == ["shaky"]
    [shaky] = found.retry_hot_spots
    assert (shaky.retry_count, shaky.failed_count, shaky.timeout_count, shaky.crash_count, shaky.start_count) == (3, 0, 1, 1, 4)
    assert 21 <= shaky.failed_seconds < 27
    slow = found.slowest_steps[0]
    assert slow.took.count == 1
    assert slow.took.mean == pytest.approx(value(conn, "select extract(epoch from finished_at - started_at)::float8 from tasker_step where step_no = 0"))
    assert found.longest_waits[0].waited.mean == pytest.approx(
        value(conn, "select extract(epoch from b.started_at - a.finished_at)::float8 from tasker_step a join tasker_step b using (task_no) where a.step_no = 0 and b.step_no = 1")
    )
    assert [(row.ends.ended_count, row.took.count) for row in found.slowest_workflows] == [(1, 1)]


def test_the_step_that_would_shorten_a_workflow_comes_first(conn: Conn, reader: Callable[[Conn], Database]) -> None:
    # b holds the task up for 50 s each, c beside it never does, d for 5 s
    task = given_task(conn, "a -> b -> d, a -> c -> d", name="flow")
    runs = [task, *(task_of(conn, task.definition_id, task.names) for _ in range(2))]
    for run in runs:
        complete(conn, run, "a")
        graphs.start(conn, run, "b")
        complete(conn, run, "c")
        move_clock(conn, seconds=50)
        complete(conn, run, "b")
        graphs.start(conn, run, "d")
        move_clock(conn, seconds=5)
        complete(conn, run, "d")
    roll_up(conn)
    db = reader(conn)
    asked = spans.last(timedelta(hours=1), analytics.now(db))
    found = analytics.bottlenecks(db, Scope("tests", "flow"), asked)
    assert found.critical is not None
    shares = {one.step_name: one for one in found.critical.shares}
    assert [one.step_name for one in found.critical.shares][:2] == ["b", "d"]
    assert "c" not in shares
    assert (found.critical.task_count, shares["b"].task_count) == (3, 3)
    assert shares["b"].mean_seconds == pytest.approx(
        value(conn, "select avg(extract(epoch from b.finished_at - a.finished_at))::float8 from tasker_step a join tasker_step b using (task_no) where a.step_no = 0 and b.step_no = 1")
    )
    assert sum(one.share for one in shares.values()) == pytest.approx(1, abs=0.001)
    by_hand = conn.execute("select task_id::text, extract(epoch from finished_at - started_at)::float8 from tasker_task order by 2 desc").fetchall()
    assert [(one.task_id, pytest.approx(one.took_seconds)) for one in found.slowest_tasks] == by_hand
    assert analytics.bottlenecks(db, Scope("tests"), asked).critical is None


def test_the_tasks_of_a_past_range_are_found_behind_any_number_of_newer_ones(conn: Conn, reader: Callable[[Conn], Database], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(critical_shares, "RUNS_LOOKED_AT", 2)
    task = given_task(conn, "a", name="busy")
    past = [task, task_of(conn, task.definition_id, task.names)]
    for run in past:
        complete(conn, run, "a")
    begin = graphs.now(conn)
    move_clock(conn, hours=30)
    for _ in range(3):
        complete(conn, task_of(conn, task.definition_id, task.names), "a")
    roll_up(conn)
    db = reader(conn)
    asked = spans.between(begin - timedelta(hours=1), begin + timedelta(hours=1), analytics.now(db))
    found = analytics.bottlenecks(db, Scope("tests", "busy"), asked)
    assert {one.task_id for one in found.slowest_tasks} == {run.id for run in past}
    assert found.critical is not None
    assert found.critical.task_count == 2
    assert len(analytics.bottlenecks(db, Scope("tests", "busy"), spans.last(timedelta(hours=4), analytics.now(db))).slowest_tasks) == 2


def test_the_limits_of_bins_are_the_same_on_both_sides(conn: Conn) -> None:
    assert pytest.approx(value(conn, "select tasker_bin_limits()")) == LIMITS


def test_a_range_is_cut_into_few_spans_that_cover_it_once(conn: Conn) -> None:
    now = graphs.now(conn)
    for length in (*spans.PERIODS.values(), timedelta(seconds=1), timedelta(days=399, hours=7), timedelta(days=2000)):
        for asked in (spans.last(length, now), spans.between(now - length, now - length / 2, now)):
            pieces = sorted(asked.pieces, key=lambda piece: piece.from_at)
            assert pieces[0].from_at == asked.from_at
            assert pieces[-1].to_at == asked.to_at or pieces[-1].to_at > asked.to_at >= now
            assert all(one.to_at == other.from_at for one, other in itertools.pairwise(pieces))
            assert all(spans.floor(piece.from_at, spans.LENGTHS[piece.grain]) == piece.from_at for piece in pieces)
            assert sum((piece.to_at - piece.from_at) / spans.LENGTHS[piece.grain] for piece in pieces) < 2200
            assert len(asked.slots) <= dict(spans.SLOTS)[asked.slot] + 1
