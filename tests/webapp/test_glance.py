"""An answer that many readers ask for at once is found once, and never hides what they know to have happened."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import cookie_of, session_of

from engine.errors import DatabaseUnavailable
from webapp import database
from webapp.access import COOKIE
from webapp.glance import Glance, shared
from webapp.live import feed_of

AN_HOUR = 3600.0


@pytest.fixture
def patient(app: Flask) -> Flask:
    """A dashboard whose answers serve for an hour."""
    app.config["GLANCE_SECONDS"] = AN_HOUR
    return app


def counted(answers: list[int]) -> Callable[[], int]:
    def find() -> int:
        answers.append(len(answers) + 1)
        return answers[-1]

    return find


def test_readers_share_an_answer_until_it_is_old() -> None:
    glance, find = Glance[int](), counted([])
    assert [glance.answer(find, 1, AN_HOUR) for _ in range(3)] == [1, 1, 1]
    assert [glance.answer(find, 1, 0) for _ in range(2)] == [2, 3]


def test_an_answer_from_before_a_change_serves_nobody() -> None:
    glance, find = Glance[int](), counted([])
    assert [glance.answer(find, age, AN_HOUR) for age in (1, 1, 2, 2)] == [1, 1, 2, 2]


def test_readers_of_one_moment_wait_for_one_to_find_it() -> None:
    glance, begun, may_end, found = Glance[int](), threading.Event(), threading.Event(), []
    answers: list[int] = []

    def find() -> int:
        begun.set()
        assert may_end.wait(60)
        return counted(answers)()

    readers = [threading.Thread(target=lambda: found.append(glance.answer(find, 1, AN_HOUR))) for _ in range(8)]
    for reader in readers:
        reader.start()
    assert begun.wait(60)
    may_end.set()
    for reader in readers:
        reader.join()
    assert (found, answers) == ([1] * 8, [1])


def test_a_failure_is_shared_as_an_answer_is() -> None:
    glance, times = Glance[int](), []

    def find() -> int:
        times.append(1)
        raise DatabaseUnavailable("away")

    for _ in range(3):
        with pytest.raises(DatabaseUnavailable):
            glance.answer(find, 1, AN_HOUR)
    assert len(times) == 1


def test_an_error_of_ours_is_not_kept() -> None:
    glance, find = Glance[int](), counted([])
    with pytest.raises(ZeroDivisionError):
        glance.answer(lambda: 1 // 0, 1, AN_HOUR)
    assert glance.answer(find, 1, AN_HOUR) == 1


def test_each_question_has_its_own_answer(patient: Flask, database_url: str) -> None:
    look = shared(lambda *names: list(names))
    with patient.test_request_context("/", headers=cookie_of(database_url)):
        assert [look("a"), look("b"), look("a")] == [["a"], ["b"], ["a"]]


def test_an_answer_serves_only_those_who_may_see_the_same(patient: Flask, database_url: str, launch: Callable[..., str]) -> None:
    launch()
    everybody, stranger, another = (FlaskClient(patient) for _ in range(3))
    for client, name, role, namespace in ((everybody, "boss", "admin", None), (stranger, "ann", "viewer", "elsewhere"), (another, "eve", "viewer", "elsewhere")):
        client.set_cookie(COOKIE, session_of(database_url, name, role, namespace))
    assert [pending_tasks(client) for client in (everybody, stranger, another, everybody)] == ["1", "0", "0", "1"]


def test_whoever_acted_sees_what_came_of_it(patient: Flask, client: FlaskClient, launch: Callable[..., str], post: Callable[..., object]) -> None:
    task_id = launch()
    assert pending_tasks(client) == "1"
    launch()
    assert pending_tasks(client) == "1"
    post(f"/tasks/{task_id}/notes", note="seen")
    assert pending_tasks(client) == "2"


def test_a_live_page_sees_what_it_was_told_of(patient: Flask, client: FlaskClient, launch: Callable[..., str]) -> None:
    assert pending_tasks(client) == "0"
    launch()
    with patient.app_context():
        feed_of(patient)._tell(None)
    assert pending_tasks(client) == "1"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages give up after two seconds."""
    monkeypatch.setattr(database, "CALL_SECONDS", 2.0)


def test_who_has_waited_for_another_reader_does_not_begin_to_wait_anew(hasty: None, app: Flask, database_url: str) -> None:
    """Forbids: each of three readers of a table that is locked asks for it when the one before has given up."""
    waited, headers = [], cookie_of(database_url)

    def read() -> None:
        began = time.monotonic()
        assert app.test_client().get("/", headers=headers).status_code == 503
        waited.append(time.monotonic() - began)

    app.test_client().get("/health/live")
    readers = [threading.Thread(target=read) for _ in range(3)]
    with psycopg.connect(database_url) as conn:
        conn.execute("lock table tasker_task in access exclusive mode")
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert len(waited) == 3
    assert max(waited) < 3.5


def pending_tasks(client: FlaskClient) -> str:
    figure = client.get("/").text.split("<dt>Pending tasks</dt>")[1]
    return figure.split("</a>")[0].rpartition(">")[2]
