"""What a workflow is: a frozen graph of step templates, checked as a whole before anything can run.

handlers and yaml_config make these values, registry keeps them, the runners and the database follow them.
"""

from __future__ import annotations

import builtins
import heapq
import inspect
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

from engine import gates, json_text, models
from engine.errors import DefinitionError, Problem

MAX_STEPS = 5_000
MAX_EDGES = 100_000
MAX_RETRY_LIMIT = 1_000
MAX_PATH = 500
MAX_SECONDS = 366 * 86_400.0
MAX_DESCRIPTION = 16_384
MAX_CYCLES = 20
MAX_RESOURCES = 20
MAX_RESOURCE_NAME = 64
HINTS = 20
"""For so many unknown names the nearest known one is looked for."""
DEFAULT_VERSION = "0.1.0"

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}\Z")
_VERSION = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?\Z", re.ASCII)
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+\Z")

VersionKey = tuple[int, int, int, int, tuple[tuple[int, int, str], ...]]


def version_key(version: str) -> VersionKey:
    """Sorts versions as their numbers say: 1.10.0 above 1.9.0, a pre-release below its release. ValueError if it is none."""
    found = _VERSION.match(version) if len(version) <= 64 else None
    if found is None:
        raise ValueError(f"not a version: {version!r}")
    pre = found[4]
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")) if pre else ()
    return int(found[1]), int(found[2]), int(found[3]), 0 if pre else 1, parts


def is_prerelease(version: str) -> bool:
    """Whether the version is chosen only when it is named."""
    return "-" in version


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest of the names, or nothing."""
    import difflib  # only where something is amiss

    found = difflib.get_close_matches(str(name)[:100], list(names), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def nearest_workflow(key: str, keys: Iterable[str]) -> str:
    """The same for `namespace/name`: the one of that name in another namespace comes first."""
    known = sorted(set(keys) - {key})
    name = key.rpartition("/")[2]
    namesake = next((each for each in known if each.rpartition("/")[2] == name), None)
    return f"; did you mean {namesake!r}?" if namesake else nearest(key, known)


def handler_path(handler: Any) -> str | None:
    """The dotted path that names a handler in other processes and in the database."""
    if handler is None or isinstance(handler, str):
        return handler
    named = handler if hasattr(handler, "__qualname__") else type(handler)
    return f"{named.__module__}.{named.__qualname__}"


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before another attempt: base * multiplier ** (attempt - 1) seconds, at most cap, give or take jitter."""

    base: float = 1.0
    multiplier: float = 2.0
    cap: float = 60.0
    jitter: float = 0.1

    def to_json(self) -> dict[str, float]:
        return {"base": self.base, "multiplier": self.multiplier, "cap": self.cap, "jitter": self.jitter}


