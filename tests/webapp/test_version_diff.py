"""`/workflows/<namespace>/<name>/diff`: what differs between two versions, as one graph and as a list."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from flask.testing import FlaskClient

from engine import queries, tasks
from engine.db import Database
from engine.handlers import Workflow
from webapp.diff_drawing import _in_order, _lines
from webapp.version_diff import StepDiff, VersionDiff, version_diff

PATH = "/workflows/shop/flow/diff"
Steps = Mapping[str, dict[str, Any]]
Compare = Callable[..., VersionDiff]


def define(db: Database, version: str, steps: Steps, **options: Any) -> None:
    """Make a version known whose steps have these options; `after` names the parents."""
    flow = Workflow("flow", namespace="shop", version=version, **options)
    for name, settings in steps.items():
        chosen = {"depends_on_step" if key == "after" else key: value for key, value in settings.items()}
        flow.step(name=name, **chosen)(lambda task: None)
    tasks.register_definition(db, flow.definition)


@pytest.fixture
def compare(db: Database) -> Compare:
    """What differs between the two versions that are given as steps."""

    def make(old: Steps, new: Steps, *, old_options: Any = None, new_options: Any = None) -> VersionDiff:
        define(db, "1.0.0", old, **(old_options or {}))
        define(db, "2.0.0", new, **(new_options or {}))
        return version_diff(*(queries.definition(db, "shop", "flow", version) for version in ("1.0.0", "2.0.0")))

    return make


OLD: Steps = {"a": {}, "b": {"after": "a"}, "c": {"after": "b"}}


def kinds(diff: VersionDiff) -> dict[str, str]:
    return {step.name: step.kind for step in diff.steps}


def changes(step: StepDiff) -> dict[str, tuple[str, str]]:
    return {change.what: (change.old, change.new) for change in step.changes}


def test_equal_versions_do_not_differ(compare: Compare) -> None:
    diff = compare(OLD, OLD)
    assert diff.is_empty
    assert set(kinds(diff).values()) == {"same"}


def test_a_step_is_added_removed_or_wired_anew(compare: Compare) -> None:
    diff = compare(OLD, {"a": {}, "new": {"after": "a"}, "c": {"after": "new"}})
    assert kinds(diff) == {"a": "same", "b": "removed", "new": "added", "c": "rewired"}
    rewired = next(step for step in diff.steps if step.name == "c")
    assert (rewired.old_parents, rewired.new_parents) == (("b",), ("new",))


def test_every_setting_is_compared_with_its_old_and_new_value(compare: Compare) -> None:
    settings = {"retry_limit": 7, "timeout": 30_000, "description": "Takes the money.", "handler_config": {"url": "x"}, "output_schema": {"type": "object"}}
    diff = compare(OLD, {**OLD, "b": {"after": "a", **settings}})
    assert kinds(diff) == {"a": "same", "b": "changed", "c": "same"}
    found = changes(diff.steps[1])
    assert found["timeout"] == ("none", "30 s")
    assert found["tries"][0].startswith("3 attempts")
    assert found["tries"][1].startswith("7 attempts")
    assert found["description"] == ("none", "Takes the money.")
    assert found["handler settings"][0] == found["output schema"][0] == "none"
    assert '"url": "x"' in found["handler settings"][1]


def test_what_becomes_of_a_kind_of_step_is_a_change(compare: Compare) -> None:
    diff = compare(OLD, {"a": {}, "b": {"after": "a", "for_each": "a.list"}, "c": {"after": "b"}})
    assert changes(diff.steps[1])["kind"] == ("step", "map")
    assert changes(diff.steps[1])["for each of"] == ("none", "a.list")


def test_fields_of_the_input_are_compared_by_their_place(compare: Compare) -> None:
    def schema(**fields: Any) -> dict[str, Any]:
        return {"schema": {"type": "object", "required": list(fields)[:1], "properties": fields}}

    old = schema(order_id={"type": "integer"}, lines={"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}}}})
    new = schema(order_id={"type": "string"}, lines={"type": "array", "items": {"type": "object", "properties": {"code": {"type": "string"}}}})
    diff = compare(OLD, OLD, old_options=old, new_options=new)
    assert {field.path: field.kind for field in diff.fields} == {"order_id": "changed", "lines.code": "added", "lines.sku": "removed"}
    assert [(change.what, change.old, change.new) for change in diff.fields[0].changes] == [("type", "integer", "string")]


def test_a_change_that_the_fields_do_not_show_is_shown_whole(compare: Compare) -> None:
    old, new = ({"schema": {"type": "object", "additionalProperties": open_}} for open_ in (True, False))
    diff = compare(OLD, OLD, old_options=old, new_options=new)
    assert [change.what for change in diff.changes] == ["input schema"]
    assert '"additionalProperties": false' in diff.changes[0].new


def test_the_page_draws_both_versions_and_lists_the_same(client: FlaskClient, compare: Compare) -> None:
    compare(OLD, {"a": {}, "new": {"after": "a"}, "c": {"after": "new", "timeout": 2_000}})
    page = client.get(PATH, query_string={"from": "1.0.0", "to": "2.0.0"}).text
    drawn = dict(re.findall(r'class="node state-(\w+)" data-step="(\w+)"', page))
    assert drawn == {"same": "a", "removed": "b", "added": "new", "rewired": "c"}
    for word in ("As before", "Removed", "Added", "Re-wired"):
        assert f'<text class="node-state" x="28" y="35">{word}</text>' in page
    assert page.count('class="edge edge-removed"') == page.count('class="edge edge-added"') == 2
    for name, link in re.findall(r'href="(#diff-\d+)" class="node[^"]*" data-step="(\w+)"', page):
        assert re.search(rf'<tr id="{name[1:]}"><th scope="row">{link}</th>', page)
    assert "<del>b</del>" in page
    assert "<ins>new</ins>" in page
    assert "<del>none</del>" in page
    assert "<ins>2 s</ins>" in page


def test_without_versions_the_two_newest_are_compared(client: FlaskClient, compare: Compare, db: Database) -> None:
    compare(OLD, {**OLD, "d": {}})
    define(db, "3.0.0", {**OLD, "e": {}})
    page = client.get(PATH).text
    assert "From 2.0.0 to 3.0.0" in page


def test_one_version_alone_does_not_differ_from_itself(client: FlaskClient, db: Database) -> None:
    define(db, "1.0.0", OLD)
    assert "Nothing differs between 1.0.0 and 1.0.0." in client.get(PATH).text


def test_an_unknown_version_is_told_beside_its_field(client: FlaskClient, compare: Compare) -> None:
    compare(OLD, OLD)
    answer = client.get(PATH, query_string={"from": "9.9.9", "to": "2.0.0"})
    assert answer.status_code == 404
    assert 'id="f-from-error">There is no version 9.9.9.' in answer.text
    assert "<option selected>9.9.9</option>" in answer.text
    assert "<option selected>2.0.0</option>" in answer.text
    assert client.get("/workflows/shop/nothing/diff").status_code == 404


def test_a_step_that_turned_around_can_be_drawn(client: FlaskClient, compare: Compare) -> None:
    # The lines of both versions together would run in a circle.
    diff = compare({"a": {}, "b": {"after": "a"}, "c": {"after": "b"}}, {"c": {}, "b": {"after": "c"}, "a": {"after": "b"}})
    assert set(_lines(diff.steps)) == {("c", "b"), ("b", "a")}
    assert _in_order(["a", "b", "c"], _lines(diff.steps)) == ["c", "b", "a"]
    assert client.get(PATH).status_code == 200


def test_what_a_definition_says_stays_a_text(client: FlaskClient, compare: Compare) -> None:
    compare(OLD, {**OLD, "b": {"after": "a", "description": "<script>alert(1)</script>"}})
    assert "<script>alert" not in client.get(PATH).text


def test_hundreds_of_steps_are_compared_and_drawn_in_groups(client: FlaskClient, compare: Compare) -> None:
    wide = {f"part_{no}": {"after": "a"} for no in range(350)}
    diff = compare({"a": {}, **wide}, {"a": {}, **wide, "extra": {"after": "a"}})
    assert sum(kind == "added" for kind in kinds(diff).values()) == 1
    page = client.get(PATH).text
    assert "1 added, 350 as before" in page or "351 steps" in page
