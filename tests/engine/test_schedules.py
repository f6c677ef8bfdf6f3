"""Schedules in the database: what people do with them, and what the engines' loops make of them. The database's clock is moved, never waited for."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from engine import schedules, tasks, timing
from engine.db import Database
from engine.definition import StepTemplate, TaskDefinition
from engine.errors import NotFound, RequestError, WrongState
from engine.monitoring.metrics import read_measures
from engine.registry import HandlerRegistry
from engine.rows import ScheduleRow
from engine.schedules import (
    add_schedule,
    claim_due_schedules,
    fire,
    fire_due,
    pause_schedule,
    remove_schedule,
    resume_schedule,
    run_schedule,
    schedule_row,
)
from engine.timing import Timing, cron, every

SCHEMA = {"type": "object", "required": ["region"], "properties": {"region": {"type": "string"}, "depth": {"type": "integer", "default": 1}}}
HOUR = timedelta(hours=1)


def report(version: str = "1.0.0", schema: dict[str, Any] | None = SCHEMA) -> TaskDefinition:
    return TaskDefinition("tests", "report", version=version, schema=schema, steps=(StepTemplate("write"),))


class Clock:
    """Moves the database's clock for every session that begins afterwards, and begins one."""

    def __init__(self, url: str, set_clock: Callable[[timedelta], None], stack: ExitStack) -> None:
        self._url, self._set_clock, self._stack = url, set_clock, stack
        self._ahead = timedelta()

    def __call__(self, **ahead: float) -> Database:
        """A way to the database in which it is so much later."""
        self._ahead += timedelta(**ahead)
        self._set_clock(self._ahead)
        database = Database(self._url)
        self._stack.callback(database.close)
        return database


@pytest.fixture
def later(database_url: str, set_clock: Callable[[timedelta], None], db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    # the highest version is asked for each time, as if each run were minutes after the one before
    monkeypatch.setattr(tasks, "LATEST_SECONDS", 0.0)
    tasks.register_definition(db, report())
    with ExitStack() as stack:
        yield Clock(database_url, set_clock, stack)


def given(db: Database, timing: Timing | None = None, **fields: Any) -> ScheduleRow:
    return add_schedule(db, timing or every("1h"), **{"namespace": "tests", "name": "report", "context": {"region": "eu"}, "actor": "ann", **fields})


def made(db: Database) -> list[tuple[str, str]]:
    """(reason, version) of every task there is, oldest first."""
    found = db.rows("select t.reason, d.version from tasker_task t join tasker_definition d using (definition_id) order by task_no")
    return [(row[0], row[1]) for row in found]


def due(schedule: ScheduleRow, run: int = 0) -> str:
    assert schedule.next_run_at
    return f"due {schedule.next_run_at + run * HOUR:%Y-%m-%dT%H:%M:%SZ}"


# adding


def test_a_schedule_waits_for_its_first_run(later: Clock) -> None:
    db = later()
    schedule = given(db)
    assert schedule.next_run_at
    assert timedelta(minutes=59) < schedule.next_run_at - datetime.now(UTC) <= HOUR
    assert schedules.schedules(db) == [schedule]
    assert (schedule.workflow, schedule.created_by, schedule.paused, schedule.recent) == ("tests/report", "ann", False, ())
    assert fire_due(db) == 0


def test_a_cron_schedule_waits_for_the_clock_of_its_zone(later: Clock) -> None:
    schedule = given(later(), cron("30 2 * * *", "Asia/Kolkata"))
    assert schedule.next_run_at
    assert f"{schedule.next_run_at:%H:%M}" == "21:00"
    assert schedule.timing.words() == "At 02:30 every day, Asia/Kolkata time"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"name": "nothing"}, NotFound),
        ({"version": "9.9.9"}, NotFound),
        ({"context": {}}, RequestError),
        ({"context": {"region": 1}}, RequestError),
        ({"policy": "some"}, RequestError),
        ({"name": "?"}, RequestError),
    ],
)
def test_what_could_never_run_is_refused_when_it_is_added(later: Clock, fields: dict[str, Any], error: type[Exception]) -> None:
    db = later()
    with pytest.raises(error):
        given(db, **fields)
    assert schedules.schedules(db) == []


# running