@dataclass(frozen=True, init=False, eq=False, slots=True)
class StepTemplate:
    """One node of a definition. Times are given in milliseconds or as timedelta, and kept in seconds.

    `handler_class` is a StepHandler class, a function or a dotted path; without it the step does nothing and completes.
    `retry_limit` counts all attempts, the first included. The result of a `decision` names the children that go on.
    `resources` are what it needs of a worker beyond this machine, in that worker's own names: `{"GPU": 1}`.
    `for_each` names an ancestor, or a list within its result (`orders.items`), and makes one item per element of that.
    `needs` are labels that an engine must have; `limit` says how many may run at once or begin within a period, by a key if it has one.
    Raises DefinitionError with everything that is wrong.
    """

    name: str
    description: str
    handler: Any
    depends_on: tuple[str, ...]
    retryable: bool
    retry_limit: int
    timeout: float | None
    backoff: Backoff
    output_schema: dict[str, Any] | None
    handler_config: dict[str, Any]
    retry_on: tuple[type[BaseException], ...]
    decision: bool
    for_each: str | None
    needs: tuple[str, ...]
    limit: gates.Limit | None
    resources: dict[str, float]

    def __init__(
        self,
        name: str = "",
        *,
        description: str = "",
        handler_class: Any = None,
        depends_on_step: str | Sequence[str] | None = None,
        depends_on_steps: str | Sequence[str] | None = None,
        retryable: bool = True,
        retry_limit: int = 3,
        timeout: int | timedelta | None = None,
        backoff: Backoff | Mapping[str, float] | None = None,
        output_schema: Mapping[str, Any] | type[Any] | None = None,
        handler_config: Mapping[str, Any] | None = None,
        retry_on: type[BaseException] | str | Sequence[type[BaseException] | str] = (),
        decision: bool = False,
        for_each: str | None = None,
        needs: str | Sequence[str] | None = None,
        limit: gates.Limit | Mapping[str, Any] | None = None,
        resources: Mapping[str, float] | None = None,
        **unknown: Any,
    ) -> None:
        checks = _Checks()
        values = {
            "name": checks.name("name", name),
            "description": checks.text("description", description),
            "handler": checks.handler("handler_class", handler_class),
            "depends_on": checks.parents(depends_on_step, depends_on_steps),
            "retryable": checks.boolean("retryable", retryable),
            "retry_limit": checks.retry_limit(retry_limit),
            "timeout": checks.timeout(timeout),
            "backoff": checks.backoff(backoff),
            "output_schema": checks.schema("output_schema", models.result_model(handler_class) if output_schema is None else output_schema),
            "handler_config": checks.json_object("handler_config", handler_config),
            "retry_on": checks.exceptions(retry_on),
            "decision": checks.boolean("decision", decision),
            "for_each": checks.path("for_each", for_each),
            "needs": gates.read_labels("needs", needs, checks.refuse),
            "limit": gates.read_limit("limit", limit, checks.refuse),
            "resources": checks.resources("resources", resources),
        }
        checks.kind_of_step(values)
        checks.unknown(unknown, STEP_OPTIONS)
        checks.finish()
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)
        if not retryable:
            object.__setattr__(self, "retry_limit", 1)

    def to_json(self) -> dict[str, Any]:
        """The template as the database keeps it, its place in the graph aside."""
        gated: dict[str, Any] = {"needs": list(self.needs)} if self.needs else {}
        gated |= {"limit": self.limit.to_json()} if self.limit else {}
        return gated | {
            "name": self.name,
            "description": self.description,
            "handler": handler_path(self.handler),
            "retryable": self.retryable,
            "retry_limit": self.retry_limit,
            "timeout_ms": None if self.timeout is None else round(self.timeout * 1000),
            "backoff": self.backoff.to_json(),
            "output_schema": self.output_schema,
            "handler_config": self.handler_config,
            "decision": self.decision,
            "for_each": self.for_each,
            "resources": self.resources,
        }


class Outline(NamedTuple):
    """As much of a step as its place in the graph depends on."""

    name: str
    depends_on: tuple[str, ...] = ()
    decision: bool = False
    for_each: str | None = None


STEP_OPTIONS = tuple(name for name in inspect.signature(StepTemplate.__init__).parameters if name not in ("self", "unknown"))
"""The options of a template, by the names that authors use."""


