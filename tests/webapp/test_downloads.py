"""Any list as a file: the same filter and rights as the page's, all of its rows, nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import cookie_of, session_of, token_for

import webapp
from engine import batches, rollups, schedules, tasks
from engine.access import audit
from engine.db import Database
from engine.finding import views
from engine.handlers import Workflow
from engine.requests import TaskRequest
from engine.timing import every
from webapp import downloads, listing
from webapp.access import COOKIE
from webapp.downloads import BrokenOff, Downloads, TooManyDownloads

Launch = Callable[..., str]
TEMPLATES = {str(path.relative_to(root)): path.read_text() for root in [Path(webapp.__file__).parent / "templates"] for path in root.rglob("*.html")}
CHECKED_ELSEWHERE = {"databases.index"}  # it takes two databases: test_databases_page has them
TABLES_WITHOUT_A_FILE = {
    "overview/_now.html": "leads to the lists that it is the beginning of",
    "tasks/_table.html": "part of lists that have one",
    "workflows/_table.html": "part of lists that have one",
    "workflows/_versions.html": "part of a page that has one, and two rows on another",
    "analytics/_chart.html": "part of pages that have one",
    "replay/_moment.html": "made of what happened to the task, which has one",
    "workflows/diff.html": "two versions side by side",
    "layout/_told.html": "the latest few",
    "settings/index.html": "the few sessions and tokens of the reader",
    "steps/_outcome.html": "the few attempts of one step",
    "launches/rows.html": "of a file that the reader has",
    "reference/index.html": "there as a document for programs",
}


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_file_of_tasks_is_what_a_query_finds_page_by_page(client: FlaskClient, db: Database, launch: Launch, failed_task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "ROWS", 2)
    for number in range(4):
        launch(number + 1, tags=("night", "=1+1"), initiator="@ada")
    expected = db.rows("select task_id::text, state, step_count from tasker_tasks where 'night' = any(tags) order by task_no desc")
    answer = client.get("/tasks?tag=night&format=ndjson")
    assert (answer.mimetype, answer.headers["Content-Disposition"]) == ("application/x-ndjson", 'attachment; filename="tasks.ndjson"')
    found = lines(answer.text)
    assert [(row["task_id"], row["state"], row["step_count"]) for row in found] == expected
    assert (found[0]["tags"], found[0]["initiator"], found[0]["created_at"][-1]) == (["night", "=1+1"], "@ada", "Z")
    table = list(csv.DictReader(io.StringIO(client.get("/tasks?tag=night&format=csv").text)))
    assert [row["task_id"] for row in table] == [row[0] for row in expected]
    assert (table[0]["initiator"], table[0]["paused"]) == ("'@ada", "false")
    assert failed_task in client.get("/tasks?state=failed&format=csv").text
    assert client.get("/tasks?tag=none&format=csv").text.startswith("task_id,")


@pytest.mark.parametrize(
    ("value", "cell"),
    [("=1", "'=1"), ("+1", "'+1"), ("-1", "'-1"), ("@a", "'@a"), ("\t=1", "' =1"), (" =1", "' =1"), ("\uff1d1", "'\uff1d1"), (-1, -1), (None, ""), (True, "true"), ("a\r\n=b", "a  =b"), (("=a", "b"), "'=a, b"), ({"a": 1}, '{"a": 1}')],
)
def test_a_cell_holds_no_formula_and_no_second_line(value: object, cell: object) -> None:
    assert downloads.csv_cell(value) == cell


@pytest.fixture
def printing(db: Database, conn: Any, engine: Any) -> str:
    """A task that prints two books, one at a time: one item holds the limit's place and one waits for it."""
    flow = Workflow("print_books", namespace="press", version="1.0.0")
    flow.define("list_books", handler_class="press.list_books")
    flow.define("print_book", depends_on_step="list_books", for_each="list_books.books", handler_class="press.print_book", limit={"at_once": 1})
    press = type(engine)(conn, [tasks.register_definition(db, flow.definition)])
    task_id = tasks.submit(db, TaskRequest("print_books", "press"))
    press.complete(task_id, "list_books", result={"books": [1, 2]})
    press.expand(task_id, "print_book")
    press.claim()
    return task_id


