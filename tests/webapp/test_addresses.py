"""Templates have their addresses from one place, which builds each once and gives what Flask would."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

import flask
import pytest
from flask import Flask
from flask.testing import FlaskClient

from webapp import addresses
from webapp.addresses import LONGEST_KEPT, static_url, url_for

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


def test_every_script_and_style_of_a_page_has_the_digest_of_its_content_in_its_address(client: FlaskClient) -> None:
    loaded = re.findall(r'(?:href|src)="(/static/[^"]+\.(?:css|js)[^"]*)"', client.get("/tasks").text)
    assert len(loaded) == 8
    for address in loaded:
        answer = client.get(address)
        assert re.search(r"\?v=[0-9a-f]{12}$", address)
        assert (answer.status_code, "max-age=3600" in answer.headers["Cache-Control"]) == (200, True)


def test_other_content_has_another_address(app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "page.css").write_text("main { color: red }")
    with app.test_request_context("/tasks"):
        before = static_url("page.css")
        addresses._digest.cache_clear()
        monkeypatch.setattr(addresses, "STATIC", tmp_path)
        after = static_url("page.css")
        addresses._digest.cache_clear()
    assert before != after
    assert before.partition("?")[0] == after.partition("?")[0] == "/static/page.css"


def test_what_stands_under_the_address_of_another_version_is_not_kept(client: FlaskClient) -> None:
    """One server is upgraded before the other: the old one answers with the script it has."""
    first = client.get("/static/page.js?v=000000000000")
    again = client.get("/static/page.js?v=000000000000", headers={"If-None-Match": first.headers["ETag"]})
    assert [(answer.status_code, answer.headers["Cache-Control"]) for answer in (first, again)] == [(200, "no-cache"), (304, "no-cache")]
    assert client.get("/static/nothing.js?v=000000000000").status_code == 404