@dataclass(frozen=True, eq=False)
class TaskDefinition:
    """One version of one workflow. `steps` are in topological order: a parent's number is below its child's.

    Two definitions are equal when they have the same key and the same fingerprint.
    Raises DefinitionError with everything that is wrong: names, version, schema, unknown parents, cycles.
    """

    namespace: str
    name: str
    version: str = DEFAULT_VERSION
    description: str = ""
    schema: dict[str, Any] | None = None
    steps: tuple[StepTemplate, ...] = ()
    limit: gates.Limit | None = None
    """How many tasks of this workflow, whatever the version, may go on at once or begin within a period."""
    caches: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    """Room for what others derive from this definition once, such as resolved handlers."""

    def __post_init__(self) -> None:
        checks = _Checks()
        checks.name("namespace", self.namespace)
        checks.name("name", self.name)
        checks.version("version", self.version)
        checks.text("description", self.description)
        if models.is_model(self.schema):
            self.caches["model"] = self.schema
        self._set("schema", checks.schema("schema", self.schema))
        self._set("limit", gates.read_limit("limit", self.limit, checks.refuse))
        self._set("steps", tuple(self.steps))
        checks.graph(self.steps)
        checks.finish(f"workflow {self.name!r}")
        self._set("steps", topological(self.steps))

    def _set(self, attribute: str, value: Any) -> None:
        object.__setattr__(self, attribute, value)

    @property
    def key(self) -> str:
        """`namespace/name@version`."""
        return f"{self.namespace}/{self.name}@{self.version}"

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """Step name to step number."""
        return MappingProxyType({step.name: no for no, step in enumerate(self.steps)})

    def step(self, name: str) -> StepTemplate:
        """The template of that name; KeyError if there is none."""
        return self.steps[self.numbers[name]]

    def parents(self, no: int) -> tuple[int, ...]:
        """The numbers of the steps that step `no` waits for."""
        return self._parents[no]

    def children(self, no: int) -> tuple[int, ...]:
        """The numbers of the steps that wait for step `no`."""
        return self._children[no]

    def ancestors(self, name: str) -> frozenset[str]:
        """The names of all steps that are done before this one may start."""
        found: set[int] = set()
        waiting = list(self._parents[self.numbers[name]])
        while waiting:
            no = waiting.pop()
            if no not in found:
                found.add(no)
                waiting.extend(self._parents[no])
        return frozenset(self.steps[no].name for no in found)

    def source(self, no: int) -> tuple[int, list[str]] | None:
        """Where map step `no` finds its list: the number of an ancestor and the keys within its result; None for another step."""
        wanted = self.steps[no].for_each
        if wanted is None:
            return None
        name, path = _source(wanted, self.ancestors(self.steps[no].name))
        return self.numbers[name], path

    @cached_property
    def maps(self) -> frozenset[int]:
        """The numbers of the map steps."""
        return frozenset(no for no, step in enumerate(self.steps) if step.for_each is not None)

    def feeds_map(self, name: str) -> bool:
        """Whether a map step makes its items out of that step's result."""
        return name in self._list_sources

    @cached_property
    def _list_sources(self) -> frozenset[str]:
        return frozenset(self.steps[source[0]].name for no in self.maps if (source := self.source(no)))

    @cached_property
    def _parents(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(sorted(self.numbers[parent] for parent in step.depends_on)) for step in self.steps)

    @cached_property
    def _children(self) -> tuple[tuple[int, ...], ...]:
        children: list[list[int]] = [[] for _ in self.steps]
        for no, parents in enumerate(self._parents):
            for parent in parents:
                children[parent].append(no)
        return tuple(map(tuple, children))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides how a task runs; descriptions are not part of it."""
        import hashlib  # loads OpenSSL, for which who only defines a workflow does not wait

        return hashlib.sha256(json_text.canonical(self._content()).encode("utf-8", "surrogatepass")).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The definition as the database takes it."""
        steps = [
            self._with_secrecy(step.to_json()) | {"parents": list(self._parents[no]), "children": list(self._children[no]), "for_each": self._source_json(no)}
            for no, step in enumerate(self.steps)
        ]
        return self._with_secrecy(self._limit_json()) | {
            "namespace": self.namespace,
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "schema": self.schema,
            "fingerprint": self.fingerprint,
            "content": self._content(),
            "steps": steps,
        }

    def _with_secrecy(self, content: dict[str, Any]) -> dict[str, Any]:
        """With the mark of a limit whose key must not be shown. It is no part of the fingerprint: which names are secret is a setting."""
        key = tuple(content.get("limit", {}).get("key", ()))
        if not key:
            return content
        from engine.hiding import (
            redaction,  # few limits have a key, and whoever imports a workflow need not wait for it
        )

        return content | {"limit": content["limit"] | {"secret": True}} if redaction.leads_to_secret(key, self.schema) else content

    def _limit_json(self) -> dict[str, Any]:
        return {} if self.limit is None else {"limit": self.limit.to_json()}

    @cached_property
    def is_limited(self) -> bool:
        """Whether anything in it has a limit, so that its end may let another begin."""
        return self.limit is not None or any(step.limit is not None for step in self.steps)

    def _source_json(self, no: int) -> dict[str, Any] | None:
        source = self.source(no)
        return None if source is None else {"step": source[0], "path": source[1]}

    def difference(self, other: TaskDefinition) -> list[str]:
        """What would change with the other definition in place of this one, a line each: `steps.charge.retry_limit: 3 -> 5`."""
        if self.fingerprint == other.fingerprint:
            return []
        from engine import differences  # of use only where two are not alike

        return differences.told(self._content(), other._content())

    def _content(self) -> dict[str, Any]:
        steps = {}
        for no, step in enumerate(self.steps):
            steps[step.name] = step.to_json() | {"no": no, "depends_on": sorted(step.depends_on)}
            steps[step.name]["retry_on"] = sorted(str(handler_path(error)) for error in step.retry_on)
            del steps[step.name]["description"]
        return self._limit_json() | {"namespace": self.namespace, "name": self.name, "version": self.version, "schema": self.schema, "steps": steps}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskDefinition):
            return NotImplemented
        return self.key == other.key and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.key)


