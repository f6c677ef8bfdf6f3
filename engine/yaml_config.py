"""Reads a workflow from YAML, strictly: no aliases, merges, tags or doubtful values, and every problem with line and column.

discovery calls it for each file; the result is the same TaskDefinition that a class or a Workflow would give.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped,unused-ignore]

from engine import json_text
from engine.definition import DEFAULT_VERSION, STEP_OPTIONS, TaskDefinition, assemble, nearest, shown
from engine.errors import DefinitionError, Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_NODES = 200_000
TOP_KEYS = ("name", "namespace_name", "version", "description", "schema", "limit", "task_handler_class", "step_templates", "environments")

_UNREADABLE = object()
"""Stands for a value that there is not: it is told where it is missing, and what depends on it is not judged."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)\Z")
_REAL = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+([eE][-+]?[0-9]+)?\Z")
_NUMBER_ELSEWHERE = re.compile(r"[-+]?(0o[0-7]+|[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+)\Z")  # in YAML 1.2, not in 1.1
_STEP_PATH = re.compile(r"step_templates\[(\d+)\]\.(\w+)\Z")
_PATH_PART = re.compile(r'\.?([^.\[\]"]+)|\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]')


@dataclass(slots=True)
class _Node:
    """A value of the file with its place; `members` of a mapping by key, `items` of a list."""

    line: int
    column: int
    value: Any = None
    members: dict[str, _Node] | None = None
    items: list[_Node] | None = None
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def is_null(self) -> bool:
        """Whether nothing stands there, or nothing that could be read."""
        return self.members is None and self.items is None and self.value is None

    def plain(self) -> Any:
        """The value without places. Nesting is limited, so recursion is safe."""
        if self.members is not None:
            return {key: node.plain() for key, node in self.members.items()}
        return [node.plain() for node in self.items] if self.items is not None else self.value


@dataclass(frozen=True, slots=True)
class Configured:
    """What a file says: the definition, and the dotted path of the TaskHandler class to run it with, if any; and where it says that."""

    definition: TaskDefinition
    task_handler_class: str | None
    reading: Reading = field(repr=False)

    def located(self, problem: Problem) -> Problem:
        """A problem that the definition turned out to have, with the step's number, line and column in the file."""
        step = _STEP_PATH.match(problem.path)
        return _located(self.reading.root, problem) if step is None else self.reading.of_step(self.definition.steps[int(step[1])].name, step[2], problem)


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that one reading of a text can tell: what is wrong with it, and `steps` as options, overridden as the environment says; None for what is no step."""

    root: _Node
    environment: str | None
    problems: list[Problem]
    task_handler_class: str | None
    steps: list[dict[str, Any] | None]
    definition: TaskDefinition | None

    def configured(self) -> Configured:
        """What the text says. Raises DefinitionError with everything that is wrong."""
        if self.definition is None or self.problems:
            raise DefinitionError(self.problems)
        return Configured(self.definition, self.task_handler_class, self)

    def with_further(self, found: Iterable[Problem]) -> list[Problem]:
        """All problems in the order of the file, with those of its code that are not told already; steps are numbered as in `steps`."""
        return _in_order([*self.problems, *_beyond(self.problems, map(self._located, found))])

    def _located(self, problem: Problem) -> Problem:
        step = _STEP_PATH.match(problem.path)
        given = self.steps[int(step[1])] if step else None
        return self.of_step(str(given["name"]), step[2], problem) if step and given and "name" in given else _located(self.root, problem)

    def of_step(self, name: str, option: str, problem: Problem) -> Problem:
        """A problem with that option of that step, with its place in the file."""
        return _located(self.root, replace(problem, path=f"{self._step_path(name, option)}.{option}"))

    def _step_path(self, name: str, option: str) -> str:
        """Where the step has that option: in the environment in force, else among the file's own steps."""
        own = [f"step_templates[{no}]" for no, step in _plain_steps(self.root) if step.get("name") == name]
        overrides = _plain_steps(_environment(self.root, self.environment))
        path = _join("environments", self.environment or "")
        return [*own, *(f"{path}.step_templates[{no}]" for no, step in overrides if step.get("name") == name and option in step)][-1]


