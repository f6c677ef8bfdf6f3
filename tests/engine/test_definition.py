import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from least import least_seconds

from engine.definition import (
    MAX_STEPS,
    Backoff,
    StepTemplate,
    TaskDefinition,
    assemble,
    chosen,
    handler_path,
    is_prerelease,
    version_key,
)
from engine.errors import DefinitionError, Problem


def graph(text: str, **head: Any) -> TaskDefinition:
    """`a -> b, c` : b waits for a, c stands alone."""
    parents: dict[str, list[str]] = {}
    for part in text.split(","):
        *before, last = [name.strip() for name in part.split("->")]
        for name in (*before, last):
            parents.setdefault(name, [])
        if before:
            parents[last].append(before[-1])
    steps = tuple(StepTemplate(name, depends_on_steps=depends) for name, depends in parents.items())
    return TaskDefinition(**{"namespace": "shop", "name": "order", "version": "1.0.0", **head}, steps=steps)


def problems(make: Callable[[], object]) -> list[Problem]:
    with pytest.raises(DefinitionError) as raised:
        make()
    return raised.value.problems


def codes(make: Callable[[], object]) -> list[tuple[str, str]]:
    return [(problem.path, problem.code) for problem in problems(make)]


# Order


def test_steps_stand_in_topological_order_and_as_declared_where_they_are_free() -> None:
    definition = graph("d -> b, a, b -> c")
    assert [step.name for step in definition.steps] == ["d", "b", "a", "c"]


def test_a_parents_number_is_below_its_childs() -> None:
    definition = graph("z -> y, y -> x, x -> w, z -> w")
    assert all(parent < no for no in range(4) for parent in definition.parents(no))


def test_parents_children_and_ancestors_agree() -> None:
    definition = graph("a -> b, a -> c, b -> d, c -> d, d -> e")
    assert definition.parents(3) == (1, 2)
    assert definition.children(0) == (1, 2)
    assert definition.ancestors("e") == {"a", "b", "c", "d"}
    assert definition.ancestors("a") == frozenset()
    assert definition.step("d").depends_on == ("b", "c")


# Refusals


def test_a_cycle_is_refused_with_its_whole_path() -> None:
    (problem,) = problems(lambda: graph("a -> b, b -> c, c -> a, x -> a"))
    assert problem.code == "cycle"
    names = problem.message.rpartition(": ")[2].split(" -> ")
    assert names[0] == names[-1]
    assert set(names) == {"a", "b", "c"}


def test_a_step_that_waits_for_itself_is_a_cycle() -> None:
    (problem,) = problems(lambda: graph("a -> a"))
    assert (problem.code, problem.message.endswith("a -> a")) == ("cycle", True)


def test_an_unknown_parent_is_refused_with_the_nearest_name() -> None:
    steps = (StepTemplate("validate_payment"), StepTemplate("ship", depends_on_step="validate_paymnet"))
    (problem,) = problems(lambda: TaskDefinition("shop", "order", "1.0.0", steps=steps))
    assert (problem.path, problem.code) == ("step_templates[1].depends_on_step", "unknown_dependency")
    assert "did you mean 'validate_payment'?" in problem.message


def test_two_steps_of_one_name_are_refused() -> None:
    steps = (StepTemplate("a"), StepTemplate("a"))
    assert codes(lambda: TaskDefinition("shop", "order", "1.0.0", steps=steps)) == [("step_templates[1].name", "duplicate_name")]


def test_no_steps_and_too_many_steps_are_refused() -> None:
    assert codes(lambda: TaskDefinition("shop", "order", "1.0.0")) == [("step_templates", "no_steps")]
    steps = tuple(StepTemplate(f"s{no}") for no in range(MAX_STEPS + 1))
    assert codes(lambda: TaskDefinition("shop", "order", "1.0.0", steps=steps)) == [("step_templates", "too_many_steps")]


