import time
from pathlib import Path
from typing import Any

import pytest
from least import least_seconds

from engine.errors import DefinitionError, Problem
from engine.yaml_config import load_file, load_text

GOOD = """\
name: order
namespace_name: shop
version: "1.10.0"
description: Sells things.
schema: {type: object, properties: {order_id: {type: integer, default: 5}}}
step_templates:
  - name: charge
    description: Takes the money.
    handler_class: shop.Charge
    retry_limit: 5
    timeout: 30000
    handler_config: {url: "http://test", options: {retries: 1, slow: false}}
  - name: ship
    depends_on_step: charge
    output_schema: {type: object}
environments:
  production:
    step_templates:
      - name: charge
        timeout: 5000
        handler_config: {options: {retries: 3}}
  staging:
    step_templates: []
"""


def problems(text: str | bytes, environment: str | None = None) -> list[Problem]:
    with pytest.raises(DefinitionError) as raised:
        load_text(text, environment)
    return raised.value.problems


def found(text: str | bytes) -> list[tuple[str, int | None, int | None]]:
    return [(problem.code, problem.line, problem.column) for problem in problems(text)]


def with_step(options: str) -> str:
    return f'name: order\nversion: "1.0.0"\nstep_templates:\n  - name: a\n    {options}\n'


def test_a_file_says_everything_a_class_can_say() -> None:
    definition = load_text(GOOD).definition
    assert definition.key == "shop/order@1.10.0"
    assert definition.description == "Sells things."
    assert definition.schema == {"type": "object", "properties": {"order_id": {"type": "integer", "default": 5}}}
    charge, ship = definition.steps
    assert (charge.handler, charge.retry_limit, charge.timeout) == ("shop.Charge", 5, 30.0)
    assert charge.handler_config == {"url": "http://test", "options": {"retries": 1, "slow": False}}
    assert (ship.depends_on, ship.output_schema) == (("charge",), {"type": "object"})


def test_an_environment_overrides_steps_by_name() -> None:
    charge = load_text(GOOD, "production").definition.step("charge")
    assert (charge.timeout, charge.retry_limit) == (5.0, 5)
    assert charge.handler_config == {"url": "http://test", "options": {"retries": 3, "slow": False}}


@pytest.mark.parametrize("environment", [None, "", "staging", "nowhere"])
def test_other_environments_change_nothing(environment: str | None) -> None:
    assert load_text(GOOD, environment).definition == load_text(GOOD).definition


def test_all_problems_are_told_at_once_with_line_and_column() -> None:
    text = """\
name: Order
version: 1.10
step_templates:
  - name: a
    retry_limit: 0
    timeout: true
  - name: b
    depends_on_step: [x]
"""
    assert [(problem.path, problem.code, problem.line, problem.column) for problem in problems(text)] == [
        ("name", "bad_name", 1, 1),
        ("version", "bad_version", 2, 1),
        ("step_templates[0].retry_limit", "out_of_range", 5, 5),
        ("step_templates[0].timeout", "bad_type", 6, 5),
        ("step_templates[1].depends_on_step", "unknown_dependency", 8, 5),
    ]


EVERY_KIND = """\
nmae: order
name: order
version: 1.10
description: !!str text
schema: {type: objekt}
step_templates:
  - name: a
    retry_limit: 0x1f
    depends_on_step: c
  - just text
  - name: b
    depend_on_step: a
    handler_config: {a: yes}
  - name: c
    depends_on_step: a
    timeout: 0
    timeout: 5
  - name: a2
    description:
    output_schema: {type: nothing}
environments:
  production:
    step_templates:
      - name: c
        retry_limit: 0
      - name: d
        timeout: 5
"""


def test_one_reading_tells_problems_of_values_form_options_graph_and_environments() -> None:
    assert [(problem.path, problem.code, problem.line) for problem in problems(EVERY_KIND)] == [
        ("nmae", "unknown_key", 1),
        ("version", "bad_version", 3),
        ("description", "tag_not_allowed", 4),
        ("schema.type", "bad_schema", 5),
        ("step_templates[0].retry_limit", "ambiguous_value", 8),
        ("step_templates[0].depends_on_step", "cycle", 9),
        ("step_templates[1]", "bad_type", 10),
        ("step_templates[2].depend_on_step", "unknown_key", 12),
        ("step_templates[2].handler_config.a", "ambiguous_value", 13),
        ("step_templates[3].timeout", "duplicate_key", 17),
        ("step_templates[4].description", "bad_type", 19),
        ("step_templates[4].output_schema.type", "bad_schema", 20),
        ("environments.production.step_templates[0].retry_limit", "out_of_range", 25),
        ("environments.production.step_templates[1].name", "unknown_step", 26),
    ]


