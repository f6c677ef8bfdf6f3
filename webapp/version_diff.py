"""What differs between two versions of a workflow: steps added, removed, re-wired and set otherwise, and changes of the input. Needs no database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.rows import DefinitionRow, TemplateRow
from webapp.filters import seconds
from webapp.schema_table import SchemaField, schema_fields
from webapp.why import retry_policy

NONE = "none"
MAX_VALUE = 2_000


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was `old` and is `new`."""

    what: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class StepDiff:
    """One step of either version; `kind` is added, removed, rewired, changed or same. One that is re-wired may be set otherwise too."""

    name: str
    kind: str
    old_parents: tuple[str, ...]
    new_parents: tuple[str, ...]
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class FieldDiff:
    """One field of the input that differs; `kind` is added, removed or changed."""

    path: str
    kind: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """Two versions beside each other; the steps in an order in which those of the new version depend on each other."""

    old: DefinitionRow
    new: DefinitionRow
    steps: tuple[StepDiff, ...]
    fields: tuple[FieldDiff, ...]
    changes: tuple[Change, ...]

    @property
    def different(self) -> tuple[StepDiff, ...]:
        """The steps that are not the same."""
        return tuple(step for step in self.steps if step.kind != "same")

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs but the version."""
        return not (self.different or self.fields or self.changes)


def version_diff(old: DefinitionRow, new: DefinitionRow) -> VersionDiff:
    """What changes from `old` to `new`. Steps and fields are the same when they bear the same name."""
    fields = tuple(_fields_diff(schema_fields(old.schema), schema_fields(new.schema)))
    changes = _changes((("description", old.description, new.description), *_schema_rest(old, new, fields)))
    return VersionDiff(old, new, tuple(_steps_diff(old, new)), fields, changes)


def _steps_diff(old: DefinitionRow, new: DefinitionRow) -> Iterable[StepDiff]:
    before, after = _by_name(old), _by_name(new)
    for name in merged([step.name for step in old.steps], [step.name for step in new.steps]):
        yield _step_diff(name, before.get(name), after.get(name))


def _by_name(definition: DefinitionRow) -> dict[str, tuple[TemplateRow, tuple[str, ...]]]:
    return {step.name: (step, tuple(definition.steps[no].name for no in step.parents)) for step in definition.steps}


def _step_diff(name: str, old: tuple[TemplateRow, tuple[str, ...]] | None, new: tuple[TemplateRow, tuple[str, ...]] | None) -> StepDiff:
    if old is None or new is None:
        kind = "added" if old is None else "removed"
        return StepDiff(name, kind, old[1] if old else (), new[1] if new else ())
    changes = _changes((label, before, after) for (label, before), (_, after) in zip(_settings(old[0]), _settings(new[0]), strict=True))
    kind = "rewired" if set(old[1]) != set(new[1]) else "changed" if changes else "same"
    return StepDiff(name, kind, old[1], new[1], changes)


def _settings(step: TemplateRow) -> list[tuple[str, Any]]:
    """Everything about a step but its name and its parents."""
    return [
        ("description", step.description),
        ("handler", step.handler),
        ("kind", step.kind),
        ("for each of", step.for_each),
        ("needs", ", ".join(step.needs) or None),
        ("limit", step.limit),
        ("tries", retry_policy(step)),
        ("jitter", f"{step.backoff['jitter']:g}" if step.retry_limit > 1 else None),
        ("timeout", seconds(step.timeout_ms / 1000) if step.timeout_ms else None),
        ("needs", ", ".join(f"{name} {amount:g}" for name, amount in step.resources.items()) or None),
        ("output schema", step.output_schema),
        ("handler settings", step.handler_config or None),
    ]


def merged(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """The new names in their order, each removed one behind the one it followed."""
    result, place = list(new), {name: no for no, name in enumerate(new)}
    known = set(place)
    for no, name in enumerate(old):
        if name not in known:
            result.insert(result.index(old[no - 1]) + 1 if no else 0, name)
            known.add(name)
    return result


def _fields_diff(old: Sequence[SchemaField], new: Sequence[SchemaField]) -> Iterable[FieldDiff]:
    before, after = dict(_with_paths(old)), dict(_with_paths(new))
    for path in merged(list(before), list(after)):
        was, becomes = before.get(path), after.get(path)
        kind = "added" if was is None else "removed" if becomes is None else "changed"
        changes = _changes(zip(FIELD_PARTS, _field_parts(was), _field_parts(becomes), strict=True))
        if kind != "changed" or changes:
            yield FieldDiff(path, kind, changes)


FIELD_PARTS = ("type", "needed", "rules", "description")


def _field_parts(known: SchemaField | None) -> tuple[str | None, ...]:
    if known is None:
        return (None,) * len(FIELD_PARTS)
    return known.type, "required" if known.required else "optional", ", ".join(known.rules) or None, known.description or None


def _with_paths(known: Sequence[SchemaField]) -> Iterable[tuple[str, SchemaField]]:
    path: list[str] = []
    for each in known:
        path[each.depth :] = [each.name]
        yield ".".join(path), each


def _schema_rest(old: DefinitionRow, new: DefinitionRow, fields: Sequence[FieldDiff]) -> list[tuple[str, Any, Any]]:
    """The schemas whole when they differ in what the table of fields does not show."""
    if fields or old.schema == new.schema:
        return []
    return [("input schema", old.schema, new.schema)]


def _changes(compared: Iterable[tuple[str, Any, Any]]) -> tuple[Change, ...]:
    return tuple(Change(what, shown(old), shown(new)) for what, old, new in compared if old != new)


def shown(value: Any) -> str:
    """A JSON value as a text of at most MAX_VALUE characters."""
    text = value if isinstance(value, str) else NONE if value is None else json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True)
    text = text or NONE
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"