def test_every_list_leads_to_its_files_and_they_hold_what_it_shows(app: Flask, client: FlaskClient, db: Database, conn: Any, failed_task: str, printing: str, launch: Launch) -> None:
    child = launch(2, parent_task_id=failed_task, parent_step="charge")
    assert rollups.catch_up(db)
    schedules.add_schedule(db, every("1h"), name="process_order", namespace="shop", context={"order_id": 1})
    made = batches.make_batch(db, "retry", [(failed_task, None)], about="all of them", actor="ada")
    audit.note(db, "ada", "tasker.task:retry", namespace="shop")
    client.get("/views")
    views.keep_view(db, "Charges", {}, namespace="shop", owner_id=db.value("select account_id from tasker_account limit 1"))
    conn.execute("""select tasker_keep_journal(s.worker_id, 1, array[s.task_no], array[s.step_no], array[s.attempts]::smallint[], '[[1, 0, 30, "no answer yet", null]]', '[]')
                      from (select h.worker_id, h.task_no, h.step_no, h.attempt as attempts from tasker_history h where h.to_state = 5 and h.step_no is not null) s""")
    group = re.search(r"/failures/[0-9a-f-]+", client.get("/failures").text)
    assert group
    limit = "/limits/press/print_books?step=print_book"
    # each page, and for each of its lists a word that is in the file
    shown: dict[str, tuple[str, ...]] = {
        "/tasks": (failed_task,), f"/tasks/{failed_task}": ("GatewayTimeout", child, "GatewayTimeout"), f"/tasks/{failed_task}/timeline": ("reserve",),
        f"/tasks/{failed_task}/steps/charge/log": ("no answer yet",), f"/tasks/{printing}/steps/print_book": ("print_book[1]",), "/failures": ("no answer",), group[0]: (failed_task,),
        "/search?q=process_order": ("process_order",), "/batches": ("all of them",), f"/batches/{made}": (failed_task,), "/schedules": ("Every hour",), "/views": ("Charges",),
        "/engines": ("test engine", "process_order"), "/steps?queue=running": (printing,), "/steps?queue=ready": (child,), "/limits": ("print_book",), limit: ("print_book[0]", "print_book[1]"),
        "/workflows": ("process_order",), "/workflows/shop": ("process_order",), "/workflows/shop/process_order": ("From payment",), "/workflows/shop/process_order/1.0.0": ("reserve",),
        f"/tasks/{failed_task}/compare/{child}": ("different",), "/analytics": ("begins_at", "process_order"), "/analytics/bottlenecks": ("charge",), "/audit": ("ada",), "/settings/accounts": ("admin",), "/settings/roles": ("tasker.account:update",),
    }  # fmt: skip
    offered = {endpoint for text in TEMPLATES.values() for endpoint in re.findall(r"downloads\('([\w.]+)'", text)}
    place, followed = app.url_map.bind("localhost"), set()
    for path, words in shown.items():
        files = [unescape(each) for each in re.findall(r'href="([^"]+format=(?:csv|ndjson)[^"]*)" download', client.get(path).text)]
        assert len(files) == 2 * len(words), path
        for file, word in zip(files, [word for word in words for _ in downloads.FORMATS], strict=True):
            assert word in client.get(file).text, file
            followed.add(str(place.match(file.partition("?")[0])[0]))
    assert followed == offered - CHECKED_ELSEWHERE
    assert child in client.get(f"/tasks/{failed_task}").text


def test_a_table_has_a_file_or_a_reason_to_have_none() -> None:
    assert {name for name, text in TEMPLATES.items() if "<table" in text and "downloads(" not in text} == set(TABLES_WITHOUT_A_FILE)


def test_a_file_of_steps_is_the_table_of_the_task(client: FlaskClient, db: Database, failed_task: str) -> None:
    found = lines(client.get(f"/tasks/{failed_task}/steps?format=ndjson").text)
    expected = db.rows("select name, state, attempts, error ->> 'message' from tasker_steps where task_id = %(id)s order by step_no", {"id": failed_task})
    assert [(row["name"], row["state"], row["attempts"], row["error_message"]) for row in found] == expected
    assert [row["name"] for row in lines(client.get(f"/tasks/{failed_task}/steps?format=ndjson&steps=failed").text)] == ["charge"]
    assert client.get(f"/tasks/{failed_task}/steps").headers["Location"] == f"/tasks/{failed_task}#task-steps"


def test_a_file_of_what_happened_to_a_task_is_its_history(client: FlaskClient, db: Database, failed_task: str) -> None:
    tasks.note_task(db, failed_task, actor="ada", note="called the bank")
    found = lines(client.get(f"/tasks/{failed_task}/activity?format=ndjson").text)
    expected = db.rows(
        """select p.name, tasker_state_name(h.from_state), tasker_state_name(h.to_state), h.attempt, h.actor
             from tasker_history h join tasker_task t using (task_no) left join tasker_template p on p.definition_id = t.definition_id and p.step_no = h.step_no
            where t.task_id = %(id)s order by h.event_id desc""",
        {"id": failed_task},
    )
    assert [(row["step_name"], row["from_state"], row["to_state"], row["attempt"], row["actor"]) for row in found] == expected
    assert (found[0]["is_note"], found[0]["reason"]) == (True, "called the bank")
    assert "GatewayTimeout" in [row["error_type"] for row in found]
    assert client.get(f"/tasks/{failed_task}/activity").headers["Location"] == f"/tasks/{failed_task}#task-activity"


