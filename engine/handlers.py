"""What a workflow's author writes: TaskHandler and StepHandler classes, or functions on a Workflow; and what handlers see.

This is the one file a handler author reads. Registry keeps what is defined here; the runners call it.
"""

from __future__ import annotations

import copy
import inspect
import sys
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, overload

from engine import json_text, models
from engine.definition import DEFAULT_VERSION, StepTemplate, TaskDefinition, assemble, head_problems, nearest, shown
from engine.errors import DefinitionError, NotFound, Problem
from engine.hiding.redaction import secret_texts
from engine.journal import NOWHERE, Journal
from engine.registry import HandlerRegistry, Registration

_Handler = TypeVar("_Handler", bound="type[TaskHandler]")
_Function = TypeVar("_Function", bound=Callable[..., Any])
_Model = TypeVar("_Model")
if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    ContextT = TypeVarWithDefault("ContextT", default=dict[str, Any])
else:
    ContextT = TypeVar("ContextT")
_NOTES = "__tasker_registrations__"
KEPT_VALUES = 1_000
_OPENING = threading.Lock()


# Defining a workflow as a class


class StepTemplates:
    """What `define_step_templates` receives; every `define` adds one step."""

    def __init__(self) -> None:
        self.options: list[dict[str, Any]] = []

    def define(self, name: str = "", **options: Any) -> None:
        """Add a step with the options of StepTemplate; what is wrong with any of them is reported when all are known."""
        self.options.append({"name": name, **options})


class TaskHandler:
    """One workflow as a class: override `define_step_templates`, and `schema` to check contexts."""

    TASK_NAME: ClassVar[str]
    NAMESPACE: ClassVar[str]
    VERSION: ClassVar[str]
    limit: ClassVar[Mapping[str, Any] | None] = None
    """How many tasks may go on at once or begin within a period, such as {"at_once": 1, "key": "customer_id"}."""
    _definition: TaskDefinition | None = None
    _registered: ClassVar[_Names | None] = None

    def define_step_templates(self, templates: StepTemplates) -> None:
        """Call `templates.define(name=..., handler_class=..., depends_on_step=..., ...)` once for every step."""

    def schema(self) -> dict[str, Any] | type[Any] | None:
        """The JSON Schema of the context, or a pydantic model of it; None accepts any object."""
        return None

    @property
    def definition(self) -> TaskDefinition:
        """The definition that this handler stands for."""
        if self._definition is None:
            self._definition = _define(self, _Names.of(type(self)))
        return self._definition

    @definition.setter
    def definition(self, definition: TaskDefinition) -> None:
        self._definition = definition

    def run_task(
        self, context: Any = None, *, detached: bool = False, connection: Any = None, **request_fields: Any
    ) -> str:
        """Submit a task of this workflow and version, as `submit` does; returns its id.

        `request_fields` are those of TaskRequest. Raises RequestError when they or the context are wrong.
        """
        return _run_task(self.definition, context, request_fields, detached=detached, connection=connection)

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__} {self.definition.key}>"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for names in cls.__dict__.get(_NOTES, ()):
            _register(cls, names)


class StepHandler:
    """The work of one step: override `process`. A new instance is made for every attempt."""

    def process(self, task: Task[Any], sequence: Sequence, step: Step) -> Any:
        """Do the work and return its result as JSON values; may also be `async def`.

        Raise RetryableError to try again, PermanentError to give up; any other exception gives up too.
        """
        raise NotImplementedError

    @overload
    def step_results(self, sequence: Sequence, name: str) -> Any: ...

    @overload
    def step_results(self, sequence: Sequence, name: str, model: type[_Model]) -> _Model: ...

    def step_results(self, sequence: Sequence, name: str, model: Any = None) -> Any:
        """The result of a parent or any farther ancestor; with a pydantic `model`, as its object. Raises PermanentError when it does not fit that."""
        found = sequence.find_step_by_name(name).results
        return found if model is None else models.read(model, found, f"the result of {name}")


