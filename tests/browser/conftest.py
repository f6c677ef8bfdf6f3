"""A real Chromium in front of the real dashboard, beside an engine whose steps the test holds in its hands.

Chromium is taken from TASKER_CHROMIUM, else from PATH, else playwright's own. Where there is none the tests are skipped and
say so; with CI set they fail instead.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from signed_in import session_of

from engine.errors import PermanentError
from engine.handlers import Workflow
from engine.registry import HandlerRegistry
from engine.scheduler import Engine
from engine.settings import Settings
from webapp import create_app
from webapp.access import COOKIE
from webapp.server import Server, bind

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE = 20_000

SCHEMA = {
    "type": "object",
    "required": ["order_id"],
    "properties": {
        "order_id": {"type": "integer", "minimum": 1},
        "speed": {"type": "string", "enum": ["normal", "high"], "default": "normal"},
        "lines": {
            "type": "array",
            "items": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}},
        },
        "payment": {
            "oneOf": [
                {"title": "Card", "type": "object", "required": ["token"], "properties": {"token": {"type": "string"}}},
                {
                    "title": "Invoice",
                    "type": "object",
                    "required": ["vat_id"],
                    "properties": {"vat_id": {"type": "string"}},
                },
            ]
        },
    },
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


def chromium() -> str | None:
    """The path of a Chromium to use, or None for playwright's own."""
    named = os.environ.get("TASKER_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def chromium_browser() -> Iterator[Any]:
    """One Chromium for all tests of a process."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _without("playwright is not installed")
    with sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        except Exception as error:
            _without(str(error).strip().splitlines()[0])
        yield opened
        opened.close()


def _without(why: str) -> None:
    reason = f"no Chromium to test in ({why}); install one or set TASKER_CHROMIUM"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Handlers:
    """What the steps of the order workflow do, as the test says."""

    def __init__(self) -> None:
        self.gateway_is_up = threading.Event()
        self.parcel_is_packed = threading.Event()

    def workflow(self) -> Workflow:
        """validate -> charge (fails while the gateway is down) and validate -> pack (takes until it is packed), both -> ship."""
        flow = Workflow(
            "process_order", namespace="shop", version="1.0.0", schema=SCHEMA, description="From payment to courier."
        )

        @flow.step
        def validate(task: Any) -> dict[str, Any]:
            return {"order_id": task.context["order_id"]}

        @flow.step(depends_on_step="validate")
        def charge(task: Any) -> dict[str, str]:
            if not self.gateway_is_up.is_set():
                raise PermanentError("the gateway is down", error_code="down")
            return {"payment_id": "pay_1"}

        @flow.step(depends_on_step="validate")
        def pack(task: Any) -> None:
            self.parcel_is_packed.wait(60)

        @flow.step(depends_on_step=["charge", "pack"])
        def ship(task: Any) -> dict[str, bool]:
            return {"shipped": True}

        return flow


@pytest.fixture
def handlers() -> Iterator[Handlers]:
    made = Handlers()
    yield made
    # A handler that still waits would hold the engine back at the end of the test.
    made.gateway_is_up.set()
    made.parcel_is_packed.set()


@pytest.fixture
def registry(handlers: Handlers) -> HandlerRegistry:
    made = HandlerRegistry()
    made.register(handlers.workflow())
    return made


@pytest.fixture
def running_engine(database_url: str, registry: HandlerRegistry, handlers: Handlers) -> Iterator[Engine]:
    """An engine in threads of this process."""
    engine = Engine(database_url, registry, runner="threads", concurrency=4, grace=1.0)
    engine.start()
    yield engine
    handlers.parcel_is_packed.set()
    engine.drain()


@pytest.fixture
def app(database_url: str, tmp_path: Path) -> Flask:
    """The dashboard on the test's database."""
    return create_app(Settings(secret_key="a key for tests", data_dir=tmp_path), database_url=database_url)


class SignedIn:
    """The browser, each of whose contexts has the cookie of a session of `dashboard`."""

    def __init__(self, browser: Any, url: str) -> None:
        self._browser, self._url = browser, url

    def new_context(self, *, base_url: str, **options: Any) -> Any:
        context = self._browser.new_context(base_url=base_url, **options)
        context.add_cookies([{"name": COOKIE, "value": session_of(self._url), "url": base_url}])
        return context


@pytest.fixture
def browser(chromium_browser: Any, database_url: str) -> SignedIn:
    """The one place where the tests of a browser sign in."""
    return SignedIn(chromium_browser, database_url)


@pytest.fixture
def site(app: Flask) -> Iterator[str]:
    """The address the dashboard answers on."""
    server = Server(app, "127.0.0.1", bind("127.0.0.1", 0))
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server.url
    server.stop()
    thread.join(10)


class Faults(list[str]):
    """What the browser complained of: errors of scripts, violations of the content policy, failed requests."""

    def watch(self, page: Any) -> None:
        page.on("pageerror", lambda error: self.append(f"script: {error}"))
        page.on("console", lambda message: self.append(f"console: {message.text}") if message.type == "error" else None)


@pytest.fixture
def page(browser: Any, site: str) -> Iterator[Any]:
    """A page of the dashboard; the test fails when the browser found anything to complain of."""
    context = browser.new_context(base_url=site, timezone_id="Europe/Berlin", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    opened, faults = context.new_page(), Faults()
    faults.watch(opened)
    yield opened
    context.close()
    assert not faults


@pytest.fixture
def scriptless(browser: Any, site: str) -> Iterator[Any]:
    """A page in a browser that runs no script."""
    context = browser.new_context(base_url=site, java_script_enabled=False)
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()
