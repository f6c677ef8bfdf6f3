"""Each test of the examples has a data directory of its own, and may ask for one task to run twice or for the real service."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from engine.examples.services import URL_VARIABLE, Services, start_services
from engine.testing import one_step


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TASKER_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def same_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `run_step` of the test runs a step of one and the same task, as a second attempt does."""
    monkeypatch.setattr(one_step, "uuid", SimpleNamespace(uuid4=lambda: "0f6d2c1e-0000-4000-8000-000000000001"))


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """The accounts service, without its failures."""
    with start_services(failure_rate=0) as running:
        monkeypatch.setenv(URL_VARIABLE, running.url)
        yield running


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[dict[str, str]]]]:
    """`answering(status, body, headers)` makes a server give that answer to everything; returns the headers it receives."""
    servers: list[HTTPServer] = []

    def start(status: int, body: Any = None, headers: dict[str, str] | None = None) -> list[dict[str, str]]:
        received: list[dict[str, str]] = []

        class Fixed(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                received.append(dict(self.headers))
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                payload = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(payload)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_PATCH = _answer  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None: ...

        server = HTTPServer(("127.0.0.1", 0), Fixed)
        servers.append(server)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv(URL_VARIABLE, f"http://127.0.0.1:{server.server_port}/")
        return received

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
