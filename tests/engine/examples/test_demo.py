"""The demonstration's requests, run step by step as an engine would, with the real shop and the real service."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import HandlerRegistry, RetryableError, TaskRequest
from engine.binding import Binding, bindings
from engine.definition import StepTemplate, TaskDefinition
from engine.examples import Expected, demo_requests, prepared
from engine.examples.ecommerce import shop
from engine.handlers import Sequence, Step, Task
from engine.requests import checked_context

EXPECTED = demo_requests()


class Run:
    """One task, run in order; `run` goes on where it stopped, as an operator's retry does."""

    def __init__(self, request: TaskRequest, task_id: str, registry: HandlerRegistry) -> None:
        self.definition: TaskDefinition = registry.get(request.name, request.namespace, request.version).definition
        self.task = Task(task_id, None, self.definition, json.dumps(checked_context(request, self.definition.schema)))
        self.results: dict[str, str] = {}
        self.attempts: Counter[str] = Counter()

    def run(self) -> str:
        waiting = [binding for binding in bindings(self.definition) if binding.template.name not in self.results]
        return "completed" if all(map(self._ended, waiting)) else "failed"

    def _ended(self, binding: Binding) -> bool:
        return any(self._attempt(binding, attempt) for attempt in range(1, binding.template.retry_limit + 1))

    def _attempt(self, binding: Binding, attempt: int) -> bool:
        template = binding.template
        if self._is_passed_over(template):
            self.results[template.name] = "null"
            return True
        self.attempts[template.name] += 1
        assert binding.run is not None
        sequence = Sequence(self.definition, template.name, {}, lambda names: {name: self.results[name] for name in names})
        try:
            results = [binding.run(self.task, sequence, step) for step in self._steps(template, attempt)]
        except RetryableError:
            return False
        self.results[template.name] = json.dumps(results[0] if template.for_each is None else results)
        return True

    def _is_passed_over(self, template: StepTemplate) -> bool:
        decisions = [parent for parent in template.depends_on if self.definition.step(parent).decision]
        return any(json.loads(self.results[decision]) != template.name for decision in decisions)

    def _steps(self, template: StepTemplate, attempt: int) -> list[Step]:
        source = self.definition.source(self.definition.numbers[template.name])
        if source is None:
            return [Step(template, attempt, template.retry_limit, None)]
        found = json.loads(self.results[self.definition.steps[source[0]].name])
        for key in source[1]:
            found = found[key]
        return [Step(template, attempt, template.retry_limit, None, index, json.dumps(item)) for index, item in enumerate(found)]


@pytest.fixture
def registry(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HandlerRegistry]:
    """The process's registry with all examples, and their services running."""
    found = HandlerRegistry.instance()
    assert found.load(["engine.examples"], entry_points=False).failures == []
    with prepared(data_dir) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield found


def test_the_demo_shows_every_example() -> None:
    shown = Counter((one.request.namespace, one.request.name, one.request.version) for one in EXPECTED)
    assert shown["ecommerce", "process_order", "1.0.0"] >= 2
    assert shown["ecommerce", "process_order", "2.0.0"] >= 2
    assert shown["ecommerce", "return_goods", None] == 3
    assert shown["accounts", "user_registration", None] >= 3
    assert shown["compliance", "dependency_audit", None] == 1


def test_exactly_one_task_is_left_to_retry() -> None:
    assert Counter(one.state for one in EXPECTED) == {"completed": len(EXPECTED) - 1, "failed": 1}


def test_every_task_ends_as_expected(registry: HandlerRegistry) -> None:
    assert {one.request.reason: run(one, registry)[0] for one in EXPECTED} == {one.request.reason: one.state for one in EXPECTED}


def test_the_demo_can_run_again_on_what_it_left(registry: HandlerRegistry, data_dir: Path) -> None:
    for day in range(2):
        shop.new_day(data_dir)
        assert [run(one, registry, day)[0] for one in EXPECTED] == [one.state for one in EXPECTED]


def test_the_demo_shows_retries(registry: HandlerRegistry) -> None:
    registrations = [run(one, registry)[1] for one in EXPECTED if one.request.namespace == "accounts"]
    assert sum(attempts - 1 for one in registrations for attempts in one.attempts.values()) >= 2


def test_a_retry_completes_the_failed_task(registry: HandlerRegistry) -> None:
    """The one click that the demonstration invites to."""
    failing = next(one for one in EXPECTED if one.state == "failed")
    state, task = run(failing, registry)
    assert (state, task.attempts["process_payment"]) == ("failed", 3)
    assert task.run() == "completed"
    assert task.attempts["process_payment"] == 4


def test_back_offs_are_short_enough_to_watch(registry: HandlerRegistry) -> None:
    steps = [step for one in EXPECTED for step in registry.get(one.request.name, one.request.namespace, one.request.version).definition.steps]
    assert max(step.backoff.base for step in steps) <= 0.5


def run(expected: Expected, registry: HandlerRegistry, day: int = 0) -> tuple[str, Run]:
    made = Run(expected.request, f"task-{day}-{EXPECTED.index(expected)}", registry)
    return made.run(), made
