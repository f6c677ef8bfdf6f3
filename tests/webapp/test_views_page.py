"""Lists kept under a name: alone or for the team, with counts of what the reader may see, and alerts that only operators set."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from signed_in import session_of, token_of
from werkzeug.test import TestResponse

from engine import batches
from engine.db import Database
from engine.finding import failures, views
from webapp.access import COOKIE

GOING = threading.Event()
HandEngine, Launch, Post = Any, Callable[..., str], Callable[..., TestResponse]


def reader(app: Flask, name: str, role: str, namespace: str | None = None) -> tuple[FlaskClient, Callable[..., TestResponse]]:
    client = FlaskClient(app)
    client.set_cookie(COOKIE, session_of(app.config["DATABASE_URL"], name, role, namespace))

    def post(path: str, **fields: str) -> TestResponse:
        return client.post(path, data={"csrf_token": token_of(client.get("/tasks").text), **fields})

    return client, post


def test_a_list_is_kept_under_a_name_shown_with_its_count_and_alerts_by_what_its_page_says(app: Flask, client: FlaskClient, post: Post, db: Database, launch: Launch) -> None:
    [launch(number, tags=("vip",)) for number in range(1, 4)]
    launch(9)
    assert "/views/new?namespace=shop&amp;name=process_order&amp;tag=vip" in client.get("/tasks?tag=vip&namespace=shop&name=process_order").text
    form = client.get("/views/new?tag=vip&namespace=shop&name=process_order").text
    assert 'name="name" value="process_order"' in form
    made = post("/views", title="<b>Vip</b>", shared="shop", tag="vip", namespace="shop", name="process_order")
    assert made.status_code == 303
    where = made.headers["Location"]
    assert post("/views", title="<B>vip</B>", shared="shop").status_code == 422

    listed = client.get("/tasks").text
    assert "&lt;b&gt;Vip&lt;/b&gt;" in listed
    assert '<span class="tabular of">3</span>' in listed
    assert 'id="kept-views"' in client.get("/tasks", headers={"HX-Request": "true"}).text, "the counts are not renewed with the list"

    wrong = post(where, title="Vip", shared="shop", threshold="2")
    assert wrong.status_code == 422
    assert "needs a webhook or an e-mail address" in wrong.text
    assert post(where, title="Vip", shared="shop", threshold="2", rest="1h", email="ops@example.com", secret="quiet").status_code == 303
    assert views.watch(db, GOING) == 1
    page = client.get(where).text
    assert "To be told" in page
    assert "email: ops@example.com" in page
    assert "There is one; left empty, it stays." in page
    assert "quiet" not in page.replace('class="quiet"', "").replace("button quiet", "")
    assert "tasks, too many" in client.get("/tasks").text
    assert db.rows("select email, secret, link from tasker_view")[0] == ("ops@example.com", "quiet", "http://localhost" + where)

    assert post(f"{where}/removal").status_code == 303
    assert client.get(where).status_code == 404
    assert "No view is kept yet" in client.get("/views").text


def test_every_view_can_be_reached_however_many_there_are(client: FlaskClient, db: Database) -> None:
    client.get("/views")
    owner = db.value("select account_id from tasker_account limit 1")
    for number in range(1, 53):
        views.keep_view(db, f"View {number:02}", {}, namespace=None, owner_id=owner)
    first = client.get("/views").text
    assert ("View 50" in first, "View 51" in first, "1 to 50 of 52" in first) == (True, False, True)
    assert 'href="/views?from=50"' in first
    last = client.get("/views?from=50", headers={"HX-Request": "true"}).text
    assert ("View 50" in last, "View 51" in last, "51 to 52 of 52" in last) == (False, True, True)
    assert "All 52 views" in client.get("/tasks").text
    assert "View 52" in client.get("/palette?q=view 52").text
    assert client.get("/views?format=csv").text.count("\n") == 53
    assert "View 51" in client.get("/views?from=9999999").text


def test_who_may_not_act_keeps_views_alone_and_changes_nobody_elses(app: Flask, post: Post, launch: Launch) -> None:
    launch()
    shared = post("/views", title="Shared", shared="shop", state="pending").headers["Location"]
    private = post("/views", title="Private").headers["Location"]
    client, send = reader(app, "viewer", "viewer", "shop")
    assert "Shared" in client.get(shared).text
    assert 'name="threshold"' not in client.get(shared).text
    assert client.get(private).status_code == send(f"{private}/removal").status_code == 404
    assert send(shared, title="Mine", shared="shop").status_code == send(f"{shared}/removal").status_code == 403
    assert send("/views", title="Ours", shared="shop").status_code == 403

    own = send("/views", title="Mine", state="pending").headers["Location"]
    assert send(own, title="Mine", threshold="1", email="viewer@example.com").status_code == 403
    assert send(own, title="Renamed").status_code == 303

    stranger, _ = reader(app, "stranger", "viewer", "elsewhere")
    assert stranger.get(shared).status_code == stranger.get(own).status_code == 404
    assert "Shared" not in stranger.get("/tasks").text


def test_a_group_is_resolved_with_one_result_and_a_form_sent_again_leads_to_its_batch(client: FlaskClient, post: Post, db: Database, launch: Launch, engine: HandEngine) -> None:
    made = [launch(number) for number in range(1, 3)]
    for task_id in made:
        engine.fail(task_id, "validate")
    [group] = failures.failure_groups(db)
    assert "Resolve them" in client.get(f"/failures/{group.key}").text
    assert 'name="result"' in client.get(f"/batches/new/step-resolution?failure={group.key}").text
    wrong = post("/batches/new/step-resolution", failure=group.key, count="2", result="{no json", key="abc")
    assert wrong.status_code == 422
    assert "{no json" in wrong.text

    sent = {"failure": group.key, "count": "2", "result": '{"checked": "by hand"}', "key": "abc"}
    where = post("/batches/new/step-resolution", **sent).headers["Location"]
    batches.run_due(db, GOING)
    assert [engine.state(task_id, "validate") for task_id in made] == ["resolved"] * 2
    assert db.value("select count(*) from tasker_step where result = '{\"checked\": \"by hand\"}'") == 2
    again = post("/batches/new/step-resolution", **sent)
    assert (again.status_code, again.headers["Location"]) == (303, where), "the group is gone by now"
    assert "This form was sent before" in client.get(where).text
