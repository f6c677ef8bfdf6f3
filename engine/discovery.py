"""Finds workflows: imports modules, packages and folders, reads their YAML, asks installed packages; registry.load calls it.

A source that fails registers nothing and is reported; the others are not touched by it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.binding import bindings, handler_problems, resolve_class
from engine.errors import DefinitionError, Problem, TaskerError
from engine.handlers import ConfiguredHandler, TaskHandler
from engine.registry import HandlerRegistry, Registration
from engine.settings import environment_name

if TYPE_CHECKING:
    from engine.yaml_config import Reading

GROUP = "tasker.handlers"
LOOKED_AT = 65_536
"""So many bytes of a module tell whether it imports engine."""

_NOT_HANDLERS = ("__main__", "conftest", "setup")
_NO_FLOWS = ("tests", "test", "venv", "node_modules", "__pycache__")
_OF_ENGINE = re.compile(rb"^(from|import)[ \t]+engine\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """A module or file that registered nothing, and why."""

    source: str
    error: BaseException

    def __str__(self) -> str:
        text = str(self.error) or "no message"
        if text.startswith(f"{self.source}:"):  # a definition's error names its file itself
            return text
        return f"{self.source}: {text}" if isinstance(self.error, TaskerError) else f"{self.source}: {type(self.error).__name__}: {text}"


@dataclass(slots=True)
class LoadReport:
    """What was loaded and what was not."""

    loaded: list[str] = field(default_factory=list)
    failures: list[LoadFailure] = field(default_factory=list)
    passed_by: list[str] = field(default_factory=list)
    """Folders that were not looked into although it seems that they should have been, each with what to do about it."""

    def fail(self, source: str, error: BaseException) -> None:
        self.failures.append(LoadFailure(source, error))


def load(
    registry: HandlerRegistry, targets: Iterable[str | Path], *, entry_points: bool = True, environment: str | None = None
) -> LoadReport:
    """Load each target into the registry: a module's or package's dotted name, a folder, a `.py` or a `.yaml` file.

    `environment` picks the overrides in YAML; None means what an engine takes here: TASKER_ENV, else `development`.
    Never raises for what a target does.
    """
    loading = _Loading(registry, environment if environment is not None else environment_name())
    for target in targets:
        loading.target(str(target))
    if entry_points:
        for entry in importlib.metadata.entry_points(group=GROUP):
            loading.target(entry.module)
    return loading.report


def is_there(target: str) -> bool:
    """Whether a target of `load` can be found; nothing is imported."""
    try:
        with _here_at_last():
            return Path(target).exists() or importlib.util.find_spec(target.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


class _Loading:
    def __init__(self, registry: HandlerRegistry, environment: str) -> None:
        self.registry = registry
        self.environment = environment
        self.report = LoadReport()
        self._failed: set[str] = set()

    def target(self, target: str) -> None:
        path = Path(target)
        if os.sep in target or path.is_dir() or path.suffix in (".py", ".yaml", ".yml"):
            self._path(path.absolute(), target)
        else:
            with _here_at_last():
                self._import([target], None)
            for place in getattr(sys.modules.get(target), "__path__", ()):
                self._tell_passed_by(Path(place))

    def _path(self, path: Path, target: str) -> None:
        if path.is_dir():
            with importable(path):
                self._import(_in_full(path, _modules_in(path)), path)
            self._tell_passed_by(path)
        elif path.is_file() and path.suffix == ".py":
            with importable(path.parent):
                self._import(_in_full(path.parent, [path.stem]), path.parent, alone=True)
        elif path.is_file():
            with importable(path.parent):
                self._yaml(path)
        else:
            self.report.fail(target, FileNotFoundError(f"there is no folder or file {target!r}"))

    def _tell_passed_by(self, folder: Path) -> None:
        for inner in _passed_by(folder):
            self.report.passed_by.append(f"{inner}: has modules that import engine but no __init__.py, so they were not loaded; put an empty __init__.py there")

    def _import(self, modules: Sequence[str], folder: Path | None, *, alone: bool = False) -> None:
        # Everything is imported before anything is checked, so that files may refer to each other in any order.
        with self.registry.collecting() as gathered:
            names = [name for module in modules for name in self._import_next(module, modules, folder)]
        for module, items in gathered.items():
            if module in sys.modules and module not in self._failed:
                self._commit(module, items)
        self.report.loaded += [name for name in names if name not in self._failed]
        for path in [] if alone else _yaml_files(names, folder):
            self._yaml(path)

    def _import_next(self, module: str, modules: Sequence[str], folder: Path | None) -> list[str]:
        if folder is not None:
            _share_names(modules, folder)  # by whatever name the ones before have imported those that are still to come
        names = self._import_tree(module, folder)
        if folder is not None:
            _share_names(names, folder)
        return names

    def _import_tree(self, name: str, folder: Path | None) -> list[str]:
        if not self._import_one(name, folder):
            return []
        module = sys.modules[name]
        if not hasattr(module, "__path__"):
            return [name]
        inner = [found.name for found in pkgutil.iter_modules(module.__path__, f"{name}.") if _may_hold_handlers(found.name)]
        return [name, *(deep for child in inner for deep in self._import_tree(child, folder))]

    def _import_one(self, name: str, folder: Path | None) -> bool:
        try:
            if folder is not None:
                _refuse_other_package(folder)
            module = importlib.import_module(name)
            _refuse_namesake(module, name, folder)
        except (Exception, SystemExit) as error:
            self._fail(name, error if folder or not _is_missing(name, error) else ModuleNotFoundError(f"there is no folder, file or module of this name in {Path.cwd()}", name=name))
            return False
        return True

    def _commit(self, module: str, items: list[Any]) -> None:
        try:
            self.registry.commit(items)
        except (Exception, SystemExit) as error:
            self._fail(module, error)

    def _yaml(self, path: Path) -> None:
        try:
            self.registry.commit([_configured(path, self.environment)])
            self.report.loaded.append(str(path))
        except (Exception, SystemExit) as error:
            self.report.fail(str(path), error)

    def _fail(self, name: str, error: BaseException) -> None:
        if name not in self._failed:
            self._failed.add(name)
            self.report.fail(name, error)


def _is_missing(name: str, error: BaseException) -> bool:
    return isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]


def _configured(path: Path, environment: str) -> Registration:
    from engine.yaml_config import read_file  # the parser is slow to import, and many applications have no YAML

    try:
        reading = read_file(path, environment)
        if reading.problems:
            raise DefinitionError(reading.with_further([*_problems(lambda: _class_of(reading)), *handler_problems(reading.steps)]))
        configured = reading.configured()
        definition = configured.definition
        problems = [*_problems(lambda: _class_of(reading)), *_problems(lambda: bindings(definition))]
        if problems:
            raise DefinitionError(map(configured.located, problems))
    except DefinitionError as error:
        raise DefinitionError(error.problems, str(path)) from error.__cause__
    made = _class_of(reading)()
    made.definition = definition
    return Registration(definition.namespace, definition.name, definition.version, str(path), lambda: made)


def _class_of(configured: Reading) -> type[TaskHandler]:
    return resolve_class(configured.task_handler_class, TaskHandler) if configured.task_handler_class else ConfiguredHandler


def _problems(check: Callable[[], object]) -> list[Problem]:
    try:
        check()
    except DefinitionError as error:
        return error.problems
    return []


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """The folder leads sys.path, so that its modules can be imported by their plain names; those of a package also by their full ones."""
    entries = [str(folder), *_beside_package(folder)]
    sys.path[:0] = entries
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for entry in entries:
            if entry in sys.path:
                sys.path.remove(entry)


@contextmanager
def _here_at_last() -> Iterator[None]:
    """Modules of the current folder can be imported too, if nothing else goes by their name; a console script does not look there by itself."""
    here = str(Path.cwd())
    if here in sys.path:
        yield
        return
    sys.path.append(here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def _beside_package(folder: Path) -> list[str]:
    """The folder that holds the package which this folder is, or is part of; a console script does not look there by itself."""
    depth = _package(folder).count(".")
    return [str(folder.parents[depth - 1])] if depth else []


def _package(folder: Path) -> str:
    """`flows.` for the modules of a folder that is a package; nothing for those of any other."""
    names: list[str] = []
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        names.insert(0, f"{folder.name}.")
        folder = folder.parent
    return "".join(names)


def _in_full(folder: Path, names: Iterable[str]) -> list[str]:
    """As whoever imports them names them: a definition says where its handlers are, and must say the same everywhere."""
    return [f"{_package(folder)}{name}" for name in names]


def _refuse_other_package(folder: Path) -> None:
    package = _package(folder).rstrip(".")
    if package in sys.modules:
        _refuse_namesake(sys.modules[package], package, folder)


def _share_names(names: Iterable[str], folder: Path) -> None:
    """A module of a package goes by its plain name too, for YAML and modules beside it. Were it run once for each name, its workflows would be there twice."""
    package = _package(folder)
    for full in names if package else ():
        plain = full.removeprefix(package)
        for known, other in ((full, plain), (plain, full)):
            if known in sys.modules and _lies_in(sys.modules[known], folder):
                sys.modules.setdefault(other, sys.modules[known])


def _modules_in(folder: Path) -> list[str]:
    return [found.name for found in pkgutil.iter_modules([str(folder)]) if _may_hold_handlers(found.name)]


def _may_hold_handlers(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last not in _NOT_HANDLERS and not last.startswith("test_")


def _passed_by(folder: Path) -> Iterator[Path]:
    """The folders below that are no packages, and hold modules which look like ours."""
    for inner in sorted(path for path in folder.iterdir() if path.is_dir() and path.name.isidentifier() and path.name not in _NO_FLOWS and not (path / "pyvenv.cfg").is_file()):
        if (inner / "__init__.py").is_file():
            yield from _passed_by(inner)
        elif any(map(_imports_engine, inner.rglob("*.py"))):
            yield inner


def _imports_engine(path: Path) -> bool:
    try:
        return bool(_OF_ENGINE.search(path.read_bytes()[:LOOKED_AT]))
    except OSError:
        return False


def _yaml_files(modules: Iterable[str], folder: Path | None) -> list[Path]:
    folders = [folder] if folder is not None else [Path(place) for name in modules for place in getattr(sys.modules[name], "__path__", ())]
    return sorted({path for place in folders for suffix in ("*.yaml", "*.yml") for path in place.rglob(suffix) if not _is_hidden(path, place)})


def _is_hidden(path: Path, folder: Path) -> bool:
    """Whether it is hidden within the folder, wherever that lies."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _refuse_namesake(module: Any, name: str, folder: Path | None) -> None:
    # sys.modules knows one module per name: without this, a second folder's `steps` would silently be the first one's.
    if folder is not None and not _lies_in(module, folder):
        raise ImportError(f"another module named {name!r} is already loaded from {_origin(module)}; rename one of them")


def _lies_in(module: Any, folder: Path) -> bool:
    origin = _origin(module)
    return origin is None or Path(origin).resolve().is_relative_to(folder.resolve())


def _origin(module: Any) -> str | None:
    return getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
