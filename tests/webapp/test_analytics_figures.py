"""Every cell of the analytics pages is what plain SQL says of the tasks, their steps and the history: counts, means and longest exactly, percentiles to a quarter."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from shown import cells, is_near, words

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sql"))

import graphs
from graphs import Conn, Task, complete, fail, given_task, move_clock, start, task_of

from webapp.filters import percent, rate, seconds

MINUTES = 50

MOVES = "tasker_history h join tasker_task t using (task_no) join tasker_definition d using (definition_id) join tasker_template p using (definition_id, step_no)"
BEGAN = "(select max(b.at) from tasker_history b where b.task_no = h.task_no and b.step_no = h.step_no and b.to_state = 2 and b.event_id < h.event_id)"
COULD_BEGIN = """greatest(t.created_at,
  (select max(s.finished_at) from tasker_step s where s.task_no = h.task_no and s.step_no = any (p.parents)),
  (select max((b.detail ->> 'run_at')::timestamptz) from tasker_history b where b.task_no = h.task_no and b.step_no = h.step_no and b.to_state = 3 and b.event_id < h.event_id))"""
RUNS = "select d.name as workflow, d.name, extract(epoch from t.finished_at - t.started_at)::float8 as took from tasker_task t join tasker_definition d using (definition_id) where t.state = 4"
ATTEMPTS = f"select d.name as workflow, p.name, extract(epoch from h.at - {BEGAN})::float8 as took from {MOVES} where h.from_state = 2 and h.to_state = 4"
WAITS = f"select d.name as workflow, p.name, extract(epoch from h.at - {COULD_BEGIN})::float8 as took from {MOVES} where h.to_state = 2"
SPREAD = "count(*)::int, avg(took), percentile_disc(array[0.5, 0.95, 0.99]) within group (order by took), max(took)"
TROUBLES = f"""
  select p.name, count(*) filter (where h.to_state = 2), count(*) filter (where h.to_state = 3), count(*) filter (where h.to_state = 5), count(*) filter (where h.detail ->> 'type' = 'timeout'),
         count(*) filter (where h.detail ->> 'type' = 'worker_crashed'), sum(extract(epoch from h.at - {BEGAN})::float8) filter (where h.from_state = 2 and h.to_state in (3, 5, 6))
    from {MOVES} where d.name = 'flow' group by 1 having bool_or(h.to_state in (3, 5)) order by count(*) filter (where h.to_state in (3, 5)) desc
"""
PATHS = """
  with recursive path as (
    (select distinct on (t.task_no) t.task_no, t.definition_id, s.step_no, s.finished_at from tasker_task t join tasker_definition d using (definition_id) join tasker_step s using (task_no)
      where t.state = 4 and d.name = 'flow' order by t.task_no, s.finished_at desc)
    union all
    select p.task_no, p.definition_id, b.step_no, b.finished_at from path p join tasker_template m using (definition_id, step_no)
     cross join lateral (select s.step_no, s.finished_at from tasker_step s where s.task_no = p.task_no and s.step_no = any (m.parents) order by s.finished_at desc limit 1) b),
  held as (
    select m.name, extract(epoch from p.finished_at - coalesce(lag(p.finished_at) over (partition by p.task_no order by p.finished_at), t.started_at))::float8 as seconds
      from path p join tasker_task t using (task_no) join tasker_template m on m.definition_id = p.definition_id and m.step_no = p.step_no)
  select name, sum(seconds) / (select sum(seconds) from held), avg(seconds), count(*), (select count(distinct task_no) from path) from held group by 1 order by 2 desc
