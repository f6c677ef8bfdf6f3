"""The dashboard's own process is killed and besieged: no launch is lost or doubled, pages go on being answered, and nothing of a visitor stays behind."""

from __future__ import annotations

import re
import socket
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil
import pytest
from arena import Arena, until
from figures import quantiles
from signed_in import cookie_of

from webapp.database import POOL_SIZE

pytestmark = pytest.mark.timeout(180)

HALF_OPEN, STREAMS, USERS = 300, 100, 20
STREAMS_EACH = 5  # of one account the dashboard carries no more
KILLED_AFTER_SECONDS = (0.0, 0.008, 0.03)
ANSWER_SECONDS = 10
FORM = "/workflows/faults/slow/1.0.0/launch"


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """A dashboard on its own server; engines are not needed for what it promises, but make its workflows known."""
    installation = Arena(tmp_path_factory.mktemp("dashboard"))
    try:
        installation.start_engines(1)
        installation.living()[0].end()
        yield installation
    finally:
        installation.end()


class Browser:
    """One visitor with cookies: asks, fills the launch form, and sends it."""

    def __init__(self, arena: Arena) -> None:
        self.arena, self.own = arena, ""

    @property
    def cookies(self) -> str:
        """That of the session, and the one that the dashboard set."""
        return "; ".join(filter(None, (self.arena.cookie["Cookie"], self.own)))

    def connection(self) -> HTTPConnection:
        address = urllib.parse.urlsplit(self.arena.web_url)
        return HTTPConnection(str(address.hostname), address.port, timeout=ANSWER_SECONDS)

    def form(self) -> str:
        """The fields of a fresh launch form."""
        link = self.connection()
        link.request("GET", FORM, headers={"Cookie": self.cookies})
        answer = link.getresponse()
        page, self.own = answer.read().decode(), answer.headers.get("Set-Cookie", self.own).partition(";")[0]
        hidden = re.findall(r'name="(csrf_token|sheet)" value="([^"]+)"', page)
        return urllib.parse.urlencode([*hidden, ("context", '{"seconds": 0}')])

    def send(self, form: str) -> str | None:
        """Where the answer leads; None when the connection died first."""
        link = self.connection()
        try:
            link.request("POST", FORM, form, {"Cookie": self.cookies, "Content-Type": "application/x-www-form-urlencoded"})
            answer = link.getresponse()
            answer.read()
        except (OSError, HTTPException):
            return None
        assert answer.status == 303, answer.status
        return answer.headers["Location"]


def launched(arena: Arena) -> int:
    with arena.direct() as conn:
        row = conn.execute("select count(*) from tasker_task").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.long
def test_a_launch_whose_dashboard_is_killed_can_be_sent_again_and_makes_one_task(arena: Arena) -> None:
    """Killed at ever later moments: before the request is read, in the middle of it, after its answer."""
    before = launched(arena)
    arena.start_web(watched=False)
    for number, seconds in enumerate(KILLED_AFTER_SECONDS):
        browser = Browser(arena)
        form = browser.form()
        link = browser.connection()
        link.request("POST", FORM, form, {"Cookie": browser.cookies, "Content-Type": "application/x-www-form-urlencoded"})
        time.sleep(seconds)
        arena.kill_web()
        link.close()
        arena.start_web(watched=False)
        assert browser.send(form) == browser.send(form)
        assert launched(arena) == before + number + 1
    arena.kill_web()


def test_half_open_visitors_and_abandoned_streams_keep_no_one_from_being_answered(arena: Arena) -> None:
    arena.start_web(watched=False)
    browser = Browser(arena)
    browser.form()
    with besieged(arena):
        assert browser.send(browser.form()) is not None
    arena.kill_web()


@pytest.mark.nightly
def test_twenty_users_among_them_make_each_task_once_while_engines_work(tmp_path: Path) -> None:
    """Each sends a form twice at once, and then again."""
    arena = Arena(tmp_path, seed=30)
    made: list[str] = []

    def launch(arena: Arena) -> None:
        with arena.outage(), besieged(arena), ThreadPoolExecutor(USERS) as users:  # who cannot be served in time is to be told so
            made.extend(users.map(sent_thrice, [arena] * USERS))
            arena.visitors.end()

    try:
        arena.start_engines(3)
        arena.start_web()
        arena.run_load([launch], trees=400)
        arena.assert_kept()
    finally:
        arena.end()
    assert len(set(made)) == USERS
    print(f"answers of {len(arena.visitors.probes)} others, seconds: {quantiles([probe.seconds for probe in arena.visitors.probes])}")


def sent_thrice(arena: Arena) -> str:
    """Where the answers lead: all to the same task."""
    browser = Browser(arena)
    form = browser.form()
    with ThreadPoolExecutor(2) as hands:
        places = {*hands.map(browser.send, [form, form]), browser.send(form)}
    [place] = places
    assert place is not None
    return place


@contextmanager
def besieged(arena: Arena) -> Iterator[None]:
    """There are three hundred who never end what they ask, and a hundred who read nothing of the stream they asked for; afterwards their places are free."""
    straight = f"{arena.server.admin_url.rpartition('/')[0]}/tasker"
    cookies = [cookie_of(straight, f"crowd-{number}")["Cookie"] for number in range(STREAMS // STREAMS_EACH)] * STREAMS_EACH
    process, address = psutil.Process(arena.web_pid), urllib.parse.urlsplit(arena.web_url)
    began = process.num_fds()
    visitors = [socket.create_connection((address.hostname, address.port), ANSWER_SECONDS) for _ in range(HALF_OPEN + STREAMS)]
    for visitor in visitors[:HALF_OPEN]:
        visitor.sendall(b"GET /tasks HTTP/1.1\r\nHost: loc")
    for visitor, cookie in zip(visitors[HALF_OPEN:], cookies, strict=True):
        visitor.sendall(f"GET /live HTTP/1.1\r\nHost: {address.netloc}\r\nCookie: {cookie}\r\n\r\n".encode())
    until(lambda: process.num_fds() >= began + HALF_OPEN, "the dashboard to take them in")
    yield
    for visitor in visitors:
        visitor.close()
    until(lambda: process.num_fds() <= began + 5 + POOL_SIZE, "their places to be free again")
