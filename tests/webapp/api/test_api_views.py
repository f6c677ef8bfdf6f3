"""Views over the API: kept, counted as their reader sees them, and removed by who may."""

from __future__ import annotations

from calls import Caller, codes
from flask import Flask
from flask.testing import FlaskClient
from signed_in import token_for


def test_a_view_is_kept_counted_shared_and_removed(app: Flask, api: Caller, database_url: str) -> None:
    for tags in (["night"], ["night"], []):
        api.create(tags=tags)
    made = api.post("/views", {"name": "Night", "filter": {"tag": "night"}, "namespace": "shop"})
    assert (made.status_code, made.json["count"], made.json["filter"]) == (201, 2, {"namespace": "shop", "tag": "night"})
    own = api.post("/views", {"name": "Mine"}).json
    assert (own["namespace"], own["count"]) == (None, 3)
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


def test_what_no_view_can_be_is_told(api: Caller) -> None:
    for body, path in (({}, "name"), ({"name": "x", "filter": {"colour": "red"}}, "filter.colour"), ({"name": "a\nb"}, "name"), ({"name": "x", "filter": {"within": "soon"}}, "filter.within")):
        assert [one[0] for one in codes(api.post("/views", body))] == [path]
