"""The namespace of a task is asked for once, and never instead of the task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from engine import queries
from webapp import access

Launch = Callable[..., str]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks whose namespace the database was asked for."""
    found: list[str] = []
    ask = queries.task_namespace
    monkeypatch.setattr(queries, "task_namespace", lambda db, task_id: found.append(task_id) or ask(db, task_id))
    return found


def test_the_namespace_of_a_task_is_asked_for_once(client: FlaskClient, launch: Launch, asked: list[str]) -> None:
    task_id = launch()
    assert [client.get(f"/tasks/{task_id}").status_code for _ in range(3)] == [200] * 3
    assert asked == [task_id]


def test_a_task_that_is_gone_is_not_found_though_its_namespace_is_known(client: FlaskClient, conn: Any, launch: Launch, asked: list[str]) -> None:
    task_id = launch()
    client.get(f"/tasks/{task_id}")
    conn.execute("select tasker_forget_tasks(array(select task_no from tasker_task))")
    assert client.get(f"/tasks/{task_id}").status_code == 404


def test_no_more_tasks_are_remembered_than_fit(client: FlaskClient, launch: Launch, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "TASKS_REMEMBERED", 2)
    first, second, third = (launch(number) for number in (1, 2, 3))
    for task_id in (first, second, second, third, third, first):
        assert client.get(f"/tasks/{task_id}").status_code == 200
    assert asked == [first, second, third, first]