def load_file(path: Path, environment: str | None = None) -> Configured:
    """The workflow in the file, with the overrides of that environment; raises DefinitionError naming the file."""
    try:
        return read_file(path, environment).configured()
    except DefinitionError as error:
        raise DefinitionError(error.problems, str(path)) from None


def load_text(text: str | bytes, environment: str | None = None) -> Configured:
    """The workflow that the text describes. All environments are checked, the one that is named is applied."""
    return read_text(text, environment).configured()


def read_file(path: Path, environment: str | None = None) -> Reading:
    """As `read_text`, of a file."""
    if path.stat().st_size > MAX_BYTES:
        raise _refusal("too_large", f"is {path.stat().st_size:,} bytes; the limit is {MAX_BYTES:,}")
    return read_text(path.read_bytes(), environment)


def read_text(text: str | bytes, environment: str | None = None) -> Reading:
    """What the text says and everything that is wrong with it, in the order of its lines; raises DefinitionError where it cannot be read to its end."""
    reader = _Reader()
    root = reader.read(_decoded(text))
    problems = [*reader.problems]
    problems += _beyond(problems, _Shape(root).problems())
    if root.members is None:
        raise DefinitionError(problems)
    given, environments = _given(root), _given_environments(root)
    found, made = _of_all_environments(root, given, environments, environment)
    problems += _beyond(problems, found)
    handler_class = given.get("task_handler_class")
    steps = _merged(given["step_templates"], environments.get(environment or "", []))
    return Reading(root, environment, _in_order(problems), handler_class if isinstance(handler_class, str) else None, steps, made)


def _beyond(known: Iterable[Problem], later: Iterable[Problem]) -> list[Problem]:
    """Those that are not about what is known to be wrong already: what could not be read is not judged too."""
    covered = {problem.path for problem in known if problem.path}
    return [problem for problem in later if covered.isdisjoint(problem.path[: part.end()] for part in _PATH_PART.finditer(problem.path))]


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0))


def _decoded(text: str | bytes) -> str:
    if len(text) > MAX_BYTES:
        raise _refusal("too_large", f"is over {MAX_BYTES:,} bytes")
    try:
        raw = text if isinstance(text, bytes) else text.encode()
        return raw.decode("utf-8-sig")
    except UnicodeError:
        raise _refusal("bad_encoding", "is not UTF-8") from None


def _refusal(code: str, message: str) -> DefinitionError:
    return DefinitionError([Problem("", code, message)])


# From text to nodes