def _source(wanted: str, names: Iterable[str]) -> tuple[str, list[str]]:
    """The step that `for_each` begins with, the longest name that fits, as names may hold dots; and the keys after it. ValueError if there is none."""
    parts = wanted.split(".")
    for end in range(len(parts), 0, -1):
        if (name := ".".join(parts[:end])) in names:
            return name, parts[end:]
    raise ValueError(wanted)


def chosen(result: Any, children: Sequence[str]) -> list[str]:
    """What a decision returned, as the list of those children that go on: a name, several, or None for none of them.

    ValueError says what is wrong with it.
    """
    given = [] if result is None else [result] if isinstance(result, str) else result
    if not isinstance(given, (list, tuple)) or not all(isinstance(name, str) for name in given):
        raise ValueError(f"a decision returns the name of a step after it, or a list of names, not {kind(result)}")
    for name in given:
        if name not in children:
            listed = ", ".join(children if len(children) <= 10 else [*children[:10], f"{len(children) - 10} more"])
            raise ValueError(f"the decision chose {shown(name)}, which is no step after it{nearest(name, children) or '.'} After it come {listed}")
    return list(dict.fromkeys(given))


def topological(steps: Sequence[StepTemplate]) -> tuple[StepTemplate, ...]:
    """The steps with every parent before its children; among those free to go, as they were declared."""
    return tuple(steps[index] for index in _order(steps))


def _order(steps: Sequence[StepTemplate | Outline]) -> list[int]:
    index = {step.name: no for no, step in enumerate(steps)}
    waits_for = [len(step.depends_on) for step in steps]
    children: list[list[int]] = [[] for _ in steps]
    for no, step in enumerate(steps):
        for parent in step.depends_on:
            children[index[parent]].append(no)
    free = [no for no, count in enumerate(waits_for) if not count]
    order = []
    while free:
        order.append(heapq.heappop(free))
        for child in children[order[-1]]:
            waits_for[child] -= 1
            if not waits_for[child]:
                heapq.heappush(free, child)
    return order


def find_cycle(steps: Sequence[StepTemplate | Outline]) -> list[str]:
    """One cycle as the names along it, the first again at its end; empty when there is none."""
    sorted_out = set(_order(steps))
    blocked = {step.name: step for no, step in enumerate(steps) if no not in sorted_out}
    if not blocked:
        return []
    path: dict[str, None] = {}
    name = next(iter(blocked))
    while name not in path:
        path[name] = None
        name = next(parent for parent in blocked[name].depends_on if parent in blocked)
    names = list(path)
    return [name, *reversed(names[names.index(name) :])]