def test_all_that_a_task_submitted_is_in_the_file_and_the_page_says_that_it_has_the_first(
    app: Flask, client: FlaskClient, failed_task: str, printing: str, launch: Launch, conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("webapp.tasks.CHILDREN_SHOWN", "webapp.contexts.CHILDREN_SHOWN", "webapp.tasks.ROWS"):
        monkeypatch.setattr(place, 2)
    made = [launch(number, parent_task_id=failed_task, parent_step="charge") for number in (1, 2)]
    page = f"/tasks/{failed_task}"
    assert "the first 2" not in client.get(page).text
    made += [launch(number, parent_task_id=failed_task, parent_step="charge") for number in (3, 4)]
    conn.execute("update tasker_task set parent_task_id = %s where task_id = %s", [failed_task, printing])
    shown = client.get(page).text
    assert ("the first 2" in shown, made[0] in shown, made[3] in shown) == (True, True, False)
    assert sorted(row["task_id"] for row in lines(client.get(f"{page}/children?format=ndjson").text)) == sorted([printing, *made])
    reader = FlaskClient(app)
    reader.set_cookie(COOKIE, session_of(app.config["DATABASE_URL"], "ada", "viewer", "shop"))
    assert [row["task_id"] for row in lines(reader.get(f"{page}/children?format=ndjson").text)] == made, "nothing of another namespace, the oldest first"
    assert client.get(f"{page}/children").headers["Location"] == f"{page}#task-children"


def test_what_is_found_is_in_the_file_to_the_last(client: FlaskClient, launch: Launch, monkeypatch: pytest.MonkeyPatch, db: Database) -> None:
    monkeypatch.setattr("engine.finding.search.MAX_FOUND", 2)
    made = [launch(number, correlation_id="of-one-evening") for number in range(1, 6)]
    found = lines(client.get("/search?q=of-one-evening&format=ndjson").text)
    assert [(row["kind"], row["task_id"]) for row in found] == [("task", task_id) for task_id in reversed(made)]


def test_too_many_downloads_at_once_are_refused_with_advice(app: Flask, client: FlaskClient, launch: Launch) -> None:
    launch()
    headers = cookie_of(app.config["DATABASE_URL"])
    places: Downloads = app.extensions["tasker_downloads"]
    taken = [places.begin(-number) for number in range(downloads.MOST_AT_ONCE)]
    refused = client.get("/tasks?format=csv", headers=headers)
    assert (refused.status_code, "Try again" in refused.text, refused.headers["Retry-After"]) == (429, True, "10")
    for each in taken:
        places.end(each)
    for _ in range(downloads.MOST_AT_ONCE + 1):
        assert client.get("/tasks?format=csv", headers=headers).text.count("\n") == 2


def test_a_program_is_told_of_too_many_downloads_as_of_every_error(app: Flask) -> None:
    program = FlaskClient(app)
    program.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token_for(app.config['DATABASE_URL'])}"
    places: Downloads = app.extensions["tasker_downloads"]
    taken = [places.begin(-number) for number in range(downloads.MOST_AT_ONCE)]
    refused = program.get("/api/v1/audit.csv")
    assert (refused.status_code, refused.json["errors"][0]["code"], refused.headers["Retry-After"]) == (429, "too_many_downloads", "10")
    places.end(taken[0])
    assert program.get("/api/v1/audit.csv").mimetype == "text/csv"


def test_one_account_has_few_downloads_and_leaves_places_to_others() -> None:
    places = Downloads()
    first, _ = places.begin(1), places.begin(1)
    with pytest.raises(TooManyDownloads, match="You are downloading 2"):
        places.begin(1)
    places.begin(2)
    places.end(first)
    places.begin(1)


def test_a_reader_that_takes_nothing_loses_its_place_and_the_rest_of_the_file() -> None:
    """And is told by a broken file: one that just ended would be taken for whole."""
    now = [0.0]
    places = Downloads(lambda: now[0])
    slow, steady = places.begin(1), places.begin(1)
    now[0] = downloads.STALLED_SECONDS - 1
    places.go_on(steady)
    now[0] = downloads.STALLED_SECONDS
    again = places.begin(1)
    with pytest.raises(BrokenOff):
        places.go_on(slow)
    places.end(slow)
    with pytest.raises(TooManyDownloads):
        places.begin(1)
    places.go_on(steady)
    places.go_on(again)
