"""The forms in which an author defines a workflow; all of them make the same definition."""

from datetime import timedelta
from typing import Any

import pytest

from engine import (
    DefinitionError,
    EventSubscriber,
    HandlerRegistry,
    NotFound,
    StepHandler,
    TaskHandler,
    Workflow,
    register_handler,
)
from engine.handlers import Sequence, Step, StepTemplates, Task
from engine.yaml_config import load_text

SCHEMA = {"type": "object", "required": ["order_id"], "properties": {"order_id": {"type": "integer"}}}


def validate_payment(task: Task) -> Any:
    return {"ok": True}


def reserve_inventory(task: Task, validate_payment: Any) -> Any:
    return validate_payment


class SendConfirmation(StepHandler):
    def process(self, task: Task, sequence: Sequence, step: Step) -> Any:
        return self.step_results(sequence, "reserve_inventory")


def as_class() -> Any:
    @register_handler("process_order", namespace_name="ecommerce", version="2.1.0")
    class OrderProcessing(TaskHandler):
        def define_step_templates(self, templates: StepTemplates) -> None:
            templates.define(name="validate_payment", handler_class=validate_payment, retryable=True, retry_limit=3)
            templates.define(
                name="reserve_inventory", depends_on_step="validate_payment", handler_class=reserve_inventory, timeout=30_000
            )
            templates.define(
                name="send_confirmation",
                depends_on_steps=["validate_payment", "reserve_inventory"],
                handler_class=SendConfirmation,
                backoff={"base": 2},
            )

        def schema(self) -> dict[str, Any]:
            return SCHEMA

    return OrderProcessing


def as_functions() -> Workflow:
    orders = Workflow("process_order", namespace="ecommerce", version="2.1.0", schema=SCHEMA)
    orders.step(validate_payment)
    orders.step(depends_on_step="validate_payment", timeout=timedelta(seconds=30))(reserve_inventory)
    orders.define(
        "send_confirmation",
        handler_class=SendConfirmation,
        depends_on_step=["validate_payment", "reserve_inventory"],
        backoff={"base": 2.0},
    )
    return orders


YAML = f"""
name: process_order
namespace_name: ecommerce
version: "2.1.0"
schema:
  type: object
  required: [order_id]
  properties:
    order_id: {{type: integer}}
step_templates:
  - name: validate_payment
    handler_class: {__name__}.validate_payment
  - name: reserve_inventory
    handler_class: {__name__}.reserve_inventory
    depends_on_step: validate_payment
    timeout: 30000
  - name: send_confirmation
    handler_class: {__name__}.SendConfirmation
    depends_on_steps: [validate_payment, reserve_inventory]
    backoff: {{base: 2}}
"""


def test_three_forms_make_one_definition(registry: HandlerRegistry) -> None:
    as_class()
    by_class = registry.get("process_order", "ecommerce").definition
    registry.clear()
    by_functions = as_functions().definition
    by_yaml = load_text(YAML).definition
    assert by_class.difference(by_functions) == by_class.difference(by_yaml) == []
    assert by_class.fingerprint == by_functions.fingerprint == by_yaml.fingerprint
    assert by_class == by_functions == by_yaml


# The class form


def test_register_handler_as_a_call_in_the_class_body(registry: HandlerRegistry) -> None:
    class OrderProcessing(TaskHandler):
        """Sells things."""

        TASK_NAME = "process_order"
        NAMESPACE = "ecommerce"
        VERSION = "2.1.0"
        register_handler(TASK_NAME, namespace_name=NAMESPACE, version=VERSION)

        def define_step_templates(self, templates: StepTemplates) -> None:
            templates.define(name="a")

    handler = registry.get("process_order", namespace_name="ecommerce", version="2.1.0")
    assert isinstance(handler, OrderProcessing)
    assert handler.definition.description == "Sells things."


def test_what_is_left_out_comes_from_the_class_constants_then_from_the_defaults(registry: HandlerRegistry) -> None:
    class Base(TaskHandler):
        def define_step_templates(self, templates: StepTemplates) -> None:
            templates.define(name="a")

    @register_handler
    class Constants(Base):
        TASK_NAME = "one"
        NAMESPACE = "shop"
        VERSION = "3.0.0"

    @register_handler("two", description="Two.")
    class Defaults(Base):
        pass

    assert registry.registered_handlers() == {"default/two": ["0.1.0"], "shop/one": ["3.0.0"]}
    assert registry.get("two").definition.description == "Two."
    assert (Constants().definition.key, Defaults().definition.key) == ("shop/one@3.0.0", "default/two@0.1.0")


def test_one_class_may_serve_several_versions(registry: HandlerRegistry) -> None:
    @register_handler("order", version="2.0.0")
    @register_handler("order", version="1.0.0")
    class Order(TaskHandler):
        def define_step_templates(self, templates: StepTemplates) -> None:
            templates.define(name="a")

    assert [registry.get("order", version=version).definition.version for version in ("1.0.0", "2.0.0")] == ["1.0.0", "2.0.0"]


def test_a_bad_option_in_a_class_is_refused_where_it_is_registered(registry: HandlerRegistry) -> None:
    with pytest.raises(DefinitionError, match="did you mean 'retry_limit'"):

        @register_handler("order")
        class Order(TaskHandler):
            def define_step_templates(self, templates: StepTemplates) -> None:
                templates.define(name="a", retry_limt=3)

    assert not registry.handlers