class _Checks:
    """Collects what is wrong with the parts of a definition, so that an author sees all of it at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def refuse(self, path: str, code: str, message: str) -> None:
        self.problems.append(Problem(path, code, message))

    def finish(self, subject: str = "") -> None:
        if self.problems:
            raise DefinitionError(self.problems, subject)

    def unknown(self, options: Iterable[str], known: Iterable[str]) -> None:
        for option in options:
            self.refuse(option, "unknown_key", f"unknown option {option!r}{nearest(option, known)}")

    def name(self, path: str, value: Any) -> Any:
        if not isinstance(value, str):
            self.refuse(path, "bad_name", f"must be a string, not {kind(value)}")
        elif not _NAME.match(value):
            self.refuse(path, "bad_name", f"{shown(value)} must be 1 to 63 of a-z, 0-9, '_', '.', '-' and begin with a letter or digit")
        return value

    def version(self, path: str, value: Any) -> None:
        if not isinstance(value, str):
            self.refuse(path, "bad_version", f"must be a string such as '1.10.0', not {kind(value)}")
            return
        try:
            version_key(value)
        except ValueError:
            self.refuse(path, "bad_version", f"{shown(value)} must be MAJOR.MINOR.PATCH, such as '1.10.0' or '2.0.0-rc.1'")

    def text(self, path: str, value: Any) -> Any:
        if not isinstance(value, str):
            self.refuse(path, "bad_type", f"must be a string, not {kind(value)}")
        elif len(value) > MAX_DESCRIPTION:
            self.refuse(path, "too_large", f"has {len(value):,} characters; the limit is {MAX_DESCRIPTION:,}")
        elif json_text.clean_text(value) != value:
            self.refuse(path, "nul_character", "contains a NUL character or half a surrogate pair")
        return value

    def path(self, path: str, value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, str):
            self.refuse(path, "bad_type", f"must be a step's name such as 'list_orders', or a place in its result such as 'list_orders.items', not {kind(value)}")
        elif not value or len(value) > MAX_PATH or json_text.clean_text(value) != value:
            self.refuse(path, "bad_name", f"{shown(value)} must be a step's name such as 'list_orders', or a place in its result such as 'list_orders.items'")
        return value

    def kind_of_step(self, values: Mapping[str, Any]) -> None:
        if values["decision"] is True and values["for_each"] is not None:
            self.refuse("for_each", "two_kinds", "a step is a decision or has for_each, not both; let a decision come before or after it")
        if values["decision"] is True and values["handler"] is None:
            self.refuse("decision", "no_handler", "a decision needs a handler_class that returns which of the steps after it go on")
        if values["for_each"] is not None and values["handler"] is None:
            self.refuse("for_each", "no_handler", "a step with for_each needs a handler_class that does the work of one item")

    def boolean(self, path: str, value: Any) -> Any:
        if not isinstance(value, bool):
            self.refuse(path, "bad_type", f"must be true or false, not {kind(value)}")
        return value

    def handler(self, path: str, value: Any) -> Any:
        if isinstance(value, str):
            value = value.replace(":", ".", 1)
            if not _DOTTED.match(value) or len(value) > 500:
                self.refuse(path, "bad_handler", f"{shown(value)} must be a dotted path such as 'shop.steps.ChargeCard'")
        elif value is not None and not callable(value):
            self.refuse(path, "bad_handler", f"must be a class, a function or a dotted path, not {kind(value)}")
        return value

    def parents(self, one: Any, many: Any) -> tuple[str, ...]:
        given = self._parent_names("depends_on_step", one) + self._parent_names("depends_on_steps", many)
        return tuple(dict.fromkeys(given))

    def _parent_names(self, path: str, value: Any) -> list[str]:
        if value is None:
            return []
        if isinstance(value, str):
            return [value]
        if not isinstance(value, (list, tuple, set, frozenset)) or not all(isinstance(name, str) for name in value):
            self.refuse(path, "bad_type", f"must be a step's name or a list of names, not {kind(value)}")
            return []
        return sorted(value) if isinstance(value, (set, frozenset)) else list(value)

    def retry_limit(self, value: Any) -> Any:
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse("retry_limit", "bad_type", f"must be an integer, not {kind(value)}")
        elif not 1 <= value <= MAX_RETRY_LIMIT:
            self.refuse("retry_limit", "out_of_range", f"must be between 1 (one attempt) and {MAX_RETRY_LIMIT:,}, not {shown(value)}")
        return value

    def timeout(self, value: Any) -> float | None:
        if value is None:
            return None
        if isinstance(value, timedelta):
            seconds = value.total_seconds()
        elif isinstance(value, int) and not isinstance(value, bool):
            seconds = value / 1000 if abs(value) < 10**15 else math.inf
        else:
            self.refuse("timeout", "bad_type", f"must be milliseconds as an integer, or a timedelta, not {kind(value)}")
            return None
        if not 0.001 <= seconds <= MAX_SECONDS:
            self.refuse("timeout", "out_of_range", "must be between 1 millisecond and 366 days")
        return seconds

    def backoff(self, value: Any) -> Backoff:
        if value is None:
            return Backoff()
        if isinstance(value, Backoff):
            value = value.to_json()
        if not isinstance(value, Mapping):
            self.refuse("backoff", "bad_type", f"must have base, multiplier, cap, jitter; not {kind(value)}")
            return Backoff()
        for key in value:
            if key not in _BACKOFF_RANGES:
                self.refuse(f"backoff.{key}", "unknown_key", f"unknown option {shown(key)}{nearest(key, _BACKOFF_RANGES)}")
        numbers = {key: self._within(f"backoff.{key}", value[key], *limits) for key, limits in _BACKOFF_RANGES.items() if key in value}
        return Backoff(**numbers)

    def _within(self, path: str, value: Any, low: float, high: float) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.refuse(path, "bad_type", f"must be a number, not {kind(value)}")
        elif not low <= value <= high:
            self.refuse(path, "out_of_range", f"must be between {low:g} and {high:g}, not {shown(value)}")
        else:
            return float(value)
        return low

    def resources(self, path: str, value: Any) -> dict[str, float]:
        plain = self.json_object(path, value)
        if len(plain) > MAX_RESOURCES:
            self.refuse(path, "too_many", f"at most {MAX_RESOURCES} resources, not {len(plain)}")
        for name, amount in plain.items():
            if not 0 < len(name) <= MAX_RESOURCE_NAME:
                self.refuse(path, "bad_name", f"the name of a resource has 1 to {MAX_RESOURCE_NAME} characters, not {len(name)}")
            elif isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 < amount < math.inf:
                self.refuse(f"{path}.{name}", "bad_value", f"must be a number above 0, not {shown(amount)}")
        return plain

    def json_object(self, path: str, value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.refuse(path, "bad_type", f"must be a mapping, not {kind(value)}")
            return {}
        found = json_text.input_problems(dict(value), path)
        self.problems += found
        return {} if found else json_text.load(json_text.dump(dict(value)))

    def schema(self, path: str, value: Any) -> dict[str, Any] | None:
        if value is None:
            return None
        if models.is_model(value):
            value = models.schema_of(value, is_result=path == "output_schema")
        plain = self.json_object(path, value)
        if plain:
            from engine import schemas  # JSON Schema is slow to import, and many workflows have none

            self.problems += schemas.schema_problems(plain, path)
        return plain

    def exceptions(self, value: Any) -> tuple[type[BaseException], ...]:
        given = value if isinstance(value, (list, tuple)) else (value,)
        types = [_exception(item) if isinstance(item, str) else item for item in given]
        if not all(isinstance(item, type) and issubclass(item, BaseException) for item in types):
            self.refuse("retry_on", "bad_type", f"must be exception classes such as ConnectionError, not {kind(value)}")
            return ()
        return tuple(types)

    def graph(self, steps: Sequence[StepTemplate]) -> None:
        if not steps:
            self.refuse("step_templates", "no_steps", "a workflow needs at least one step")
        if len(steps) > MAX_STEPS:
            self.refuse("step_templates", "too_many_steps", f"has {len(steps):,} steps; the limit is {MAX_STEPS:,}")
            return
        edges = sum(len(step.depends_on) for step in steps)
        if edges > MAX_EDGES:
            self.refuse("step_templates", "too_many_dependencies", f"has {edges:,} dependencies; the limit is {MAX_EDGES:,}")
            return
        self.outline([_outline(step) for step in steps], is_whole=True)

    def outline(self, steps: Sequence[Outline | None], *, is_whole: bool) -> None:
        """What is wrong with the graph, as far as it can be told: a step of which not even the name is known is None, and not all of it is certain unless `is_whole`."""
        known = {no: step for no, step in enumerate(steps) if step is not None}
        names_are_unique = self._names_are_unique(known)
        parents_are_known = len(known) == len(steps) and self._parents_are_known(known)
        if not names_are_unique:
            return
        self._no_cycle(known)
        if is_whole and parents_are_known:
            self._decisions_lead_on(known)
            self._items_come_from_ancestors(known)

    def _names_are_unique(self, steps: Mapping[int, Outline]) -> bool:
        first: dict[str, int] = {}
        before = len(self.problems)
        for no, step in steps.items():
            if first.setdefault(step.name, no) != no:
                place = f"step_templates[{first[step.name]}]"
                self.refuse(f"step_templates[{no}].name", "duplicate_name", f"the step {step.name!r} is already defined as {place}")
        return len(self.problems) == before

    def _parents_are_known(self, steps: Mapping[int, Outline]) -> bool:
        names = {step.name for step in steps.values()}
        before = len(self.problems)
        hints: dict[str, str] = {}  # to compare each with thousands of names would take minutes
        for no, step in steps.items():
            for parent in step.depends_on:
                if parent not in names:
                    if parent not in hints and len(hints) < HINTS:
                        hints[parent] = nearest(parent, names)
                    message = f"step {step.name!r} depends on {shown(parent)}, which is no step here{hints.get(parent, '')}"
                    self.refuse(f"step_templates[{no}].depends_on_step", "unknown_dependency", message)
        return len(self.problems) == before

    def _decisions_lead_on(self, steps: Mapping[int, Outline]) -> None:
        parents = {parent for step in steps.values() for parent in step.depends_on}
        for no, step in steps.items():
            if step.decision and step.name not in parents:
                self.refuse(f"step_templates[{no}].decision", "no_branches", f"no step depends on the decision {step.name!r}, so there is nothing to choose")

    def _items_come_from_ancestors(self, steps: Mapping[int, Outline]) -> None:
        parents = {step.name: step.depends_on for step in steps.values()}
        for no, step in steps.items():
            if step.for_each is None:
                continue
            ancestors = _all_before(step.name, parents)
            try:
                _source(step.for_each, ancestors)
            except ValueError:
                hint = nearest(step.for_each, ancestors) or f"; add it to depends_on_step, or name one of {', '.join(sorted(ancestors)[:10]) or 'them'}"
                message = f"step {step.name!r}: {shown(step.for_each)} begins with no step that comes before it{hint}"
                self.refuse(f"step_templates[{no}].for_each", "no_ancestor", message)

    def _no_cycle(self, steps: Mapping[int, Outline]) -> None:
        """Each cycle that shares no step with those told before it."""
        names = {step.name for step in steps.values()}
        inner = {step.name: Outline(step.name, tuple(parent for parent in step.depends_on if parent in names)) for step in steps.values()}
        numbers = {step.name: no for no, step in steps.items()}
        for _ in range(MAX_CYCLES):
            cycle = find_cycle(list(inner.values()))
            if not cycle:
                return
            path = " -> ".join(cycle if len(cycle) <= 20 else [*cycle[:10], f"({len(cycle) - 20} more)", *cycle[-10:]])
            self.refuse(f"step_templates[{numbers[cycle[0]]}].depends_on_step", "cycle", f"the steps wait for each other: {path}")
            inner |= {name: Outline(name) for name in cycle}


def _all_before(name: str, parents: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(parents[name])
    while waiting:
        if (parent := waiting.pop()) not in found:
            found.add(parent)
            waiting.extend(parents[parent])
    return found


def _exception(path: str) -> Any:
    import pkgutil  # of use only where an exception is named by its path

    try:
        return getattr(builtins, path, None) if "." not in path else pkgutil.resolve_name(path)
    except Exception:
        return None


_BACKOFF_RANGES = {"base": (0.001, MAX_SECONDS), "multiplier": (1.0, 100.0), "cap": (0.001, MAX_SECONDS), "jitter": (0.0, 1.0)}


def kind(value: object) -> str:
    """What a value is, in an author's words."""
    if value is None:
        return "nothing (null)"
    return f"{type(value).__name__} {shown(value)}" if isinstance(value, (str, bool, int, float)) else type(value).__name__


