"""What the tests of the API share: a caller that speaks JSON, and an address of the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from calls import ORDER, Caller
from flask import Flask
from flask.testing import FlaskClient
from signed_in import token_for


@pytest.fixture
def token(database_url: str) -> str:
    """Opens the whole API."""
    return token_for(database_url)


@pytest.fixture
def app(app: Flask, token: str) -> Flask:
    """The dashboard, whose callers are programs with that token."""

    class Program(FlaskClient):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"

    app.test_client_class = Program
    return app


@pytest.fixture
def api(client: FlaskClient, definition_id: int) -> Caller:
    return Caller(client)


@pytest.fixture
def order() -> Callable[..., dict[str, Any]]:
    """The body of a request for the order workflow."""
    return lambda **fields: {**ORDER, **fields}


@pytest.fixture
def from_elsewhere(app: Flask) -> FlaskClient:
    """A caller on another machine, without a token."""
    client = FlaskClient(app)
    client.environ_base["REMOTE_ADDR"] = "203.0.113.9"
    return client