class _Reader:
    """Builds nodes from the parser's events; what is not allowed becomes a problem and reading goes on."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        # the collection, the key in it that waits for its value, and by what the collection is found in the one around it
        self._open: list[tuple[_Node, _Node | None, str | int | None]] = []
        self._root: _Node | None = None
        self._nodes = 0
        self._documents = 0

    def read(self, text: str) -> _Node:
        try:
            for event in yaml.parse(text, Loader=_Loader):
                self._take(event)
        except yaml.YAMLError as error:
            self._unparseable(error)
            raise DefinitionError(self.problems) from None
        if self._root is None:
            raise _refusal("empty", "describes nothing")
        return self._root

    def _take(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._stop(event, "several_documents", "only one document per file")
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._open.pop()
        elif isinstance(event, yaml.NodeEvent):
            self._take_node(event)

    def _take_node(self, event: Any) -> None:
        self._nodes += 1
        node = _Node(event.start_mark.line + 1, event.start_mark.column + 1)
        if self._nodes > MAX_NODES:
            self._stop(event, "too_many_values", f"more than {MAX_NODES:,} values")
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, "alias_not_allowed", f"*{event.anchor} refers to another place; write the value here")
        elif isinstance(event, yaml.ScalarEvent):
            node.value = self._scalar(event)
        else:
            self._refuse_tag(event)
        part = self._part(event)
        self._place(event, node)
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._enter(event, node, part)

    def _enter(self, event: Any, node: _Node, part: str | int | None) -> None:
        if isinstance(event, yaml.MappingStartEvent):
            node.members = {}
        else:
            node.items = []
        self._open.append((node, None, part))
        if len(self._open) > MAX_DEPTH:
            self._stop(event, "too_deep", f"nested deeper than {MAX_DEPTH} levels")

    def _place(self, event: Any, node: _Node) -> None:
        if not self._open:
            self._root = node
            return
        parent, key, part = self._open[-1]
        if parent.items is not None:
            parent.items.append(node)
        elif key is None:
            self._open[-1] = (parent, self._key(event, node, parent), part)
        else:
            self._open[-1] = (parent, None, part)
            if parent.members is not None and isinstance(key.value, str):  # any other was refused
                parent.members.setdefault(key.value, node)

    def _key(self, event: Any, node: _Node, parent: _Node) -> _Node:
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            self._refuse(event, "merge_not_allowed", "'<<' merges are not allowed; write the keys here")
        elif not isinstance(event, yaml.ScalarEvent) or not isinstance(node.value, str):
            self._refuse(event, "bad_key", f"a key must be text; quote {shown(getattr(event, 'value', 'it'))}")
        elif node.value in parent.keys:
            self._refuse(event, "duplicate_key", f"the key {shown(node.value)} stands already in line {parent.keys[node.value][0]}")
        else:
            parent.keys[node.value] = (node.line, node.column)
        return node

    def _scalar(self, event: Any) -> Any:
        self._refuse_tag(event)
        text: str = event.value
        if event.style or event.tag:
            return text
        tag = _implicit_tag(text)
        if tag == "null":
            return None
        if tag == "bool" and text in ("true", "false"):
            return text == "true"
        if tag == "int" and _DECIMAL.match(text):
            return self._integer(event)
        if tag == "float" and _REAL.match(text):
            return self._real(event)
        if tag not in ("str", "merge") or _NUMBER_ELSEWHERE.match(text):
            self._refuse(event, "ambiguous_value", f"{shown(text)} can be read in more than one way; quote it if it is text")
        return text

    def _integer(self, event: Any) -> int:
        if len(event.value) > 20 or abs(int(event.value)) > json_text.MAX_INTEGER:
            self._refuse(event, "number_too_large", f"{shown(event.value)} does not fit in 64 bits")
            return 0
        return int(event.value)

    def _real(self, event: Any) -> float:
        number = float(event.value)
        if number - number != 0.0:
            self._refuse(event, "not_finite", f"{shown(event.value)} is beyond the range of a number")
        return number

    def _refuse_tag(self, event: Any) -> None:
        if event.tag is not None:
            self._refuse(event, "tag_not_allowed", f"tags such as {shown(event.tag)} are not allowed")

    def _refuse(self, event: Any, code: str, message: str) -> None:
        if len(self.problems) < 50:
            self.problems.append(Problem(self._path(event), code, message, event.start_mark.line + 1, event.start_mark.column + 1))

    def _path(self, event: Any) -> str:
        """Where the value or key stands that is being taken."""
        parts = [part for _, _, part in self._open[1:]] + [self._part(event)]
        path = ""
        for part in parts:
            path = path if part is None else f"{path}[{part}]" if isinstance(part, int) else _join(path, part)
        return path

    def _part(self, event: Any) -> str | int | None:
        """The key or the place in the list by which the next value is found in what holds it."""
        if not self._open:
            return None
        parent, key, _ = self._open[-1]
        if parent.items is not None:
            return len(parent.items)
        if key is not None:
            return str(key.value)
        return str(event.value) if isinstance(event, yaml.ScalarEvent) else None

    def _stop(self, event: Any, code: str, message: str) -> None:
        self._refuse(event, code, message)
        raise DefinitionError(self.problems)

    def _unparseable(self, error: yaml.YAMLError) -> None:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        place = (mark.line + 1, mark.column + 1) if mark is not None else (None, None)
        self.problems.append(Problem("", "bad_yaml", str(what), *place))


@lru_cache(maxsize=4096)
def _implicit_tag(text: str) -> str:
    resolver: Any = yaml.resolver.Resolver()
    tag: str = resolver.resolve(yaml.ScalarNode, text, (True, False))
    return tag.removeprefix(_TAG)


# From nodes to a definition


class _Shape:
    """Whether the file has the form of a workflow: its keys, and the types that the definition does not check itself."""

    def __init__(self, root: _Node) -> None:
        self.root = root
        self.found: list[Problem] = []

    def problems(self) -> list[Problem]:
        if self.root.members is None:
            return [_at(self.root, Problem("", "bad_type", "a workflow is a mapping with name and step_templates"))]
        self._keys(self.root, "", TOP_KEYS)
        for key in ("name", "step_templates"):
            if key not in self.root.members:
                self.found.append(_at(self.root, Problem(key, "missing", "is required")))
        self._no_nulls(self.root, "")
        self._steps(self.root, "")
        self._handler_class()
        self._environments(self.root.members.get("environments"))
        return self.found

    def _keys(self, node: _Node, path: str, known: Iterable[str]) -> None:
        for key, place in node.keys.items():
            if key not in known:
                problem = Problem(_join(path, key), "unknown_key", f"unknown key {shown(key)}{nearest(key, known)}")
                self.found.append(replace(problem, line=place[0], column=place[1]))

    def _no_nulls(self, node: _Node, path: str) -> None:
        for key, child in (node.members or {}).items():
            if child.is_null:
                self.found.append(_at(child, Problem(_join(path, key), "bad_type", "has no value; leave the key out instead")))

    def _steps(self, node: _Node, path: str) -> None:
        steps = (node.members or {}).get("step_templates")
        path = _join(path, "step_templates")
        if steps is None:
            return
        if steps.items is None:
            self.found.append(_at(steps, Problem(path, "bad_type", "must be a list of steps")))
            return
        for no, step in enumerate(steps.items):
            self._step(step, f"{path}[{no}]")

    def _step(self, step: _Node, path: str) -> None:
        if step.members is None:
            self.found.append(_at(step, Problem(path, "bad_type", "a step is a mapping with a name")))
            return
        self._keys(step, path, STEP_OPTIONS)
        self._no_nulls(step, path)
        if "name" not in step.members:
            self.found.append(_at(step, Problem(_join(path, "name"), "missing", "is required")))

    def _handler_class(self) -> None:
        node = (self.root.members or {}).get("task_handler_class")
        if node is not None and not isinstance(node.value, str):
            self.found.append(_at(node, Problem("task_handler_class", "bad_type", "must be a dotted path")))

    def _environments(self, node: _Node | None) -> None:
        if node is None:
            return
        if node.members is None:
            self.found.append(_at(node, Problem("environments", "bad_type", "must be a mapping by environment")))
            return
        names = {step["name"] for _, step in _plain_steps(self.root) if isinstance(step.get("name"), str)}
        for name, environment in node.members.items():
            self._environment(environment, f"environments.{name}", names)

    def _environment(self, node: _Node, path: str, names: set[str]) -> None:
        if node.members is None:
            self.found.append(_at(node, Problem(path, "bad_type", "must be a mapping with step_templates")))
            return
        self._keys(node, path, ("step_templates",))
        self._steps(node, path)
        for no, step in _plain_steps(node):
            name = step.get("name")
            if isinstance(name, str) and name not in names:
                place = f"{path}.step_templates[{no}].name"
                self.found.append(_located(self.root, Problem(place, "unknown_step", f"there is no step {shown(name)}{nearest(name, names)}")))


def _plain_steps(node: _Node) -> Iterator[tuple[int, dict[str, Any]]]:
    """What are steps under the node, each with its place in the list."""
    steps = (node.members or {}).get("step_templates")
    for no, step in enumerate((steps.items or ()) if steps is not None else ()):
        if step.members is not None:
            yield no, {key: _UNREADABLE if child.is_null else child.plain() for key, child in step.members.items()}


def _environment(root: _Node, name: str | None) -> _Node:
    """What the file says for that environment."""
    node = root
    for key in ("environments", name or ""):
        node = (node.members or {}).get(key, _Node(0, 0))
    return node


def _given(root: _Node) -> dict[str, Any]:
    """The file's top as far as it has the form of one; steps that have not are None, so that the others keep their numbers."""
    members = root.members or {}
    steps = dict(_plain_steps(root))
    listed = members["step_templates"].items or () if "step_templates" in members else ()
    head = {key: _UNREADABLE if node.is_null else node.plain() for key, node in members.items() if key not in ("step_templates", "environments")}
    return {"name": _UNREADABLE, **head, "step_templates": [steps.get(no) for no in range(len(listed))]}


