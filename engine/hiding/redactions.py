"""The redaction of stored definitions: what of a task's context, results and events is shown. The read side asks here, and nothing shows such a value otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString

from engine.db import Database
from engine.hiding import redaction
from engine.hiding.redaction import Place

COLUMNS: LiteralString = """
    d.schema,
    (select jsonb_object_agg(p.name, jsonb_build_object('schema', p.output_schema, 'path', p.for_each_path, 'of',
            (select f.name from tasker_template f where f.definition_id = p.definition_id and f.step_no = p.for_each)))
       from tasker_template p where p.definition_id = d.definition_id and (p.output_schema is not null or p.for_each is not null))
"""


@dataclass(frozen=True, slots=True)
class Redaction:
    """What a definition declares as secret: of its contexts by `schemas`, of a step's result by `outputs`."""

    schemas: tuple[dict[str, Any], ...] = ()
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def context(self, context: Any) -> Any:
        """The context as it may be shown."""
        context = redaction.masked(context)
        for schema in self.schemas:
            context = redaction.masked(context, schema)
        return context

    def of_task(self, context: Any) -> TaskRedaction:
        """The same for one task, in whose results and events the secrets of its context are masked too."""
        found = (redaction.secret_texts(context, schema) for schema in (None, *self.schemas))
        return TaskRedaction(self, frozenset().union(*found))

    def secret_places(self, context: Any) -> list[Place]:
        """Where the context holds secrets."""
        found = [place for schema in (None, *self.schemas) for place in redaction.secret_places(context, schema)]
        return list(dict.fromkeys(found))

    def secret_places_of_result(self, step_name: str, result: Any) -> list[Place]:
        """Where the result of a step holds secrets."""
        output = self._output(step_name)
        if not self._is_list_of_results(step_name, result):
            return redaction.secret_places(result, output.get("schema"))
        return [(str(no), *place) for no, each in enumerate(result) for place in redaction.secret_places(each, output.get("schema"))]

    def result(self, step_name: str, result: Any) -> Any:
        """The result of a step as it may be shown; that of a map step is a list of what its items returned."""
        output = self._output(step_name)
        if self._is_list_of_results(step_name, result):
            return [redaction.masked(each, output.get("schema")) for each in result]
        return redaction.masked(result, output.get("schema"))

    def item(self, step_name: str, item: Any) -> Any:
        """What an item of a map step works on, as it may be shown: an entry of the list that another step returned."""
        output = self._output(step_name)
        source = self._output(output.get("of") or "")
        return redaction.masked_part(item, source.get("schema"), (*output.get("path", ()), "0"))

    def _is_list_of_results(self, step_name: str, result: Any) -> bool:
        return bool(self._output(step_name).get("of")) and isinstance(result, list) and "[" not in step_name

    def _output(self, step_name: str) -> Mapping[str, Any]:
        return self.outputs.get(step_name.partition("[")[0], {})


@dataclass(frozen=True, slots=True)
class TaskRedaction:
    """What is shown of one task."""

    of: Redaction
    secrets: frozenset[str]

    def result(self, step_name: str, result: Any) -> Any:
        """The result of a step."""
        return redaction.scrubbed_value(self.of.result(step_name, result), self.secrets)

    def item(self, step_name: str, item: Any) -> Any:
        """What an item of a map step works on."""
        return redaction.scrubbed_value(self.of.item(step_name, item), self.secrets)

    def data(self, value: Any) -> Any:
        """What no schema describes."""
        return redaction.scrubbed_value(redaction.masked(value), self.secrets)

    def error(self, error: Any) -> Any:
        """Why something failed. Its words are of people, and are no keys."""
        return redaction.scrubbed_value(error, self.secrets)


def redaction_of(db: Database, definition_id: int) -> Redaction:
    """That of a definition; of one that there is not, what goes by names alone."""
    found = db.rows(f"select {COLUMNS} from tasker_definition d where d.definition_id = %(id)s", {"id": definition_id})
    return read(found[0]) if found else Redaction()


def redactions_of(db: Database, keys: Iterable[tuple[str, str, str | None]]) -> dict[tuple[str, str, str | None], Redaction]:
    """Those of definitions by namespace, name and version; without a version, of all versions together."""
    wanted = sorted(set(keys), key=str)
    if not wanted:
        return {}
    query: LiteralString = f"""
        select k.no, {COLUMNS}
          from unnest(%(namespaces)s::text[], %(names)s::text[], %(versions)s::text[]) with ordinality as k (namespace, name, version, no)
          join tasker_definition d on d.namespace = k.namespace and d.name = k.name and (k.version is null or d.version = k.version)
         order by k.no
    """
    columns = zip(*wanted, strict=True)
    found: dict[int, list[Redaction]] = {}
    for no, *row in db.rows(query, dict(zip(("namespaces", "names", "versions"), map(list, columns), strict=True))):
        found.setdefault(no, []).append(read(row))
    return {key: _together(found.get(no, [])) for no, key in enumerate(wanted, start=1)}


def read(row: Any) -> Redaction:
    """That of a definition whose `COLUMNS` a query has found."""
    return Redaction(() if row[0] is None else (row[0],), row[1] or {})


def _together(several: list[Redaction]) -> Redaction:
    """What any of them holds secret; only contexts are shown of several at once."""
    return several[0] if len(several) == 1 else Redaction(tuple(schema for each in several for schema in each.schemas))
