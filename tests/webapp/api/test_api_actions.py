"""The action nouns: shown without being done, done once, and not done to what has changed since the caller looked."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from calls import Caller, codes

from engine import queries
from engine.db import Database

OF_TASK = ["cancellation", "retry", "pause", "resumption"]
OF_STEP = ["retry", "cancellation", "skip", "resolution", "downstream-retry"]


def test_a_retried_step_runs_again_with_its_reason_on_record(api: Caller, db: Database, failed_task: str) -> None:
    answer = api.post(f"/tasks/{failed_task}/steps/charge/retry", {"reason": "gateway is back"})
    assert answer.json == {"task_id": failed_task, "step_name": "charge", "state": "ready"}
    newest = [move for move in queries.activity(db, failed_task) if move.reason]
    assert newest[0].reason == "gateway is back"


@pytest.mark.parametrize(
    ("path", "body", "state"),
    [
        ("/retry", None, "running"),
        ("/cancellation", {"reason": "ordered twice"}, None),
        ("/steps/charge/skip", {}, "skipped"),
        ("/steps/charge/resolution", {"result": {"payment": 1}}, "resolved"),
        ("/steps/charge/resolution", {"result": None}, "resolved"),
        ("/steps/ship/cancellation", {}, "cancelled"),
        ("/steps/charge/downstream-retry", {"context": {"order_id": 9}}, "ready"),
        ("/steps/validate/downstream-retry", None, "ready"),
    ],
)
def test_an_action_answers_the_state_it_leads_to(api: Caller, engine: Any, failed_task: str, path: str, body: Any, state: str | None) -> None:
    answer = api.post(f"/tasks/{failed_task}{path}", body)
    if state is None:
        assert (answer.status_code, codes(answer)) == (409, [("", "wrong_state")])
        return
    assert (answer.status_code, answer.json["state"]) == (200, state)
    step = path.split("/")[2] if path.startswith("/steps") else None
    assert engine.state(failed_task, step) == state


def test_a_task_is_paused_resumed_and_cancelled(api: Caller, engine: Any) -> None:
    task_id = api.create()
    assert api.post(f"/tasks/{task_id}/pause").status_code == 200
    assert api.get(f"/tasks/{task_id}").json["paused"] is True
    assert api.post(f"/tasks/{task_id}/pause").status_code == 409
    assert api.post(f"/tasks/{task_id}/resumption").status_code == 200
    assert api.post(f"/tasks/{task_id}/cancellation").json["state"] == "cancelled"
    assert engine.state(task_id) == "cancelled"


def test_a_dry_run_shows_what_would_be_done_and_does_nothing(api: Caller, engine: Any, failed_task: str) -> None:
    shown = api.post(f"/tasks/{failed_task}/steps/charge/skip?dry_run=true").json
    assert shown["dry_run"] is True
    assert {row["name"]: row["effect"] for row in shown["steps"]}["charge"] == "skipped"
    assert engine.state(failed_task, "charge") == "failed"


def test_what_a_dry_run_showed_is_done_only_while_it_holds(api: Caller, engine: Any, failed_task: str) -> None:
    seen = api.post(f"/tasks/{failed_task}/steps/charge/skip?dry_run=true").json["seen"]
    api.post(f"/tasks/{failed_task}/steps/charge/retry")
    refused = api.post(f"/tasks/{failed_task}/steps/charge/skip", {"seen": seen})
    assert (refused.status_code, codes(refused)) == (412, [("", "changed")])
    assert engine.state(failed_task, "charge") == "ready"


@pytest.mark.parametrize("of_step", [True, False])
def test_an_action_on_what_has_changed_since_is_not_done(api: Caller, engine: Any, failed_task: str, of_step: bool) -> None:
    path = f"/tasks/{failed_task}/steps/charge" if of_step else f"/tasks/{failed_task}"
    tag = api.get(path).headers["ETag"]
    assert api.post(f"{path}/retry", If_Match=tag).status_code == 200
    engine.fail(failed_task, "charge")
    api.post(f"/tasks/{failed_task}/steps/charge/skip")
    engine.fail(failed_task, "ship")
    refused = api.post(f"{path}/{'downstream-retry' if of_step else 'retry'}", If_Match=tag)
    assert (refused.status_code, codes(refused)) == (412, [("", "changed")])


def test_any_tag_will_do_when_the_caller_says_so(api: Caller, failed_task: str) -> None:
    assert api.post(f"/tasks/{failed_task}/retry", If_Match="*").status_code == 200


def test_a_move_between_look_and_action_is_noticed(api: Caller, engine: Any, failed_task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # forbids: the ETag is compared, another operator acts, and the action is carried out on what nobody looked at
    from webapp.api import shapes

    tag = api.get(f"/tasks/{failed_task}/steps/charge").headers["ETag"]
    compare = shapes.step_tag

    def meanwhile(detail: Any) -> str:
        engine.conn.execute("select tasker_resolve_step(%s, 'charge', '1', 'ann', null)", [failed_task])
        return compare(detail)

    monkeypatch.setattr(shapes, "step_tag", meanwhile)
    refused = api.post(f"/tasks/{failed_task}/steps/charge/retry", If_Match=tag)
    assert refused.status_code in (409, 412)
    assert engine.state(failed_task, "charge") == "resolved"


UNFIT: list[tuple[str, Any, str]] = [
    ("resolution", {}, "result"),
    ("resolution", None, "result"),
    ("skip", {"reasn": "x"}, "reasn"),
    ("skip", {"reason": 7}, "reason"),
    ("skip", {"reason": "x" * 2001}, "reason"),
    ("downstream-retry", {"context": {"order_id": "seven"}}, "context.order_id"),
    ("downstream-retry", {"context": [1]}, "context"),
]


def test_a_body_that_does_not_fit_is_told_by_its_place(api: Caller, engine: Any, failed_task: str) -> None:
    for noun, body, path in UNFIT:
        answer = api.post(f"/tasks/{failed_task}/steps/charge/{noun}", body)
        assert (answer.status_code, [where for where, _ in codes(answer)]) == (422, [path]), (noun, body)
    assert engine.state(failed_task, "charge") == "failed"


def test_an_action_on_a_task_that_does_not_exist_is_not_found(api: Caller) -> None:
    for path in [f"/{noun}" for noun in OF_TASK] + [f"/steps/charge/{noun}" for noun in OF_STEP]:
        body = {"result": 1} if path.endswith("resolution") else None
        for query in ("", "?dry_run=true"):
            assert api.post(f"/tasks/{uuid4()}{path}{query}", body).status_code == 404, path


def test_a_step_that_the_task_has_not_is_not_found(api: Caller, failed_task: str) -> None:
    for noun in OF_STEP:
        assert api.post(f"/tasks/{failed_task}/steps/nope/{noun}", {"result": 1} if noun == "resolution" else None).status_code == 404
