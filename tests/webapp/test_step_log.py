"""What attempts say, on the pages: progress bars, lines per attempt, the page of the whole log, and live regions."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

Launch = Callable[..., str]
Say = Callable[..., None]

_batches = itertools.count(1)


@pytest.fixture
def say(conn: psycopg.Connection[Any], engine: Any) -> Say:
    """An attempt that the hand engine holds, or held, says something."""

    def speak(task_id: str, step: str, *lines: tuple[int, str], attempt: int = 1, progress: tuple[Any, ...] = (), fields: Any = None) -> None:
        found = conn.execute("select task_no, step_no from tasker_steps where task_id = %s and name = %s", [task_id, step]).fetchone()
        assert found
        written = json.dumps([[1, 0, level, message, fields] for level, message in lines])
        told = json.dumps([[1, 0, *progress]] if progress else [])
        query = "select tasker_keep_journal(%s, %s, %s, %s, %s::smallint[], %s::jsonb, %s::jsonb)"
        taken = conn.execute(query, [engine.worker, next(_batches), [found[0]], [found[1]], [attempt], written, told]).fetchone()
        assert taken == (True,)

    return speak


def shown(page: str) -> list[str]:
    return re.findall(r'<span class="message(?: block)?">(.*?)</span>', page, re.DOTALL)


def test_a_running_step_shows_how_far_it_is(client: FlaskClient, launch: Launch, engine: Any, say: Say) -> None:
    task_id = launch()
    engine.claim()
    say(task_id, "validate", progress=(1200, 5000, "loading <page> 3"))
    for path in (f"/tasks/{task_id}", f"/tasks/{task_id}/steps/validate"):
        page = client.get(path).text
        assert '<progress max="5000.0" value="1200.0" aria-label="Progress of validate">' in page
        assert "1,200 of 5,000 · loading &lt;page&gt; 3" in page


def test_without_a_total_there_are_words_and_no_bar(client: FlaskClient, launch: Launch, engine: Any, say: Say) -> None:
    task_id = launch()
    engine.claim()
    say(task_id, "validate", progress=(7, None, None))
    page = client.get(f"/tasks/{task_id}/steps/validate").text
    assert "<progress" not in page
    assert "<span>7 done</span>" in page


def test_the_table_shows_the_progress_of_running_steps_alone(client: FlaskClient, launch: Launch, engine: Any, say: Say) -> None:
    task_id = launch()
    engine.claim()
    say(task_id, "validate", progress=(5, 10, None))
    engine.complete(task_id, "validate")
    assert "<progress" not in client.get(f"/tasks/{task_id}").text
    assert "5 of 10" in client.get(f"/tasks/{task_id}/steps/validate").text


def test_a_step_that_said_nothing_has_no_log(client: FlaskClient, failed_task: str) -> None:
    page = client.get(f"/tasks/{failed_task}/steps/charge").text
    assert "log-title" not in page
    assert "<progress" not in page
    assert "No attempt has written anything." in client.get(f"/tasks/{failed_task}/steps/charge/log").text


def test_lines_stand_by_attempt_with_level_time_text_and_fields(client: FlaskClient, launch: Launch, engine: Any, say: Say) -> None:
    task_id = launch()
    engine.claim()
    say(task_id, "validate", (20, "begins <b>"), (40, "no answer"), fields={"page": 3, "who": "<i>ann</i>"})
    engine.fail(task_id, "validate", retryable=True, delay=0)
    page = client.get(f"/tasks/{task_id}/steps/validate").text
    assert shown(page) == ["begins &lt;b&gt;", "no answer"]
    assert 'class="log-error"' in page
    assert re.search(r'data-form="exact" title="[\d-]+ [\d:]+ UTC">\d\d:\d\d:\d\d\.\d\d\d</time>', page)
    assert '<span class="of">page</span> 3' in page
    assert "&lt;i&gt;ann&lt;/i&gt;" in page


def test_the_newest_two_hundred_lines_are_shown_and_a_way_to_the_others(client: FlaskClient, launch: Launch, engine: Any, say: Say) -> None:
    task_id = launch()
    engine.claim()
    say(task_id, "validate", *[(20, f"line {number}") for number in range(1, 451)])
    step = f"/tasks/{task_id}/steps/validate"
    page = client.get(step).text
    assert shown(page) == [f"line {number}" for number in range(251, 451)]
    assert "The newest 200 of 450 lines." in page
    assert shown(client.get(f"{step}/log?attempt=1&all=1").text) == [f"line {number}" for number in range(1, 451)]
    assert shown(client.get(f"{step}/log?attempt=1&after=0").text)[0] == "line 1"


def test_the_pages_of_a_log_lead_to_each_other(client: FlaskClient, launch: Launch, engine: Any, say: Say) -> None:
    task_id = launch()
    engine.claim()
    say(task_id, "validate", *[(20, f"line {number}") for number in range(1, 451)])
    url, seen = f"/tasks/{task_id}/steps/validate/log", []
    while url:
        page = client.get(url).text
        seen = shown(page) + seen
        found = re.search(r'rel="prev" href="([^"]+)"', page)
        url = found[1].replace("&amp;", "&") if found else ""
    assert seen == [f"line {number}" for number in range(1, 451)]


def test_a_log_is_filtered_by_level_and_attempt(client: FlaskClient, launch: Launch, engine: Any, say: Say) -> None:
    task_id = launch()
    engine.claim()
    say(task_id, "validate", (20, "one"), (30, "two"))
    engine.fail(task_id, "validate", retryable=True, delay=0)
    engine.claim()
    say(task_id, "validate", (50, "three"), attempt=2)
    log = f"/tasks/{task_id}/steps/validate/log"
    assert shown(client.get(log).text) == ["one", "two", "three"]
    assert "attempt 2</span>" in client.get(log).text
    assert shown(client.get(f"{log}?level=warning").text) == ["two", "three"]
    assert shown(client.get(f"{log}?attempt=1").text) == ["one", "two"]
    assert shown(client.get(f"{log}?attempt=1&level=critical").text) == []
    assert shown(client.get(f"/tasks/{task_id}/steps/validate").text) == ["one", "two", "three"]


@pytest.mark.parametrize("odd", ["level=loud", "attempt=x", "attempt=99999999", "before=-1", "after=x", f"before={'9' * 30}", "all=x"])
def test_parameters_that_make_no_sense_are_not_asked_for(client: FlaskClient, launch: Launch, engine: Any, say: Say, odd: str) -> None:
    task_id = launch()
    engine.claim()
    say(task_id, "validate", (20, "one"))
    answer = client.get(f"/tasks/{task_id}/steps/validate/log?{odd}")
    assert answer.status_code == 200
    assert shown(answer.text) == ["one"]


def test_a_live_page_gets_progress_and_lines_as_regions(client: FlaskClient, launch: Launch, engine: Any, say: Say) -> None:
    task_id = launch()
    engine.claim()
    say(task_id, "validate", (20, "one"), progress=(1, 2, None))
    htmx = {"HX-Request": "true"}
    regions = client.get(f"/tasks/{task_id}/steps/validate", headers=htmx).text
    assert 'id="step-log" hx-swap-oob="morph"' in regions
    assert "<progress" in regions
    assert shown(regions) == ["one"]
    assert "<progress" in client.get(f"/tasks/{task_id}", headers=htmx).text
    lines = client.get(f"/tasks/{task_id}/steps/validate/log", headers=htmx).text
    assert shown(lines) == ["one"]
    assert "<html" not in lines


def test_only_the_newest_page_of_a_log_is_live(client: FlaskClient, launch: Launch, engine: Any, say: Say) -> None:
    task_id = launch()
    engine.claim()
    say(task_id, "validate", (20, "one"))
    log = f"/tasks/{task_id}/steps/validate/log"
    assert "sse-connect" in client.get(log).text
    assert "sse-connect" not in client.get(f"{log}?after=0").text


def test_the_log_of_a_step_that_does_not_exist_is_not_found(client: FlaskClient, failed_task: str) -> None:
    assert client.get(f"/tasks/{failed_task}/steps/nothing/log").status_code == 404
