"""Finds workflows: imports modules, packages and folders, reads their YAML, asks installed packages; registry.load calls it.

A source that fails registers nothing and is reported; the others are not touched by it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.binding import resolve_class
from engine.errors import TaskerError
from engine.handlers import ConfiguredHandler, TaskHandler
from engine.registry import HandlerRegistry, Registration

GROUP = "tasker.handlers"
_NOT_HANDLERS = ("__main__", "conftest", "setup")


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """A module or file that registered nothing, and why."""

    source: str
    error: BaseException

    def __str__(self) -> str:
        text = str(self.error) or "no message"
        return f"{self.source}: {text}" if isinstance(self.error, TaskerError) else f"{self.source}: {type(self.error).__name__}: {text}"


@dataclass(slots=True)
class LoadReport:
    """What was loaded and what was not."""

    loaded: list[str] = field(default_factory=list)
    failures: list[LoadFailure] = field(default_factory=list)

    def fail(self, source: str, error: BaseException) -> None:
        self.failures.append(LoadFailure(source, error))


def load(
    registry: HandlerRegistry, targets: Iterable[str | Path], *, entry_points: bool = True, environment: str | None = None
) -> LoadReport:
    """Load each target into the registry: a module's or package's dotted name, a folder, a `.py` or a `.yaml` file.

    `environment` picks the overrides in YAML; None means TASKER_ENV. Never raises for what a target does.
    """
    loading = _Loading(registry, environment if environment is not None else os.environ.get("TASKER_ENV", ""))
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

    def _path(self, path: Path, target: str) -> None:
        if path.is_dir():
            with importable(path):
                self._import(_modules_in(path), path)
        elif path.is_file() and path.suffix == ".py":
            with importable(path.parent):
                self._import([path.stem], path.parent)
        elif path.is_file():
            with importable(path.parent):
                self._yaml(path)
        else:
            self.report.fail(target, FileNotFoundError(f"there is no folder or file {target!r}"))

    def _import(self, modules: Iterable[str], folder: Path | None) -> None:
        # Everything is imported before anything is checked, so that files may refer to each other in any order.
        with self.registry.collecting() as gathered:
            names = [name for module in modules for name in self._import_tree(module, folder)]
        for module, items in gathered.items():
            if module in sys.modules and module not in self._failed:
                self._commit(module, items)
        self.report.loaded += [name for name in names if name not in self._failed]
        for path in _yaml_files(names, folder):
            self._yaml(path)

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
    from engine.yaml_config import load_file  # the parser is slow to import, and many applications have no YAML

    configured = load_file(path, environment)
    definition = configured.definition
    made = resolve_class(configured.task_handler_class, TaskHandler)() if configured.task_handler_class else ConfiguredHandler()
    made.definition = definition
    return Registration(definition.namespace, definition.name, definition.version, str(path), lambda: made)


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
    top = folder
    while (top / "__init__.py").is_file():
        top = top.parent
    return [str(top)] if top != folder else []


def _modules_in(folder: Path) -> list[str]:
    return [found.name for found in pkgutil.iter_modules([str(folder)]) if _may_hold_handlers(found.name)]


def _may_hold_handlers(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last not in _NOT_HANDLERS and not last.startswith("test_")


def _yaml_files(modules: Iterable[str], folder: Path | None) -> list[Path]:
    folders = [folder] if folder is not None else [Path(place) for name in modules for place in getattr(sys.modules[name], "__path__", ())]
    found = {path for place in folders for suffix in ("*.yaml", "*.yml") for path in place.rglob(suffix)}
    return sorted(path for path in found if not any(part.startswith(".") for part in path.parts[-3:]))


def _refuse_namesake(module: Any, name: str, folder: Path | None) -> None:
    # sys.modules knows one module per name: without this, a second folder's `steps` would silently be the first one's.
    origin = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    if folder is not None and origin is not None and not Path(origin).resolve().is_relative_to(folder.resolve()):
        raise ImportError(f"another module named {name!r} is already loaded from {origin}; rename one of them")