def test_a_due_schedule_makes_one_task_and_waits_for_its_next_run(later: Clock) -> None:
    schedule = given(later())
    db = later(hours=1)
    assert fire_due(db) == 1
    assert fire_due(db) == 0
    assert made(db) == [(due(schedule), "1.0.0")]
    after = schedule_row(db, schedule.schedule_id)
    assert schedule.next_run_at
    assert after.next_run_at == schedule.next_run_at + HOUR
    assert [(task.state, after.last_error) for task in after.recent] == [("pending", None)]
    fire_due(later(hours=1))
    assert made(db) == [(due(schedule), "1.0.0"), (due(schedule, 1), "1.0.0")]


def test_its_tasks_say_where_they_come_from(later: Clock) -> None:
    schedule = given(later())
    db = later(hours=1)
    fire_due(db)
    found = db.rows("select context, initiator, source_system, tags from tasker_task")
    assert found == [({"region": "eu", "depth": 1}, f"schedule:{schedule.schedule_id}", "schedule", [schedule.tag])]


def test_without_a_version_each_run_takes_the_highest(later: Clock) -> None:
    db = later()
    given(db)
    given(db, version="1.0.0")
    tasks.register_definition(db, report("1.10.0"))
    fire_due(later(hours=1))
    assert sorted(version for _, version in made(db)) == ["1.0.0", "1.10.0"]


@pytest.mark.parametrize(("policy", "runs"), [("skip", []), ("one", [3]), ("all", [0, 1, 2, 3])])
def test_the_policy_decides_about_runs_that_no_engine_was_there_for(later: Clock, policy: Any, runs: list[int]) -> None:
    schedule = given(later(), policy=policy)
    db = later(hours=4, minutes=30)
    assert fire_due(db) == len(runs)
    assert [reason for reason, _ in made(db)] == [due(schedule, run) for run in runs]
    after = schedule_row(db, schedule.schedule_id)
    assert schedule.next_run_at
    assert after.next_run_at == schedule.next_run_at + 4 * HOUR
    assert (after.last_error or "").startswith("left out") is (not runs)
    assert (after.missed_count, after.refused_count) == (4 - len(runs), 0)
    assert read_measures(db).standing.missed_runs == 4 - len(runs)  # type: ignore[union-attr]


def test_a_run_whose_task_is_refused_says_why_and_the_next_one_goes_on(later: Clock) -> None:
    db = later()
    schedule = given(db)
    tasks.register_definition(db, report("2.0.0", {**SCHEMA, "required": ["country"]}))
    assert fire_due(later(hours=1)) == 0
    assert "country" in (schedule_row(db, schedule.schedule_id).last_error or "")
    tasks.register_definition(db, report("3.0.0"))
    assert fire_due(later(hours=1)) == 1
    after = schedule_row(db, schedule.schedule_id)
    assert (after.last_error, after.refused_count, after.missed_count) == (None, 1, 0)
    assert read_measures(db).standing.refused_runs == 1  # type: ignore[union-attr]


def test_a_run_that_is_on_time_has_missed_none_however_short_the_interval(later: Clock) -> None:
    schedule = given(later(), every("1s"))
    db = later(seconds=30)
    fire_due(db)
    assert schedule_row(db, schedule.schedule_id).missed_count == 0
    db = later(minutes=10)
    fire_due(db)
    assert schedule_row(db, schedule.schedule_id).missed_count in range(598, 602)


def test_one_that_is_refused_does_not_hold_up_the_others(later: Clock) -> None:
    db = later()
    given(db)
    tasks.register_definition(db, report("2.0.0", {**SCHEMA, "required": ["country"]}))
    given(db, version="1.0.0")
    assert fire_due(later(hours=1)) == 1


def test_a_number_beyond_64_bits_in_its_context_is_what_it_was_at_each_run(later: Clock) -> None:
    # Forbids to read it as an integer, which no task takes: jsonb gives every digit of a float.
    db = later()
    schedule = given(db, context={"region": "eu", "most": 1e20})
    assert fire_due(later(hours=1)) == 1
    assert schedule_row(db, schedule.schedule_id).context["most"] == 1e20
    assert isinstance(schedule_row(db, schedule.schedule_id).context["most"], float)