def shown(value: object) -> str:
    """The value as text, cut to a length that suits a message."""
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= 80 else f"{text[:77]}..."


def assemble(
    options: Iterable[Mapping[str, Any] | None],
    *,
    namespace: Any,
    name: Any,
    version: Any = DEFAULT_VERSION,
    description: Any = "",
    schema: Any = None,
    limit: Any = None,
) -> TaskDefinition:
    """The definition made of templates that are still options; every form of authoring ends here.

    None stands for a step that could not even be read, which the caller tells.
    Raises DefinitionError with the problems of all templates and of the whole, as far as the rest can be told beside them.
    """
    listed = list(options)
    try:
        return _assembled(listed, {"namespace": namespace, "name": name, "version": version, "description": description, "schema": schema, "limit": limit})
    except DefinitionError as error:
        error.steps = listed
        raise


def _assembled(options: Sequence[Mapping[str, Any] | None], head: dict[str, Any]) -> TaskDefinition:
    parts = [Part.of(no, given) for no, given in enumerate(options)]
    if all(part.is_sound for part in parts):
        return TaskDefinition(**head, steps=tuple(part.template for part in parts if part.template is not None))
    checks = _Checks()
    if len(parts) <= MAX_STEPS:
        checks.outline([part.outline for part in parts], is_whole=all(part.is_certain for part in parts))
    problems = [problem for part in parts for problem in part.problems]
    raise DefinitionError(head_problems(**head) + problems + checks.problems, f"workflow {head['name']!r}")