@pytest.mark.parametrize("version", ["1.10", "latest", "", "1.2.3.4", "01.2.3", "1.2.3+build", "1" * 300, "v1.0.0", 1.1, None, "1.0.0\n"])
def test_a_bad_version_is_refused(version: Any) -> None:
    assert codes(lambda: graph("a", version=version)) == [("version", "bad_version")]


@pytest.mark.parametrize("name", ["", "Order", "a b", "ä", "a" * 64, "-a", "a\n", "a/b", 5, None])
def test_a_bad_name_is_refused_wherever_it_stands(name: Any) -> None:
    assert codes(lambda: graph("a", name=name)) == [("name", "bad_name")]
    assert codes(lambda: graph("a", namespace=name)) == [("namespace", "bad_name")]
    assert codes(lambda: StepTemplate(name)) == [("name", "bad_name")]


@pytest.mark.parametrize(
    ("options", "path", "code"),
    [
        ({"retry_limit": 0}, "retry_limit", "out_of_range"),
        ({"retry_limit": -1}, "retry_limit", "out_of_range"),
        ({"retry_limit": 10**9}, "retry_limit", "out_of_range"),
        ({"retry_limit": "3"}, "retry_limit", "bad_type"),
        ({"retry_limit": True}, "retry_limit", "bad_type"),
        ({"retryable": 1}, "retryable", "bad_type"),
        ({"timeout": 0}, "timeout", "out_of_range"),
        ({"timeout": 10**400}, "timeout", "out_of_range"),
        ({"timeout": timedelta.max}, "timeout", "out_of_range"),
        ({"timeout": 1.5}, "timeout", "bad_type"),
        ({"timeout": math.nan}, "timeout", "bad_type"),
        ({"timeout": True}, "timeout", "bad_type"),
        ({"backoff": {"base": 0}}, "backoff.base", "out_of_range"),
        ({"backoff": {"cap": float("1e400")}}, "backoff.cap", "out_of_range"),
        ({"backoff": {"multiplier": math.nan}}, "backoff.multiplier", "out_of_range"),
        ({"backoff": {"jitter": True}}, "backoff.jitter", "bad_type"),
        ({"backoff": {"bas": 1}}, "backoff.bas", "unknown_key"),
        ({"backoff": 3}, "backoff", "bad_type"),
        ({"depends_on_step": 3}, "depends_on_step", "bad_type"),
        ({"depends_on_steps": ["a", None]}, "depends_on_steps", "bad_type"),
        ({"handler_class": "../x"}, "handler_class", "bad_handler"),
        ({"handler_class": "no_dots"}, "handler_class", "bad_handler"),
        ({"handler_class": 7}, "handler_class", "bad_handler"),
        ({"handler_config": ["a"]}, "handler_config", "bad_type"),
        ({"handler_config": {"at": timedelta(1)}}, "handler_config.at", "not_json"),
        ({"output_schema": {"type": "objekt"}}, "output_schema.type", "bad_schema"),
        ({"retry_on": ("ConnectionErorr",)}, "retry_on", "bad_type"),
        ({"retry_on": (int,)}, "retry_on", "bad_type"),
        ({"description": 3}, "description", "bad_type"),
        ({"description": "a\0b"}, "description", "nul_character"),
    ],
)
def test_an_option_out_of_its_range_is_refused(options: dict[str, Any], path: str, code: str) -> None:
    assert codes(lambda: StepTemplate("a", **options)) == [(path, code)]


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    (problem,) = problems(lambda: StepTemplate("a", retry_limt=3))
    assert problem == Problem("retry_limt", "unknown_key", "unknown option 'retry_limt'; did you mean 'retry_limit'?")


def test_all_problems_of_all_steps_are_told_at_once() -> None:
    options = [{"name": "A"}, {"name": "b", "timeout": 0, "retry_limit": 0}, {"name": "c", "depend_on": "b"}]
    found = codes(lambda: assemble(options, namespace="shop", name="order", version="1", schema={"type": 5}))
    assert found == [
        ("version", "bad_version"),
        ("schema.type", "bad_schema"),
        ("step_templates[0].name", "bad_name"),
        ("step_templates[1].retry_limit", "out_of_range"),
        ("step_templates[1].timeout", "out_of_range"),
        ("step_templates[2].depend_on", "unknown_key"),
    ]