def _given_environments(root: _Node) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """The steps that each environment overrides and that there are, with their places."""
    environments = (root.members or {}).get("environments")
    members = (environments.members or {}) if environments is not None else {}
    return {name: [(no, step) for no, step in _plain_steps(node) if isinstance(step.get("name"), str)] for name, node in members.items()}


def _of_all_environments(
    root: _Node, given: dict[str, Any], environments: Mapping[str, list[tuple[int, dict[str, Any]]]], wanted: str | None
) -> tuple[list[Problem], TaskDefinition | None]:
    """What is wrong in any of them, and the definition of the one that is wanted if that is sound."""
    found: dict[tuple[str, str], Problem] = {}
    made: dict[str, TaskDefinition] = {}
    for name, overrides in [("", []), *environments.items()]:
        try:
            made[name] = _definition(given, overrides)
        except DefinitionError as error:
            for problem in error.problems:
                prefix = f"in environment {name!r}: " if name else ""
                found.setdefault((problem.path, problem.code), replace(problem, message=prefix + problem.message))
    located = [_located(root, _in_file(problem, given, environments)) for problem in found.values()]
    return located, made.get(wanted if wanted and wanted in environments else "")


def _in_file(problem: Problem, given: dict[str, Any], environments: Mapping[str, list[tuple[int, dict[str, Any]]]]) -> Problem:
    # A problem that only an environment's override brings is shown where that override stands.
    env = re.match(r"in environment '([^']+)': ", problem.message)
    place = re.match(r"step_templates\[(\d+)\]", problem.path)
    if not env or not place:
        return problem
    name = given["step_templates"][int(place[1])].get("name")
    index = next((no for no, step in environments[env[1]] if step["name"] == name), None)
    if index is None:
        return problem
    rest = problem.path[place.end() :]
    return replace(problem, path=f"environments.{env[1]}.step_templates[{index}]{rest}")


