"""Where handlers come from: folders, packages, modules, YAML files. Modules get names of their own, as Python keeps them."""

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import HandlerRegistry
from engine.discovery import is_there
from engine.errors import DefinitionConflict, DefinitionError


@pytest.fixture(autouse=True)
def forgotten_modules() -> Iterator[None]:
    """What a test imports is forgotten after it, and sys.path is as before."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    assert sys.path == path
    for name in set(sys.modules) - modules:
        if not name.startswith("engine"):
            del sys.modules[name]


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


WORKFLOW = """
from engine import Workflow
flow = Workflow("{name}", namespace="shop", version="1.0.0")

@flow.step
def charge(task):
    return 1
"""
YAML = """
name: from_yaml
namespace_name: shop
version: "1.0.0"
step_templates:
  - name: charge
    handler_class: shop_steps.ChargeCard
environments:
  production:
    step_templates:
      - {name: charge, retry_limit: 9}
"""
STEPS = """
from engine import StepHandler

class ChargeCard(StepHandler):
    def process(self, task, sequence, step):
        return "charged"
"""


def test_a_folders_modules_and_yaml_are_registered(registry: HandlerRegistry, tmp_path: Path) -> None:
    write(tmp_path, {"shop_flow.py": WORKFLOW.format(name="from_python"), "shop_steps.py": STEPS, "order.yaml": YAML})
    report = registry.load([tmp_path], entry_points=False)
    assert report.failures == []
    assert list(registry.handlers) == ["shop/from_python", "shop/from_yaml"]


def test_a_failing_module_registers_nothing_and_the_others_load(registry: HandlerRegistry, tmp_path: Path) -> None:
    broken = WORKFLOW.format(name="broken") + "\nraise RuntimeError('no such service')\n"
    write(tmp_path, {"a_broken.py": broken, "b_good.py": WORKFLOW.format(name="good"), "c_exit.py": "raise SystemExit(3)"})
    report = registry.load([tmp_path], entry_points=False)
    assert list(registry.handlers) == ["shop/good"]
    assert [(failure.source, type(failure.error)) for failure in report.failures] == [("a_broken", RuntimeError), ("c_exit", SystemExit)]
    assert str(report.failures[0]) == "a_broken: RuntimeError: no such service"
    assert report.loaded == ["b_good"]


def test_a_module_with_one_bad_workflow_registers_none(registry: HandlerRegistry, tmp_path: Path) -> None:
    text = WORKFLOW.format(name="good") + "\nbad = Workflow('bad')\nbad.define('a', depends_on_step='b')\n"
    write(tmp_path, {"mixed_flows.py": text})
    report = registry.load([tmp_path], entry_points=False)
    assert list(registry.handlers) == []
    assert isinstance(report.failures[0].error, DefinitionError)


def test_a_module_that_another_one_imported_counts_although_that_one_failed(registry: HandlerRegistry, tmp_path: Path) -> None:
    write(tmp_path, {"a_fails.py": "import b_works\nraise RuntimeError", "b_works.py": WORKFLOW.format(name="works")})
    registry.load([tmp_path], entry_points=False)
    assert list(registry.handlers) == ["shop/works"]


def test_a_package_is_loaded_with_everything_in_it(registry: HandlerRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "shopping/__init__.py": "",
        "shopping/deep/__init__.py": "",
        "shopping/deep/flow.py": WORKFLOW.format(name="deep"),
        "shopping/order.yaml": YAML.replace("shop_steps", "shopping.steps"),
        "shopping/steps.py": STEPS,
        "shopping/test_flow.py": "raise RuntimeError",
    }
    write(tmp_path, files)
    monkeypatch.syspath_prepend(tmp_path)
    report = registry.load(["shopping"], entry_points=False)
    assert report.failures == []
    assert list(registry.handlers) == ["shop/deep", "shop/from_yaml"]


def test_classes_may_refer_to_modules_in_any_order(registry: HandlerRegistry, tmp_path: Path) -> None:
    flow = """
    from engine import TaskHandler, register_handler

    @register_handler("order", namespace_name="shop")
    class Order(TaskHandler):
        def define_step_templates(self, templates):
            templates.define(name="charge", handler_class="z_steps.ChargeCard")
            templates.define(name="ship", handler_class=Ship)

    from z_steps import ChargeCard as Ship
    """
    write(tmp_path, {"a_flow.py": flow, "z_steps.py": STEPS})
    assert registry.load([tmp_path], entry_points=False).failures == []
    assert list(registry.handlers) == ["shop/order"]


def test_subscribers_of_a_failing_module_are_not_registered(registry: HandlerRegistry, tmp_path: Path) -> None:
    text = "from engine import EventSubscriber\nclass Monitor(EventSubscriber): pass\n"
    write(tmp_path, {"monitor_fails.py": text + "raise RuntimeError", "monitor_works.py": text})
    registry.load([tmp_path], entry_points=False)
    assert [subscriber.__module__ for subscriber in registry.subscribers()] == ["monitor_works"]


def test_a_second_module_of_a_name_is_reported_not_taken_for_the_first(registry: HandlerRegistry, tmp_path: Path) -> None:
    first = write(tmp_path / "first", {"same_name.py": WORKFLOW.format(name="first")})
    second = write(tmp_path / "second", {"same_name.py": WORKFLOW.format(name="second")})
    report = registry.load([first, second], entry_points=False)
    assert list(registry.handlers) == ["shop/first"]
    assert "another module named 'same_name'" in str(report.failures[0])


PLAIN = "import parts\nfrom engine import Workflow\nflow = Workflow('outer', namespace='shop')\nflow.define('one')\n"


def test_a_module_of_a_package_is_one_by_whichever_name_it_is_imported(registry: HandlerRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = write(tmp_path / "flowers", {"__init__.py": "", "above.py": PLAIN, "parts.py": WORKFLOW.format(name="inner"), "shop_steps.py": STEPS, "order.yaml": YAML})
    monkeypatch.syspath_prepend(str(tmp_path))
    early = importlib.import_module("flowers.parts")
    assert registry.load([pack], entry_points=False).failures == []
    assert set(registry.handlers) == {"shop/inner", "shop/outer", "shop/from_yaml"}
    assert early is sys.modules["parts"]
    assert importlib.import_module("flowers.above") is sys.modules["above"]
    assert registry.get("inner", "shop").definition.steps[0].to_json()["handler"] == "flowers.parts.charge"
    other = write(tmp_path / "other" / "flowers", {"__init__.py": "", "more.py": WORKFLOW.format(name="more")})
    assert "another module named 'flowers'" in str(registry.load([other], entry_points=False).failures[0])


def test_a_module_or_package_of_the_current_folder_is_found_by_its_name(registry: HandlerRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"beside_flows.py": WORKFLOW.format(name="beside"), "beside_pack/__init__.py": "", "beside_pack/inner.py": WORKFLOW.format(name="inner")})
    monkeypatch.chdir(tmp_path)
    assert is_there("beside_flows")
    assert not registry.load(["beside_flows", "beside_pack.inner"]).failures
    assert set(registry.handlers) == {"shop/beside", "shop/inner"}
    assert str(tmp_path) not in sys.path


def test_what_does_not_exist_is_reported(registry: HandlerRegistry, tmp_path: Path) -> None:
    report = registry.load(["no_such_module_at_all", tmp_path / "nowhere"], entry_points=False)
    assert [type(failure.error) for failure in report.failures] == [ModuleNotFoundError, FileNotFoundError]
    assert "there is no folder, file or module of this name in" in str(report.failures[0])


def test_yaml_in_a_folder_that_is_a_package_may_name_its_modules_in_full(registry: HandlerRegistry, tmp_path: Path) -> None:
    write(tmp_path, {"parcels/__init__.py": "", "parcels/shop_steps.py": STEPS, "parcels/order.yaml": YAML.replace("shop_steps", "parcels.shop_steps")})
    assert registry.load([tmp_path / "parcels"], entry_points=False).failures == []
    assert registry.load([tmp_path / "parcels" / "order.yaml"], entry_points=False).failures == []
    assert list(registry.handlers) == ["shop/from_yaml"]


def test_a_file_that_is_named_is_loaded_alone(registry: HandlerRegistry, tmp_path: Path) -> None:
    folder = write(tmp_path, {"mine.py": WORKFLOW.format(name="mine"), "docker-compose.yml": "services: {}", "deploy/more.yaml": YAML})
    report = registry.load([str(folder / "mine.py")], entry_points=False)
    assert ([each.name for each in registry.definitions()], report.failures) == (["mine"], [])


def test_the_path_of_a_bad_yaml_file_is_told_once(registry: HandlerRegistry, tmp_path: Path) -> None:
    file = write(tmp_path, {"bad.yaml": "services: {}"}) / "bad.yaml"
    [failure] = registry.load([str(file)], entry_points=False).failures
    assert str(failure).count("bad.yaml") == 1


def test_a_bad_yaml_file_is_reported_with_line_and_column(registry: HandlerRegistry, tmp_path: Path) -> None:
    write(tmp_path, {"good_flow.py": WORKFLOW.format(name="good"), "bad.yaml": "name: x\nversion: 1.0\nstep_templates: []\n"})
    report = registry.load([tmp_path], entry_points=False)
    assert list(registry.handlers) == ["shop/good"]
    assert "line 2, column 1: version" in str(report.failures[0])


MISSPELT = """
name: misspelt
namespace_name: shop
version: "1.0.0"
task_handler_class: shop_steps.Mine
step_templates:
  - name: pack
    depends_on_step: charge
    handler_class: shop_steps.Pakc
  - name: charge
    handler_class: shop_steps.ChargeCard
