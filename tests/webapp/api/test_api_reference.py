"""The description of the API: sound, complete, open to everybody, and shown on a page of our own."""

from __future__ import annotations

import re

from flask import Flask
from flask.testing import FlaskClient

ERRORS = ("401", "403", "429", "503")


def test_every_address_of_the_api_is_described(app: Flask, client: FlaskClient) -> None:
    described = {(path, method.upper()) for path, item in client.get("/api/v1/openapi.json").json["paths"].items() for method in item if method != "parameters"}
    rules = [rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/api/v1/") and rule.endpoint != "api_reference.openapi"]
    answered = {(re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method) for rule in rules for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert described == answered


def test_every_operation_tells_its_errors_in_the_one_form(client: FlaskClient) -> None:
    document = client.get("/api/v1/openapi.json").json
    assert document["openapi"] == "3.1.0"
    names = [item[method]["operationId"] for item in document["paths"].values() for method in item if method != "parameters"]
    assert len(names) == len(set(names))
    for item in document["paths"].values():
        for method in set(item) - {"parameters"}:
            assert set(ERRORS) <= set(item[method]["responses"])
            assert "default" not in item[method]["responses"]
    for response in document["components"]["responses"].values():
        assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Errors"}
    assert "Retry-After" in document["components"]["responses"]["TOO_MANY_REQUESTS"]["headers"]


def test_the_description_is_open_to_everybody_and_asks_no_database(from_elsewhere: FlaskClient) -> None:
    from_elsewhere.application.config["DATABASE_URL"] = None
    assert from_elsewhere.get("/api/v1/openapi.json").status_code == 200
    assert from_elsewhere.get("/api/docs").status_code == 200


def test_the_page_shows_every_operation_and_loads_nothing_from_elsewhere(client: FlaskClient) -> None:
    document, page = client.get("/api/v1/openapi.json").json, client.get("/api/docs").text
    for path, item in document["paths"].items():
        for method in set(item) - {"parameters"}:
            assert f'id="{item[method]["operationId"]}"' in page, path
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'id="([^"]+)"', page))
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
