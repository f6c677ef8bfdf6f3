"""Contexts that people launch a workflow with again and again, kept under names. The launch form keeps, offers and removes them."""

from __future__ import annotations

from typing import Any

from engine import json_text
from engine.db import Database
from engine.errors import NotFound, Problem, RequestError

MAX_NAME = 100


def presets(db: Database, namespace: str, name: str) -> list[str]:
    """The names of a workflow's presets, in order."""
    found = db.rows(
        """select s.preset from tasker_preset s where s.namespace = %(namespace)s and s.name = %(name)s order by s.preset collate "C" """,
        {"namespace": namespace, "name": name},
    )
    return [row[0] for row in found]


def preset_context(db: Database, namespace: str, name: str, preset: str) -> dict[str, Any]:
    """What a preset holds; it may be less than the workflow's schema wants. Raises `NotFound`."""
    found = db.rows(
        """select s.context from tasker_preset s
            where s.namespace = %(namespace)s and s.name = %(name)s and s.preset = %(preset)s""",
        {"namespace": namespace, "name": name, "preset": preset.replace("\x00", "")},
    )
    if not found:
        raise NotFound(f'there is no preset "{preset[:MAX_NAME]}" of {namespace}/{name}')
    context: dict[str, Any] = found[0][0]
    return context


def keep_preset(db: Database, namespace: str, name: str, preset: str, context: dict[str, Any], *, actor: str) -> None:
    """The workflow has a preset of that name with that context, in place of an earlier one.

    Raises `RequestError` for a name that is no name or a context that is no JSON, `NotFound` for an unknown workflow.
    """
    problems = json_text.input_problems(context) + _name_problems(preset)
    if problems:
        raise RequestError(problems)
    db.value(
        "select tasker_keep_preset(%(namespace)s, %(name)s, %(preset)s, %(context)s::jsonb, %(actor)s)",
        {"namespace": namespace, "name": name, "preset": preset, "context": json_text.dump(context), "actor": actor},
    )


def remove_preset(db: Database, namespace: str, name: str, preset: str) -> None:
    """The workflow has no preset of that name any more. Raises `NotFound`."""
    given = {"namespace": namespace, "name": name, "preset": preset.replace("\x00", "")}
    db.value("select tasker_remove_preset(%(namespace)s, %(name)s, %(preset)s)", given)


def _name_problems(preset: str) -> list[Problem]:
    if not preset.strip():
        return [Problem("preset", "missing", "a preset needs a name")]
    if len(preset) > MAX_NAME:
        return [Problem("preset", "too_long", f"has {len(preset):,} characters; the limit is {MAX_NAME}")]
    if not preset.isprintable():
        return [Problem("preset", "not_printable", "must be one line of printable characters")]
    return []
