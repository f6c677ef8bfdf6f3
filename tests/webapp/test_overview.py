"""`/`: what runs, what waits and what needs somebody."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient


def test_an_empty_installation_says_how_to_begin(client: FlaskClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "There is no task yet" in page.text
    assert "No engine is running" in page.text


def test_a_failed_task_is_shown_as_needing_somebody(client: FlaskClient, failed_task: str) -> None:
    page = client.get("/").text
    assert "Failed, needs somebody" in page
    assert f'href="/tasks/{failed_task}"' in page


def test_a_living_engine_needs_no_warning(client: FlaskClient, engine: Any) -> None:
    assert "No engine is running" not in client.get("/").text


def test_htmx_gets_the_live_region_alone(client: FlaskClient, failed_task: str) -> None:
    region = client.get("/", headers={"HX-Request": "true"}).text
    assert '<div id="now" hx-swap-oob="morph">' in region
    assert "<html" not in region
