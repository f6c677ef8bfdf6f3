"""`/metrics`: every figure is the one that plain SQL finds, whoever is asked, and nobody sees more than they may."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from sqlalchemy import text

from engine import rollups
from engine.access import accounts, tokens
from engine.db import Database
from engine.monitoring import metrics
from engine.monitoring.own_figures import Figures
from engine.schedules import add_schedule
from engine.states import FINAL_TASK
from engine.timing import every
from webapp import create_app
from webapp import metrics as page
from webapp.database import database
from webapp.models import db as read_side

LABELS = ("namespace", "name", "state", "engine", "duty", "call", "method", "status", "le")
FAR = {"REMOTE_ADDR": "192.0.2.7"}


def told(text: str) -> dict[tuple[Any, ...], float]:
    """The samples by name and the values of their labels, in the order of LABELS."""
    return {(sample.name, *(sample.labels[name] for name in LABELS if name in sample.labels)): sample.value for family in parse(text) for sample in family.samples}


@pytest.fixture
def scrape(app: Flask, client: FlaskClient, db: Database) -> Callable[[], dict[tuple[Any, ...], float]]:
    app.config["METRICS_SECONDS"] = 0

    def ask() -> dict[tuple[Any, ...], float]:
        assert rollups.catch_up(db)
        return told(client.get("/metrics").text)

    return ask


def test_counts_and_durations_are_those_of_the_history(scrape: Any, conn: psycopg.Connection[Any], launch: Any, engine: Any) -> None:
    first, second = launch(), launch(order_id=8)
    engine.complete(first, "validate", "charge", "reserve", "ship")
    engine.fail(second, "validate", retryable=True, delay=0.0)
    conn.execute("select tasker_wake_due(100)")
    engine.fail(second, "validate")
    launch(order_id=9)
    found = scrape()
    counts = conn.execute(
        """select case when h.step_no is null then 'tasker_tasks_total' else 'tasker_steps_total' end, tasker_state_name(h.to_state), count(*) from tasker_history h
            where h.from_state <> h.to_state and h.to_state not in (1, 3) group by 1, 2"""
    ).fetchall()
    assert {key: value for key, value in found.items() if key[0] in ("tasker_tasks_total", "tasker_steps_total") and value} == {
        (name, "shop", "process_order", state): count for name, state, count in counts
    }
    assert found["tasker_steps_total", "shop", "process_order", "completed"] == 4
    assert (found["tasker_step_retries_total", "shop", "process_order"], found["tasker_step_timeouts_total", "shop", "process_order"]) == (1, 0)
    attempts, queued, ended = (
        conn.execute(query).fetchone()[0]  # type: ignore[index]
        for query in (
            "select count(*) from tasker_history where step_no is not null and from_state = 2 and to_state in (3, 4, 5, 6)",
            "select count(*) from tasker_history where step_no is not null and to_state = 2",
            "select count(*) from tasker_task where finished_at is not null",
        )
    )
    assert [found[f"tasker_{name}_seconds_count", "shop", "process_order"] for name in ("step_duration", "step_queue", "task_duration")] == [attempts, queued, ended]
    query = "select extract(epoch from sum(h.at - t.started_at))::float8 from tasker_history h join tasker_task t using (task_no) where h.step_no is null and h.to_state > 2"
    took = conn.execute(query).fetchone()
    assert found["tasker_task_duration_seconds_sum", "shop", "process_order"] == pytest.approx(took[0])  # type: ignore[index]
    assert (found["tasker_open_tasks",], found["tasker_ready_steps",], found["tasker_uncounted_moves",]) == (1, 1, 0)


STANDING = {
    "open_tasks": "select count(*) from tasker_task where finished_at is null",
    "ready_steps": "select count(*) from tasker_step where state = 1",
    "delayed_steps": "select count(*) from tasker_step where state = 3",
    "overdue_schedules": "select count(*) from tasker_schedule where not paused and next_run_at < now() - interval '1 minute'",
    "schedule_runs_refused": "select sum(refused_count) from tasker_schedule",
    "schedule_runs_missed": "select sum(missed_count) from tasker_schedule",
    "step_retries_total": "select count(*) from tasker_history where step_no is not null and to_state = 3",
    "step_timeouts_total": "select count(*) from tasker_history where detail ->> 'type' = 'timeout'",
    "step_crashes_total": "select count(*) from tasker_history where detail ->> 'type' = 'worker_crashed'",
}
BEGAN = "(select max(b.at) from tasker_history b where b.task_no = h.task_no and b.step_no = h.step_no and b.to_state = 2 and b.event_id < h.event_id)"
COULD_BEGIN = "greatest(t.created_at, (select max(s.finished_at) from tasker_step s where s.task_no = h.task_no and s.step_no = any (p.parents)))"
LENGTHS = {
    "step_duration": f"select extract(epoch from h.at - {BEGAN})::float8 from tasker_history h where h.step_no is not null and h.from_state = 2",
    "step_queue": f"""select extract(epoch from h.at - {COULD_BEGIN})::float8 from tasker_history h join tasker_task t using (task_no) join tasker_template p using (definition_id, step_no)
                       where h.to_state = 2""",
}


def test_what_is_seldom_above_zero_is_told_too(client: FlaskClient, scrape: Any, conn: psycopg.Connection[Any], db: Database, launch: Any, engine: Any) -> None:
    engine.complete(launch(), "validate", "charge", "reserve", "ship")
    tried = [launch() for _ in range(3)]
    for task_id in tried:
        engine.fail(task_id, "validate", retryable=True, delay=600.0)
    conn.execute("""update tasker_history h set detail = h.detail || jsonb_build_object('type', case t.task_id::text when %s then 'worker_crashed' else 'timeout' end)
                      from tasker_task t where t.task_no = h.task_no and h.to_state = 3""", [tried[0]])  # fmt: skip
    launch()
    engine.claim()
    launch()
    launch()
    with conn.transaction():  # everything took a thousand times as long
        for table, column in (("history", "at"), ("task", "created_at"), ("task", "started_at"), ("task", "finished_at"), ("step", "started_at"), ("step", "finished_at")):
            conn.execute(f"update tasker_{table} set {column} = now() - 1000 * (now() - {column})".encode())
    conn.execute("""insert into tasker_worker (name, runner, concurrency, definitions, draining, started_at, seen_at, lease_until)
                    select kind || n, 'threads', 10 * n, '{}', kind = 'draining', now(), now() - n * interval '1 minute', now() + case kind when 'gone' then interval '-1 minute' else interval '1 hour' end
                      from (values ('draining', 1), ('draining', 2), ('gone', 3), ('gone', 4), ('gone', 5), ('gone', 6)) as w (kind, n)""")  # fmt: skip
    for _ in range(3):
        add_schedule(db, every("1h"), name="process_order", namespace="shop", context={"order_id": 7}, actor="ann")
    conn.execute("update tasker_schedule set refused_count = 20 + schedule_id, missed_count = 30 + schedule_id, next_run_at = now() - interval '2 minutes' * schedule_id, paused = schedule_id % 3 = 0")
    uncounted = told(client.get("/metrics").text)["tasker_uncounted_moves",]
    found = scrape()
    one = lambda query: conn.execute(query.encode()).fetchone()[0]  # type: ignore[index]  # noqa: E731
    true = {name: one(query) for name, query in STANDING.items()}
    assert all(true.values())
    assert {name: next(value for key, value in found.items() if key[0] == f"tasker_{name}") for name in STANDING} == true
    assert uncounted == one("select count(*) from tasker_history")
    assert [found["tasker_engines", state] for state in ("alive", "draining", "gone")] == [1, 2, 4]
    for name, concurrency, age in conn.execute("select name, concurrency, extract(epoch from now() - seen_at)::float8 from tasker_worker where lease_until > now()").fetchall():
        assert found["tasker_engine_concurrency", name] == concurrency
        assert found["tasker_engine_heartbeat_age_seconds", name] == pytest.approx(age, abs=30)
    for name, query in LENGTHS.items():
        lengths = [row[0] for row in conn.execute(query.encode()).fetchall()]
        assert found[f"tasker_{name}_seconds_sum", "shop", "process_order"] == pytest.approx(sum(lengths))
        shown = [value for key, value in found.items() if key[:3] == (f"tasker_{name}_seconds_bucket", "shop", "process_order")]
        assert shown == [sum(length < limit for length in lengths) for limit in (*page.BUCKETS, float("inf"))]


def test_a_workflow_stands_at_zero_before_anything_happens_to_it(scrape: Any, definition_id: int, launch: Any, engine: Any) -> None:
    shop = ("shop", "process_order")
    zeros = {("tasker_tasks_total", *shop, state): 0 for state in FINAL_TASK} | {(f"tasker_step_{what}_total", *shop): 0 for what in ("retries", "timeouts", "crashes")}
    of_shop = lambda: {key: value for key, value in scrape().items() if key[1:3] == shop}  # noqa: E731
    assert of_shop() == zeros
    engine.complete(launch(), "validate", "charge", "reserve", "ship")
    assert [of_shop()["tasker_tasks_total", *shop, state] for state in ("completed", "failed")] == [1, 0]
    engine.fail(launch(), "validate")
    assert of_shop()["tasker_tasks_total", *shop, "failed"] == 1


def test_a_histogram_counts_what_is_up_to_each_limit(scrape: Any, conn: psycopg.Connection[Any], launch: Any, engine: Any) -> None:
    for order_id in (1, 2, 3):
        engine.complete(launch(order_id=order_id), "validate", "charge", "reserve", "ship")
    conn.execute("update tasker_task set started_at = finished_at - interval '1 second' * (case task_no % 3 when 0 then 0.03 when 1 then 4 else 90000 end)")
    found = scrape()
    bucket = lambda limit: found["tasker_task_duration_seconds_bucket", "shop", "process_order", limit]  # noqa: E731
    assert [bucket(limit) for limit in ("0.025", "0.05", "2.5", "5.0", "10000.0", "+Inf")] == [0, 1, 1, 2, 2, 3]


def test_the_backlog_and_what_dead_engines_left_have_an_age(scrape: Any, conn: psycopg.Connection[Any], launch: Any, engine: Any) -> None:
    launch(priority=5)
    conn.execute("update tasker_ready set rank = rank - interval '40 s'")
    conn.execute("insert into tasker_worker (name, runner, concurrency, definitions, started_at, seen_at, lease_until)"
                 " values ('dead', 'threads', 1, '{}', now(), now(), now() - interval '30 s')")  # fmt: skip
    found = scrape()
    assert found["tasker_ready_steps",] == 1
    assert 40 <= found["tasker_oldest_ready_seconds",] < 400
    assert 30 <= found["tasker_oldest_expired_lease_seconds",] < 400
    assert (found["tasker_engines", "alive"], found["tasker_engines", "gone"]) == (1, 1)


def test_engines_tell_of_their_own_work_by_their_heartbeat(scrape: Any, conn: psycopg.Connection[Any], engine: Any) -> None:
    figures = Figures()
    for size in (1, 3, 400):
        figures.batch(size)
    with figures.call("complete_and_claim"):
        pass
    figures.lost_lease()
    figures.late("reap")
    written = json.dumps(figures.written(running=7, listener_seconds=1.5))
    conn.execute("select tasker_heartbeat(%s, '1 hour', '{}', false, %s)", [engine.worker, written])
    found, name = scrape(), "test engine"
    assert [found["tasker_engine_batch_size_bucket", name, limit] for limit in ("1.0", "5.0", "300.0", "+Inf")] == [1, 2, 2, 3]
    assert found["tasker_engine_batch_size_sum", name] == 404
    assert found["tasker_engine_call_seconds_count", name, "complete_and_claim"] == 1
    assert (found["tasker_engine_lease_losses_total", name], found["tasker_engine_late_duties_total", name, "reap"]) == (1, 1)
    assert (found["tasker_engine_steps_in_hand", name], found["tasker_engine_listener_silent_seconds", name]) == (7, 1.5)


def test_every_process_tells_the_same_of_the_installation(
    app: Flask, scrape: Any, db: Database, settings: Any, failed_task: str
) -> None:  # fmt: skip
    other = create_app(settings, database_url=app.config["DATABASE_URL"]).test_client()
    own, others = scrape(), told(other.get("/metrics").text)
    of_all = {key for key in own if not key[0].startswith(("tasker_web_", "tasker_engine_heartbeat", "tasker_oldest"))}
    assert {key: own[key] for key in of_all} == {key: others[key] for key in of_all}
    assert own["tasker_web_live_streams",] == 0


def test_this_process_tells_how_it_answers(client: FlaskClient, scrape: Any) -> None:
    client.get("/health/live")
    client.get("/static/nothing-there")
    found = scrape()
    assert found["tasker_web_request_seconds_count", "GET", "2xx"] == 1
    assert found["tasker_web_request_seconds_count", "GET", "4xx"] == 1


def test_this_process_tells_how_long_its_calls_of_the_database_took(app: Flask, client: FlaskClient, scrape: Any) -> None:
    def calls() -> tuple[float, float, float]:
        found = scrape()
        return found["tasker_web_call_seconds_count",], found["tasker_web_call_seconds_bucket", "0.025"], found["tasker_web_call_seconds_sum",]

    with app.app_context():
        read_side.session.execute(text("select 1"))  # with its first connection it asks what server it speaks to
    calls()
    first, second = calls(), calls()  # a look costs calls itself, the same number each time
    client.get("/health/live")
    with app.app_context():
        database().value("select pg_sleep(0.05)")
        read_side.session.execute(text("select pg_sleep(0.05)"))
        with pytest.raises(psycopg.Error):
            database().value("select 1 / length(pg_sleep(0.05)::text)")
    third = calls()
    assert third[0] - second[0] == second[0] - first[0] + 3
    assert third[0] - third[1] >= second[0] - second[1] + 3
    assert third[2] - second[2] >= 0.15
    client.get("/tasks")
    assert calls()[0] - third[0] > second[0] - first[0]


def test_many_workflows_make_no_more_labels_than_can_be_borne(scrape: Any, conn: psycopg.Connection[Any], failed_task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_NAMES", 0)
    found = scrape()
    assert {key[1:3] for key in found if key[0] == "tasker_steps_total"} == {(metrics.OTHERS, metrics.OTHERS)}


def test_a_token_of_some_namespaces_sees_these_alone(app: Flask, db: Database, scrape: Any, failed_task: str) -> None:
    scrape()
    assert app.test_client().get("/metrics", environ_base=FAR).status_code == 401
    for name, namespace, seen in (("here", "shop", {"tasker_steps"}), ("there", "elsewhere", set())):
        accounts.create_account(db, name, role="viewer", namespace=namespace, password="a long enough one", actor="test")
        token = tokens.make_token(db, name, "probe", actor="test", scopes=["tasker.metrics:index"])
        answer = app.test_client().get("/metrics", environ_base=FAR, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200, answer.text
        families = {family.name for family in parse(answer.text) if family.samples}
        assert seen <= families
        assert "tasker_engines" not in families
        assert ("shop" in answer.text) is bool(seen)


def test_openmetrics_is_told_to_who_asks_for_it(client: FlaskClient, failed_task: str) -> None:
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.content_type.startswith("application/openmetrics-text")
    assert len(list(parse_openmetrics(answer.text))) > 15


def test_every_limit_of_a_histogram_is_one_of_the_roll_ups(conn: psycopg.Connection[Any]) -> None:
    limits = conn.execute("select tasker_bin_limits()").fetchone()[0]  # type: ignore[index]
    assert set(page.BUCKETS) <= set(limits)