def test_one_whose_time_zone_this_machine_lacks_says_so_and_is_run_where_it_is_known(later: Clock, conn: psycopg.Connection[Any]) -> None:
    db = later()
    lost, sound = given(db, cron("@hourly", "Asia/Kolkata"), policy="one"), given(db)
    conn.execute("update tasker_schedule set time_zone = 'Lost/City' where schedule_id = %s", [lost.schedule_id])
    assert fire_due(later(hours=1)) == 1
    waiting = schedule_row(db, lost.schedule_id)
    assert waiting.next_run_at == lost.next_run_at
    assert "Lost/City" in (waiting.last_error or "")
    assert schedule_row(db, sound.schedule_id).next_run_at != sound.next_run_at
    conn.execute("update tasker_schedule set time_zone = 'Asia/Kolkata' where schedule_id = %s", [lost.schedule_id])
    assert fire_due(later(seconds=10)) == 0, "it is looked at twice a minute"
    assert fire_due(later(minutes=1)) == 1
    assert schedule_row(db, lost.schedule_id).last_error is None


def test_a_moment_without_file_descriptors_ends_no_schedule(later: Clock) -> None:
    db = later()
    schedule = given(db, cron("@daily", "Europe/Berlin"), policy="one")
    tomorrow = later(hours=25)
    tomorrow.value("select 1")
    with without_file_descriptors():
        assert fire_due(tomorrow) == 0
    assert schedule_row(db, schedule.schedule_id).next_run_at == schedule.next_run_at
    assert fire_due(later(minutes=1)) == 1


@contextmanager
def without_file_descriptors() -> Iterator[None]:
    """As many files are open as may be, and no time zone has been read yet."""
    timing._zone.cache_clear()
    ZoneInfo.clear_cache()
    most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    kept: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with suppress(OSError):
            while True:
                kept.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        for each in kept:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def test_one_whose_times_nobody_can_compute_ends_and_says_why(later: Clock, conn: psycopg.Connection[Any]) -> None:
    db = later()
    lost, sound = given(db, cron("@hourly", "Asia/Kolkata")), given(db)
    conn.execute("update tasker_schedule set expression = 'at noon' where schedule_id = %s", [lost.schedule_id])
    assert fire_due(later(hours=1)) == 1
    ended = schedule_row(db, lost.schedule_id)
    assert ended.next_run_at is None
    assert "cannot be computed" in (ended.last_error or "")
    assert schedule_row(db, sound.schedule_id).next_run_at is not None


def test_more_schedules_than_one_batch_are_all_run(later: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "BATCH", 3)
    db = later()
    for _ in range(7):
        given(db)
    assert fire_due(later(hours=1)) == 7


# two engines


