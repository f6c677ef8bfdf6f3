"""Templates have their addresses from one place, which builds each once and gives what Flask would."""

from __future__ import annotations

import uuid
from typing import Any

import flask
import pytest
from flask import Flask

from webapp.addresses import LONGEST_KEPT, url_for

TASK = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("endpoint", "values"),
    [
        ("tasks.index", {}),
        ("tasks.show", {"task_id": TASK}),
        ("tasks.index", {"state": "failed", "name": None}),
        ("tasks.index", {"q": "a b/ä&x=1", "_anchor": "top"}),
        ("tasks.index", {"tag": ["one", "two"]}),
        ("tasks.show", {"task_id": TASK, "_external": True}),
        ("static", {"filename": "page.css"}),
        (".index", {}),
    ],
)
@pytest.mark.parametrize("root", ["", "/below"])
def test_an_address_is_what_flask_would_build(app: Flask, endpoint: str, values: dict[str, Any], root: str) -> None:
    with app.test_request_context("/tasks", environ_overrides={"SCRIPT_NAME": root}):
        assert [url_for(endpoint, **values) for _ in range(2)] == [flask.url_for(endpoint, **values)] * 2


def test_an_address_is_built_once(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    with app.test_request_context("/tasks"):
        built = url_for("tasks.show", task_id=TASK)
        monkeypatch.setattr(flask, "url_for", lambda *given, **values: "anew")
        assert [url_for("tasks.show", task_id=TASK), url_for("tasks.show", task_id=str(uuid.uuid4()))] == [built, "anew"]


def test_what_readers_type_is_not_kept(app: Flask) -> None:
    with app.test_request_context("/tasks"):
        url_for("tasks.index", q="x" * LONGEST_KEPT)
        assert not app.extensions["tasker_addresses"]
