"""`tasker handlers` and `tasker check`: what there is, and whether it is sound."""

from __future__ import annotations

import pytest
from terminal import Terminal, refused


def test_handlers_lists_every_version_as_a_table_and_as_json(shop: Terminal) -> None:
    shop.write('from engine import Workflow\nw = Workflow("process_order", namespace="shop", version="1.10.0")\n@w.step()\ndef one(): ...\n', "newer.py")
    shop.write("print('printed by a module')\n", "chatty.py")
    listed = shop.run("handlers", "--json")
    assert listed.status == 0
    assert "printed by a module" in listed.err
    found = listed.json()["handlers"]
    assert [(one["namespace"], one["name"], one["version"]) for one in found] == [
        ("shop", "process_order", "1.1.0"),
        ("shop", "process_order", "1.10.0"),
    ]
    assert [step["name"] for step in found[0]["steps"]] == ["charge", "ship"]
    assert found[0]["steps"][1]["depends_on_steps"] == ["charge"]
    table = shop.run("handlers")
    assert "shop/process_order" in table.out
    assert "From payment to courier." in table.out


def test_handlers_of_one_namespace(shop: Terminal) -> None:
    assert len(shop.run("handlers", "shop", "--json").json()["handlers"]) == 1
    assert shop.run("handlers", "nowhere", "--json").json() == {"handlers": []}


def test_handlers_needs_no_database(bare: Terminal) -> None:
    folder = bare.write("from engine import Workflow\nw = Workflow('w')\n@w.step()\ndef one(): ...\n")
    assert bare.run("handlers", "--handlers", folder).status == 0
    assert not (bare.folder / "data").exists()


def test_no_handlers_at_all_is_refused(bare: Terminal) -> None:
    empty = bare.folder / "empty"
    empty.mkdir()
    assert "TASKER_HANDLERS" in refused(bare.run("handlers"))
    assert str(empty) in refused(bare.run("handlers", "--handlers", empty))


def test_a_sound_folder_passes_the_check(shop: Terminal) -> None:
    ended = shop.run("check", shop.environment["TASKER_HANDLERS"])
    assert (ended.status, ended.out) == (0, "shop/process_order@1.1.0: 2 steps, sound\n")
    assert shop.run("check").status == 0


BROKEN = """
from engine import TaskHandler, register_handler

@register_handler("broken")
class Broken(TaskHandler):
    def define_step_templates(self, templates):
        {steps}
"""


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (['name="a", depends_on_step="c"', 'name="b", depends_on_step="a"', 'name="c", depends_on_step="b"'], ["a", "b", "c", "cycle"]),
        (['name="fetch"', 'name="b", depends_on_step="fetsh"'], ["fetsh", "fetch"]),
        (['name="a"', 'name="a"', 'name="b", depends_on_step="nothing"'], ["already defined", "nothing"]),
        (['name="a", retry_limit=0', 'name="b", timeout=-1'], ["retry_limit", "timeout"]),
        (['name="a", retry_limt=3'], ["retry_limt", "retry_limit"]),
        (['name="a", handler_class="nowhere.Nobody"'], ["nowhere"]),
    ],
)
def test_the_check_tells_every_problem_of_a_definition(bare: Terminal, steps: list[str], said: list[str]) -> None:
    folder = bare.write(BROKEN.format(steps="; ".join(f"templates.define({step})" for step in steps)))
    ended = bare.run("check", folder)
    assert ended.status == 1
    assert all(word in ended.err for word in said), ended.err
    assert "Traceback" not in ended.err


def test_the_check_tells_the_problems_of_every_file_and_which_are_sound(bare: Terminal) -> None:
    bare.write("from engine import Workflow\nw = Workflow('sound')\n@w.step()\ndef one(): ...\n", "sound.py")
    bare.write("from engine import Workflow\nw = Workflow('versioned', version='banana')\n@w.step()\ndef one(): ...\n", "versioned.py")
    bare.write("def broken(:\n", "syntax.py")
    bare.write("name: in_yaml\nversion: 1.0\nstep_templates:\n  - name: a\n    depends_on_step: [a]\n", "in_yaml.yaml")
    folder = bare.write("import not_installed_anywhere\n", "importing.py")
    ended = bare.run("check", folder)
    assert ended.status == 1
    assert "default/sound@" in ended.out
    for word in ("banana", "syntax", "not_installed_anywhere", "in_yaml.yaml"):
        assert word in ended.err
    assert "Traceback" not in ended.err


