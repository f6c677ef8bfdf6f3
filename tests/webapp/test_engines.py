"""`/engines`: who executes, what each runs now, what waits for them and what nobody can run. `/steps`: the same steps one by one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import psycopg
from flask.testing import FlaskClient

from engine import tasks
from engine.db import Database
from engine.definition import TaskDefinition
from engine.handlers import Workflow
from engine.measures import standing
from engine.requests import TaskRequest
from webapp import engines, waiting

Launch = Callable[..., str]
Conn = psycopg.Connection[Any]


def queue_rows(client: FlaskClient) -> list[list[str]]:
    """The table of queues, as the words in its cells; the total of a namespace stands before its versions."""
    table = client.get("/engines").text.partition('<table class="queues">')[2].partition("</table>")[0]
    rows = re.findall(r"<tr.*?</tr>", table.partition("</thead>")[2], re.DOTALL)
    return [["".join(re.sub(r"<[^>]+>", "", cell).split()) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)] for row in rows]


def steps(client: FlaskClient, queue: str) -> list[tuple[str, str]]:
    """The task and the step of each row of a queue."""
    found = client.get("/steps", query_string={"queue": queue}).text
    return re.findall(r'<th scope="row"><a href="/tasks/([^/]+)/steps/([^"]+)">', found)


def test_without_an_engine_the_page_says_what_to_start(client: FlaskClient) -> None:
    page = client.get("/engines").text
    assert "No engine has been seen" in page
    assert "Nothing waits and nothing runs." in page


def test_a_living_engine_shows_what_it_serves(client: FlaskClient, engine: Any) -> None:
    page = client.get("/engines").text
    assert "Alive" in page
    assert "test engine" in page
    assert "shop/process_order@1.0.0" in page
    assert "Nothing now." in page


def test_an_engine_says_how_the_cluster_fares_that_runs_its_handlers(client: FlaskClient, engine: Any, conn: Conn) -> None:
    def shown(**cluster: Any) -> str:
        conn.execute("update tasker_worker set figures = jsonb_build_object('cluster', %s::jsonb)", [json.dumps(cluster)])
        return client.get("/engines", headers={"HX-Request": "true"}).text

    assert "Runs on" not in client.get("/engines").text
    fine = shown(state="connected", at="tcp://10.0.0.1:8786", said="", workers=2, threads=8)
    assert "Connected" in fine
    assert "tcp://10.0.0.1:8786" in fine
    assert "2 workers, 8 steps at a time" in fine
    assert "In trouble" in shown(state="troubled", at="tcp://x", said="the cluster has no worker", workers=0, threads=0)
    away = shown(state="away", at="tcp://x", said="cannot be reached: <b>", workers=0, threads=0)
    assert "Unreachable" in away
    assert "cannot be reached: &lt;b&gt;" in away


def test_an_engine_says_why_steps_go_back(client: FlaskClient, engine: Any, conn: Conn) -> None:
    def shown(*hindrances: str) -> str:
        conn.execute("update tasker_worker set figures = jsonb_build_object('hindrances', %s::jsonb)", [json.dumps(hindrances)])
        return client.get("/engines", headers={"HX-Request": "true"}).text

    assert "Steps go back" not in client.get("/engines").text
    away = shown("the object store did not answer: <b>")
    assert "Steps go back" in away
    assert "the object store did not answer: &lt;b&gt;" in away
    assert "Steps go back" not in shown()


def test_an_engine_whose_lease_is_over_is_gone(client: FlaskClient, engine: Any, conn: Conn) -> None:
    conn.execute("update tasker_worker set lease_until = now() - interval '1 minute'")
    assert "Gone" in client.get("/engines", headers={"HX-Request": "true"}).text


def test_an_engine_shows_the_steps_it_has_in_hand(client: FlaskClient, launch: Launch, engine: Any) -> None:
    done, running = launch(), launch()
    engine.complete(done, "validate")
    engine.complete(running, "validate", "reserve")
    engine.complete(done, "reserve")
    page = client.get("/engines").text
    assert page.count('<a href="/tasks/') == 2
    for task_id in (done, running):
        assert f'<a href="/tasks/{task_id}/steps/charge">charge</a>' in page
    assert '<dd>2<span class="of">/4</span>' in page


def test_of_a_busy_engine_the_longest_running_are_shown(client: FlaskClient, launch: Launch, engine: Any, conn: Conn) -> None:
    made = [launch() for _ in range(engines.STEPS_SHOWN + 3)]
    engine.claim()
    conn.execute("update tasker_step set started_at = now() - interval '1 hour' where task_no = (select max(task_no) from tasker_task) and state = 2")
    page = client.get("/engines").text
    assert page.index(made[-1]) < page.index(made[0])
    assert ">3 more</a>" in page


def test_a_step_that_came_back_to_its_engine_counts_once(client: FlaskClient, launch: Launch, engine: Any) -> None:
    task_id = launch()
    engine.fail(task_id, "validate", retryable=True, delay=0)
    engine.claim()
    assert '<dd>1<span class="of">/4</span>' in client.get("/engines").text
    assert steps(client, "running") == [(task_id, "validate")]


def test_the_queues_say_what_the_tables_say(
    client: FlaskClient, db: Database, launch: Launch, engine: Any, conn: Conn, order_workflow: Callable[[str], TaskDefinition]
) -> None:
    engine.complete(launch(), "validate")
    engine.fail(launch(), "validate", retryable=True, delay=600)
    engine.claim()
    tasks.register_definition(db, order_workflow("2.0.0"))
    for version in ("1.0.0", "1.0.0", "2.0.0"):
        launch(version=version, priority=3 if version == "2.0.0" else 0)
    conn.execute("update tasker_ready set rank = rank - interval '5 minutes'")
    query = """
        select d.version, count(*) filter (where s.state = 1), count(*) filter (where s.state = 3), count(*) filter (where s.state = 2)
          from tasker_step s join tasker_definition d using (definition_id) group by 1"""
    expected = {version: [str(number) for number in numbers] for version, *numbers in conn.execute(query).fetchall()}
    total, *rows = queue_rows(client)
    assert [row[0] for row in rows] == ["shop/process_order@2.0.0", "shop/process_order@1.0.0"]
    for row in rows:
        assert [row[1], row[3], row[4]] == expected[row[0].partition("@")[2]]
    assert expected == {"1.0.0": ["2", "1", "2"], "2.0.0": ["1", "0", "0"]}
    assert [row[5] for row in rows] == ["none", "1"]
    assert (total[0], total[1], total[3], total[4]) == ("shop", "3", "1", "2")
    # its place in the queue is three minutes ahead of its time, but it has waited for five minutes and no longer
    assert all(row[2].startswith("5min") for row in rows)


def test_what_nobody_can_run_is_told(client: FlaskClient, launch: Launch, engine: Any, conn: Conn) -> None:
    launch()
    assert "Nobody can run" not in client.get("/engines").text
    conn.execute("update tasker_worker set draining = true")
    page = client.get("/engines").text
    assert "Nobody can run 1 ready step." in page
    assert "Draining" in page


def test_a_step_whose_labels_no_engine_has_is_told_of_as_its_own_page_does(client: FlaskClient, db: Database, conn: Conn, engine: Any) -> None:
    flow = Workflow("render", namespace="shop")
    flow.step(name="draw", needs="gpu")(lambda task: None)
    flow.step(name="print")(lambda task: None)
    known = tasks.register_definition(db, flow.definition)
    engine.definitions.append(known)
    conn.execute("update tasker_worker set definitions = definitions || %s", [known])
    task_id = tasks.submit(db, TaskRequest("render", "shop"))
    engine.claim()
    tasks.submit(db, TaskRequest("render", "shop"))
    conn.execute("select tasker_admit_steps(%s, 100)", [engine.definitions])

    needed = "an engine with the label gpu; none is running now"
    assert needed in client.get(f"/tasks/{task_id}/steps/draw").text
    ready = client.get("/steps?queue=ready").text
    assert (ready.count(needed), ready.count("a free place in an engine")) == (2, 1)
    page = client.get("/engines").text
    assert "Nobody can run 2 ready steps." in page
    assert "none for 2" in page
    assert [row[1] for row in queue_rows(client)] == ["3", "3"]
    assert len(standing.stuck_tasks(db)["unserved"]) == 2

    [lane] = [row[0] for row in conn.execute("select lane from tasker_lane where definition_id = %s", [known]).fetchall()]
    conn.execute("update tasker_worker set definitions = definitions || %s", [lane])
    assert needed not in client.get("/steps?queue=ready").text
    assert "Nobody can run" not in client.get("/engines").text
    assert "unserved" not in standing.stuck_tasks(db)


def test_the_first_in_line_stands_first(client: FlaskClient, launch: Launch, engine: Any) -> None:
    usual, urgent = launch(), launch(priority=10)
    assert steps(client, "ready") == [(urgent, "validate"), (usual, "validate")]
    assert "a free place in an engine" in client.get("/steps?queue=ready").text
    engine.claim()
    assert steps(client, "ready") == []
    assert "Nothing waits for an engine." in client.get("/steps?queue=ready").text
    assert {task_id for task_id, _ in steps(client, "running")} == {usual, urgent}


def test_what_waits_for_its_time_says_for_which(client: FlaskClient, launch: Launch, engine: Any) -> None:
    retried = launch()
    engine.fail(retried, "validate", retryable=True, delay=60)
    later = launch(run_at="2999-01-01T00:00:00Z")
    assert steps(client, "delayed") == [(retried, "validate"), (later, "validate")]
    page = client.get("/steps?queue=delayed").text
    assert "attempt 2 of 2" in page
    assert "the time its task was launched for" in page


def test_a_paused_step_stands_in_no_queue(client: FlaskClient, launch: Launch, engine: Any, conn: Conn) -> None:
    conn.execute("select tasker_pause_task(%s, 'ana', null)", [launch()])
    assert steps(client, "ready") == []


def test_a_long_queue_says_how_long_it_is(client: FlaskClient, launch: Launch, monkeypatch: Any) -> None:
    monkeypatch.setattr(waiting, "SHOWN", 2)
    for _ in range(3):
        launch()
    assert "The first 2 of 3, the first in line first." in client.get("/steps?queue=ready").text


def test_an_unknown_queue_is_that_of_the_running_steps(client: FlaskClient) -> None:
    assert "<h1>Running steps</h1>" in client.get("/steps?queue=nonsense").text
    assert '<section id="waiting-steps"' in client.get("/steps", headers={"HX-Request": "true"}).text