def _definition(given: Mapping[str, Any], overrides: list[tuple[int, dict[str, Any]]]) -> TaskDefinition:
    return assemble(
        _merged(given["step_templates"], overrides),
        namespace=given.get("namespace_name", "default"),
        name=given["name"],
        version=given.get("version", DEFAULT_VERSION),
        description=given.get("description", ""),
        schema=given.get("schema"),
        limit=given.get("limit"),
    )


def _merged(steps: list[dict[str, Any] | None], overrides: list[tuple[int, dict[str, Any]]]) -> list[dict[str, Any] | None]:
    by_name: dict[str, dict[str, Any]] = {}
    for _, override in overrides:
        by_name[override["name"]] = _merge(by_name.get(override["name"], {}), override)
    return [None if step is None else _merge(step, by_name.get(str(step.get("name")), {})) for step in steps]


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merge(base[key], over[key]) for key in over if isinstance(over[key], dict) and isinstance(base.get(key), dict)}
    return {**base, **over, **both}


# Places


def _join(path: str, key: str) -> str:
    return json_text.child_path(path, key).removeprefix(".")


def _at(node: _Node, problem: Problem) -> Problem:
    return replace(problem, line=node.line, column=node.column)


def _located(root: _Node, problem: Problem) -> Problem:
    """The problem with the place of the deepest part of its path that the file has."""
    node = root
    place = (root.line, root.column)
    for found in _PATH_PART.finditer(problem.path):
        key = found[1] or found[3]
        if key is not None and node.members is not None and key in node.keys:
            place, node = node.keys[key], node.members[key]
        elif found[2] and node.items is not None and int(found[2]) < len(node.items):
            node = node.items[int(found[2])]
            place = (node.line, node.column)
        else:
            break
    return replace(problem, line=place[0], column=place[1])