def test_a_class_may_refer_to_what_its_module_defines_later(registry: HandlerRegistry) -> None:
    scope: dict[str, Any] = {"__name__": "orders"}
    source = """
from engine import StepHandler, TaskHandler, register_handler

@register_handler("order")
class Order(TaskHandler):
    def define_step_templates(self, templates):
        templates.define(name="charge", handler_class=Charge)

class Charge(StepHandler):
    def process(self, task, sequence, step):
        return 1
"""
    exec(source, scope)
    assert registry.get("order").definition.step("charge").handler is scope["Charge"]


def test_a_name_that_never_appears_is_told_on_first_use(registry: HandlerRegistry) -> None:
    @register_handler("order")
    class Order(TaskHandler):
        def define_step_templates(self, templates: StepTemplates) -> None:
            templates.define(name="charge", handler_class=Missing)  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(NameError, match="Missing"):
        registry.get("order")


def test_only_task_handlers_can_be_registered(registry: HandlerRegistry) -> None:
    with pytest.raises(DefinitionError, match="subclasses of TaskHandler"):
        register_handler("order")(dict)  # type: ignore[type-var]


def test_a_bad_version_is_refused_at_the_decorator(registry: HandlerRegistry) -> None:
    with pytest.raises(DefinitionError, match="MAJOR.MINOR.PATCH"):

        @register_handler("order", version="1.10")
        class Order(TaskHandler):
            pass


# The decorator form


def test_a_decorated_function_stays_a_function(registry: HandlerRegistry) -> None:
    orders = Workflow("order")

    @orders.step(retry_limit=5)
    def charge(task: Any) -> str:
        """Takes the money."""
        return "charged"

    assert charge(None) == "charged"
    step = orders.definition.step("charge")
    assert (step.description, step.retry_limit, step.handler) == ("Takes the money.", 5, charge)


def test_a_bad_option_is_refused_at_the_line_that_gives_it(registry: HandlerRegistry) -> None:
    orders = Workflow("order")
    with pytest.raises(DefinitionError, match="did you mean 'depends_on_step"):
        orders.step(depend_on_step="a")(lambda: None)
    with pytest.raises(DefinitionError, match="did you mean 'namespace'"):
        Workflow("order", namespce="shop")


def test_a_parameter_that_nothing_can_fill_is_refused(registry: HandlerRegistry) -> None:
    orders = Workflow("order")

    @orders.step
    def charge(task: Any) -> None: ...

    @orders.step(depends_on_step="charge")
    def ship(chrage: Any) -> None: ...

    with pytest.raises(DefinitionError, match="did you mean 'charge'"):
        registry.get("order")


def test_a_parameter_named_after_a_step_that_does_not_come_before_is_refused(registry: HandlerRegistry) -> None:
    orders = Workflow("order")

    @orders.step
    def charge(task: Any) -> None: ...

    @orders.step
    def ship(charge: Any) -> None: ...

    with pytest.raises(DefinitionError, match="add 'charge' to depends_on_step"):
        registry.get("order")


def test_a_step_cannot_be_added_to_a_workflow_in_use(registry: HandlerRegistry) -> None:
    orders = Workflow("order")
    orders.define("a")
    registry.get("order")
    with pytest.raises(DefinitionError, match="already in use"):
        orders.define("b")


# Handlers that cannot be


@pytest.mark.parametrize(
    ("handler", "code"),
    [
        ("os.system", "handler_not_allowed"),
        ("subprocess.call", "handler_not_allowed"),
        ("no_such_module.Charge", "unknown_handler"),
        (f"{__name__}.SendConfirmatoin", "unknown_handler"),
        (f"{__name__}.SCHEMA", "bad_handler"),
        (dict, "bad_handler"),
        (type("Empty", (StepHandler,), {}), "bad_handler"),
    ],
)
def test_a_handler_that_cannot_do_a_step_is_refused_at_registration(registry: HandlerRegistry, handler: Any, code: str) -> None:
    orders = Workflow("order")
    orders.define("a", handler_class=handler)
    with pytest.raises(DefinitionError) as raised:
        registry.get("order")
    assert [problem.code for problem in raised.value.problems] == [code]


def test_all_steps_that_cannot_run_are_told_at_once(registry: HandlerRegistry) -> None:
    orders = Workflow("order")
    orders.define("a", handler_class="nowhere.A")
    orders.define("b", handler_class="os.system")
    with pytest.raises(DefinitionError) as raised:
        registry.get("order")
    assert [problem.path for problem in raised.value.problems] == ["step_templates[0].handler_class", "step_templates[1].handler_class"]


# Subscribers and results


def test_a_subscriber_is_registered_by_being_defined(registry: HandlerRegistry) -> None:
    class Monitor(EventSubscriber):
        subscribe_to = ["step.completed"]

    assert registry.subscribers() == [Monitor]


def test_a_result_of_a_step_that_does_not_come_before_is_not_found(registry: HandlerRegistry) -> None:
    orders = as_functions()
    sequence = Sequence(orders.definition, "reserve_inventory", {"validate_payment": '{"ok": true}'}, lambda names: {})
    assert sequence.find_step_by_name("validate_payment").results == {"ok": True}
    assert [step.name for step in sequence.steps] == ["validate_payment"]
    with pytest.raises(NotFound, match="no ancestor"):
        sequence.find_step_by_name("send_confirmation")
