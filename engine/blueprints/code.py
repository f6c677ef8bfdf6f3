"""Python and YAML of workflows, handlers and subscribers, each with a test that passes at once."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from engine.blueprints.names import Names

Files = dict[str, str]
Steps = Mapping[str, tuple[str, ...]]
LINE = 120


class Shape(StrEnum):
    """How a workflow is written: decorated functions, classes, or YAML with a module of functions."""

    FUNCTIONS = "functions"
    CLASSES = "classes"
    YAML = "yaml"


def workflow_files(names: Names, namespace: str, steps: Steps, shape: Shape, folder: str) -> Files:
    """The workflow in `folder` and its test in `tests`, by path."""
    module = f"{folder}/{names.module}"
    test = {f"tests/test_{names.module}.py": _workflow_test(names, namespace, steps)}
    if shape is Shape.YAML:
        return {f"{module}.yaml": _yaml(names, namespace, steps, folder), f"{module}_steps.py": _step_functions(names, steps)} | test
    return {f"{module}.py": (_functions if shape is Shape.FUNCTIONS else _classes)(names, namespace, steps)} | test


def handler_files(names: Names, folder: str) -> Files:
    """A StepHandler class and its test."""
    code = f'''\
"""The step handler {names.kind}."""

from typing import Any

from engine import RetryableError, StepHandler
from engine.handlers import Sequence, Step, Task


class {names.kind}(StepHandler):
    """Say here what is true once this step has completed."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> dict[str, Any]:
        """Do the work. It may be done twice when a machine dies in between, so a repetition must do no harm."""
        if task.context.get("busy"):
            raise RetryableError("the service is busy", delay=30)
        return {{"done": True, "attempt": step.attempt}}
'''
    test = f'''\
"""What {names.kind} promises."""

import pytest
from engine import RetryableError
from engine.testing import run_step

from {folder}.{names.module} import {names.kind}


def test_it_does_its_work() -> None:
    assert run_step({names.kind}, context={{}})["done"] is True


def test_a_busy_service_is_asked_again_later() -> None:
    with pytest.raises(RetryableError) as raised:
        run_step({names.kind}, context={{"busy": True}})
    assert raised.value.delay == 30
'''
    return {f"{folder}/{names.module}.py": code, f"tests/test_{names.module}.py": test}


def subscriber_files(names: Names, folder: str) -> Files:
    """An EventSubscriber class and its test."""
    code = f'''\
"""The event subscriber {names.kind}."""

import logging
from typing import Any

from engine import EventSubscriber

log = logging.getLogger(__name__)


class {names.kind}(EventSubscriber):
    """Hears of every step that failed and every task that ended; what it raises is tried again and disturbs no workflow."""

    subscribe_to = ("step.failed", "task.completed", "task.failed")

    def handle_step_failed(self, event: dict[str, Any]) -> None:
        """An attempt has failed; another may follow."""
        log.warning("%s of %s failed: %s", event["step_name"], event["task_name"], event["error"]["message"])

    def handle_task_completed(self, event: dict[str, Any]) -> None:
        """Every step has ended well."""
        log.info("%s completed in %s ms", event["task_name"], event["duration"])

    def handle_task_failed(self, event: dict[str, Any]) -> None:
        """Nothing can go on without a person."""
        log.error("%s needs somebody: %s", event["task_name"], event["task_id"])
'''
    test = f'''\
"""What {names.kind} says of what it hears."""

import pytest

from {folder}.{names.module} import {names.kind}


def test_a_failed_step_is_told_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    error = {{"type": "PermanentError", "message": "card refused", "code": None}}
    event = {{"step_name": "charge", "task_name": "process_order", "error": error}}
    {names.kind}().handle_step_failed(event)
    assert "charge of process_order failed: card refused" in caplog.text
'''
    return {f"{folder}/{names.module}.py": code, f"tests/test_{names.module}.py": test}


def _functions(names: Names, namespace: str, steps: Steps) -> str:
    head = f'''\
"""The workflow {namespace}/{names.module}."""

from typing import Any

from engine import Workflow
from engine.handlers import Task