@dataclass(frozen=True, slots=True)
class Part:
    """What can be told of a step by itself: the template, without those options that are wrong; None where nothing is left that makes one."""

    template: StepTemplate | None
    outline: Outline | None
    problems: Sequence[Problem] = ()
    is_certain: bool = True
    """Whether its place in the graph is beyond doubt, so that what it leads to can be told too."""

    @property
    def is_sound(self) -> bool:
        return self.template is not None and not self.problems

    @classmethod
    def of(cls, no: int, given: Mapping[str, Any] | None) -> Part:
        """The step with that number."""
        if given is None:
            return cls(None, None, is_certain=False)
        try:
            template = StepTemplate(**given)
            return cls(template, _outline(template))
        except DefinitionError as error:
            problems = error.problems
        wrong = {re.split(r"[.\[]", problem.path, maxsplit=1)[0] for problem in problems}
        sound = {option: value for option, value in given.items() if option not in wrong}
        told = [_of_step(problem, no, given.get("name")) for problem in problems]
        return cls(_made(sound), _outline_of(given, sound), told, is_certain=wrong <= _ASIDE)


_ASIDE = frozenset(STEP_OPTIONS) - {"depends_on_step", "depends_on_steps", "decision", "for_each"}
"""Options that do not place a step in the graph; an unknown one may be a misspelt one that does."""


