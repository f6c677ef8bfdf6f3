"""A small project of its own: two workflows, tests, settings, and what it needs to run as services."""

from __future__ import annotations

from importlib import resources
from string import Template

from engine.blueprints.code import Files, Shape, workflow_files
from engine.blueprints.names import Names

FLOWS = "flows"
# What the first project shows: both a graph that branches, as classes, and a line of two in YAML.
_ORDER = {"check_order": (), "charge_card": ("check_order",), "reserve_goods": ("check_order",), "send_parcel": ("charge_card", "reserve_goods")}
_REPORT = {"read_sales": (), "write_report": ("read_sales",)}
# A dot at the front would hide these from tools that carry the templates about.
_PLACES = {"gitignore": ".gitignore", "env": ".env.example"}


def project_files(names: Names, *, tasker: str) -> Files:
    """Every file of the project by its place; `tasker` is what pip installs the engine from."""
    filled = {"name": names.given, "module": names.module, "tasker": tasker}
    files = {_PLACES.get(name, name): Template(text).substitute(filled) for name, text in _templates()}
    files |= workflow_files(Names("process_order"), names.module, _ORDER, Shape.CLASSES, FLOWS)
    files |= workflow_files(Names("daily_report"), names.module, _REPORT, Shape.YAML, FLOWS)
    return files | {f"{FLOWS}/__init__.py": f'"""The workflows of {names.given}."""\n'}


def _templates() -> list[tuple[str, str]]:
    folder = resources.files("engine.blueprints") / "project"
    return [(entry.name.removesuffix(".txt").replace("__", "/"), entry.read_text("utf-8")) for entry in folder.iterdir() if entry.name.endswith(".txt")]
