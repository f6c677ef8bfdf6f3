"""The launch page: fields, one JSON text, options, and what goes wrong."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from signed_in import session_of
from werkzeug.test import TestResponse

from engine import queries, tasks
from engine.db import Database
from engine.handlers import Workflow
from engine.requests import TaskRequest
from webapp.access import COOKIE
from webapp.commands import command_line, python_code

PAGE = "/workflows/shop/process_order/1.0.0/launch"
GIVEN = {"context/order_id": "12"}
Post = Callable[..., TestResponse]

pytestmark = pytest.mark.usefixtures("definition_id")


def launched(answer: TestResponse, db: Database) -> queries.TaskDetail:
    assert answer.status_code == 303, answer.text
    return queries.task(db, answer.headers["Location"].removeprefix("/tasks/"))


def sheet_of(page: str) -> str:
    found = re.search(r'name="sheet" value="([^"]+)"', page)
    assert found
    return found[1]


def test_the_form_asks_for_every_field(client: FlaskClient) -> None:
    page = client.get(PAGE).text
    assert 'name="context/order_id"' in page
    assert 'name="context/speed"' in page
    assert ">Launch</button>" in page


def test_a_launch_lands_on_the_task(post: Post, db: Database) -> None:
    detail = launched(post(PAGE, **{"context/order_id": "12", "context/speed": "high"}), db)
    assert detail.context == {"order_id": 12, "speed": "high"}
    assert detail.task.initiator == "dashboard"


def test_a_launch_can_be_written_as_json(post: Post, db: Database) -> None:
    detail = launched(post(PAGE, context='{"order_id": 9007199254740993}'), db)
    assert detail.context["order_id"] == 9007199254740993


def test_an_error_stands_beside_its_field_and_nothing_is_launched(post: Post, db: Database) -> None:
    answer = post(PAGE, **{"context/order_id": "zero"})
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text
    assert 'value="zero"' in answer.text
    assert not queries.tasks(db).items


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"order_id": 0}', '{"order_id": NaN}'])
def test_json_that_is_no_good_context_is_shown_again(post: Post, db: Database, text: str) -> None:
    answer = post(PAGE, context=text)
    assert answer.status_code == 422
    assert not queries.tasks(db).items


def test_the_options_go_into_the_request(post: Post, db: Database) -> None:
    options = {
        "reason": "a try",
        "tags": "vip, eu",
        "priority": "5",
        "correlation_id": "ord-9",
        "run_at": "2099-01-31T08:30",
    }
    detail = launched(post(PAGE, **{"context/order_id": "12"}, **options), db)
    assert (detail.reason, detail.task.tags, detail.task.priority) == ("a try", ("vip", "eu"), 5)
    assert detail.task.correlation_id == "ord-9"
    assert detail.task.run_at
    assert detail.task.run_at.isoformat() == "2099-01-31T08:30:00+00:00"


def test_the_time_of_a_launch_is_typed_in_the_zone_that_the_form_has_named(client: FlaskClient, post: Post, db: Database) -> None:
    client.set_cookie("zone", "Europe/Berlin")
    page = client.get(f"{PAGE}?run_at=2099-07-01T06:30Z").text
    assert "Launch at (Europe/Berlin)" in page
    assert 'value="2099-07-01T08:30"' in page
    client.set_cookie("zone", "Asia/Tokyo")  # the browser has moved since
    sent = {"context/order_id": "12", "run_at": "2099-07-01T08:30", "zone": "Europe/Berlin"}
    assert "Launch at (Europe/Berlin)" in post(PAGE, **sent, priority="high").text, "the same form goes on"
    run_at = launched(post(PAGE, **sent), db).task.run_at
    assert run_at
    assert run_at.isoformat() == "2099-07-01T06:30:00+00:00"


@pytest.mark.parametrize(("option", "value"), [("priority", "high"), ("run_at", "soon"), ("priority", "99999")])
def test_a_bad_option_is_told_at_the_option(post: Post, db: Database, option: str, value: str) -> None:
    answer = post(PAGE, **{"context/order_id": "12", option: value})
    assert answer.status_code == 422
    assert f'id="option-{option}-error"' in answer.text
    assert not queries.tasks(db).items


@pytest.mark.parametrize("given", [GIVEN, {"context": '{"order_id": 12}'}])
def test_steps_are_bypassed_by_their_names(post: Post, db: Database, given: dict[str, str]) -> None:
    detail = launched(post(PAGE, **given, bypass_steps="reserve, charge"), db)
    assert {step.name for step in detail.steps if step.bypass} == {"reserve", "charge"}


def test_an_unknown_step_is_told_at_the_option_with_the_nearest_name_and_stays_typed(post: Post, db: Database) -> None:
    answer = post(PAGE, **GIVEN, bypass_steps="reserve, chrage")
    assert answer.status_code == 422
    assert 'id="option-bypass_steps-error"' in answer.text
    assert "did you mean &#39;charge&#39;?" in answer.text
    assert 'value="reserve, chrage"' in answer.text
    assert not queries.tasks(db).items


def test_the_same_key_leads_to_the_first_task(post: Post) -> None:
    form = {"context/order_id": "12", "idempotency_key": "once"}
    assert post(PAGE, **form).headers["Location"] == post(PAGE, **form).headers["Location"]


def test_a_key_used_for_something_else_is_refused(post: Post) -> None:
    post(PAGE, **{"context/order_id": "12", "idempotency_key": "once"})
    answer = post(PAGE, **{"context/order_id": "13", "idempotency_key": "once"})
    assert answer.status_code == 422
    assert 'value="13"' in answer.text


def test_a_form_that_is_sent_twice_makes_one_task(post: Post, client: FlaskClient, db: Database) -> None:
    sheet = sheet_of(client.get(PAGE).text)
    first, again = (post(PAGE, sheet=sheet, **GIVEN) for _ in range(2))
    assert first.location == again.location
    assert len(queries.tasks(db).items) == 1
    assert "This form was sent before" in client.get(again.location).text


def test_a_form_that_has_changed_since_it_was_sent_asks_again(post: Post, client: FlaskClient, db: Database) -> None:
    sheet = sheet_of(client.get(PAGE).text)
    post(PAGE, sheet=sheet, **GIVEN)
    changed = post(PAGE, sheet=sheet, **GIVEN, reason="another one")
    assert changed.status_code == 409
    assert "press Launch again" in changed.text
    assert len(queries.tasks(db).items) == 1
    assert post(PAGE, sheet=sheet_of(changed.text), **GIVEN, reason="another one").status_code == 303
    assert len(queries.tasks(db).items) == 2


@pytest.mark.parametrize("sheet", ["", "short", "x" * 999, "\0" * 20])
def test_a_form_without_a_name_of_its_own_launches_all_the_same(post: Post, sheet: str) -> None:
    assert post(PAGE, sheet=sheet, **GIVEN).status_code == 303


def test_a_button_of_the_form_adds_a_row_and_launches_nothing(post: Post, db: Database) -> None:
    answer = post(PAGE, **{"context/order_id": "12", "_add:/lines": "1"})
    assert answer.status_code == 200
    assert 'name="context/lines/0/sku"' in answer.text
    assert not queries.tasks(db).items


def test_switching_to_json_and_back_keeps_what_was_entered(post: Post) -> None:
    as_json = post(PAGE, **{"context/order_id": "12", "_mode": "json"})
    assert "&#34;order_id&#34;: 12" in as_json.text
    as_fields = post(PAGE, context='{"order_id": 13}', _mode="fields")
    assert 'value="13"' in as_fields.text


def test_an_earlier_task_can_fill_the_form(client: FlaskClient, launch: Callable[..., str]) -> None:
    assert 'value="77"' in client.get(f"{PAGE}?from_task={launch(77)}").text
    assert client.get(f"{PAGE}?from_task=nothing").status_code == 200


def test_htmx_is_sent_to_the_task(post: Post) -> None:
    answer = post(PAGE, htmx=True, **{"context/order_id": "12"})
    assert answer.headers["HX-Redirect"].startswith("/tasks/")


def test_without_its_token_nothing_is_launched(client: FlaskClient, db: Database) -> None:
    assert client.post(PAGE, data={"context/order_id": "12"}).status_code == 403
    assert not queries.tasks(db).items


def test_an_unknown_version_has_no_form(client: FlaskClient, post: Post) -> None:
    assert client.get("/workflows/shop/process_order/7.0.0/launch").status_code == 404
    assert post("/workflows/shop/process_order/7.0.0/launch").status_code == 404


def test_fields_and_options_can_be_filled_by_the_address(client: FlaskClient) -> None:
    page = client.get(f'{PAGE}?order_id=41&lines=[{{"sku":"pen"}}]&tags=vip&reason=again&unknown=1').text
    assert 'value="41"' in page
    assert 'name="context/lines/0/sku"' in page
    assert 'value="pen"' in page
    assert 'value="vip"' in page
    assert '<option selected value="normal">' in page


@pytest.mark.parametrize("query", ["order_id=zero", "lines=[", "lines=7", "order_id=%00", "speed=%3Cb%3E"])
def test_a_bad_value_in_the_address_is_shown_and_refused(client: FlaskClient, post: Post, db: Database, query: str) -> None:
    assert client.get(f"{PAGE}?{query}").status_code == 200
    assert not queries.tasks(db).items


def test_launching_again_keeps_the_tags_and_what_matter_it_belongs_to(client: FlaskClient, launch: Callable[..., str]) -> None:
    page = client.get(f"{PAGE}?from_task={launch(77, tags=('vip', 'eu'), priority=5, correlation_id='order-77')}").text
    assert 'value="order-77"' in page
    assert 'value="eu, vip"' in page or 'value="vip, eu"' in page
    assert 'name="priority" type="text" value="5"' in page


@pytest.mark.parametrize("mode", ["fields", "json"])
def test_what_an_earlier_task_kept_secret_is_named_as_not_filled_in(client: FlaskClient, db: Database, mode: str) -> None:
    def page(context: dict[str, Any]) -> str:
        task_id = tasks.submit(db, TaskRequest("process_order", "shop", context={"order_id": 77, **context}))
        return client.get(f"{PAGE}?from_task={task_id}&mode={mode}").text

    one = page({"payment_info": {"token": "tok-4711"}})
    several = page({"payment_info": {"token": "tok-4711"}, "parcels": [{"api_key": "key-4711"}]})
    assert "payment_info.token was kept secret and is not filled in; enter it again." in one
    assert "parcels.0.api_key, payment_info.token were kept secret and are not filled in; enter them again." in several
    assert "4711" not in one + several
    assert "kept secret" not in page({"note": "open"})


def test_a_secret_that_the_address_fills_in_is_not_asked_for(client: FlaskClient, db: Database) -> None:
    definition = Workflow("paid", namespace="shop", version="1.0.0", schema={"type": "object", "properties": {"token": {"type": "string"}}})
    definition.define("charge")
    tasks.register_definition(db, definition.definition)
    task_id = tasks.submit(db, TaskRequest("paid", "shop", context={"token": "tok-4711"}))
    address = f"/workflows/shop/paid/1.0.0/launch?from_task={task_id}"
    assert "token was kept secret" in client.get(address).text
    assert "kept secret" not in client.get(f"{address}&token=another").text


def test_an_unknown_earlier_task_is_said(client: FlaskClient) -> None:
    assert "There is no task nothing." in client.get(f"{PAGE}?from_task=nothing").text


def test_a_preset_fills_the_form_even_when_it_is_not_complete(post: Post, client: FlaskClient, db: Database) -> None:
    kept = post(PAGE, **{"context/speed": "high", "preset": "Express <b>", "_keep": "1"})
    assert "Kept as the preset" in kept.text
    assert not queries.tasks(db).items
    page = client.get(PAGE, query_string={"preset": "Express <b>"}).text
    assert '<option selected value="high">' in page
    assert "Express &lt;b&gt;" in page
    assert "<b>" not in page.replace("&lt;b&gt;", "")


def test_a_preset_is_there_for_everybody_who_may_launch_the_workflow(app: Flask, post: Post) -> None:
    post(PAGE, **{"context/speed": "high", "preset": "Express", "_keep": "1"})
    pages = {}
    for name, namespace in (("colleague", "shop"), ("stranger", "elsewhere")):
        client = FlaskClient(app)
        client.set_cookie(COOKIE, session_of(app.config["DATABASE_URL"], name, "operator", namespace))
        pages[name] = client.get(f"{PAGE}?preset=Express")
    assert 'preset=Express" aria-current="true">Express</a>' in pages["colleague"].text
    assert '<option selected value="high">' in pages["colleague"].text
    assert (pages["stranger"].status_code, "high" in pages["stranger"].text) == (404, False)


def test_a_preset_can_be_removed_once(post: Post) -> None:
    post(PAGE, **{"preset": "Express", "_keep": "1"})
    assert post(PAGE, **{"preset": "Express", "_remove_preset": "1"}).status_code == 200
    assert post(PAGE, **{"preset": "Express", "_remove_preset": "1"}).status_code == 404


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "two\nlines", "\x00"])
def test_a_preset_needs_a_name(post: Post, client: FlaskClient, name: str) -> None:
    answer = post(PAGE, preset=name, _keep="1")
    assert answer.status_code == 422
    assert 'id="option-preset-error"' in answer.text


def test_an_unknown_preset_is_said(client: FlaskClient) -> None:
    page = client.get(f"{PAGE}?preset=nothing")
    assert page.status_code == 200
    assert "There is no preset" in page.text


def test_the_key_says_which_task_has_used_it(post: Post, launch: Callable[..., str], db: Database) -> None:
    task_id = launch(7, idempotency_key="once")
    used = post(PAGE, **{"context/order_id": "7", "idempotency_key": "once", "_check": "1"}).text
    assert f'href="/tasks/{task_id}"' in used
    free = post(PAGE, **{"context/order_id": "7", "idempotency_key": "other", "_check": "1"}).text
    assert "would make a new task" in free
    assert len(queries.tasks(db).items) == 1


def test_a_repeated_key_is_told_on_the_first_task(post: Post, client: FlaskClient) -> None:
    form = {"context/order_id": "12", "idempotency_key": "once"}
    post(PAGE, **form)
    assert "was used before" in client.get(post(PAGE, **form).headers["Location"]).text


def test_a_launch_can_be_copied_as_command_and_python(post: Post, db: Database) -> None:
    sent = {"context/order_id": "12", "reason": "it's a try", "tags": "vip", "run_at": "2099-01-31T08:30", "_show": "1"}
    page = post(PAGE, **sent).text
    assert "tasker launch shop/process_order@1.0.0 --context" in page
    assert "--tag vip" in page
    assert "--run-at 2099-01-31T08:30:00+00:00" in page
    assert "submit(TaskRequest(" in page
    assert not queries.tasks(db).items


def test_the_copied_command_makes_the_same_request(post: Post) -> None:
    wanted = TaskRequest(
        "process_order", "shop", "1.0.0", {"text": "it's \"quoted\" $HOME"}, reason="why; not", tags=("a b",), priority=3, bypass_steps=("charge", "ship")
    )
    words = shlex.split(command_line(wanted).text)
    assert json.loads(words[words.index("--context") + 1]) == wanted.context
    assert words[words.index("--reason") + 1] == "why; not"
    assert [words[at + 1] for at, word in enumerate(words) if word == "--bypass"] == ["charge", "ship"]
    made: dict[str, Any] = {}
    code = python_code(wanted).text.replace("from engine import TaskRequest, submit", "")
    exec(code, {"TaskRequest": TaskRequest, "submit": lambda request: made.update(request=request)})
    assert made["request"] == wanted


def test_what_cannot_be_launched_is_not_written_as_a_command(post: Post) -> None:
    answer = post(PAGE, **{"context/order_id": "zero", "_show": "1"})
    assert answer.status_code == 422
    assert "tasker launch" not in answer.text
