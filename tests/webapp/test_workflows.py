"""`/workflows`: the catalogue, a workflow, and a version with graph, settings and input."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from engine import tasks
from engine.db import Database
from engine.definition import TaskDefinition
from webapp.schema_table import schema_fields


def test_an_empty_catalogue_says_how_to_fill_it(client: FlaskClient) -> None:
    assert "knows no workflow yet" in client.get("/workflows").text


@pytest.mark.usefixtures("definition_id")
def test_the_catalogue_lists_workflows_by_namespace(client: FlaskClient) -> None:
    for path in ("/workflows", "/workflows/shop"):
        page = client.get(path).text
        assert 'href="/workflows/shop/process_order"' in page
        assert "From payment to courier." in page


def test_a_workflow_shows_its_tasks(client: FlaskClient, launch: Callable[..., str]) -> None:
    task_id = launch()
    assert f'href="/tasks/{task_id}"' in client.get("/workflows/shop/process_order").text


@pytest.mark.usefixtures("definition_id")
def test_a_version_shows_graph_settings_and_input(client: FlaskClient) -> None:
    page = client.get("/workflows/shop/process_order/1.0.0").text
    assert page.count('class="node"') == 4
    assert 'data-step="reserve"' in page
    assert "2 attempts" in page
    assert "30 s" in page
    assert "The shop&#39;s own number" in page
    assert "one of normal, high" in page


@pytest.mark.usefixtures("definition_id")
def test_unknown_names_are_not_found(client: FlaskClient) -> None:
    for path in ("/workflows/nowhere", "/workflows/shop/nothing", "/workflows/shop/process_order/9.9.9"):
        assert client.get(path).status_code == 404


@pytest.mark.usefixtures("definition_id")
def test_an_unknown_version_is_told_the_versions_there_are(client: FlaskClient) -> None:
    assert "1.0.0" in client.get("/workflows/shop/process_order/9.9.9").text


def test_a_namespace_without_workflows_is_still_a_page(client: FlaskClient, db: Database) -> None:
    db.rows("insert into tasker_namespace (namespace) values ('empty') returning 1")
    assert client.get("/workflows/empty").status_code == 200


def test_a_workflow_with_only_a_prerelease_has_pages(
    client: FlaskClient, db: Database, order_workflow: Callable[[str], TaskDefinition]
) -> None:
    tasks.register_definition(db, order_workflow("2.0.0-rc.1"))
    assert client.get("/workflows/shop/process_order").status_code == 200


def test_nested_fields_stand_under_the_one_they_belong_to() -> None:
    schema = {
        "properties": {
            "lines": {"type": "array", "items": {"properties": {"sku": {"type": "string"}}, "required": ["sku"]}}
        }
    }
    fields = schema_fields(schema)
    assert [(field.name, field.depth, field.required) for field in fields] == [("lines", 0, False), ("sku", 1, True)]


def test_a_schema_of_odd_parts_is_shown_all_the_same() -> None:
    fields = schema_fields(
        {"properties": {"any": True, "either": {"oneOf": [{}, {}]}, "both": {"type": ["string", "null"]}}}
    )
    assert [field.type for field in fields] == ["any", "any of several", "string or null"]