environments:
  production.eu:
    step_templates:
      - {name: pack, retry_limit: 9}
      - name: charge
        handler_class: shop_steps.Chrge
"""


def places(registry: HandlerRegistry, folder: Path, environment: str) -> list[tuple[str, int | None, int | None]]:
    [failure] = registry.load([folder], entry_points=False, environment=environment).failures
    assert failure.source.endswith("order.yaml")
    assert isinstance(failure.error, DefinitionError)
    return [(problem.path, problem.line, problem.column) for problem in failure.error.problems]


def test_a_misspelt_handler_in_yaml_is_reported_with_line_and_column(registry: HandlerRegistry, tmp_path: Path) -> None:
    write(tmp_path, {"shop_steps.py": STEPS, "order.yaml": MISSPELT})
    own = [("task_handler_class", 5, 1), ("step_templates[0].handler_class", 9, 5)]
    assert places(registry, tmp_path, "") == own
    report = registry.load([tmp_path], entry_points=False)
    assert "line 9, column 5: step_templates[0].handler_class: step 'pack': 'shop_steps.Pakc' cannot be loaded" in str(report.failures[0])


def test_a_handler_that_an_environment_misspells_is_reported_where_it_says_so(registry: HandlerRegistry, tmp_path: Path) -> None:
    write(tmp_path, {"shop_steps.py": STEPS, "order.yaml": MISSPELT.replace("Pakc", "ChargeCard").replace("Mine", "Other")})
    assert places(registry, tmp_path, "production.eu") == [
        ("task_handler_class", 5, 1), ('environments["production.eu"].step_templates[1].handler_class', 17, 9),
    ]  # fmt: skip


def test_handlers_are_told_in_the_same_reading_as_all_the_rest(registry: HandlerRegistry, tmp_path: Path) -> None:
    (tmp_path / "told_steps.py").write_text("def charge(task, ordre): ...\ndef order(task): ...\n")
    (tmp_path / "flow.yaml").write_text(
        "name: Order\ntask_handler_class: told_steps.None\nstep_templates:\n  - {name: order, handler_class: told_steps.oder, timeout: 0}\n"
        "  - {name: charge, depends_on_step: order, handler_class: told_steps.charge}\n",
    )
    problems = registry.load([tmp_path], entry_points=False).failures[0].error.problems  # type: ignore[attr-defined]
    assert [(problem.code, problem.line) for problem in problems] == [
        ("bad_name", 1), ("unknown_handler", 2), ("unknown_handler", 4), ("out_of_range", 4), ("unknown_parameter", 5),
    ]  # fmt: skip


def test_where_it_is_not_certain_what_comes_before_a_step_its_parameters_are_not_judged(registry: HandlerRegistry, tmp_path: Path) -> None:
    (tmp_path / "unjudged_steps.py").write_text("def charge(task, order): ...\n")
    (tmp_path / "flow.yaml").write_text(
        "name: order\nstep_templates:\n  - {name: order, handler_class: unjudged_steps.oder}\n  - {name: charge, depend_on_step: order, handler_class: unjudged_steps.charge}\n",
    )
    problems = registry.load([tmp_path], entry_points=False).failures[0].error.problems  # type: ignore[attr-defined]
    assert [(problem.code, problem.line) for problem in problems] == [("unknown_handler", 3), ("unknown_key", 4)]


TWO_BAD_CLASSES = """
from engine import TaskHandler, register_handler

