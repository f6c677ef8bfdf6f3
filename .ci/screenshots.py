"""Takes the pictures of docs/dashboard.md from the demo's own data; `make screenshots` calls it inside .venv.

With a folder as its argument it takes every page at three widths and in both themes into that folder instead, to be looked at.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from playwright.sync_api import sync_playwright

from tests import find_chromium

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
SIZES = {"wide": (1440, 900), "middle": (1024, 768), "phone": (390, 844)}
THEMES = ("light", "dark")
SECONDS = 120

IN_THE_TOUR = {
    "overview": ("wide", "light"), "tasks": ("wide", "light"), "task": ("wide", "dark"), "fan": ("wide", "light"), "timeline": ("wide", "light"), "step": ("wide", "light"),
    "preview": ("wide", "light"), "launch": ("wide", "light"), "workflow": ("wide", "light"), "difference": ("wide", "light"), "engines": ("wide", "light"), "overview-phone": ("phone", "dark"),
}  # fmt: skip


def main(arguments: list[str]) -> None:
    """Take the pictures that the tour shows, or with a folder all of them."""
    with _demo() as lines, _browser() as browser:
        address, sign_in = _told(lines)
        first = _context(browser, "wide", "light")
        state = _signed_in(first, sign_in)
        _wait_for_end(first, address)
        pages = _pages(first, address)
        wanted = _everything(pages, Path(arguments[0])) if arguments else _tour(pages)
        for path, url, size, theme in wanted:
            _take(browser, state, path, urljoin(address, url), size, theme, whole=bool(arguments))
            print(path)


@contextmanager
def _demo() -> Iterator[Iterator[str]]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TASKER_DATA_DIR": folder}
        demo = subprocess.Popen([sys.executable, "-m", "engine.cli", "demo"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert demo.stdout
        try:
            yield iter(demo.stdout)
        finally:
            demo.terminate()
            demo.wait()


@contextmanager
def _browser() -> Iterator[Any]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield browser
        browser.close()


def _told(lines: Iterator[str]) -> tuple[str, str]:
    """The dashboard's address, and the link that signs in."""
    found: dict[str, str] = {}
    for line in lines:
        if said := re.search(r"(Dashboard|Sign in): (http\S+)", line):
            found[said[1]] = said[2]
        if len(found) == 2:
            return found["Dashboard"], found["Sign in"]
    sys.exit("the demo did not start")


def _context(browser: Any, size: str, theme: str, state: Any = None) -> Any:
    width, height = SIZES[size]
    return browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce", timezone_id="UTC", storage_state=state
    )


def _signed_in(context: Any, link: str) -> Any:
    page = context.new_page()
    page.goto(link)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")
    page.close()
    return context.storage_state()


def _wait_for_end(context: Any, address: str) -> None:
    page, deadline = context.new_page(), time.monotonic() + SECONDS
    while time.monotonic() < deadline and any(_has_tasks(page, urljoin(address, f"/tasks?state={state}")) for state in ("pending", "running")):
        time.sleep(1)
    page.close()


def _has_tasks(page: Any, url: str) -> bool:
    page.goto(url)
    return bool(page.locator("#task-list tbody tr").count())


def _pages(context: Any, address: str) -> dict[str, str]:
    """The address of each page, by the name of its picture."""
    page = context.new_page()

    def first(url: str, selector: str) -> str:
        page.goto(urljoin(address, url))
        return str(page.locator(selector).first.get_attribute("href"))

    order = first("/tasks?name=process_order&state=failed", "#task-list tbody th a, #task-list tbody a.id")
    done = first("/tasks?name=process_order&version=2.0.0&state=completed", "#task-list tbody th a, #task-list tbody a.id")
    fan = first("/tasks?name=dependency_audit", "#task-list tbody th a, #task-list tbody a.id")
    step = first(order, "tr.row-failed th a")
    found = {
        "overview": "/", "tasks": "/tasks", "failed": "/tasks?state=failed", "task": order, "fan": fan, "timeline": f"{done}/timeline", "step": step,
        "preview": f"{step}/preview/skip", "cancellation": f"{order}/preview/cancellation", "resolution": f"{step}/preview/resolution", "log": f"{step}/log",
        "workflows": "/workflows", "namespace": "/workflows/ecommerce", "workflow": "/workflows/ecommerce/process_order",
        "version": "/workflows/ecommerce/process_order/2.0.0", "launch": "/workflows/ecommerce/process_order/2.0.0/launch",
        "difference": "/workflows/ecommerce/process_order/diff?from=1.0.0&to=2.0.0", "engines": "/engines", "failures": "/failures", "failure": first("/failures", "#failure-list tbody th a"), "batch": "/batches/new/retry?state=failed", "batches": "/batches",
        "settings": "/settings", "accounts": "/settings/accounts", "audit": "/audit", "schedules": "/schedules", "steps": "/steps", "patterns": "/patterns",
    }  # fmt: skip
    page.close()
    return found


Wanted = tuple[Path, str, str, str]


def _tour(pages: dict[str, str]) -> Iterator[Wanted]:
    PICTURES.mkdir(exist_ok=True)
    for name, (size, theme) in IN_THE_TOUR.items():
        yield PICTURES / f"{name}.png", pages[name.removesuffix("-phone")], size, theme


def _everything(pages: dict[str, str], folder: Path) -> Iterator[Wanted]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, url in pages.items():
        for size in SIZES:
            for theme in THEMES:
                yield folder / f"{name}-{size}-{theme}.png", url, size, theme


def _take(browser: Any, state: Any, path: Path, url: str, size: str, theme: str, *, whole: bool) -> None:
    context = _context(browser, size, theme, state)
    page = context.new_page()
    page.goto(url)
    page.wait_for_timeout(400)  # fonts and the fit of the graph
    page.screenshot(path=path, full_page=whole)
    context.close()


if __name__ == "__main__":
    main(sys.argv[1:])
