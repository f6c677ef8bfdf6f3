import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from engine import (
    DefinitionError,
    HandlerFactory,
    HandlerRegistry,
    NotFound,
    RequestError,
    TaskHandler,
    TaskRequest,
    Workflow,
    default_database,
    register_handler,
    submit,
)
from engine.errors import DefinitionConflict
from engine.handlers import StepTemplates


def given(name: str, *, version: str = "1.0.0", namespace: str = "ecommerce", steps: str = "a") -> Workflow:
    workflow = Workflow(name, namespace=namespace, version=version)
    for step in steps.split():
        workflow.define(step)
    return workflow


def register_class(*steps: str) -> type[TaskHandler]:
    @register_handler("order", version="1.0.0")
    class Order(TaskHandler):
        def define_step_templates(self, templates: StepTemplates) -> None:
            for step in steps:
                templates.define(name=step)

    return Order


def test_both_names_of_the_registry_are_one_class_with_one_instance() -> None:
    assert HandlerFactory is HandlerRegistry
    assert HandlerRegistry.instance() is HandlerFactory.instance()


def test_handlers_are_keyed_by_namespace_and_name(registry: HandlerRegistry) -> None:
    order, refund = given("process_order"), given("process_refund", namespace="payments")
    assert list(registry.handlers.keys()) == ["ecommerce/process_order", "payments/process_refund"]
    assert registry.handlers["payments/process_refund"] is refund
    assert "ecommerce/process_order" in registry.handlers
    assert registry.handlers.get("ecommerce/nothing") is None
    assert registry.registered_handlers() == {"ecommerce/process_order": ["1.0.0"], "payments/process_refund": ["1.0.0"]}
    assert registry.handlers_for_namespace("payments") == {"payments/process_refund": ["1.0.0"]}
    assert registry.definitions() == [order.definition, refund.definition]


def test_without_a_version_the_highest_by_its_numbers_is_chosen(registry: HandlerRegistry) -> None:
    for version in ("1.9.0", "1.10.0", "1.2.0", "2.0.0-rc.1"):
        given("order", version=version)
    assert registry.get("order", "ecommerce").definition.version == "1.10.0"
    assert registry.registered_handlers()["ecommerce/order"] == ["2.0.0-rc.1", "1.10.0", "1.9.0", "1.2.0"]


def test_a_prerelease_is_chosen_only_when_it_is_named(registry: HandlerRegistry) -> None:
    given("order", version="2.0.0-rc.1")
    with pytest.raises(NotFound, match=r"must be named: 2\.0\.0-rc\.1"):
        registry.get("order", "ecommerce")
    assert registry.get("order", "ecommerce", "2.0.0-rc.1").definition.version == "2.0.0-rc.1"
    assert list(registry.handlers) == []


def test_an_unknown_name_is_not_found_with_the_nearest_one(registry: HandlerRegistry) -> None:
    given("process_order")
    with pytest.raises(NotFound, match="did you mean 'ecommerce/process_order'"):
        registry.get("proces_order", namespace_name="ecommerce")
    with pytest.raises(NotFound, match=r"no version '9\.0\.0'; there is 1\.0\.0"):
        registry.get("process_order", namespace_name="ecommerce", version="9.0.0")


def test_handler_info_tells_version_schema_and_steps(registry: HandlerRegistry) -> None:
    workflow = Workflow("order", namespace="ecommerce", version="2.0.0", description="Sells.", schema={"type": "object"})
    workflow.define("a")
    workflow.define("b", depends_on_step="a")
    info = registry.handler_info("order", namespace_name="ecommerce")
    assert (info["version"], info["schema"], info["description"]) == ("2.0.0", {"type": "object"}, "Sells.")
    assert [(step["name"], step["depends_on_steps"]) for step in info["steps"]] == [("a", []), ("b", ["a"])]


def test_handler_info_tells_which_errors_are_tried_again(registry: HandlerRegistry) -> None:
    workflow = Workflow("order", namespace="ecommerce")
    workflow.define("a", retry_on=(TimeoutError, ConnectionError))
    workflow.define("b")
    info = registry.handler_info("order", namespace_name="ecommerce")
    assert [step["retry_on"] for step in info["steps"]] == [["builtins.ConnectionError", "builtins.TimeoutError"], []]