@pytest.mark.parametrize(
    ("steps", "codes"),
    [
        ("[{name: a, depends_on_step: x, timeout: 0}, just text]", ["out_of_range", "bad_type"]),  # x may be what the text was to be
        ("[{name: a, depends_on_step: x, timeout: 0}, {nmae: x}]", ["out_of_range", "missing", "unknown_key"]),
        ("[{name: a, decision: true, handler_class: h.f}, {name: b, depend_on_step: a}]", ["unknown_key"]),
        ("[{name: a, handler_class: h.f}, {name: b, depends_on_step: null, for_each: a, handler_class: h.f}]", ["bad_type"]),
        ("[{name: a, depends_on_step: 3}, {name: b, depends_on_step: [a, c]}]", ["bad_type", "unknown_dependency"]),
        ("[{name: a, depends_on_step: b}, {name: b, depends_on_step: [a, x]}, {name: c, depends_on_step: d}, {name: d, depends_on_step: c}]", ["cycle", "unknown_dependency", "cycle"]),
    ],
)  # fmt: skip
def test_what_only_follows_from_another_problem_is_not_told(steps: str, codes: list[str]) -> None:
    assert [problem.code for problem in problems(f"name: a\nstep_templates: {steps}\n")] == codes


def test_unknown_keys_are_refused_with_the_nearest_one() -> None:
    (first, second) = problems("name: a\nstep_template: []\nstep_templates:\n  - {name: a, depend_on_step: b}\n")
    assert (first.code, first.line, first.column) == ("unknown_key", 2, 1)
    assert "did you mean 'step_templates'?" in first.message
    assert (second.path, second.line, second.column) == ("step_templates[0].depend_on_step", 4, 15)
    assert "did you mean 'depends_on_step'?" in second.message


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("step_templates: []\n", "missing"),
        ("name: a\n", "missing"),
        ("[1, 2]\n", "bad_type"),
        ("just text\n", "bad_type"),
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("name: a\nstep_templates: {a: b}\n", "bad_type"),
        ("name: a\nstep_templates: [a]\n", "bad_type"),
        ("name: a\nstep_templates: [{retry_limit: 3}]\n", "missing"),
        ("name: a\nstep_templates: []\n", "no_steps"),
        (with_step("depends_on_steps: null"), "bad_type"),
        (with_step("depends_on_steps:"), "bad_type"),
        (with_step("handler_class: [a]"), "bad_handler"),
        ("name: a\ntask_handler_class: 3\nstep_templates: [{name: a}]\n", "bad_type"),
        ("name: a\nstep_templates: [{name: a}]\nenvironments: [a]\n", "bad_type"),
        ("name: a\nstep_templates: [{name: a}]\nenvironments: {p: {schema: {}}}\n", "unknown_key"),
    ],
)
def test_a_file_that_is_no_workflow_is_refused(text: str, code: str) -> None:
    assert code in [problem.code for problem in problems(text)]


@pytest.mark.parametrize("value", ["no", "Yes", "on", "012", "0x1f", "0o7", "1_000", "12:30:00", "2024-01-01", "~", ".inf", ".nan", "True", "="])
def test_a_value_that_yaml_versions_read_differently_must_be_quoted(value: str) -> None:
    text = with_step(f"handler_config: {{a: {value}}}")
    if value == "~":
        assert load_text(text).definition.step("a").handler_config == {"a": None}
        return
    (problem,) = problems(text)
    assert (problem.code, problem.line) == ("ambiguous_value", 5)
    quoted = with_step(f'handler_config: {{a: "{value}"}}')
    assert load_text(quoted).definition.step("a").handler_config == {"a": value}


def test_numbers_and_truth_are_what_json_has() -> None:
    text = with_step("handler_config: {a: 1, b: -2.5, c: true, d: null, e: 1.5e+3, f: text}")
    assert load_text(text).definition.step("a").handler_config == {"a": 1, "b": -2.5, "c": True, "d": None, "e": 1500.0, "f": "text"}


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("name: a\nname: b\nstep_templates: []\n", "duplicate_key", 2),
        ("name: &n a\ndescription: *n\nstep_templates: []\n", "alias_not_allowed", 2),
        ("name: a\nschema: {<<: {a: 1}}\nstep_templates: []\n", "merge_not_allowed", 2),
        ("name: !!python/object/apply:os.system ['id']\n", "tag_not_allowed", 1),
        ("name: !mine a\nstep_templates: []\n", "tag_not_allowed", 1),
        ("name: !!str a\nstep_templates: []\n", "tag_not_allowed", 1),
        ("name: a\n---\nname: b\n", "several_documents", 2),
        ("name: a\n\tversion: b\n", "bad_yaml", 2),
        ("name: [a\n", "bad_yaml", 2),
        ("a: &a [*a]\n", "alias_not_allowed", 1),
        ("? [a, b]\n: c\n", "bad_key", 1),
        ("1: a\n", "bad_key", 1),
        ("name: a\nversion: 99999999999999999999999\n", "number_too_large", 2),
        ("x: " + "[" * 5000, "too_deep", 1),
        ("x: " + "{a: " * 5000, "too_deep", 1),
    ],
)
def test_what_strict_reading_refuses(text: str, code: str, line: int) -> None:
    assert (code, line) in [(problem.code, problem.line) for problem in problems(text)]