def test_the_check_and_the_list_name_a_folder_that_was_passed_by(shop: Terminal) -> None:
    shop.write("from engine import Workflow\n", "flow.py", "handlers/billing")
    said = f"{shop.folder / 'handlers' / 'billing'}: has modules that import engine but no __init__.py, so they were not loaded; put an empty __init__.py there"
    checked, listed = shop.run("check"), shop.run("handlers")
    assert (checked.status, checked.err.splitlines()[:1]) == (0, [said])
    assert (listed.status, listed.err.splitlines()[:1]) == (0, [f"tasker: {said}"])
    assert shop.run("check", "--json").json()["passed_by"] == [said]


@pytest.mark.parametrize("target", ["nowhere.yaml", "./nowhere", "no_such_module"])
def test_the_check_of_what_is_not_there_fails(bare: Terminal, target: str) -> None:
    ended = bare.run("check", target)
    assert ended.status == 1
    assert target in ended.err
    assert "Traceback" not in ended.err


def test_a_broken_module_is_told_and_the_others_still_run(shop: Terminal) -> None:
    shop.write("raise RuntimeError('half-baked')\n", "broken.py")
    ended = shop.run("launch", "shop/process_order", "--context", '{"order_id": 1}')
    assert ended.status == 0
    assert "half-baked" in ended.err


SUBSCRIBERS = """
from engine import EventSubscriber
class Deaf(EventSubscriber):
    subscribe_to = ["task.complete", "task.failed", "Order Priced", "step.failed"]
    def handle_step_failed(self, event): ...
class Odd(EventSubscriber):
    subscribe_to = 7
class Hearing(EventSubscriber):
    subscribe_to = ["task.failed", "order.priced"]
    def handle_event(self, event): ...
"""


def test_the_check_tells_what_a_subscriber_will_never_hear_of(shop: Terminal) -> None:
    shop.write(SUBSCRIBERS, "listening.py")
    ended = shop.run("check")
    assert (ended.status, ended.out) == (1, "shop/process_order@1.1.0: 2 steps, sound\n")
    problems = [
        "listening.Deaf: there is no event 'task.complete'; did you mean 'task.completed'?",
        "listening.Deaf: subscribes to task.failed but has no method handle_task_failed",
        "listening.Deaf: 'Order Priced' is no event type; one reads like order.priced",
        "listening.Odd: 7 is no event type; one reads like order.priced",
    ]
    assert ended.err.splitlines()[:4] == problems == shop.run("check", "--json").json()["problems"]


LINTED = """
from typing import Literal
from engine import StepHandler, TaskRequest, Workflow, submit
class Sum(StepHandler):
    def process(self, task, sequence, step):
        return self.step_results(sequence, "read")
w = Workflow("linted", namespace="shop")
@w.step(timeout=1_000)
def read() -> list: ...
@w.step(depends_on_step="read", decision=True, timeout=1_000)
def choose() -> Literal["pay", "refuse"]: ...
@w.step(depends_on_step="choose", retryable=False, timeout=1_000)
def pay(): submit(TaskRequest("pay", "bank"))
@w.step(depends_on_step="choose", timeout=1_000)
def refuse(task): submit(TaskRequest("refuse", "bank", idempotency_key=task.task_id))
@w.step(depends_on_step="choose", timeout=1_000)
def wait(): submit(TaskRequest("wait", "bank"))
w.define("join", depends_on_step="wait")
w.define("sum", depends_on_step=["read", "pay"], handler_class=Sum)
"""


def test_the_check_tells_what_will_be_regretted_and_each_lint_can_be_silenced(bare: Terminal) -> None:
    folder = bare.write(LINTED)
    told = bare.run("check", folder, "--json")
    assert told.status == 0
    assert [(lint["name"], lint["place"]) for lint in told.json()["lints"]] == [
        ("no-output-schema", "shop/linted.read"),
        ("unreachable", "shop/linted.wait"),
        ("retry-not-idempotent", "shop/linted.wait"),
        ("unreachable", "shop/linted.join"),
        ("no-timeout", "shop/linted.sum"),
    ]
    silenced = [f"--ignore={lint}" for lint in ("no-output-schema:shop/linted.read", "unreachable", "no-timeout")]
    strict = bare.run("check", folder, "--strict", *silenced)
    assert strict.status == 1
    assert strict.err == "shop/linted.wait: retry-not-idempotent: is tried up to 3 times and submits a task without an idempotency_key; or say retryable=False\n"
    assert bare.run("check", folder, "--strict", *silenced, "--ignore=retry-not-idempotent").status == 0
    assert "did you mean 'no-timeout'" in refused(bare.run("check", folder, "--ignore=no-timout"))
