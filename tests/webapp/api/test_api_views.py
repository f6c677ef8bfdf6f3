"""Views over the API: kept, counted as their reader sees them, and removed by who may."""

from __future__ import annotations

import pytest
from calls import Caller, codes
from flask import Flask
from flask.testing import FlaskClient
from signed_in import token_for

from engine.finding import task_counts


def test_a_view_is_kept_counted_shared_and_removed(app: Flask, api: Caller, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for tags in (["night"], ["night"], []):
        api.create(tags=tags)
    made = api.post("/views", {"name": "Night", "filter": {"tag": "night"}, "namespace": "shop"})
    assert (made.status_code, made.json["count"], made.json["filter"]) == (201, 2, {"namespace": "shop", "tag": "night"})
    own = api.post("/views", {"name": "Mine"}).json
    assert (own["namespace"], own["count"], own["is_least"]) == (None, 3, False)
    with monkeypatch.context() as nearer:
        nearer.setattr(task_counts, "LOOKED_AT", 2)
        searched = api.post("/views", {"name": "Looked for", "filter": {"state": "completed"}}).json
    assert (searched["count"], searched["is_least"]) == (0, True)
    assert codes(api.post("/views", {"name": "Mine"})) == [("", "wrong_state")]
    path = f"/views/{made.json['view_id']}"
    assert made.headers["Location"].endswith(path)
    reader = FlaskClient(app)
    reader.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token_for(database_url, 'reader', 'viewer', 'shop')}"
    other = Caller(reader)
    assert [one["name"] for one in other.get("/views").json["views"]] == ["Night"]
    assert other.get(f"/views/{own['view_id']}").status_code == 404
    assert reader.delete(f"/api/v1{path}").status_code == 403
    assert other.post("/views", {"name": "Ours", "namespace": "shop"}).status_code == 403
    assert other.post("/views", {"name": "Theirs", "namespace": "bank"}).status_code == 404
    assert api.client.delete(f"/api/v1{path}").status_code == 204
    assert api.get(path).status_code == 404


def test_an_alert_of_a_view_is_set_and_removed_by_who_may_change_the_view(app: Flask, api: Caller, database_url: str) -> None:
    shared = api.post("/views", {"name": "Night", "namespace": "shop"}).json
    path = f"/api/v1/views/{shared['view_id']}/alert"
    wanted = {"threshold": 3, "webhook": "https://hooks.shop.example/x", "secret": "s3cr3t-of-it", "rest": "1h"}
    made = api.client.put(path, json=wanted)
    assert made.json["alert"] == {"threshold": 3, "rest": "1h", "webhook": wanted["webhook"], "has_secret": True, "email": None}
    assert "s3cr3t" not in made.text
    kept = api.client.put(path, json={"threshold": 0, "webhook": wanted["webhook"]}).json
    assert (kept["threshold"], kept["alert"]["has_secret"], kept["alert"]["rest"], kept["name"], kept["filter"]) == (0, True, "15m", "Night", {"namespace": "shop"})
    for wrong, where in (({}, "threshold"), ({"threshold": 1}, "webhook"), ({"threshold": 1, "email": "no address"}, "email"), ({**wanted, "rest": "soon"}, "rest"), ({**wanted, "threshold": 1_001}, "threshold")):
        assert [one[0] for one in codes(api.client.put(path, json=wrong))] == [where]
    reader = FlaskClient(app)
    reader.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token_for(database_url, 'reader', 'viewer', 'shop')}"
    assert (reader.put(path, json=wanted).status_code, reader.delete(path).status_code) == (403, 403)
    seen = Caller(reader).get(f"/views/{shared['view_id']}").json
    assert (seen["threshold"], seen["alert"]) == (0, None), "whom it tells is for those who may change it"
    own = Caller(reader).post("/views", {"name": "Mine"}).json
    assert reader.put(f"/api/v1/views/{own['view_id']}/alert", json=wanted).status_code == 403, "who may not act may not send"
    assert api.client.delete(path).json["alert"] is None


def test_a_list_of_failures_is_kept_as_one_of_tasks_is(api: Caller) -> None:
    made = api.post("/views", {"name": "Ours", "failures": {"owner": "ann"}, "namespace": "shop"}).json
    assert (made["kind"], made["filter"], made["count"]) == ("failures", {"namespace": "shop", "owner": "ann"}, 0)
    told = api.client.put(f"/api/v1/views/{made['view_id']}/alert", json={"threshold": 1, "email": "ops@shop.example"}).json
    assert (told["kind"], told["threshold"]) == ("failures", 1)
    assert codes(api.post("/views", {"name": "x", "failures": {}, "filter": {"tag": "a"}})) == [("filter", "ambiguous")]
    assert [one[0] for one in codes(api.post("/views", {"name": "x", "failures": {"colour": "red"}}))] == ["failures.colour"]


def test_a_number_that_no_view_can_have_is_not_found(api: Caller) -> None:
    assert api.get(f"/views/{2**63}").status_code == 404
    assert api.client.delete(f"/api/v1/views/{2**63}/alert").status_code == 404


def test_what_no_view_can_be_is_told(api: Caller) -> None:
    for body, path in (({}, "name"), ({"name": "x", "filter": {"colour": "red"}}, "filter.colour"), ({"name": "a\nb"}, "name"), ({"name": "x", "filter": {"within": "soon"}}, "filter.within")):
        assert [one[0] for one in codes(api.post("/views", body))] == [path]