@pytest.mark.parametrize("key", ["null", "~", "1", "true", "2.5"])
def test_a_key_of_a_step_that_is_no_text_is_one_problem_with_its_place(key: str) -> None:
    assert found(with_step(f"{key}: 1")) == [("bad_key", 5, 5)]


def test_bytes_are_utf_8_with_or_without_a_mark() -> None:
    assert load_text(b"\xef\xbb\xbf" + GOOD.encode()).definition == load_text(GOOD).definition
    assert problems(b"name: \xff\n")[0].code == "bad_encoding"
    assert problems("name: a\x00b\n")[0].code == "bad_yaml"


def test_an_alias_bomb_is_refused_at_once() -> None:
    layers = "\n".join(f"l{no}: &l{no} [{', '.join([f'*l{no - 1}'] * 9)}]" for no in range(1, 10))
    bomb = f"l0: &l0 [x]\n{layers}\n"
    assert "alias_not_allowed" in [problem.code for problem in problems(bomb)]
    assert least_seconds(lambda: load_text(bomb), 0.05) <= 0.05


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * (5 << 20))
    with pytest.raises(DefinitionError, match="too_large"):
        load_file(path)


def test_the_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "order.yaml"
    path.write_text("name: a\n")
    with pytest.raises(DefinitionError, match="order.yaml"):
        load_file(path)


def test_a_problem_of_an_environment_is_shown_where_it_stands() -> None:
    text = GOOD.replace("timeout: 5000", "timeout: 0")
    (problem,) = problems(text)
    assert (problem.path, problem.code, problem.line) == ("environments.production.step_templates[0].timeout", "out_of_range", 20)
    assert "production" in problem.message


def test_an_environment_that_names_no_step_is_refused() -> None:
    (problem,) = problems(GOOD.replace("- name: charge\n        timeout", "- name: chrage\n        timeout"))
    assert (problem.code, problem.line) == ("unknown_step", 19)
    assert "did you mean 'charge'?" in problem.message


def test_a_cycle_in_a_file_has_a_line() -> None:
    text = "name: a\nstep_templates:\n  - {name: a, depends_on_step: b}\n  - name: b\n    depends_on_step: a\n"
    (problem,) = problems(text)
    assert (problem.code, problem.line) in [("cycle", 3), ("cycle", 5)]


def test_five_thousand_steps_are_read_within_two_seconds() -> None:
    steps = "\n".join(f"  - name: s{no}\n    depends_on_step: s{max(no - 1, 0)}\n    retry_limit: 5" for no in range(1, 5000))
    started = time.process_time()
    definition = load_text(f"name: big\nstep_templates:\n  - name: s0\n{steps}\n").definition
    assert len(definition.steps) == 5000
    assert time.process_time() - started < 10  # processor seconds: what this forbids takes minutes


@pytest.mark.parametrize("junk", ["%", "---", "- - -", "{", "a: b: c", "@", "`", "!", "&a", "*a", "|", ">", "'", '"', "? ", "\x85", "\ud800"])
def test_any_junk_is_an_error_with_problems_and_nothing_else(junk: str) -> None:
    assert problems(junk)


def test_keys_that_look_like_numbers_may_be_quoted() -> None:
    text: Any = with_step('handler_config: {"1": a, "no": b}')
    assert load_text(text).definition.step("a").handler_config == {"1": "a", "no": "b"}


DYNAMIC = """\
name: order
step_templates:
  - name: route
    handler_class: shop.route
    decision: true
  - name: list
    handler_class: shop.list
    depends_on_step: route
  - name: each
    handler_class: shop.each
    depends_on_step: list
    for_each: list.rows
"""


def test_a_decision_and_a_map_step_are_written_as_options() -> None:
    steps = load_text(DYNAMIC).definition.steps
    assert [(step.decision, step.for_each) for step in steps] == [(True, None), (False, None), (False, "list.rows")]


def test_a_source_that_does_not_come_before_is_told_where_it_stands() -> None:
    (problem,) = problems(DYNAMIC.replace("list.rows", "lists"))
    assert (problem.code, problem.line) == ("no_ancestor", 12)
