"""Light, dark or as the machine: a form and a cookie."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

Post = Callable[..., TestResponse]


def test_a_chosen_theme_stays_and_the_reader_returns_to_the_page(client: FlaskClient, post: Post) -> None:
    answer = post("/appearance", theme="dark", back="/tasks?state=failed")
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/tasks?state=failed"
    assert 'data-theme="dark"' in client.get("/").text


def test_an_unknown_theme_changes_nothing(client: FlaskClient, post: Post) -> None:
    assert post("/appearance", theme="plaid").status_code == 303
    assert 'data-theme="system"' in client.get("/").text


@pytest.mark.parametrize(
    "back", ["//evil.example", "https://evil.example", "/\\evil.example", "", "javascript:alert(1)", "/\t/evil.example"]
)
def test_the_way_back_stays_inside(post: Post, back: str) -> None:
    assert post("/appearance", theme="dark", back=back).headers["Location"] == "/"


def test_a_cookie_from_outside_is_not_believed(client: FlaskClient) -> None:
    client.set_cookie("theme", '"><script>')
    client.set_cookie("zone", "../../etc/passwd")
    page = client.get("/").text
    assert 'data-theme="system" data-zone="UTC"' in page


def test_times_are_in_the_readers_zone_with_utc_beside(client: FlaskClient, launch: Callable[..., str]) -> None:
    task_id = launch()
    client.set_cookie("zone", "Asia/Kathmandu")
    page = client.get(f"/tasks/{task_id}").text
    assert 'data-zone="Asia/Kathmandu"' in page
    assert ' UTC">' in page
