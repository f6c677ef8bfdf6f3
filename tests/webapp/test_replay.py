"""`/tasks/<id>/replay`: the states of a past moment are those that the task and its steps really had then."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from engine import queries, steps, tasks
from engine.db import Database
from engine.errors import NotFound
from engine.replay import replay

Launch = Callable[..., str]
States = dict[str, str]


class Watcher:
    """Writes down what a task really is at one moment after the other."""

    def __init__(self, db: Database, conn: Any, task_id: str) -> None:
        self.db, self.conn, self.task_id = db, conn, task_id
        self.seen: list[tuple[datetime, int, States, str]] = []

    def look(self) -> None:
        moves = self.db.value("select count(*) from tasker_history h where h.task_no = tasker_task_no(%(id)s::uuid) and h.from_state <> h.to_state", {"id": self.task_id})
        detail = queries.task(self.db, self.task_id)
        self.seen.append((self.db.value("select clock_timestamp()"), moves, {step.name: step.state for step in detail.steps}, detail.task.state))

    def told(self, **asked: Any) -> tuple[States, str]:
        found = replay(self.db, self.task_id, **asked)
        names = {step.step_no: step.name for step in queries.task(self.db, self.task_id).steps}
        return {names[number]: then.state for number, then in found.steps.items()}, found.task_state


@pytest.fixture
def watched(db: Database, conn: Any, launch: Launch, engine: Any) -> Watcher:
    """A task that failed, was helped by hand and completed, looked at between all of that."""
    task_id = launch()
    watcher = Watcher(db, conn, task_id)
    acts: list[Callable[[], object]] = [
        engine.claim,
        lambda: engine.fail(task_id, "validate", retryable=True, delay=40.0),
        lambda: steps.retry_step(db, task_id, "validate", actor="ada"),
        lambda: engine.complete(task_id, "validate"),
        lambda: tasks.pause_task(db, task_id, actor="ada", reason="a look"),
        lambda: tasks.resume_task(db, task_id, actor="ada"),
        lambda: engine.complete(task_id, "reserve"),
        lambda: engine.fail(task_id, "charge"),
        lambda: steps.skip_step(db, task_id, "charge", actor="ada", reason="paid in cash"),
        lambda: engine.complete(task_id, "ship"),
    ]
    watcher.look()
    for act in acts:
        act()
        watcher.look()
    return watcher


def test_every_moment_is_told_as_it_really_was(watched: Watcher) -> None:
    assert {state for _, _, states, _ in watched.seen for state in states.values()} >= {"pending", "ready", "running", "retrying", "completed", "failed", "skipped"}
    for at, moves, states, task_state in watched.seen:
        assert watched.told(at=at) == (states, task_state)
        assert watched.told(place=moves) == (states, task_state)
    assert watched.told() == watched.seen[-1][2:]
    assert watched.told(place=10**8) == watched.told()
    assert watched.told(at=watched.seen[0][0] - timedelta(days=1)) == watched.told(place=0) == watched.seen[0][2:]


def test_what_waits_for_its_time_is_ready_when_that_has_come(db: Database, launch: Launch, engine: Any) -> None:
    now = db.value("select tasker_clock()")
    failing, later = launch(), launch(run_at=now + timedelta(minutes=5))
    engine.fail(failing, "validate", retryable=True, delay=40.0)
    for task_id, due in ((failing, 40), (later, 300)):
        told = {seconds: replay(db, task_id, at=now + timedelta(seconds=due + seconds)).steps[0].state for seconds in (-5, 30)}
        assert told == {-5: "retrying" if task_id == failing else "pending", 30: "ready"}


def test_the_page_draws_the_moment_and_leads_to_those_beside_it(client: FlaskClient, watched: Watcher) -> None:
    task_id = watched.task_id
    _, failed_after, states, _ = next(each for each in watched.seen if each[2]["charge"] == "failed")
    page = client.get(f"/tasks/{task_id}/replay?at={failed_after}").text
    drawn = re.findall(r'class="node state-(\w+)[^"]*" data-step="(\w+)"', page)
    assert {name: state for state, name in drawn} == states
    assert f'value="{failed_after}"' in page
    for place, words in ((failed_after - 1, 'rel="prev"'), (failed_after + 1, 'rel="next"')):
        assert f'{words} href="/tasks/{task_id}/replay?at={place}"' in page
    skipped = next(moves for _, moves, states, _ in watched.seen if states["charge"] == "skipped")
    assert any("By ada: “paid in cash”" in client.get(f"/tasks/{task_id}/replay?at={place}").text for place in range(failed_after, skipped + 1))
    assert "it had just been made" in client.get(f"/tasks/{task_id}/replay?at=0").text
    assert "the latest" in client.get(f"/tasks/{task_id}/replay").text
    moment = client.get(f"/tasks/{task_id}/replay?at={failed_after}", headers={"HX-Request": "true"})
    assert 'id="moment"' in moment.text
    assert moment.headers["HX-Replace-Url"] == f"/tasks/{task_id}/replay?at={failed_after}"
    at = watched.seen[0][0].isoformat().replace("+", "%2B")
    assert 'value="0"' in client.get(f"/tasks/{task_id}/replay?at={at}").text
    for wrong in ("<b>", "yesterday", "²", "0001-01-01T00:00:00%2B23:00"):
        answer = client.get(f"/tasks/{task_id}/replay?at={wrong}")
        assert (answer.status_code, "is no moment" in answer.text, "<b>" in answer.text) == (422, True, False)


def test_a_moment_is_found_by_its_time_in_the_zone_that_the_field_names(client: FlaskClient, conn: Any, watched: Watcher) -> None:
    address = f"/tasks/{watched.task_id}/replay"
    conn.execute("update tasker_history set at = timestamptz '2026-01-31T07:30:00.25Z' + interval '10 s' * event_id")
    conn.execute("update tasker_task set created_at = '2026-01-31T07:30:00Z'")
    _, moves, states, _ = next(each for each in watched.seen if each[2]["charge"] == "failed")
    at = datetime.fromisoformat(re.findall(r'<span class="of"><time datetime="([^"]+)"', client.get(f"{address}?at={moves}").text)[0])
    client.set_cookie("zone", "Asia/Kolkata")

    def field(page: str) -> tuple[str, ...]:
        form = page.partition('id="moment-time"')[2].partition("</form>")[0]
        return (*re.findall(r'name="zone" value="([^"]+)"', form), *re.findall(r"<label[^>]*>(.*?)</label>", form), *re.findall(r'name="time"[^>]* value="([^"]*)"', form))

    local = f"{at + timedelta(hours=5, minutes=30):%Y-%m-%dT%H:%M:%S}"
    page = client.get(f"{address}?at={moves}").text
    assert field(page) == ("Asia/Kolkata", "At the time (Asia/Kolkata)", local)
    assert field(client.get(f"{address}?at={moves}", headers={"HX-Request": "true"}).text)[-1] == local
    asked = {zone: f"{at + timedelta(hours=ahead):%Y-%m-%dT%H:%M:%S}" for zone, ahead in (("Asia/Kolkata", 5.5), ("Europe/Berlin", 1), ("", 0))}
    for zone, time in asked.items():
        page = client.get(address, query_string={"zone": zone, "time": time}).text
        assert f'value="{moves}"' in page, "the second is meant to its end"
        assert {name: state for state, name in re.findall(r'class="node state-(\w+)[^"]*" data-step="(\w+)"', page)} == states
        assert field(page)[-1] == local, zone
    before = client.get(address, query_string={"zone": "Asia/Kolkata", "time": f"{at + timedelta(hours=5.5, seconds=-1):%Y-%m-%dT%H:%M:%S}"}).text
    assert f'value="{moves - 1}"' in before
    assert f'value="{moves - 1}"' in client.get(f"{address}?at={at:%Y-%m-%dT%H:%M:%S}").text, "in an address a time is what it says, in UTC"
    for zone, time, words in (("", "yesterday <b>", "“yesterday &lt;b&gt;” is no time, such as"), ("Mars/Olympus", "2026-01-31T08:30", "“Mars/Olympus” is no time zone"), ("Asia/Kolkata", "0001-01-01T00:00", "is no time")):
        answer = client.get(address, query_string={"zone": zone, "time": time})
        assert (answer.status_code, words in answer.text, 'aria-invalid="true"' in answer.text) == (422, True, True), time
        assert field(answer.text)[-1] == time.replace("<", "&lt;").replace(">", "&gt;")


def test_a_task_that_is_not_there_has_no_moments(db: Database) -> None:
    with pytest.raises(NotFound):
        replay(db, "7f3b4c80-0000-4000-8000-000000000000")