"""


@pytest.fixture
def begin(conn: Conn) -> datetime:
    """When an hour began in which tasks of two workflows ended in every way; waits, attempts and runs were of very different lengths, and all is counted."""
    at: datetime = graphs.value(conn, "select date_trunc('minute', now()) - interval '55 minutes'")
    move_clock(conn, seconds=(at - datetime.now(UTC)).total_seconds() + 2)
    _quick(conn)
    _flow(conn)
    assert graphs.now(conn) < at + timedelta(minutes=MINUTES)
    graphs.roll_up(conn)
    return at


def _quick(conn: Conn) -> None:
    task = given_task(conn, "only", name="quick")
    tasks = [task, *(task_of(conn, task.definition_id, task.names) for _ in range(3))]
    for each in tasks[:2]:
        graphs.cancel_task(conn, each)
    for each in tasks[2:]:
        fail(conn, each, "only")
    for wait, took in [(0.2, 0.5)] * 12 + [(1, 3)] * 5 + [(7, 12)] * 3 + [(40, 60), (240, 480)]:
        each = task_of(conn, task.definition_id, task.names)
        move_clock(conn, seconds=wait)
        start(conn, each, "only")
        move_clock(conn, seconds=took)
        complete(conn, each, "only")


def _flow(conn: Conn) -> None:
    task = given_task(conn, "fetch -> work -> report, fetch -> audit -> report", name="flow", retry_limit=9)
    for work, audit, kinds in ((60, 20, ["timeout"] * 3), (30, 75, ["worker_crashed"] * 2), (150, 10, ["ValueError"])):
        move_clock(conn, seconds=audit / 5)
        start(conn, task, "fetch")
        move_clock(conn, seconds=work / 10)
        complete(conn, task, "fetch")
        _try(conn, task, kinds)
        move_clock(conn, seconds=work / 20)
        start(conn, task, "work")
        start(conn, task, "audit")
        _in_turn(conn, task, work=work, audit=audit)
        move_clock(conn, seconds=audit / 2)
        start(conn, task, "report")
        move_clock(conn, seconds=work / 6)
        complete(conn, task, "report")
        task = task_of(conn, task.definition_id, task.names)
    complete(conn, task, "fetch", "audit")
    fail(conn, task, "work")


def _try(conn: Conn, task: Task, kinds: list[str]) -> None:
    for kind in kinds:
        start(conn, task, "work")
        move_clock(conn, seconds=7)
        fail(conn, task, "work", retryable=True, delay=1, type=kind)
        move_clock(conn, seconds=3)


def _in_turn(conn: Conn, task: Task, **lengths: float) -> None:
    passed = 0.0
    for name, length in sorted(lengths.items(), key=lambda each: each[1]):
        move_clock(conn, seconds=length - passed)
        complete(conn, task, name)
        passed = length


def assert_spread(shown: list[str], true: tuple[Any, ...]) -> None:
    """Count, mean, two or three percentiles, longest."""
    count, mean, percentiles, longest = true
    assert (shown[0], shown[1], shown[-1]) == (str(count), seconds(mean), seconds(longest))
    assert_percentiles(shown[2:-1], percentiles)


def assert_percentiles(shown: list[str], percentiles: list[float]) -> None:
    for said, exact in zip(shown, percentiles, strict=False):
        assert is_near(said, exact), (shown, percentiles)


def rows(conn: Conn, query: str) -> list[tuple[Any, ...]]:
    return conn.execute(query.encode()).fetchall()


def test_every_figure_of_performance_is_what_plain_sql_finds(client: FlaskClient, begin: datetime, conn: Conn) -> None:
    page = client.get(f"/analytics?from={begin:%Y-%m-%dT%H:%M}Z&to={begin + timedelta(minutes=MINUTES):%Y-%m-%dT%H:%M}Z").text
    [(ended, completed, cancelled, failed)] = rows(conn, "select count(*), count(*) filter (where state = 4), count(*) filter (where state = 6), count(*) filter (where state = 5) from tasker_task")
    [(took, *_)] = rows(conn, f"select {SPREAD} from ({RUNS}) x")
    boxes = dict(re.findall(r"<dt>([^<]+)</dt><dd><b>([^<]+)</b>", page))
    median = boxes.pop("Median run of a task")
    assert boxes == {"Tasks ended": str(ended), "Tasks per hour": rate(ended / (MINUTES / 60)), "Completed": percent(completed / ended), "Failed": percent(failed / ended)}
    assert f'<span class="aside">{completed} completed, {cancelled} cancelled, {failed} failed</span>' in page
    durations = cells(page, "How long tasks, attempts of steps and waits in the queue took")
    for shown, query in zip(durations, (RUNS, ATTEMPTS, WAITS), strict=True):
        [true] = rows(conn, f"select {SPREAD} from ({query}) x")
        assert true[2][0] * 3 < true[2][1] < true[2][2] / 2, "columns of another figure would not be told apart"
        assert_spread(shown[1:], true)
    assert took == completed
    assert median == durations[0][3]
    _assert_slots(cells(page, "What ended, by minute"), conn)
    _assert_workflows(cells(page, "How each workflow fared, the busiest first"), conn, "quick", "flow")


def _assert_slots(shown: list[list[str]], conn: Conn) -> None:
    true = rows(
        conn,
        """
        select to_char(date_trunc('minute', finished_at) at time zone 'UTC', 'DD Mon HH24:MI'), count(*), count(*) filter (where state = 4), count(*) filter (where state = 5),
               count(*) filter (where state = 6), 0, percentile_disc(array[0.5, 0.95]) within group (order by extract(epoch from finished_at - started_at)::float8) filter (where state = 4)
          from tasker_task where finished_at is not null group by date_trunc('minute', finished_at) order by date_trunc('minute', finished_at)
        """,
    )
    assert [row[:6] for row in shown] == [[str(figure) for figure in row[:6]] for row in true]
    for row, (*_, percentiles) in zip(shown, true, strict=True):
        if percentiles is None:
            assert row[6:] == ["–", "–"]
        else:
            assert_percentiles(row[6:], percentiles)


def _assert_workflows(shown: list[list[str]], conn: Conn, *names: str) -> None:
    assert [row[0] for row in shown] == [f"tests/ {name} @1.0.0" for name in names]
    for row, name in zip(shown, names, strict=True):
        [(ended, completed, failed)] = rows(conn, f"select count(*)::int, count(*) filter (where t.state = 4), count(*) filter (where t.state = 5) from tasker_task t join tasker_definition d using (definition_id) where d.name = '{name}' and t.finished_at is not null")
        [true] = rows(conn, f"select {SPREAD} from ({RUNS}) x where workflow = '{name}'")
        assert row[1:4] == [str(ended), percent(completed / ended), percent(failed / ended)]
        assert_spread([str(completed), *row[4:]], true)


def test_every_figure_of_bottlenecks_is_what_plain_sql_finds(client: FlaskClient, begin: datetime, conn: Conn) -> None:
    page = client.get(f"/analytics/bottlenecks?namespace=tests&name=flow&from={begin:%Y-%m-%dT%H:%M}Z&to={begin + timedelta(minutes=MINUTES):%Y-%m-%dT%H:%M}Z").text
    paths = rows(conn, PATHS)
    assert {row[3] for row in paths} == {1, 2, 3}, "of some tasks alone"
    assert cells(page, "How much of the tasks' time each step decided") == [[name, percent(share), "", seconds(held), f"{count} /{of}"] for name, share, held, count, of in paths]
    troubles = rows(conn, TROUBLES)
    assert len(set(troubles[0][1:6])) == 5, "columns of another figure would not be told apart"
    assert cells(page, "Steps whose attempts failed most often") == [[name, "tests/ flow @1.0.0", *map(str, counts), seconds(lost)] for name, *counts, lost in troubles]
    for caption, query in (("The slowest steps", ATTEMPTS), ("The steps that waited longest for an engine", WAITS)):
        spreads = rows(conn, f"select name, {SPREAD} from ({query}) x where workflow = 'flow' group by name order by avg(took) desc")
        shown = cells(page, caption)
        assert [row[:2] for row in shown] == [[row[0], "tests/ flow @1.0.0"] for row in spreads]
        for row, (_, *true) in zip(shown, spreads, strict=True):
            assert_spread(row[2:], tuple(true))
    _assert_workflows(cells(page, "The slowest workflows"), conn, "flow")
    slowest = rows(conn, "select left(t.task_id::text, 8), extract(epoch from t.finished_at - t.started_at)::float8 as took, to_char(t.finished_at at time zone 'UTC', 'DD Mon HH24:MI:SS')"
                         " from tasker_task t join tasker_definition d using (definition_id) where d.name = 'flow' and t.state = 4 order by took desc")  # fmt: skip
    listed = page.partition('id="tasks-title"')[2].partition("</ul>")[0]
    assert [words(item) for item in re.findall(r"<li>.*?</li>", listed, re.S)] == [f"{task} {seconds(took)} 1.0.0, ended {at}" for task, took, at in slowest]
