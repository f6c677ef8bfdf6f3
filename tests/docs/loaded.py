"""Modules that a page's code has loaded, so that a command of the page may start without them."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def modules_of(folder: Path) -> dict[str, types.ModuleType]:
    """Those that were loaded from the folder."""
    found = {}
    for name, module in list(sys.modules.items()):
        places = [getattr(module, "__file__", None) or "", *map(str, getattr(module, "__path__", []))]
        if any(place.startswith(str(folder)) for place in places):
            found[name] = module
    return found


def forget_modules_of(folder: Path) -> None:
    for name in modules_of(folder):
        del sys.modules[name]


@contextmanager
def without_modules_of(folder: Path) -> Iterator[None]:
    """As in a new process: what the page has loaded is not there, and what is loaded meanwhile is gone afterwards."""
    kept = modules_of(folder)
    forget_modules_of(folder)
    try:
        yield
    finally:
        forget_modules_of(folder)
        sys.modules.update(kept)
