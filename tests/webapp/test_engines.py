"""`/engines`: who executes, and what."""

from __future__ import annotations

from typing import Any

import psycopg
from flask.testing import FlaskClient


def test_without_an_engine_the_page_says_what_to_start(client: FlaskClient) -> None:
    assert "No engine has been seen" in client.get("/engines").text


def test_a_living_engine_shows_what_it_runs(client: FlaskClient, engine: Any) -> None:
    page = client.get("/engines").text
    assert "Alive" in page
    assert "test engine" in page
    assert "shop/process_order@1.0.0" in page


def test_an_engine_whose_lease_is_over_is_gone(client: FlaskClient, engine: Any, conn: psycopg.Connection[Any]) -> None:
    conn.execute("update tasker_worker set lease_until = now() - interval '1 minute'")
    assert "Gone" in client.get("/engines", headers={"HX-Request": "true"}).text
