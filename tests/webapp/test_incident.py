"""`/tasks/<id>/incident`: all that is on record of a task in one page that needs nothing outside of it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from test_access import client_of

from engine import steps
from engine.access import accounts
from engine.db import Database


class Seen(HTMLParser):
    """Every tag, and every attribute that could lead elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.leads: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.leads += [f"{name}={value}" for name, value in attrs if name in ("href", "src", "style", "action") or name.startswith("on")]


def test_an_incident_file_has_everything_and_leads_nowhere(client: FlaskClient, db: Database, conn: Any, failed_task: str) -> None:
    conn.execute(
        "insert into tasker_log (task_no, step_no, attempt, at, level, message, fields) select task_no, 1, 1, tasker_clock(), 40, 'card <i>declined</i>', '{\"try\": 1}' from tasker_task where task_id = %s",
        [failed_task],
    )
    steps.retry_step(db, failed_task, "charge", actor="ada", reason="once more <b>")
    assert f'href="/tasks/{failed_task}/incident" download' in client.get(f"/tasks/{failed_task}").text
    answer = client.get(f"/tasks/{failed_task}/incident")
    assert (answer.status_code, answer.headers["Content-Disposition"]) == (200, f'attachment; filename="incident-{failed_task}.html"')
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    page = answer.text
    seen = Seen(page)
    assert seen.leads == []
    assert not seen.tags & {"script", "link", "img", "iframe", "form", "i", "b", "use"}
    assert not re.search(r"https?://", page)
    for word in ("File &quot;gateway.py&quot;, line 7", "card &lt;i&gt;declined&lt;/i&gt; {&quot;try&quot;: 1}", "once more &lt;b&gt;", "ada", "order_id"):
        assert word in page, word
    boxes = dict(re.findall(r'<g class="(?P<state>\w+)"><title>(\w+)</title>', page))
    assert set(boxes) == {row[0] for row in db.rows("select distinct state from tasker_steps where task_id = %(id)s", {"id": failed_task})}
    sections = dict(re.findall(r"<h2>([\w ]+)</h2>\n<div class=\"wide\"[^>]*><table>(.*?)</table>", page, re.S))
    attempts, moves = db.rows(
        "select count(*) filter (where h.to_state = 2 and h.step_no is not null), count(*) from tasker_history h where h.task_no = tasker_task_no(%(id)s::uuid)",
        {"id": failed_task},
    )[0]
    assert sections["Attempts"].count("<tr>") == attempts + 1
    assert sections["History"].count("<tr>") == moves + 1
    assert sections["Log"].count("<tr>") == 2


def test_it_takes_the_right_to_see_steps(app: Flask, db: Database, failed_task: str) -> None:
    accounts.keep_role(db, "glancer", ["tasker.task:show", "tasker.task:index"], actor="tests")
    reader = client_of(app, "glancer", "glancer")
    assert reader.get(f"/tasks/{failed_task}/incident").status_code == 404
    page = reader.get(f"/tasks/{failed_task}")
    assert (page.status_code, "incident file" in page.text) == (200, False)
