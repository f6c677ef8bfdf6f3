"""Reading what attempts have said: in order, a page at a time, by step, attempt and level; and the progress of a step."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest

from engine import RetryableError, queries
from engine.db import Database
from engine.errors import NotFound, RequestError
from engine.handlers import Step, Task, Workflow
from engine.rows import LinePage, ProgressRow
from engine.testing import Workbench

talking = Workflow("talking", namespace="tests_lines", version="1.0.0")


@talking.step
def first(step: Step) -> None:
    for number in range(1, 11):
        step.log(f"first {number}", "warning" if number % 5 == 0 else "info", number=number)


@talking.step(depends_on_step="first", retry_limit=3)
def second(task: Task, step: Step) -> list[str]:
    step.log(f"second, attempt {step.attempt}")
    step.progress(step.attempt, 4, "half way")
    if step.attempt == 1:
        raise RetryableError("once more")
    return ["x", "y"]


@talking.step(depends_on_step="second", for_each="second")
def each(item: str, step: Step) -> None:
    step.log(f"item {item}")


@pytest.fixture
def task(tasker: Workbench) -> str:
    done = tasker.run(talking)
    done.assert_completed()
    return done.task_id


def texts(page: LinePage) -> list[str]:
    return [line.message for line in page.items]


def test_lines_of_a_task_come_in_the_order_they_were_written(tasker: Workbench, task: str) -> None:
    found = queries.lines(tasker.db, task)
    assert texts(found) == [f"first {number}" for number in range(1, 11)] + ["second, attempt 1", "second, attempt 2", "item x", "item y"]
    assert (found.earlier, found.later) == (None, None)
    assert [line.step_name for line in found.items[-3:]] == ["second", "each[0]", "each[1]"]
    assert found.items[4].level == "warning"
    assert found.items[4].fields == {"number": 5}


def test_a_step_an_attempt_and_a_level_can_be_asked_for(tasker: Workbench, task: str) -> None:
    assert texts(queries.lines(tasker.db, task, "each[1]")) == ["item y"]
    assert texts(queries.lines(tasker.db, task, "second", attempt=2)) == ["second, attempt 2"]
    assert texts(queries.lines(tasker.db, task, "first", level="warning")) == ["first 5", "first 10"]
    assert queries.line_counts(tasker.db, task, "second") == {1: 1, 2: 1}


def test_pages_follow_on_without_gap_or_repetition(tasker: Workbench, task: str) -> None:
    whole = texts(queries.lines(tasker.db, task, "first"))
    newest = queries.lines(tasker.db, task, "first", limit=4)
    middle = queries.lines(tasker.db, task, "first", limit=4, before=newest.earlier)
    oldest = queries.lines(tasker.db, task, "first", limit=4, before=middle.earlier)
    assert texts(oldest) + texts(middle) + texts(newest) == whole
    assert (oldest.earlier, newest.later) == (None, None)

    start = queries.lines(tasker.db, task, "first", limit=6, after=0)
    rest = queries.lines(tasker.db, task, "first", limit=6, after=start.later)
    assert texts(start) + texts(rest) == whole
    assert (start.earlier, rest.later) == (None, None)


def test_what_does_not_exist_is_said(tasker: Workbench, task: str) -> None:
    with pytest.raises(NotFound):
        queries.lines(tasker.db, task, "third")
    with pytest.raises(NotFound):
        queries.lines(tasker.db, "00000000-0000-4000-8000-000000000000")
    with pytest.raises(RequestError, match="no level 'loud'"):
        queries.lines(tasker.db, task, level="loud")


def test_a_step_shows_how_far_its_latest_attempt_came(tasker: Workbench, task: str) -> None:
    row = queries.step(tasker.db, task, "second").row
    assert row.progress is not None
    assert (row.progress.words, row.progress.note) == ("2 of 4", "half way")
    assert queries.step(tasker.db, task, "first").row.progress is None


def test_progress_of_an_earlier_attempt_is_not_shown_for_the_next(tasker: Workbench) -> None:
    task_id = tasker.submit(talking)
    tasker.run_ready()
    with psycopg.connect(tasker.url, autocommit=True) as own:
        own.execute("update tasker_step set attempts = 2 where task_no = tasker_task_no(%s) and step_no = 1", [task_id])
    assert queries.step(tasker.db, task_id, "second").row.progress is None


def test_lines_and_progress_are_news(tasker: Workbench) -> None:
    """A live page of the task is told of them, as of a move."""
    task_id = tasker.submit(talking)
    tasker.run_ready()
    cursor = _now(tasker.db)
    with psycopg.connect(tasker.url, autocommit=True) as own:
        for change in (_LINE, "update tasker_progress set done = 3, xid = pg_current_xact_id()::text::bigint where task_no = tasker_task_no(%s)"):
            own.execute(change.encode(), [task_id])
            cursor, found = queries.changed_tasks(tasker.db, cursor)
            assert found == {task_id: "tests_lines"}


def test_a_task_that_nobody_has_begun_is_news_once(tasker: Workbench) -> None:
    """Whatever other transactions were open then."""
    with psycopg.connect(tasker.url) as slow, psycopg.connect(tasker.url, autocommit=True) as quick:
        slow.execute("select pg_current_xact_id()")
        cursor = _now(tasker.db)
        task_id = tasker.submit(talking)
        cursor, found = queries.changed_tasks(tasker.db, cursor)
        assert found == {task_id: "tests_lines"}
        quick.execute("select pg_current_xact_id()")
        assert queries.changed_tasks(tasker.db, cursor)[1] == {}


def test_news_wait_for_no_other_transaction_and_a_late_one_is_news_when_it_ends(tasker: Workbench) -> None:
    late, other = tasker.submit(talking), tasker.submit(talking)
    tasker.run_ready()
    with psycopg.connect(tasker.url) as slow, psycopg.connect(tasker.url, autocommit=True) as quick:
        slow.execute(_LINE.encode(), [late])
        cursor = _now(tasker.db)
        quick.execute(_LINE.encode(), [other])
        cursor, found = queries.changed_tasks(tasker.db, cursor)
        assert found == {other: "tests_lines"}
        slow.commit()
        cursor, found = queries.changed_tasks(tasker.db, cursor)
        assert found == {late: "tests_lines"}
        assert queries.changed_tasks(tasker.db, cursor)[1] == {}


def test_when_a_transaction_ends_that_was_open_for_very_long_anything_may_have_changed(tasker: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MOST_CHANGES", 3)
    late = tasker.submit(talking)
    tasker.run_ready()
    with psycopg.connect(tasker.url) as slow, psycopg.connect(tasker.url, autocommit=True) as quick:
        slow.execute(_LINE.encode(), [late])
        for _ in range(5):
            quick.execute("select pg_current_xact_id()")
        cursor, found = queries.changed_tasks(tasker.db, _now(tasker.db))
        assert found == {}
        slow.commit()
        assert queries.changed_tasks(tasker.db, cursor)[1] is None


def test_where_more_tasks_have_changed_than_are_named_any_may_have(tasker: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MOST_CHANGES", 3)
    cursor = _now(tasker.db)
    for _ in range(3):
        tasker.submit(talking)
    assert queries.changed_tasks(tasker.db, cursor)[1] is None


def test_tasks_that_were_dropped_count_among_those_that_are_too_many_to_name(tasker: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a list that was cut would pass for a whole one."""
    monkeypatch.setattr(queries, "MOST_CHANGES", 3)
    cursor, task_id = _now(tasker.db), tasker.submit(talking)
    with psycopg.connect(tasker.url, autocommit=True) as own:
        for dropped in (-1, -2):
            assert queries.changed_tasks(tasker.db, cursor)[1] == {task_id: "tests_lines"}
            own.execute(_LINE.replace("tasker_task_no(%s)", "%s").encode(), [dropped])
        assert queries.changed_tasks(tasker.db, cursor)[1] is None


_LINE = "insert into tasker_log (task_no, step_no, attempt, at, level, message) values (tasker_task_no(%s), 0, 1, now(), 20, 'x')"


def _now(db: Database) -> str:
    return queries.changed_tasks(db, None)[0]


@pytest.mark.parametrize(
    ("done", "total", "words"), [(1200, 5000, "1,200 of 5,000"), (3, None, "3 done"), (0.5, 1, "0.50 of 1"), (2, 0, "2 of 0")]
)
def test_progress_reads_like_this(done: float, total: float | None, words: str) -> None:
    assert ProgressRow(done, total, None, datetime.now(UTC)).words == words
