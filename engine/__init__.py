"""Tasker: workflows whose every step is on record in PostgreSQL. This is the public door; the tour follows a step's life.

1. An author defines a workflow: a `TaskHandler` with `StepHandler` classes, a `Workflow` with decorated functions, or YAML
   (`engine.handlers`, `engine.yaml_config`). All three become one `TaskDefinition` (`engine.definition`), which refuses
   cycles and unknown parents.
2. `HandlerRegistry` knows it by namespace, name and version, and ties each step to its code (`engine.registry`,
   `engine.discovery`, `engine.binding`).
3. Someone wants a task: a `TaskRequest` whose context fits the schema (`engine.requests`, `engine.schemas`); `submit`
   creates the task and all its steps in one statement (`engine.tasks`).
4. A worker leases steps whose parents are done and hands them to a runner (`engine.worker`, `engine.runners`), which calls
   the handler (`engine.runners.invoke`).
5. The outcome is stored and unlocks the children in the same statement; a `RetryableError` waits for its back-off, a
   `PermanentError` ends the step (`engine.steps`, `engine.states`, `engine.errors`). A decision's result chooses among its
   children; a map step makes a step for each element of a list and joins their results.
6. `EventSubscriber` classes hear of every move (`engine.events`), and the read side shows it (`engine.queries`, `engine.rows`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.definition import Backoff, StepTemplate, TaskDefinition
    from engine.errors import DefinitionError, NotFound, PermanentError, RequestError, RetryableError, TaskerError
    from engine.handlers import EventSubscriber, StepHandler, TaskHandler, Workflow, register_handler
    from engine.http import HttpStepHandler
    from engine.logs import AttemptFilter
    from engine.registry import HandlerFactory, HandlerRegistry
    from engine.requests import TaskRequest
    from engine.submission import default_database, publish_event, submit, submit_many

__all__ = [
    "AttemptFilter",
    "Backoff",
    "DefinitionError",
    "EventSubscriber",
    "HandlerFactory",
    "HandlerRegistry",
    "HttpStepHandler",
    "NotFound",
    "PermanentError",
    "RequestError",
    "RetryableError",
    "StepHandler",
    "StepTemplate",
    "TaskDefinition",
    "TaskHandler",
    "TaskRequest",
    "TaskerError",
    "Workflow",
    "default_database",
    "publish_event",
    "register_handler",
    "submit",
    "submit_many",
]

_PLACES = {
    "definition": "Backoff StepTemplate TaskDefinition",
    "errors": "DefinitionError NotFound PermanentError RequestError RetryableError TaskerError",
    "handlers": "EventSubscriber StepHandler TaskHandler Workflow register_handler",
    "http": "HttpStepHandler",
    "logs": "AttemptFilter",
    "registry": "HandlerFactory HandlerRegistry",
    "requests": "TaskRequest",
    "submission": "default_database publish_event submit submit_many",
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    # Each name is fetched when it is first asked for: who wants one part of the package does not wait for all of it.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