# Values


def test_a_timeout_is_given_in_milliseconds_or_as_timedelta_and_kept_in_seconds() -> None:
    assert StepTemplate("a", timeout=30_000).timeout == 30.0
    assert StepTemplate("a", timeout=timedelta(seconds=1.5)).timeout == 1.5
    assert StepTemplate("a").timeout is None


def test_a_step_that_is_not_retryable_has_one_attempt() -> None:
    assert StepTemplate("a", retryable=False, retry_limit=5).retry_limit == 1


def test_parents_may_be_one_name_or_a_list_and_count_once() -> None:
    assert StepTemplate("a", depends_on_step="b", depends_on_steps=["c", "b"]).depends_on == ("b", "c")


def test_backoff_defaults_are_the_published_ones() -> None:
    assert StepTemplate("a").backoff.to_json() == {"base": 1.0, "multiplier": 2.0, "cap": 60.0, "jitter": 0.1}
    assert StepTemplate("a", backoff={"cap": 5}).backoff == Backoff(cap=5.0)


def test_retry_on_takes_exception_classes_and_their_names() -> None:
    assert StepTemplate("a", retry_on=ConnectionError).retry_on == (ConnectionError,)
    assert StepTemplate("a", retry_on=["TimeoutError", OSError, "socket.gaierror"]).retry_on[1:2] == (OSError,)


def test_what_an_author_changes_later_does_not_change_the_template() -> None:
    config = {"a": [1]}
    template = StepTemplate("a", handler_config=config)
    config["a"].append(2)
    assert template.handler_config == {"a": [1]}


# Versions


def test_versions_sort_by_their_numbers_and_prereleases_below_their_release() -> None:
    ordered = ["0.9.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.9.0", "1.10.0"]
    assert sorted(set(ordered), key=version_key) == ordered
    assert is_prerelease("1.0.0-rc.1")
    assert not is_prerelease("1.0.0")


# Identity


def test_equal_content_has_one_fingerprint_and_any_change_another() -> None:
    base = graph("a -> b")
    assert base == graph("a -> b")
    assert hash(base) == hash(graph("a -> b"))
    assert base != graph("a, b")
    assert base != graph("a -> b", schema={"type": "object"})
    assert base.fingerprint != graph("a -> b", version="1.0.1").fingerprint


def test_a_better_description_is_no_other_definition() -> None:
    assert graph("a", description="one").fingerprint == graph("a", description="two").fingerprint


def test_the_difference_names_what_changed() -> None:
    ours = TaskDefinition("shop", "order", "1.0.0", steps=(StepTemplate("a"), StepTemplate("b", retry_limit=3)))
    theirs = TaskDefinition("shop", "order", "1.0.0", steps=(StepTemplate("a"), StepTemplate("b", retry_limit=5), StepTemplate("c")))
    lines = ours.difference(theirs)
    assert lines == ["step added: c", "steps.b.retry_limit: 3 -> 5"]


def test_the_json_is_what_the_database_takes() -> None:
    definition = TaskDefinition(
        "shop", "order", "1.0.0", "Sells.", {"type": "object"},
        (StepTemplate("a", handler_class="shop.steps:A", retryable=False), StepTemplate("b", depends_on_step="a", timeout=1500)),
    )  # fmt: skip
    found = definition.to_json()
    assert found["fingerprint"] == definition.fingerprint
    assert found["steps"][0] | {"backoff": None} == {
        "name": "a", "description": "", "handler": "shop.steps.A", "parents": [], "children": [1], "retryable": False,
        "retry_limit": 1, "timeout_ms": None, "backoff": None, "output_schema": None, "handler_config": {}, "decision": False, "for_each": None,
        "resources": {},
    }  # fmt: skip
    assert (found["steps"][1]["parents"], found["steps"][1]["timeout_ms"]) == ([0], 1500)