@overload
def register_handler(name: _Handler) -> _Handler: ...


@overload
def register_handler(
    name: str | None = None, *, namespace_name: str | None = None, version: str | None = None, description: str | None = None
) -> Callable[[_Handler], _Handler]: ...


def register_handler(
    name: Any = None, *, namespace_name: str | None = None, version: str | None = None, description: str | None = None
) -> Any:
    """Make a TaskHandler known: as its decorator, or as a call in its body.

    What is left out comes from TASK_NAME, NAMESPACE and VERSION, then from "default" and "0.1.0".
    Raises DefinitionError or DefinitionConflict; when the class refers to names that its module defines later, on first use.
    """
    if isinstance(name, type):
        return _register(name, _Names())
    names = _Names(name, namespace_name, version, description)
    notes = _note_in_class_body(names, sys._getframe(1).f_locals)

    def decorate(handler: _Handler) -> _Handler:
        if names in notes:
            notes.remove(names)
        _register(handler, names)
        return handler

    return decorate


class _Names:
    """What a registration says about a workflow; the class itself fills the gaps."""

    def __init__(
        self, name: str | None = None, namespace: str | None = None, version: str | None = None, description: str | None = None
    ) -> None:
        self.name, self.namespace, self.version, self.description = name, namespace, version, description

    @classmethod
    def of(cls, handler: type[TaskHandler]) -> _Names:
        known: _Names | None = handler.__dict__.get("_registered")
        return known or cls().completed(handler)

    def completed(self, handler: type[TaskHandler]) -> _Names:
        return _Names(
            _first(self.name, getattr(handler, "TASK_NAME", None), ""),
            _first(self.namespace, getattr(handler, "NAMESPACE", None), "default"),
            _first(self.version, getattr(handler, "VERSION", None), DEFAULT_VERSION),
            _first(self.description, handler.__dict__.get("description"), inspect.cleandoc(handler.__doc__ or "")),
        )


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _note_in_class_body(names: _Names, scope: Mapping[str, Any]) -> list[_Names]:
    # In a class body the class does not exist yet: leave a note that __init_subclass__ finds.
    if not isinstance(scope, dict) or "__qualname__" not in scope or "__module__" not in scope:
        return []
    notes: list[_Names] = scope.setdefault(_NOTES, [])
    notes.append(names)
    return notes


def _register(handler: Any, names: _Names) -> Any:
    if not (isinstance(handler, type) and issubclass(handler, TaskHandler)):
        problem = Problem("", "bad_handler", f"register_handler is for subclasses of TaskHandler, not {shown(handler)}")
        raise DefinitionError([problem])
    full = names.completed(handler)
    _check_names(full.namespace, full.name, full.version)

    def build() -> TaskHandler:
        made = handler()
        made.definition = _define(made, full)
        return made

    handler._registered = full
    HandlerRegistry.instance().add(Registration(str(full.namespace), str(full.name), str(full.version), handler.__module__, build))
    return handler


def _check_names(namespace: Any, name: Any, version: Any) -> None:
    problems = head_problems(namespace=namespace, name=name, version=version)
    if problems:
        raise DefinitionError(problems, f"workflow {name!r}")


def _define(handler: TaskHandler, names: _Names) -> TaskDefinition:
    templates = StepTemplates()
    handler.define_step_templates(templates)
    schema: Any = handler.schema
    return assemble(
        templates.options,
        namespace=names.namespace,
        name=names.name,
        version=names.version,
        description=names.description,
        schema=schema() if callable(schema) else schema,
        limit=handler.limit,
    )


# Defining a workflow by functions


