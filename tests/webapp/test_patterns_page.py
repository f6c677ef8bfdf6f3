"""`/patterns`: every component in every state, in development only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from engine.settings import Settings
from engine.states import StepState
from webapp import create_app, database
from webapp.problems import TITLES


@pytest.fixture
def client(settings: Settings, database_url: str) -> Iterator[FlaskClient]:
    """The database is for signing in alone: nothing on the page may need it."""
    app = app_in(settings, "development", database_url)
    yield app.test_client()
    database.close(app)


def app_in(settings: Settings, env: str, database_url: str) -> Flask:
    return create_app(replace(settings, env=env), database_url=database_url)


@pytest.fixture
def page(client: FlaskClient) -> str:
    answer = client.get("/patterns")
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize("env", ["production", "staging"])
def test_it_is_there_in_development_alone(settings: Settings, database_url: str, env: str) -> None:
    app = app_in(settings, env, database_url)
    assert app.test_client().get("/patterns").status_code == 404
    database.close(app)


def test_every_state_is_shown_as_a_word_a_row_and_a_node(page: str) -> None:
    for state in StepState:
        assert f'class="state state-{state}"' in page
        assert f'class="node state-{state}' in page
        assert f'data-step="{state}_step"' in page


def test_every_icon_and_every_problem_is_shown(page: str) -> None:
    for icon in re.findall(r'<symbol id="(icon-[a-z]+)"', page):
        assert f'href="#{icon}"' in page, icon
    assert all(title in page for title in TITLES.values())


def test_no_id_stands_twice_and_every_reference_is_met(page: str) -> None:
    ids = Counter(re.findall(r'\sid="([^"]+)"', page))
    assert [name for name, number in ids.items() if number > 1] == []
    named = re.findall(r'\s(?:for|aria-labelledby|aria-describedby|list)="([^"]+)"', page)
    assert [word for names in named for word in names.split() if word not in ids] == []


def test_errors_stand_beside_their_fields(page: str) -> None:
    assert page.count('aria-invalid="true"') >= 4
    assert "There is no task state “sleeping”." in page


def test_empty_lists_say_what_to_do(page: str) -> None:
    for words in ("There is no task yet", "No engine has been seen", "Nothing runs by itself yet", "Nothing waits for an engine."):
        assert words in page


def test_it_is_drawn_by_the_templates_of_the_pages(page: str) -> None:
    folder = Path(create_app.__code__.co_filename).parent / "templates"
    used = set(re.findall(r'<code class="of">([\w/]+\.html)</code>', page))
    assert all((folder / name).is_file() for name in used)
    own = {name for name in used if name.startswith("patterns/")}
    assert own == {f"patterns/{name}" for name in ("_words.html", "_changes.html", "_icons.html", "_buttons.html", "_filter.html", "_launch.html")}
    assert len(used - own) >= 15
