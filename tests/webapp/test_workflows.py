"""`/workflows`: the catalogue, a workflow, and a version with graph, settings and input."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from engine import tasks
from engine.db import Database
from engine.definition import TaskDefinition
from engine.measures import standing
from engine.schedules import add_schedule, pause_schedule
from engine.timing import cron, every
from webapp import workflows
from webapp.graph import net
from webapp.graph.pictures import laid_out
from webapp.schema_table import schema_fields

Launch = Callable[..., str]
Conn = psycopg.Connection[Any]


def test_an_empty_catalogue_says_how_to_fill_it(client: FlaskClient) -> None:
    assert "knows no workflow yet" in client.get("/workflows").text


@pytest.mark.usefixtures("definition_id")
def test_the_catalogue_lists_workflows_by_namespace(client: FlaskClient) -> None:
    for path in ("/workflows", "/workflows/shop"):
        page = client.get(path).text
        assert 'href="/workflows/shop/process_order"' in page
        assert "From payment to courier." in page


def test_a_workflow_shows_its_tasks(client: FlaskClient, launch: Callable[..., str]) -> None:
    task_id = launch()
    assert f'href="/tasks/{task_id}"' in client.get("/workflows/shop/process_order").text


def test_a_workflow_shows_when_it_runs_by_itself(client: FlaskClient, db: Database, definition_id: int) -> None:
    assert "Runs by itself" not in client.get("/workflows/shop/process_order").text
    nightly = add_schedule(db, cron("30 2 * * *"), name="process_order", namespace="shop", context={"order_id": 7})
    resting = add_schedule(db, every(timedelta(hours=6)), name="process_order", namespace="shop", context={"order_id": 8})
    pause_schedule(db, resting.schedule_id, actor="ana")
    page = client.get("/workflows/shop/process_order").text.split("Runs by itself")[1].split("</section>")[0]
    assert page.count('</a> <span class="') == 2
    assert f'<a href="/schedules#schedule-{nightly.schedule_id}">{nightly.timing.words()}</a>' in page
    assert f'<a href="/schedules#schedule-{resting.schedule_id}">{resting.timing.words()}</a>' in page
    assert (page.count(" in "), page.count('<span class="tag">paused</span>')) == (1, 1)


@pytest.mark.usefixtures("definition_id")
def test_a_version_shows_graph_settings_and_input(client: FlaskClient) -> None:
    page = client.get("/workflows/shop/process_order/1.0.0").text
    assert page.count('class="node"') == 4
    assert 'data-step="reserve"' in page
    assert "2 attempts" in page
    assert "30 s" in page
    assert "The shop&#39;s own number" in page
    assert "one of normal, high" in page


@pytest.mark.usefixtures("definition_id")
def test_unknown_names_are_not_found(client: FlaskClient) -> None:
    for path in ("/workflows/nowhere", "/workflows/shop/nothing", "/workflows/shop/process_order/9.9.9"):
        assert client.get(path).status_code == 404


@pytest.mark.usefixtures("definition_id")
def test_an_unknown_version_is_told_the_versions_there_are(client: FlaskClient) -> None:
    assert "1.0.0" in client.get("/workflows/shop/process_order/9.9.9").text


def test_a_namespace_without_workflows_is_still_a_page(client: FlaskClient, db: Database) -> None:
    db.rows("insert into tasker_namespace (namespace) values ('empty') returning 1")
    assert client.get("/workflows/empty").status_code == 200


def test_a_workflow_with_only_a_prerelease_has_pages(
    client: FlaskClient, db: Database, order_workflow: Callable[[str], TaskDefinition]
) -> None:
    tasks.register_definition(db, order_workflow("2.0.0-rc.1"))
    page = client.get("/workflows/shop/process_order")
    assert page.status_code == 200
    assert "Launch 2.0.0-rc.1" in page.text


def test_a_prerelease_is_launched_by_no_button_beside_a_release(client: FlaskClient, db: Database, order_workflow: Callable[[str], TaskDefinition]) -> None:
    for version in ("1.9.0", "1.10.0", "2.0.0-rc.1"):
        tasks.register_definition(db, order_workflow(version))
    for path in ("/workflows", "/workflows/shop"):
        assert re.findall(r'href="/workflows/shop/process_order/([^"/]+)/launch"', client.get(path).text) == ["1.10.0"], path
    assert re.findall(r'class="button main" href="/workflows/shop/process_order/([^"/]+)/launch"', client.get("/workflows/shop/process_order").text) == ["1.10.0"]


def test_nested_fields_stand_under_the_one_they_belong_to() -> None:
    schema = {
        "properties": {
            "lines": {"type": "array", "items": {"properties": {"sku": {"type": "string"}}, "required": ["sku"]}}
        }
    }
    fields = schema_fields(schema)
    assert [(field.name, field.depth, field.required) for field in fields] == [("lines", 0, False), ("sku", 1, True)]


def test_a_schema_of_odd_parts_is_shown_all_the_same() -> None:
    fields = schema_fields(
        {"properties": {"any": True, "either": {"oneOf": [{}, {}]}, "both": {"type": ["string", "null"]}}}
    )
    assert [field.type for field in fields] == ["any", "any of several", "string or null"]


@pytest.mark.usefixtures("definition_id")
def test_a_version_of_very_many_steps_is_shown_as_a_table_only(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflows, "TABLE_ONLY_ABOVE", 3)
    page = client.get("/workflows/shop/process_order/1.0.0").text
    assert "4 steps are too many to draw; the table has them all." in page
    assert 'id="graph-drawing"' not in page
    assert 'id="step-3"' in page


def test_what_is_too_tangled_to_draw_is_shown_without_a_graph_everywhere(client: FlaskClient, db: Database, failed_task: str, order_workflow: Callable[[str], TaskDefinition], monkeypatch: pytest.MonkeyPatch) -> None:
    tasks.register_definition(db, order_workflow("2.0.0"))
    version, task = "/workflows/shop/process_order", f"/tasks/{failed_task}"
    drawn = (f"{version}/1.0.0", f"{version}/diff", task, f"{task}/replay", f"{task}/preview/retry", f"{task}/incident")
    assert [path for path in drawn if 'class="graph' not in client.get(path).text] == []
    laid_out.cache_clear()
    monkeypatch.setattr(net, "MOST_PASSES", -1)
    answers = {path: client.get(path) for path in drawn}
    assert [path for path, answer in answers.items() if answer.status_code != 200 or 'class="graph"' in answer.text] == []
    assert all("4 steps are too many to draw; the table has them all." in answers[path].text for path in (f"{version}/1.0.0", task))


@pytest.fixture
def history(launch: Launch, engine: Any, conn: Conn) -> list[str]:
    """Seven ended tasks, the oldest first: completed after 10, 20, 30, 40 and 100 s, then one that failed and one that was cancelled."""
    made = []
    for took in (10, 20, 30, 40, 100):
        made.append(launch())
        engine.complete(made[-1], "validate", "charge", "reserve", "ship")
        conn.execute("update tasker_task set started_at = finished_at - %s * interval '1 second' where task_id = %s", [took, made[-1]])
    made.append(launch())
    engine.complete(made[-1], "validate", "reserve")
    engine.fail(made[-1], "charge")
    made.append(launch())
    conn.execute("select tasker_cancel_task(%s, 'ana', null)", [made[-1]])
    launch()
    return made


def cells(page: str, table: str) -> list[list[str]]:
    """The rows of the table of this class, as the words in their cells."""
    body = page.partition(f'<table class="{table}">')[2].partition("</table>")[0].partition("<tbody>")[2]
    rows = re.findall(r"<tr.*?</tr>", body, re.DOTALL)
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)] for row in rows]


def test_a_version_is_judged_by_what_the_tables_say(client: FlaskClient, history: list[str], conn: Conn) -> None:
    query = """
        select count(*) filter (where state = 4)::float / count(*) filter (where state in (4, 5)),
               percentile_cont(0.5) within group (order by finished_at - started_at) filter (where state = 4),
               percentile_cont(0.95) within group (order by finished_at - started_at) filter (where state = 4), count(*)
          from tasker_task where finished_at is not null"""
    [(rate, median, p95, ended)] = conn.execute(query).fetchall()
    [row] = cells(client.get("/workflows/shop/process_order").text, "versions-table")
    assert row[0] == "1.0.0"
    assert (row[2], row[4], row[5]) == (f"{rate:.0%}".replace("%", " %"), f"{median.seconds} s", "1 min 28 s")
    assert (row[2], median.seconds, round(p95.total_seconds())) == ("83 %", 30, 88)
    assert row[3].startswith(f"{ended} tasks since")
    assert row[6:9] == ["1", "1", "4"]


def test_the_strip_shows_the_latest_outcomes_as_links(client: FlaskClient, history: list[str]) -> None:
    for path in ("/workflows", "/workflows/shop", "/workflows/shop/process_order", "/workflows/shop/process_order/1.0.0"):
        strip = client.get(path).text.partition('<ul class="strip"')[2].partition("</ul>")[0]
        marks = re.findall(r'class="state-(\w+)" href="/tasks/([^"]+)" title="(\w+)', strip)
        assert [mark[1] for mark in marks] == history[::-1], path
        assert [mark[0] for mark in marks] == ["cancelled", "failed", *["completed"] * 5]
        assert [mark[2] for mark in marks] == ["Cancelled", "Failed", *["Completed"] * 5]


def test_a_record_is_taken_over_the_newest_tasks_alone(db: Database, history: list[str]) -> None:
    [record] = standing.records(db, namespace="shop", name="process_order", runs=4)
    assert (record.ended_count, record.completed_count, record.failed_count, record.median) == (4, 2, 1, 70.0)
    assert len(record.strip) == 4


def test_versions_stand_side_by_side_the_newest_first(
    client: FlaskClient, db: Database, history: list[str], launch: Launch, engine: Any, order_workflow: Callable[[str], TaskDefinition]
) -> None:
    engine.definitions.append(tasks.register_definition(db, order_workflow("10.0.0")))
    engine.complete(launch(version="10.0.0"), "validate", "charge", "reserve", "ship")
    rows = cells(client.get("/workflows/shop/process_order").text, "versions-table")
    assert [(row[0], row[2]) for row in rows] == [("10.0.0", "100 %"), ("1.0.0", "83 %")]
    catalogue = cells(client.get("/workflows").text, "workflows")
    assert catalogue[0][:2] == ["process_order", "10.0.0 1.0.0"]
    assert (catalogue[0][4], catalogue[0][6:9]) == ("100 %", ["1", "1", "9"])


def test_a_namespace_tells_its_health(client: FlaskClient, db: Database, history: list[str], conn: Conn) -> None:
    conn.execute("update tasker_namespace set description = 'All that is sold.'")
    for path in ("/workflows", "/workflows/shop"):
        page = client.get(path).text
        assert "All that is sold." in page
        assert "1 failed</a>" in page
        assert "1 open · 1 workflow, 1 version · tasks kept for ever" in page