class Workflow:
    """One workflow as decorated functions; making it registers it, its steps may be added until it is first used.

    A function's parameters are filled by name: `task`, `sequence`, `step`, or an ancestor's name for that ancestor's result.
    A step with `for_each` is also offered `item` and `index`. A `limit` is on the tasks of the workflow, see engine.gates.Limit.
    """

    def __init__(
        self,
        name: str,
        *,
        namespace: str = "default",
        version: str = DEFAULT_VERSION,
        description: str = "",
        schema: Mapping[str, Any] | type[Any] | None = None,
        limit: Mapping[str, Any] | None = None,
        **unknown: Any,
    ) -> None:
        known = ("namespace", "version", "description", "schema", "limit")
        self._head = {"namespace": namespace, "version": version, "description": description, "schema": schema, "limit": limit}
        problems = head_problems(name=name, **self._head)
        problems += [Problem(key, "unknown_key", f"unknown option {key!r}{nearest(key, known)}") for key in unknown]
        if problems:
            raise DefinitionError(problems, f"workflow {name!r}")
        self.name, self.namespace, self.version = name, namespace, version
        self._options: list[dict[str, Any]] = []
        self._definition: TaskDefinition | None = None
        module = str(sys._getframe(1).f_globals.get("__name__", ""))
        HandlerRegistry.instance().add(Registration(namespace, name, version, module, self._build, eager=False))

    @overload
    def step(self, function: _Function, /) -> _Function: ...

    @overload
    def step(self, /, **options: Any) -> Callable[[_Function], _Function]: ...

    def step(self, function: Any = None, /, **options: Any) -> Any:
        """Make the function a step, with the options of StepTemplate; name and description come from the function."""
        if function is not None:
            return self._add_function(function, {})
        return lambda decorated: self._add_function(decorated, options)

    def define(self, name: str, **options: Any) -> None:
        """Add a step that is no function of its own, such as one that only waits for others."""
        self._add({"name": name, **options})

    @property
    def definition(self) -> TaskDefinition:
        """The definition so far; from now on no step can be added."""
        if self._definition is None:
            self._definition = assemble(self._options, name=self.name, **self._head)
        return self._definition

    def run_task(
        self, context: Any = None, *, detached: bool = False, connection: Any = None, **request_fields: Any
    ) -> str:
        """Submit a task of this workflow and version, as `submit` does; returns its id."""
        return _run_task(self.definition, context, request_fields, detached=detached, connection=connection)

    def __repr__(self) -> str:
        return f"<Workflow {self.namespace}/{self.name}@{self.version}>"

    def _add_function(self, function: _Function, options: dict[str, Any]) -> _Function:
        named = {"name": getattr(function, "__name__", ""), "description": inspect.cleandoc(function.__doc__ or "")}
        self._add({**named, "handler_class": function, **options})
        return function

    def _add(self, options: dict[str, Any]) -> None:
        if self._definition is not None:
            message = f"{self.namespace}/{self.name}@{self.version} is already in use; step {options['name']!r} comes too late"
            raise DefinitionError([Problem("step_templates", "already_used", message)])
        StepTemplate(**options)  # refuses a bad option at the line that gives it
        self._options.append(options)

    def _build(self) -> Workflow:
        _ = self.definition
        return self


class ConfiguredHandler(TaskHandler):
    """The handler of a workflow that is written in YAML."""


# Following events