workflow = Workflow(
    "{names.module}",
    namespace="{namespace}",
    version="0.1.0",
    description="Say here what the workflow is for.",
    schema={{"type": "object", "properties": {{"subject": {{"type": "string", "default": "world"}}}}}},
)
'''
    return head + "".join(f"\n\n{_decorator(parents)}\n{_function(step, parents)}" for step, parents in steps.items())


def _decorator(parents: tuple[str, ...]) -> str:
    return _wrapped("", "@workflow.step(", [_options(parents)], ")") if parents else "@workflow.step"


def _options(parents: tuple[str, ...]) -> str:
    if not parents:
        return ""
    return f'depends_on_step="{parents[0]}"' if len(parents) == 1 else f"depends_on_step=[{', '.join(map(_quoted, parents))}]"


def _function(step: str, parents: tuple[str, ...]) -> str:
    head = _wrapped("", f"def {step}(", ["task: Task", *(f"{parent}: dict[str, Any]" for parent in parents)], ") -> dict[str, Any]:")
    return f'''\
{head}
    """Say here what is true once this step has completed."""
{_after([f'{parent}["step"]' for parent in parents], indent="    ")}    return {{"step": "{step}", "subject": task.context["subject"]{', "after": after' if parents else ""}}}
'''


def _after(steps: list[str], *, indent: str) -> str:
    return _wrapped(indent, "after = [", steps, "]") + "\n" if steps else ""


def _wrapped(indent: str, opening: str, items: list[str], closing: str) -> str:
    """The list on one line, or an item a line where that would be too long."""
    line = f"{indent}{opening}{', '.join(items)}{closing}"
    if len(line) <= LINE:
        return line
    return "\n".join([f"{indent}{opening}", *(f"{indent}    {item}," for item in items), f"{indent}{closing}"])


def _classes(names: Names, namespace: str, steps: Steps) -> str:
    defines = "\n".join(_define(step, parents) for step, parents in steps.items())
    handlers = "".join(_handler_class(step, parents) for step, parents in steps.items())
    return f'''\
"""The workflow {namespace}/{names.module}."""

from typing import Any

from engine import StepHandler, TaskHandler, register_handler
from engine.handlers import Sequence, Step, StepTemplates, Task
{handlers}

@register_handler("{names.module}", namespace_name="{namespace}", version="0.1.0")
class {names.kind}Handler(TaskHandler):
    """Say here what the workflow is for."""

    def define_step_templates(self, templates: StepTemplates) -> None:
        """The steps and what each waits for."""
{defines}

    def schema(self) -> dict[str, Any]:
        """What a task needs to know."""
        return {{"type": "object", "properties": {{"subject": {{"type": "string", "default": "world"}}}}}}
'''


def _define(step: str, parents: tuple[str, ...]) -> str:
    options = [f'name="{step}"', f"handler_class={Names(step).kind}", *([_options(parents)] if parents else [])]
    return _wrapped(" " * 8, "templates.define(", options, ")")


def _handler_class(step: str, parents: tuple[str, ...]) -> str:
    after = _after([f'self.step_results(sequence, "{parent}")["step"]' for parent in parents], indent=" " * 8)
    return f'''

class {Names(step).kind}(StepHandler):
    """Say here what is true once this step has completed."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> dict[str, Any]:
        """Do the work; it may be done twice when a machine dies in between."""
{after}        return {{"step": step.name, "subject": task.context["subject"]{', "after": after' if parents else ""}}}
'''


def _yaml(names: Names, namespace: str, steps: Steps, folder: str) -> str:
    head = f"""\
name: {names.module}
namespace_name: {namespace}
version: 0.1.0
description: Say here what the workflow is for.

schema:
  type: object
  properties:
    subject: {{type: string, default: world}}

step_templates:
"""
    return head + "".join(_yaml_step(step, parents, f"{folder}.{names.module}_steps") for step, parents in steps.items()) + _YAML_TAIL.format(first=next(iter(steps)))


def _yaml_step(step: str, parents: tuple[str, ...], module: str) -> str:
    waits = f"    depends_on_steps: [{', '.join(parents)}]\n" if parents else ""
    return f"  - name: {step}\n    handler_class: {module}.{step}\n{waits}"


_YAML_TAIL = """
# What differs where TASKER_ENV says so, merged by the steps' names.
environments:
  production:
    step_templates:
      - name: {first}
        retry_limit: 5
"""


def _step_functions(names: Names, steps: Steps) -> str:
    head = f'"""The work of the steps in {names.module}.yaml."""\n\nfrom typing import Any\n\nfrom engine.handlers import Task\n'
    return head + "".join(f"\n\n{_function(step, parents)}" for step, parents in steps.items())


def _workflow_test(names: Names, namespace: str, steps: Steps) -> str:
    last = list(steps)[-1]
    return f'''\
"""What the workflow {namespace}/{names.module} promises."""

from engine import RetryableError
from engine.testing import Workbench


def test_every_step_completes(tasker: Workbench) -> None:
    done = tasker.run("{namespace}/{names.module}", {{"subject": "test"}})
    done.assert_completed()
    assert done.result("{last}")["subject"] == "test"


def test_a_step_that_fails_for_a_while_is_tried_again(tasker: Workbench) -> None:
    stub = tasker.stub("{last}", RetryableError("busy"), {{"step": "{last}"}})
    tasker.run("{namespace}/{names.module}").assert_completed()
    assert stub.calls == 2
'''


def _quoted(text: str) -> str:
    return f'"{text}"'
