"""Every statement with which the product writes, found in its code: calls of SQL functions that change something, and plain inserts, updates and deletes."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = {file.stem: file.read_text() for file in (ROOT / "sql" / "functions").glob("*.sql")}
NOT_THE_PRODUCT = ("engine/bench/", "engine/examples/", "engine/database_roles.py")
"""Roles are made by an administrator in one transaction, as migrations are: wholly or not at all, and again if need be."""
_CHANGE = re.compile(r"\b(insert\s+into\s+\w+|update\s+tasker_\w+|delete\s+from\s+\w+)", re.IGNORECASE)
_CALL = re.compile(r"\b(tasker_\w+)\s*\(")


def statements() -> dict[str, list[str]]:
    """What writes, by name (a function's, or the statement's own first words), and the files that say so."""
    found: dict[str, list[str]] = {}
    for file in _files():
        for text in _strings(file):
            for name in _writes_of(text):
                found.setdefault(name, []).append(str(file.relative_to(ROOT)))
    return found


def _files() -> list[Path]:
    files = [file for folder in ("engine", "webapp") for file in sorted((ROOT / folder).rglob("*.py"))]
    return [file for file in files if not str(file.relative_to(ROOT)).startswith(NOT_THE_PRODUCT)]


def _strings(file: Path) -> list[str]:
    """Every text in the file that is no docstring, with those that stand side by side joined."""
    tree = ast.parse(file.read_text())
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told]


def _writes_of(text: str) -> list[str]:
    calls = [name for name in _CALL.findall(text) if name in FUNCTIONS and changes(name)]
    plain = [" ".join(found.split()) for found in _CHANGE.findall(text) if "tasker_" in text]
    return calls + plain


@cache
def changes(name: str) -> bool:
    """Whether the function writes, itself or through one that it calls."""
    body = re.sub(r"--[^\n]*", "", FUNCTIONS[name].partition("as $$")[2])
    called = {call for call in _CALL.findall(body) if call in FUNCTIONS and call != name}
    return bool(_CHANGE.search(body) or re.search(r"\bfor update\b", body)) or any(changes(call) for call in called)