def _made(options: Mapping[str, Any]) -> StepTemplate | None:
    try:
        return StepTemplate(**options) if "name" in options else None
    except DefinitionError:  # it lacks what was wrong, as a decision does without its handler
        return None


def _outline(step: StepTemplate) -> Outline:
    return Outline(step.name, step.depends_on, step.decision, step.for_each)


def _outline_of(given: Mapping[str, Any], sound: Mapping[str, Any]) -> Outline | None:
    name = given.get("name")
    parents = _Checks().parents(sound.get("depends_on_step"), sound.get("depends_on_steps"))
    return Outline(name, parents, sound.get("decision", False), sound.get("for_each")) if name and isinstance(name, str) else None


def head_problems(*, namespace: Any, name: Any, version: Any, description: Any = "", schema: Any = None, limit: Any = None) -> list[Problem]:
    """What is wrong with a definition's names, version, description, schema and limit."""
    checks = _Checks()
    checks.name("namespace", namespace)
    checks.name("name", name)
    checks.version("version", version)
    checks.text("description", description)
    checks.schema("schema", schema)
    gates.read_limit("limit", limit, checks.refuse)
    return checks.problems


def _of_step(problem: Problem, no: int, name: object) -> Problem:
    inner = problem.under(f"step_templates[{no}]")
    return replace(inner, message=f"step {shown(name)}: {problem.message}") if name else inner