class EventSubscriber:
    """Receives events: name them in `subscribe_to`, and write a `handle_step_completed(self, event)` for each.

    A subclass is registered by being defined.
    """

    subscribe_to: ClassVar[list[str] | tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        HandlerRegistry.instance().add_subscriber(cls)


# What a handler sees while it runs


class Contact(Protocol):
    """An attempt's line to whoever runs it."""

    def is_set(self) -> bool:
        """Whether the attempt was asked to stop."""
        ...

    def open_journal(self) -> Journal:
        """Where the attempt's progress and lines go, asked for once and only by an attempt that says something."""
        ...


class Task(Generic[ContextT]):
    """The task that a step belongs to. `Task[Order]` says to type checkers and editors what its context is: a TypedDict or a pydantic model."""

    __slots__ = ("task_id", "correlation_id", "traceparent", "_definition", "_context_json", "_context")

    def __init__(
        self, task_id: str, correlation_id: str | None, definition: TaskDefinition, context_json: str, traceparent: str | None = None
    ) -> None:
        self.task_id = task_id
        self.correlation_id = correlation_id
        self.traceparent = traceparent
        """The span of the caller whose trace the task belongs to, as W3C writes it; None for a trace of its own."""
        self._definition = definition
        self._context_json = context_json
        self._context: Any = None

    @property
    def context(self) -> ContextT:
        """The JSON object that the task was submitted with, defaults filled in, or an object of the model that is the workflow's schema.

        Changing it changes nothing elsewhere. Raises PermanentError when the model refuses what the schema let pass.
        """
        if self._context is None:
            model = self._definition.caches.get("model")
            self._context = self.fields if model is None else models.read(model, self.fields, "the context")
        context: ContextT = self._context
        return context

    @property
    def fields(self) -> dict[str, Any]:
        """The context as JSON values, read anew, whatever the workflow's schema is."""
        found: dict[str, Any] = json_text.load(self._context_json)
        return found

    @property
    def namespace(self) -> str:
        return self._definition.namespace

    @property
    def name(self) -> str:
        return self._definition.name

    @property
    def version(self) -> str:
        return self._definition.version

    def secrets(self) -> frozenset[str]:
        """The engine's own: what of the context must not be told."""
        return secret_texts(json_text.load(self._context_json), self._definition.schema)


class Step:
    """The step itself: which attempt this is, of how many; for an item of a map step also what to work on."""

    __slots__ = ("_template", "attempt", "retry_limit", "_contact", "index", "_item_json", "journal", "given", "_secrets")

    def __init__(
        self, template: StepTemplate, attempt: int, retry_limit: int, contact: Contact | None, index: int | None = None, item_json: str = "null"
    ) -> None:
        self._template = template
        self.attempt = attempt
        self.retry_limit = retry_limit
        self._contact = contact
        self.index = index
        """The item's place in the list, from 0; None for a step that is no item."""
        self._item_json = item_json
        self.journal: Journal | None = None
        """The engine's own: where what it says goes, once it has said something."""
        self.given: tuple[Task, Sequence] | None = None
        """The engine's own: with what the handler was called."""
        self._secrets: frozenset[str] | None = None

    @property
    def name(self) -> str:
        """The step's name; an item's has its place behind it: `charge[3]`."""
        return self._template.name if self.index is None else f"{self._template.name}[{self.index}]"

    @property
    def item(self) -> Any:
        """The element of the list that this item of a map step works on; None for a step that is no item."""
        return json_text.load(self._item_json)

    @property
    def handler_config(self) -> dict[str, Any]:
        """A copy of the template's `handler_config`."""
        return copy.deepcopy(self._template.handler_config)

    @property
    def cancel_requested(self) -> bool:
        """Whether someone wants this step to stop; long work should look now and then."""
        return self._contact is not None and self._contact.is_set()

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """How far the attempt is: so much of so much, and what it is at. The newest counts, so it may be told as often as is convenient."""
        (self.journal or self.open_journal()).progress(done, total, note)

    def log(self, message: object, /, level: str | int = "info", **fields: Any) -> None:
        """A line in the attempt's log, with fields that JSON can hold; `level` is debug, info, warning, error or critical."""
        (self.journal or self.open_journal()).log(level, message, fields)

    def open_journal(self) -> Journal:
        """The engine's own: the attempt's journal, which there is from now on."""
        with _OPENING:
            if self.journal is None:
                self.journal = NOWHERE if self._contact is None else self._contact.open_journal()
                if self.journal is not NOWHERE:
                    self.journal.secrets = self.secrets_when_first_asked()
            return self.journal

    def secrets_when_first_asked(self) -> frozenset[str]:
        """The engine's own: the secrets by which the attempt's lines are masked, worked out with the first of them."""
        if self._secrets is None:
            self._secrets = self.secrets()
        return self._secrets

    def secrets(self) -> frozenset[str]:
        """The engine's own: what the handler was given that must not be told, by the marks of the schemas and the names of keys."""
        if self.given is None:
            return frozenset()
        task, sequence = self.given
        source, *path = (self._template.for_each or "").split(".")
        of_item = secret_texts(self.item, sequence.schemas().get(source), (*path, "0")) if self.index is not None else frozenset()
        return task.secrets() | sequence.secrets() | of_item


ATTEMPT: ContextVar[tuple[Task, Step] | None] = ContextVar("tasker_attempt", default=None)
"""The attempt whose handler runs here, so that what it submits is known as its child."""


class Ancestor:
    """A step that is done, with its result."""

    __slots__ = ("name", "_sequence")

    def __init__(self, name: str, sequence: Sequence) -> None:
        self.name = name
        self._sequence = sequence

    @property
    def results(self) -> Any:
        """The result as JSON values; None for a step that returned nothing or was skipped."""
        return self._sequence.result(self.name)


class Sequence:
    """The steps that are done before this one; farther ancestors' results are fetched when they are asked for."""

    __slots__ = ("_definition", "_name", "_inputs", "_lookup", "_values")

    def __init__(
        self, definition: TaskDefinition, name: str, inputs: Mapping[str, str], lookup: Callable[[list[str]], Mapping[str, str]]
    ) -> None:
        self._definition = definition
        self._name = name
        self._inputs = inputs
        self._lookup = lookup
        self._values: dict[str, Any] | None = None

    @property
    def steps(self) -> tuple[Ancestor, ...]:
        """All ancestors, parents before children."""
        ancestors = self._definition.ancestors(self._name)
        return tuple(Ancestor(step.name, self) for step in self._definition.steps if step.name in ancestors)

    def find_step_by_name(self, name: str) -> Ancestor:
        """The ancestor of that name; raises NotFound for any other step, whose result this one could not rely on."""
        if name not in self._inputs:
            ancestors = self._definition.ancestors(self._name)
            if name not in ancestors:
                raise NotFound(f"{shown(name)} is no ancestor of step {self._name!r}{nearest(name, ancestors)}")
        return Ancestor(name, self)

    def result(self, name: str) -> Any:
        """The ancestor's result, read once; of very many the latest are kept, so that a join may go through all of them."""
        if self._values is None or len(self._values) >= KEPT_VALUES and name not in self._values:
            self._values = {}
        if name not in self._values:
            text = self._inputs.get(name)
            self._values[name] = json_text.load(_json_of(self._fetch(name) if text is None else text))
        return self._values[name]

    def secrets(self) -> frozenset[str]:
        """The engine's own: what of the parents' results, and of those that were asked for, must not be told."""
        known = {name: text for name, text in self._inputs.items() if not text.startswith(json_text.OBJECT_MARK)}  # one that was not asked for cannot be told
        values = {name: json_text.load(text) for name, text in known.items()} | (self._values or {})
        schemas = self.schemas()
        return frozenset().union(*(secret_texts(value, schemas.get(name)) for name, value in values.items()))

    def schemas(self) -> dict[str, Any]:
        """The engine's own: what each step says of its result."""
        return {step.name: step.output_schema for step in self._definition.steps if step.output_schema}

    def _fetch(self, name: str) -> str:
        self.find_step_by_name(name)
        return self._lookup([name]).get(name, "null")


def _json_of(text: str) -> str:
    """The result's JSON, wherever it lies."""
    if not text.startswith(json_text.OBJECT_MARK):
        return text
    from engine import objects  # slow to import, and few results lie in a store

    return objects.text_of(text)


def _run_task(definition: TaskDefinition, context: Any, fields: dict[str, Any], *, detached: bool, connection: Any) -> str:
    import engine  # the door is above this module; it is open by the time a task runs
    from engine.requests import TaskRequest

    named = {"name": definition.name, "namespace": definition.namespace, "version": definition.version}
    return engine.submit(TaskRequest.of({**named, "context": models.context_of(context), **fields}), detached=detached, connection=connection)