def test_what_handler_info_told_may_be_changed_without_changing_the_workflow(registry: HandlerRegistry) -> None:
    def order() -> Workflow:
        workflow = Workflow("order", namespace="ecommerce", schema={"type": "object", "properties": {}})
        workflow.define("a", handler_config={"ports": [1]}, output_schema={"type": "object"}, resources={"GPU": 1}, handler_class=lambda: None)
        return workflow

    order()
    told = registry.handler_info("order", namespace_name="ecommerce")
    told["schema"]["properties"]["note"] = {}
    [step] = told["steps"]
    step["handler_config"]["ports"].append(2)
    step["output_schema"]["type"] = "array"
    step["resources"]["GPU"] = 2
    assert registry.get("order", "ecommerce").definition.difference(order().definition) == []


# The same version twice


def test_the_same_content_may_be_registered_again(registry: HandlerRegistry) -> None:
    register_class("a")
    again = register_class("a")
    assert isinstance(registry.get("order"), again)


def test_other_content_under_a_known_version_is_a_conflict_that_shows_the_difference(registry: HandlerRegistry) -> None:
    register_class("a")
    with pytest.raises(DefinitionConflict, match="step added: b"):
        register_class("a", "b")
    assert [step.name for step in registry.get("order").definition.steps] == ["a"]


def test_a_conflict_is_told_in_the_words_of_yaml_and_without_what_is_secret(registry: HandlerRegistry) -> None:
    for password, timeout in (("hunter2", 1_000), ("hunter3", 2_000)):
        workflow = Workflow("order", namespace="ecommerce")
        workflow.define("a", handler_config={"password": password}, timeout=timeout)
    with pytest.raises(DefinitionConflict) as raised:
        registry.get("order", "ecommerce")
    told = str(raised.value)
    assert "steps.a.timeout: 1000 -> 2000" in told
    assert "hunter" not in told


def test_a_conflict_between_workflows_is_told_on_first_use(registry: HandlerRegistry) -> None:
    given("order", steps="a")
    given("order", steps="a b")
    with pytest.raises(DefinitionConflict, match=r"default|ecommerce/order@1\.0\.0"):
        registry.get("order", "ecommerce")


def test_a_workflow_without_steps_is_refused_on_first_use(registry: HandlerRegistry) -> None:
    Workflow("order")
    with pytest.raises(DefinitionError, match="at least one step"):
        registry.get("order")


def test_a_built_handler_can_be_registered(registry: HandlerRegistry) -> None:
    order = given("order")
    other = HandlerRegistry()
    other.register(order)
    assert other.get("order", "ecommerce") is order


# Threads


def in_threads(count: int, work: Callable[[int], None]) -> list[BaseException]:
    failures: list[BaseException] = []
    start = threading.Barrier(count)

    def run(no: int) -> None:
        start.wait()
        try:
            work(no)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(no,)) for no in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_ten_threads_get_the_right_handler_at_once(registry: HandlerRegistry) -> None:
    given("process_order", version="1.0.0")
    newest = given("process_order", version="2.0.0")
    found: list[Any] = []
    assert in_threads(10, lambda no: found.append(registry.get("process_order", namespace_name="ecommerce"))) == []
    assert found == [newest] * 10


def test_threads_may_register_while_others_look(registry: HandlerRegistry) -> None:
    # Forbids: a dictionary that changes while another thread iterates over it, and a registration that gets lost.
    def work(no: int) -> None:
        for part in range(30):
            given(f"order-{no}", version=f"1.{part}.0")
            assert registry.get(f"order-{no}", "ecommerce").definition.version == f"1.{part}.0"
            assert f"ecommerce/order-{no}" in list(registry.handlers)

    assert in_threads(8, work) == []
    assert len(registry.definitions()) == 240


# Running what was found


def test_ten_threads_run_tasks_of_a_handler_that_only_this_process_knew(
    registry: HandlerRegistry, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKER_DATABASE_URL", database_url)
    given("process_order", version="2.0.0")
    ids: list[str] = []

    def work(no: int) -> None:
        ids.append(registry.get("process_order", namespace_name="ecommerce").run_task(context={"order_id": no}, tags=["batch"]))

    try:
        assert in_threads(10, work) == []
        assert len({uuid.UUID(task_id) for task_id in ids}) == 10
        with pytest.raises(NotFound):
            submit(TaskRequest("nothing", namespace="ecommerce"))
        with pytest.raises(RequestError, match="unknown field 'prioritty'; did you mean 'priority'"):
            registry.get("process_order", "ecommerce").run_task(prioritty=3)
    finally:
        default_database().close()