def order(task, nobody): ...

@register_handler("first")
class First(TaskHandler):
    def define_step_templates(self, templates):
        templates.define(name="order", handler_class=order, timeout=0)
        templates.define(name="charge", handler_class="two_bad.nothing", depends_on_step="ordre")

@register_handler("second")
class Second(TaskHandler):
    def define_step_templates(self, templates):
        templates.define(name="order", retry_limit=0)
"""


def test_all_workflows_of_a_module_are_told_at_once_with_their_handlers(registry: HandlerRegistry, tmp_path: Path) -> None:
    (tmp_path / "two_bad.py").write_text(TWO_BAD_CLASSES)
    problems = registry.load([tmp_path], entry_points=False).failures[0].error.problems  # type: ignore[attr-defined]
    assert [(problem.path, problem.code) for problem in problems] == [
        ("workflow 'first' step_templates[0].timeout", "out_of_range"),
        ("workflow 'first' step_templates[1].depends_on_step", "unknown_dependency"),
        ("workflow 'first' step_templates[1].handler_class", "unknown_handler"),
        ("workflow 'second' step_templates[0].retry_limit", "out_of_range"),
    ]


def test_a_nested_folder_of_modules_that_is_no_package_is_told(registry: HandlerRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"told": WORKFLOW.format(name="told"), "deep": WORKFLOW.format(name="deep"), "tests": WORKFLOW.format(name="of_tests")}
    write(tmp_path, {"flows_a/__init__.py": "", "flows_a/inner/__init__.py": "", "flows_a/inner/eu/deep/late.py": made["deep"], "flows_a/billing/told.py": made["told"]})
    write(tmp_path, {"flows_a/tests/steps.py": made["tests"], "flows_a/texts/other.py": "import json\n", "flows_a/data/notes.txt": "from engine import x\n"})
    expected = [tmp_path / "flows_a" / "billing", tmp_path / "flows_a" / "inner" / "eu"]
    monkeypatch.syspath_prepend(tmp_path)
    for target in (tmp_path / "flows_a", "flows_a"):
        report = registry.load([target], entry_points=False)
        assert [line.partition(":")[0] for line in report.passed_by] == list(map(str, expected))
        assert (report.failures, list(registry.handlers)) == ([], [])
    (expected[0] / "__init__.py").touch()
    report = registry.load([tmp_path / "flows_a"], entry_points=False)
    assert (len(report.passed_by), list(registry.handlers)) == (1, ["shop/told"])


def test_yaml_counts_wherever_its_folder_lies(registry: HandlerRegistry, tmp_path: Path) -> None:
    folder = write(tmp_path / ".checkouts" / "shop", {"shop_steps.py": STEPS, "order.yaml": YAML})
    registry.load([folder], entry_points=False)
    assert list(registry.handlers) == ["shop/from_yaml"]


def test_what_is_hidden_in_the_folder_is_no_workflow_however_deep(registry: HandlerRegistry, tmp_path: Path) -> None:
    write(tmp_path, {"shop_steps.py": STEPS, ".github/workflows/more/steps/build.yaml": "on: push\n", "parts/.order.yaml": "on: push\n", "order.yaml": YAML})
    assert registry.load([tmp_path], entry_points=False).failures == []
    assert list(registry.handlers) == ["shop/from_yaml"]


@pytest.mark.parametrize(("chosen", "retry_limit"), [("production", 9), ("staging", 3), ("", 2), (None, 2)])
def test_the_environment_picks_its_overrides_and_is_development_when_nothing_is_said(
    registry: HandlerRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None, retry_limit: int
) -> None:
    write(tmp_path, {"shop_steps.py": STEPS, "order.yaml": YAML + "  development:\n    step_templates:\n      - {name: charge, retry_limit: 2}\n"})
    monkeypatch.delenv("TASKER_ENV", raising=False)
    if chosen is not None:
        monkeypatch.setenv("TASKER_ENV", chosen)
    registry.load([tmp_path], entry_points=False)
    assert registry.get("from_yaml", "shop").definition.step("charge").retry_limit == retry_limit


def test_yaml_may_name_the_task_handler_that_runs_it(registry: HandlerRegistry, tmp_path: Path) -> None:
    handler = "\nfrom engine import TaskHandler\nclass Mine(TaskHandler): pass\n"
    write(tmp_path, {"shop_steps.py": STEPS + handler, "order.yaml": "task_handler_class: shop_steps.Mine\n" + YAML})
    assert registry.load([tmp_path], entry_points=False).failures == []
    assert type(registry.get("from_yaml", "shop")).__name__ == "Mine"


def test_two_files_of_one_version_and_other_content_conflict(registry: HandlerRegistry, tmp_path: Path) -> None:
    write(tmp_path, {"shop_steps.py": STEPS, "a.yaml": YAML, "b.yaml": YAML.replace("name: charge\n", "name: charge\n    retry_limit: 2\n")})
    report = registry.load([tmp_path], entry_points=False)
    assert isinstance(report.failures[0].error, DefinitionConflict)
    assert "steps.charge.retry_limit: 3 -> 2" in str(report.failures[0])


def test_a_package_may_offer_its_handlers_by_an_entry_point(registry: HandlerRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"offered_flows.py": WORKFLOW.format(name="offered")})
    offering = tmp_path / "offering-1.0.dist-info"
    offering.mkdir()
    (offering / "METADATA").write_text("Metadata-Version: 2.1\nName: offering\nVersion: 1.0\n")
    (offering / "entry_points.txt").write_text("[tasker.handlers]\nshop = offered_flows\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.load().failures == []
    assert list(registry.handlers) == ["shop/offered"]


def test_loading_the_same_folder_again_changes_nothing(registry: HandlerRegistry, tmp_path: Path) -> None:
    write(tmp_path, {"twice_flow.py": WORKFLOW.format(name="twice")})
    for _ in range(2):
        assert registry.load([tmp_path], entry_points=False).failures == []
    assert list(registry.handlers) == ["shop/twice"]
