"""`tasker graph`: the steps of a workflow, or of a task with their states, and what they wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from engine import queries
from engine.cli.operate import step_standing
from engine.cli.output import print_json
from engine.cli.setting import handler_sources, handlers_option, loaded_registry, open_database
from engine.cli.workflows import parse_workflow
from engine.definition import TaskDefinition
from engine.errors import NotFound
from engine.rows import DefinitionRow, StepRow
from engine.settings import Settings

MERMAID_SHAPES = {"step": '["{}"]', "decision": '{{"{}"}}', "map": '[["{}"]]'}


@dataclass(frozen=True, slots=True)
class _Node:
    """A step; `parents` are the numbers of other nodes."""

    name: str
    kind: str
    for_each: str | None
    parents: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Graph:
    key: str
    nodes: tuple[_Node, ...]


@click.command()
@click.argument("subject", metavar="TASK|NAMESPACE/NAME[@VERSION]")
@click.option("--mermaid", "form", flag_value="mermaid", help="As a Mermaid flowchart.")
@click.option("--svg", "form", flag_value="svg", help="As an SVG picture.")
@click.option("--json", "form", flag_value="json", help="As one JSON document.")
@handlers_option
def graph(subject: str, form: str | None, sources: str | None) -> None:
    """Print the steps of a task or workflow and what they wait for. With --handlers a workflow is drawn as it is written there. Example: tasker graph ecommerce/process_order --mermaid"""
    rows: Sequence[StepRow] = ()
    if "/" in subject:
        found = _written(subject, sources) if sources else _known(subject)
    else:
        found, rows = _of_task(subject)
    if form == "json":
        print_json(_facts(found, {row.name: row.state for row in rows}))
        return
    click.echo({"mermaid": _mermaid, "svg": _svg}.get(form or "", _text)(found, {row.name: step_standing(row) for row in rows}))


def _known(workflow: str) -> _Graph:
    """As the database knows it; what no engine has made known yet, as TASKER_HANDLERS has it."""
    try:
        with open_database() as db:
            return _of_row(queries.definition(db, *parse_workflow(workflow)))
    except NotFound as unknown:
        if Settings.from_environ().handlers:
            return _written(workflow, None)
        raise NotFound(f"{unknown}; name the handlers to draw one that no engine has made known yet: --handlers FOLDER") from None


def _written(workflow: str, sources: str | None) -> _Graph:
    """As the handlers have it; no database is asked."""
    settings = Settings.from_environ()
    namespace, name, version = parse_workflow(workflow)
    return _of_definition(loaded_registry(handler_sources(sources, settings), settings).get(name, namespace, version).definition)


def _of_task(task_id: str) -> tuple[_Graph, Sequence[StepRow]]:
    with open_database() as db:
        detail = queries.task(db, task_id, items=0)
        definition = queries.definition(db, detail.task.namespace, detail.task.name, detail.task.version)
    return _of_row(definition), detail.steps


def _of_row(row: DefinitionRow) -> _Graph:
    return _Graph(row.key, tuple(_Node(step.name, step.kind, step.for_each, step.parents) for step in row.steps))


def _of_definition(definition: TaskDefinition) -> _Graph:
    nodes = [_Node(step.name, "decision" if step.decision else "map" if step.for_each else "step", step.for_each, definition.parents(no)) for no, step in enumerate(definition.steps)]
    return _Graph(definition.key, tuple(nodes))


def _facts(found: _Graph, states: Mapping[str, str]) -> dict[str, Any]:
    """The graph for programs; a step of a task also has its state."""
    steps = [
        {"name": node.name, "kind": node.kind, "for_each": node.for_each, "parents": [found.nodes[no].name for no in node.parents]}
        | ({"state": states[node.name]} if node.name in states else {})
        for node in found.nodes
    ]
    return {"workflow": found.key, "steps": steps}


def _text(found: _Graph, states: dict[str, str]) -> str:
    lines = [found.key]
    for node in found.nodes:
        state = f"  [{states[node.name]}]" if node.name in states else ""
        parents = "  <- " + ", ".join(found.nodes[no].name for no in node.parents) if node.parents else ""
        lines.append(f"  {node.name}{_kind(node)}{state}{parents}")
    return "\n".join(lines)


def _kind(node: _Node) -> str:
    return "  (decision)" if node.kind == "decision" else f"  (for each of {node.for_each})" if node.for_each else ""


def _mermaid(found: _Graph, states: dict[str, str]) -> str:
    lines = ["flowchart LR"]
    for number, node in enumerate(found.nodes):
        parts = [node.name, f"for each of {node.for_each}" if node.for_each else "", states.get(node.name, "")]
        lines.append(f"  s{number}{MERMAID_SHAPES[node.kind].format('<br/>'.join(filter(None, parts)))}")
    lines += [f"  s{parent} --> s{number}" for number, node in enumerate(found.nodes) for parent in node.parents]
    return "\n".join(lines)


def _svg(found: _Graph, states: dict[str, str]) -> str:
    from webapp.graph import standalone_svg

    kinds = {node.name: node.kind for node in found.nodes}
    return standalone_svg([node.name for node in found.nodes], [node.parents for node in found.nodes], states, kinds)
