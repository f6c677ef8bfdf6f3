"""How the tests call the API and read its answers."""

from __future__ import annotations

import json
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

ORDER = {"namespace": "shop", "name": "process_order", "context": {"order_id": 7}}


class Caller:
    """Sends JSON to the API and reads what comes back."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(f"/api/v1{path}", headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> TestResponse:
        """A JSON value as it is, text and bytes as they are; names of headers with _ for -."""
        sent = {"data": body if isinstance(body, (str, bytes)) else json.dumps(body), "content_type": "application/json"} if body is not None else {}
        return self.client.post(f"/api/v1{path}", headers={name.replace("_", "-"): value for name, value in headers.items()}, **sent)

    def create(self, **fields: Any) -> str:
        """The id of a new task of the order workflow."""
        answer = self.post("/tasks", {**ORDER, **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json["task_id"])


def codes(answer: TestResponse) -> list[tuple[str, str]]:
    """The path and code of every error."""
    return [(one["path"], one["code"]) for one in answer.json["errors"]]
