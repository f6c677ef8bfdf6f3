"""What a step usually takes, from the roll-ups, and which steps and tasks are slower: flagged on pages, and a filter of `/tasks`."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from flask.testing import FlaskClient

from engine import queries, rollups
from engine.db import Database
from engine.measures.usual import usual_steps

Launch = Callable[..., str]
STEPS = ("validate", "charge", "reserve", "ship")


@pytest.fixture
def history(db: Database, conn: Any, launch: Launch, engine: Any) -> list[str]:
    """Six tasks that took a minute, and each of their charges thirty seconds, all counted."""
    made = [launch(number) for number in range(1, 7)]
    for task_id in made:
        engine.complete(task_id, *STEPS)
    # the history of before is written anew: its attempts of charge began half a minute earlier
    conn.execute("update tasker_history set at = at - interval '30 seconds' where step_no = 1 and to_state = 2")
    conn.execute("update tasker_step set started_at = finished_at - interval '30 seconds' where step_no = 1")
    conn.execute("update tasker_task set started_at = finished_at - interval '1 minute'")
    assert rollups.catch_up(db)
    return made


def test_what_a_step_usually_takes_is_what_its_completed_attempts_took(db: Database, history: list[str]) -> None:
    definition = queries.task(db, history[0]).definition_id
    usual = usual_steps(db, definition)
    count, median, longest = db.rows(
        """
        select count(*), percentile_cont(0.5) within group (order by x.took)::float8, max(x.took)::float8
          from (select extract(epoch from h.at - lag(h.at) over (partition by h.task_no order by h.event_id)) as took, h.to_state
                  from tasker_history h where h.step_no = 1) x where x.to_state = 4
        """
    )[0]
    assert (usual[1].count, usual[1].longest) == (count, longest)
    assert median / 1.3 <= (usual[1].p50 or 0) <= median * 1.3
    assert set(usual) == {0, 1, 2, 3}


def test_a_step_that_takes_longer_is_flagged_wherever_it_is_shown(db: Database, conn: Any, history: list[str], launch: Launch, engine: Any, client: FlaskClient) -> None:
    calm, slow = launch(10), launch(11)
    for task_id in (calm, slow):
        engine.complete(task_id, "validate", "reserve")
        engine.claim()
    conn.execute("update tasker_step s set started_at = s.started_at - interval '5 minutes' from tasker_task t where t.task_no = s.task_no and t.task_id = %s and s.step_no = 1", [slow])
    seen = client.get(f"/tasks/{slow}").text
    assert re.search(r"<dt>Slower than usual</dt><dd[^>]*><a [^>]*>charge</a> \d+× the usual", seen)
    late = r'<tr [^>]*data-step="charge"(?:[^<]|<(?!/tr))*class="late">\d+× the usual'
    assert re.search(late, seen)
    assert not re.search(late, client.get(f"/tasks/{calm}").text)
    alone = client.get(f"/tasks/{slow}?slower=step").text
    rows = re.findall(r'data-step="(\w+)"', alone[alone.index('id="task-steps"'):])
    assert ("charge" in rows, "ship" in rows) == (True, False)
    assert re.search(rf'<a href="[^"]*slower=step[^"]*" aria-current="true"><span class="late">Slower than usual</span> {len(rows)}</a>', alone)
    assert "slower=step" in seen
    files = re.findall(r'href="([^"]+)" download', alone[alone.index('id="task-steps"'):])
    names = [line.split(",")[0] for line in client.get(unescape(files[0])).text.splitlines()]
    assert names == ["name", *rows], "the file has the rows of the table that is shown"
    calm_rows = client.get(f"/tasks/{calm}?slower=step").text.partition('id="task-steps"')[2]
    assert 'data-step="charge"' not in calm_rows
    step = client.get(f"/tasks/{slow}/steps/charge").text
    assert "of 6 attempts that completed" in step
    assert "× the usual" in step
    assert "× the usual" not in client.get(f"/tasks/{calm}/steps/charge").text


def test_slower_tasks_are_those_that_the_list_flags(db: Database, conn: Any, history: list[str], launch: Launch, engine: Any, client: FlaskClient) -> None:
    slow, _, paused, _ = (launch(number) for number in range(10, 14))
    engine.claim()
    conn.execute("update tasker_task set started_at = started_at - interval '10 minutes' where task_id = any(%s)", [[slow, paused]])
    conn.execute("update tasker_task set paused = true where task_id = %s", [paused])
    found = client.get("/tasks?slower=yes")
    plain = db.rows(
        """
        with usual as (select percentile_cont(0.95) within group (order by extract(epoch from finished_at - started_at)) as p95 from tasker_task where state = 4)
        select t.task_id::text from tasker_task t cross join usual
         where extract(epoch from coalesce(t.finished_at, tasker_clock()) - t.started_at) > usual.p95 and not t.paused order by t.task_no desc
        """
    )
    shown = re.findall(r'class="id" href="/tasks/([0-9a-f-]{36})"', found.text)
    assert shown == [row[0] for row in plain]
    assert slow in shown
    rows = re.findall(r"<tr>.*?</tr>", client.get("/tasks").text, re.S)
    flagged = [re.findall(r"/tasks/([0-9a-f-]{36})", row)[0] for row in rows if "the usual" in row or "longer than usual" in row]
    assert flagged == shown
    assert "10× the usual" in found.text
    assert client.get("/tasks?slower=yes&version=9.9.9").text.count("× the usual") == 0
    assert "It is yes, or left out." in client.get("/tasks?slower=no").text