def test_a_step_says_what_it_needs_of_a_worker() -> None:
    needing = StepTemplate("a", handler_class="shop.steps:A", resources={"GPU": 1, "memory": 0.5})
    assert needing.to_json()["resources"] == {"GPU": 1, "memory": 0.5}
    ours, theirs = (TaskDefinition("shop", "order", "1.0.0", steps=(step,)) for step in (needing, StepTemplate("a", handler_class="shop.steps:A")))
    assert ours.fingerprint != theirs.fingerprint


@pytest.mark.parametrize("wrong", [{"GPU": 0}, {"GPU": -1}, {"GPU": "one"}, {"GPU": True}, {"": 1}, {"GPU": math.inf}, ["GPU"], {f"r{no}": 1 for no in range(21)}])
def test_resources_are_names_with_numbers_above_0(wrong: Any) -> None:
    with pytest.raises(DefinitionError, match="resources"):
        StepTemplate("a", handler_class="shop.steps:A", resources=wrong)


def test_a_handler_is_named_by_its_dotted_path() -> None:
    assert handler_path(Backoff) == "engine.definition.Backoff"
    assert handler_path(handler_path) == "engine.definition.handler_path"
    assert handler_path(None) is None


# Size


def chain(length: int) -> list[dict[str, Any]]:
    return [{"name": f"s{no}", **({"depends_on_step": f"s{no - 1}"} if no else {})} for no in reversed(range(length))]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(chain(MAX_STEPS), id="a chain declared backwards"),
        pytest.param(
            [{"name": "end", "depends_on_steps": [f"s{no}" for no in range(MAX_STEPS - 1)]}, *({"name": f"s{no}"} for no in range(MAX_STEPS - 1))],
            id="a fan-in of everything",
        ),
    ],
)
def test_the_largest_definition_is_accepted_within_two_seconds(options: list[dict[str, Any]]) -> None:
    def use() -> None:
        definition = assemble(options, namespace="shop", name="big", version="1.0.0")
        definition.to_json()
        definition.ancestors(definition.steps[-1].name)

    assert least_seconds(use, 2.0) <= 2.0


def test_twice_as_many_steps_as_there_may_be_are_refused_at_once() -> None:
    options = chain(2 * MAX_STEPS)
    assert codes(lambda: assemble(options, namespace="shop", name="big", version="1.0.0")) == [("step_templates", "too_many_steps")]
    assert least_seconds(lambda: assemble(options, namespace="shop", name="big", version="1.0.0"), 0.5) <= 0.5


def test_a_cycle_through_thousands_of_steps_is_found_without_recursion() -> None:
    options = chain(3000)
    options[-1]["depends_on_step"] = "s2999"
    (problem,) = problems(lambda: assemble(options, namespace="shop", name="big", version="1.0.0"))
    assert problem.code == "cycle"


def test_too_many_dependencies_are_refused() -> None:
    many = [f"s{no}" for no in range(1000)]
    steps = [*({"name": name} for name in many), *({"name": f"t{no}", "depends_on_steps": many} for no in range(101))]
    assert codes(lambda: assemble(steps, namespace="shop", name="big", version="1.0.0")) == [("step_templates", "too_many_dependencies")]


# Decisions and map steps


def dynamic(*steps: dict[str, Any]) -> TaskDefinition:
    return assemble(steps, namespace="shop", name="order")


ROUTE = {"name": "route", "decision": True, "handler_class": "shop.route"}
LIST = {"name": "list", "handler_class": "shop.list"}


def each(for_each: str, **options: Any) -> dict[str, Any]:
    return {"name": "each", "for_each": for_each, "handler_class": "shop.each", "depends_on_step": "list", **options}