def test_engines_that_look_at_the_same_time_make_no_task_twice(later: Clock) -> None:
    db = later()
    for _ in range(10):
        given(db, policy="all")
    engines = [later(hours=3) if not number else later() for number in range(4)]
    barrier = threading.Barrier(len(engines))

    def look(engine: Database) -> None:
        barrier.wait()
        for _ in range(3):
            fire_due(engine)

    threads = [threading.Thread(target=look, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made(db)) == 30


def test_an_engine_that_dies_before_it_advances_leaves_no_second_task(later: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    # forbids: the first engine has made the task, the second one takes the schedule over and makes it again
    schedule = given(later(), policy="all")
    db = later(hours=2)
    [claimed] = claim_due_schedules(db)
    with monkeypatch.context() as patch:
        patch.setattr(schedules, "_advance", lambda *_: None)
        assert fire(db, claimed) == 2
    assert fire_due(db) == 0
    assert fire_due(later(seconds=31)) == 0
    assert len(made(db)) == 2
    assert len(schedule_row(db, schedule.schedule_id).recent) == 2


def test_an_engine_that_was_away_for_longer_than_its_lease_changes_nothing(later: Clock) -> None:
    # forbids: it sets the schedule back to the run after the one it had claimed
    schedule = given(later())
    [claimed] = claim_due_schedules(later(hours=1))
    db = later(hours=2)
    assert fire_due(db) == 1
    before = schedule_row(db, schedule.schedule_id)
    assert fire(db, claimed) == 1  # the run it was given, which `one` had passed over
    assert schedule_row(db, schedule.schedule_id) == before


def test_a_changed_default_does_not_make_a_task_of_a_dead_engine_again(later: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    given(later(), policy="all")
    db = later(hours=1)
    with monkeypatch.context() as patch:
        patch.setattr(schedules, "_advance", lambda *_: None)
        fire_due_once(db)
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "depth": {"type": "integer", "default": 2}}}  # type: ignore[dict-item]
    tasks.register_definition(db, report("2.0.0", schema))
    after = later(hours=1)
    [claimed] = claim_due_schedules(after)
    [(_, is_new)] = tasks.create_tasks(after, [schedules._due_request(claimed, claimed.due_at)])
    assert not is_new
    assert fire(after, claimed) == 1
    assert [version for _, version in made(db)] == ["1.0.0", "2.0.0"]


def fire_due_once(db: Database) -> None:
    for claimed in claim_due_schedules(db):
        fire(db, claimed)


# pause, resume, run now, remove


def test_a_paused_schedule_makes_no_task_and_makes_up_for_none(later: Clock) -> None:
    db = later()
    schedule = given(db, policy="all")
    assert pause_schedule(db, schedule.schedule_id, actor="bob", reason="stocktaking").paused
    db = later(hours=5, minutes=30)
    assert fire_due(db) == 0
    resumed = resume_schedule(db, schedule.schedule_id, actor="bob")
    assert schedule.next_run_at
    assert (resumed.paused, resumed.next_run_at) == (False, schedule.next_run_at + 5 * HOUR)
    assert (resumed.changed_by, resumed.change_reason) == ("bob", None)
    assert fire_due(db) == 0
    assert fire_due(later(hours=1)) == 1


def test_pausing_twice_and_resuming_what_runs_are_refused(later: Clock) -> None:
    db = later()
    schedule = given(db)
    with pytest.raises(WrongState, match="not paused"):
        resume_schedule(db, schedule.schedule_id, actor="bob")
    pause_schedule(db, schedule.schedule_id, actor="bob")
    with pytest.raises(WrongState, match="paused already"):
        pause_schedule(db, schedule.schedule_id, actor="bob")


@pytest.mark.parametrize("paused", [False, True])
def test_run_now_makes_a_task_and_changes_no_times(later: Clock, paused: bool) -> None:
    db = later()
    schedule = given(db)
    if paused:
        pause_schedule(db, schedule.schedule_id, actor="bob")
    first = run_schedule(db, schedule.schedule_id, actor="bob", reason="to see it")
    second = run_schedule(db, schedule.schedule_id, actor="bob")
    after = schedule_row(db, schedule.schedule_id)
    assert [task.task_id for task in after.recent] == [second, first]
    assert (after.next_run_at, after.paused) == (schedule.next_run_at, paused)
    assert db.rows("select initiator, reason from tasker_task order by task_no")[0] == ("bob", "to see it")


def test_a_removed_schedule_leaves_its_tasks(later: Clock) -> None:
    db = later()
    schedule = given(db)
    run_schedule(db, schedule.schedule_id, actor="bob")
    remove_schedule(db, schedule.schedule_id)
    assert schedules.schedules(db) == []
    assert len(made(db)) == 1


@pytest.mark.parametrize("schedule_id", [0, -1, 4711, 2**40])
def test_an_unknown_schedule_is_not_found(later: Clock, schedule_id: int) -> None:
    db = later()
    actions: list[Callable[[], object]] = [
        lambda: schedule_row(db, schedule_id),
        lambda: pause_schedule(db, schedule_id, actor="bob"),
        lambda: resume_schedule(db, schedule_id, actor="bob"),
        lambda: run_schedule(db, schedule_id, actor="bob"),
        lambda: remove_schedule(db, schedule_id),
    ]
    for action in actions:
        with pytest.raises(NotFound):
            action()


# within the engine


def test_a_running_engine_runs_what_is_due(later: Clock, database_url: str, registry: HandlerRegistry) -> None:
    from engine import Workflow
    from engine.scheduler import Engine

    tally = Workflow("tally", namespace="tests", version="1.0.0")
    tally.define("count")
    tasks.register_definition(later(), tally.definition)
    schedule = given(later(), name="tally", context={})
    db = later(hours=1)
    engine = Engine(database_url, registry, runner="threads", concurrency=2, grace=1)
    engine.start()
    try:
        deadline = time.monotonic() + 10
        while [task.state for task in schedule_row(db, schedule.schedule_id).recent] != ["completed"]:
            assert time.monotonic() < deadline, "the schedule was not run"
            time.sleep(0.02)
    finally:
        engine.drain()
