"""Ties each step of a definition to the code that does its work, once, so that an attempt only has to call it.

registry binds at registration, to refuse what cannot run; invoke uses what was bound.
"""

from __future__ import annotations

import contextvars
import inspect
import pkgutil
import re
import sys
import types
from collections.abc import Callable, Coroutine, Iterator, Mapping
from collections.abc import Sequence as Sequence_
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from engine import models
from engine.definition import Part, StepTemplate, TaskDefinition, nearest, shown
from engine.errors import DefinitionError, Problem
from engine.handlers import Sequence, Step, StepHandler, Task

if TYPE_CHECKING:
    from engine.schemas import ContextSchema

Run = Callable[[Task, Sequence, Step], Any]
_Class = TypeVar("_Class")
_OFFERED = ("task", "sequence", "step")
_OF_ITEMS = {"item": "[item]", "index": "[index]"}  # sources that no step can be called


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """One step made ready: `run` is None for a step that does nothing."""

    template: StepTemplate
    run: Run | None
    output: ContextSchema | None


class _Unbound(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def bindings(definition: TaskDefinition) -> list[Binding]:
    """The bindings by step number, made on first use; raises DefinitionError naming every step that cannot run."""
    found: list[Binding] | None = definition.caches.get("bindings")
    return _bind_all(definition) if found is None else found


def _bind_all(definition: TaskDefinition) -> list[Binding]:
    made: list[Binding] = []
    problems: list[Problem] = []
    for no, template in enumerate(definition.steps):
        try:
            made.append(_bind(definition, template))
        except _Unbound as error:
            problems.append(_unbound(no, template, error))
    if problems:
        raise DefinitionError(problems, f"workflow {definition.name!r}")
    definition.caches["bindings"] = made
    return made


def handler_problems(options: Sequence_[Mapping[str, Any] | None]) -> list[Problem]:
    """What is wrong with the handlers of steps, as far as it can be told where a definition cannot be made of them; numbered as given."""
    parts = [Part.of(no, given) for no, given in enumerate(options)]
    whole = _whole(parts)
    found = []
    for no, template in enumerate(part.template for part in parts):
        try:
            if template is not None and whole is not None:
                _bind(whole, template)
            elif template is not None and isinstance(template.handler, str):
                resolve(template.handler)
        except _Unbound as error:
            found.append(_unbound(no, template, error))
    return found


def _whole(parts: Sequence_[Part]) -> TaskDefinition | None:
    """The steps with all that is sound of them; None where it is not certain what comes before what."""
    steps = tuple(part.template for part in parts if part.template is not None and part.is_certain)
    try:
        return TaskDefinition("default", "outline", steps=steps) if len(steps) == len(parts) else None
    except DefinitionError:
        return None


def _unbound(no: int, template: StepTemplate | None, error: _Unbound) -> Problem:
    named = f"step {template.name!r}: " if template is not None else ""
    return Problem(f"step_templates[{no}].handler_class", error.code, f"{named}{error}")


def _bind(definition: TaskDefinition, template: StepTemplate) -> Binding:
    handler = resolve(template.handler) if isinstance(template.handler, str) else template.handler
    return Binding(template, _runner(definition, template, handler), _output(template))


def _output(template: StepTemplate) -> ContextSchema | None:
    if template.output_schema is None:
        return None
    from engine.schemas import ContextSchema  # JSON Schema is slow to import, and most steps have none

    return ContextSchema(template.output_schema)


def _runner(definition: TaskDefinition, template: StepTemplate, handler: Any) -> Run | None:
    if handler is None:
        return None
    if isinstance(handler, type):
        return _class_runner(handler)
    return function_runner(definition, template, handler)


def finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What the coroutine returns or raises; in a loop of its own, also where this thread has one running already."""
    import asyncio  # here, as few handlers need it and every process would wait for it

    if asyncio._get_running_loop() is None:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as elsewhere:
        return elsewhere.submit(contextvars.copy_context().run, asyncio.run, coroutine).result()


def _class_runner(handler: type[Any]) -> Run:
    if not issubclass(handler, StepHandler):
        raise _Unbound("bad_handler", f"{handler.__qualname__} is no subclass of StepHandler")
    if handler.process is StepHandler.process:
        raise _Unbound("bad_handler", f"{handler.__qualname__} does not define process(self, task, sequence, step)")
    if inspect.iscoroutinefunction(handler.process):
        return lambda task, sequence, step: finished(handler().process(task, sequence, step))
    return lambda task, sequence, step: handler().process(task, sequence, step)


def function_runner(definition: TaskDefinition, template: StepTemplate, function: Callable[..., Any]) -> Run:
    wanted = list(_wanted(definition, template, function))
    run = _caller(function, wanted, _readers(function, wanted))
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(type(function), "__call__", None)):  # noqa: B004
        return lambda task, sequence, step: finished(run(task, sequence, step))
    return run


def _wanted(definition: TaskDefinition, template: StepTemplate, function: Callable[..., Any]) -> Iterator[tuple[str, str, bool]]:
    """Each parameter to fill: its own name, what fills it, whether it goes by keyword."""
    steps: dict[str, str] | None = None
    by_keyword = False
    given = _OFFERED if template.for_each is None else (*_OFFERED, *_OF_ITEMS)
    for parameter in _parameters(function):
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            by_keyword = True
        if parameter.name in given:
            yield parameter.name, _OF_ITEMS.get(parameter.name, parameter.name), by_keyword
            continue
        steps = _identifiers(definition, template) if steps is None else steps
        source = steps.get(parameter.name)
        if source is not None:
            yield parameter.name, source, by_keyword
        elif parameter.default is not inspect.Parameter.empty:
            by_keyword = True
        else:
            raise _Unbound("unknown_parameter", _explain(definition, parameter.name, steps, given))


def _readers(function: Callable[..., Any], wanted: list[tuple[str, str, bool]]) -> dict[str, Callable[[Any], Any]]:
    """What makes results and items into the models that parameters are annotated with, by the parameters' sources."""
    hints = models.hints(function if inspect.isroutine(function) else type(function).__call__) if len(wanted) else {}
    made = {source: models.reader(hints[name], f"the result of {source}") for name, source, _ in wanted if name in hints and source not in _OFFERED}
    return {source: reader for source, reader in made.items() if reader is not None}


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise _Unbound("bad_handler", f"{shown(function)} does not tell its parameters") from None
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [parameter for parameter in found if parameter.kind not in variable]


def _identifiers(definition: TaskDefinition, template: StepTemplate) -> dict[str, str]:
    names = sorted(definition.ancestors(template.name))
    return {_identifier(name): name for name in names} | {name: name for name in names}


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _explain(definition: TaskDefinition, parameter: str, ancestors: Mapping[str, str], given: tuple[str, ...]) -> str:
    step = next((step.name for step in definition.steps if _identifier(step.name) == parameter), None)
    if step is not None:
        return f"parameter {parameter!r} is named after a step that does not come before; add {step!r} to depends_on_step"
    if parameter in _OF_ITEMS:
        return f"parameter {parameter!r} is for the items of a step with for_each, which this step has not"
    return f"parameter {parameter!r} is neither {', '.join(given)} nor an ancestor's name{nearest(parameter, [*given, *ancestors])}"


def _caller(function: Callable[..., Any], wanted: list[tuple[str, str, bool]], readers: Mapping[str, Callable[[Any], Any]]) -> Run:
    # The shapes that nearly every handler has get a direct call; the rest is assembled.
    plain = tuple(source for _, source, by_keyword in wanted if not by_keyword)
    if len(plain) == len(wanted):
        if plain == _OFFERED:
            return function
        if plain == ("task",):
            return lambda task, sequence, step: function(task)
        if plain == ():
            return lambda task, sequence, step: function()
    positional = tuple(source for _, source, by_keyword in wanted if not by_keyword)
    keywords = tuple((name, source) for name, source, by_keyword in wanted if by_keyword)
    of_item = any(source in _OF_ITEMS.values() for _, source, _ in wanted)

    def call(task: Task, sequence: Sequence, step: Step) -> Any:
        offered = {"task": task, "sequence": sequence, "step": step}
        if of_item:
            offered |= {"[item]": step.item, "[index]": step.index}
        arguments = [offered[source] if source in offered else sequence.result(source) for source in positional]
        named = {name: offered[source] if source in offered else sequence.result(source) for name, source in keywords}
        if readers:
            arguments = [readers[source](value) if source in readers else value for source, value in zip(positional, arguments, strict=True)]
            named = {name: readers[source](named[name]) if source in readers else named[name] for name, source in keywords}
        return function(*arguments, **named)

    return call


def resolve(path: str) -> Any:
    """The StepHandler class or function that the dotted path names, its module imported.

    The standard library holds no handlers: `os.system` is refused before anything is imported.
    """
    if path.partition(".")[0] in sys.stdlib_module_names and not path.startswith("__main__."):
        raise _Unbound("handler_not_allowed", f"{path!r} is in Python's standard library, which has no handlers")
    try:
        found = pkgutil.resolve_name(path)
    except (Exception, SystemExit) as error:
        raise _Unbound("unknown_handler", _unresolved(path, error)) from error
    if isinstance(found, (type, types.FunctionType)):
        return found
    raise _Unbound("bad_handler", f"{path!r} is neither a StepHandler class nor a function")


def resolve_class(path: str, base: type[_Class]) -> type[_Class]:
    """The subclass of `base` that the dotted path names; raises DefinitionError."""
    try:
        found = resolve(path.replace(":", ".", 1))
    except _Unbound as error:
        raise DefinitionError([Problem("task_handler_class", error.code, str(error))]) from error
    if isinstance(found, type) and issubclass(found, base):
        return found
    raise DefinitionError([Problem("task_handler_class", "bad_handler", f"{path!r} is no subclass of {base.__name__}")])


def _unresolved(path: str, error: BaseException) -> str:
    module_name, _, name = path.rpartition(".")
    module = sys.modules.get(module_name)
    hint = nearest(name, vars(module)) if module is not None else ""
    return f"{path!r} cannot be loaded: {type(error).__name__}: {str(error)[:300]}{hint}"