def test_a_map_step_says_where_its_list_is() -> None:
    definition = dynamic(LIST, {"name": "between", "depends_on_step": "list"}, each("list.page.rows", depends_on_step="between"))
    assert definition.source(2) == (0, ["page", "rows"])
    assert definition.source(1) is None
    assert definition.maps == {2}
    assert definition.to_json()["steps"][2]["for_each"] == {"step": 0, "path": ["page", "rows"]}


def test_a_name_with_dots_is_taken_as_a_name_before_it_is_taken_as_a_path() -> None:
    definition = dynamic({"name": "list"}, {"name": "list.items", "depends_on_step": "list"}, each("list.items.rows", depends_on_step="list.items"))
    assert definition.source(2) == (1, ["rows"])


def test_the_longest_name_counts_only_among_the_steps_before() -> None:
    definition = dynamic({"name": "list"}, {"name": "list.items"}, each("list.items"))
    assert definition.source(definition.numbers["each"]) == (definition.numbers["list"], ["items"])


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((ROUTE,), ("step_templates[0].decision", "no_branches")),
        ((LIST, each("lst")), ("step_templates[1].for_each", "no_ancestor")),
        ((LIST, {"name": "later", "depends_on_step": "each"}, each("later")), ("step_templates[2].for_each", "no_ancestor")),
        ((LIST, each("each")), ("step_templates[1].for_each", "no_ancestor")),
        ((LIST, each("list", decision=True)), ("step_templates[1].for_each", "two_kinds")),
        ((LIST, each("list", handler_class=None)), ("step_templates[1].for_each", "no_handler")),
        (({**ROUTE, "handler_class": None}, {"name": "a", "depends_on_step": "route"}), ("step_templates[0].decision", "no_handler")),
        (({**ROUTE, "decision": "yes"},), ("step_templates[0].decision", "bad_type")),
        ((LIST, each(3)), ("step_templates[1].for_each", "bad_type")),  # type: ignore[arg-type]
        ((LIST, each("")), ("step_templates[1].for_each", "bad_name")),
        ((LIST, each("x" * 501)), ("step_templates[1].for_each", "bad_name")),
    ],
)
def test_what_cannot_decide_or_fan_out_is_refused(steps: tuple[dict[str, Any], ...], expected: tuple[str, str]) -> None:
    assert codes(lambda: dynamic(*steps)) == [expected]


def test_a_wrong_source_is_told_with_the_nearest_step_before() -> None:
    (problem,) = problems(lambda: dynamic(LIST, each("lst")))
    assert problem.message == "step 'each': 'lst' begins with no step that comes before it; did you mean 'list'?"


def test_the_kind_of_a_step_is_part_of_what_decides_how_a_task_runs() -> None:
    plain, route = ({**ROUTE, "decision": kind} for kind in (False, True))
    child = {"name": "a", "depends_on_step": "route"}
    assert dynamic(plain, child).difference(dynamic(route, child)) == ["steps.route.decision: false -> true"]
    assert dynamic(LIST, each("list")).difference(dynamic(LIST, each("list.rows"))) == ['steps.each.for_each: "list" -> "list.rows"']


@pytest.mark.parametrize(("result", "names"), [("a", ["a"]), (["b", "a", "b"], ["b", "a"]), ([], []), (None, []), (("b",), ["b"])])
def test_a_choice_is_a_list_of_children(result: Any, names: list[str]) -> None:
    assert chosen(result, ["a", "b"]) == names


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("charg", "the decision chose 'charg', which is no step after it; did you mean 'charge'? After it come charge, ship"),
        (["ship", "z"], "the decision chose 'z', which is no step after it. After it come charge, ship"),
        (5, "a decision returns the name of a step after it, or a list of names, not int 5"),
        ({"charge": True}, "a decision returns the name of a step after it, or a list of names, not dict"),
        ([None], "a decision returns the name of a step after it, or a list of names, not list"),
    ],
)
def test_what_is_no_choice_is_told(result: Any, words: str) -> None:
    with pytest.raises(ValueError, match="decision") as raised:
        chosen(result, ["charge", "ship"])
    assert str(raised.value) == words
