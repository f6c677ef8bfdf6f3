"""The incident file of a task with its graph: for the dashboard, and for `tasker incident`, which has no application."""

from __future__ import annotations

from engine import queries
from engine.db import Database
from engine.report import incident_report
from webapp.graph import page_svg

DRAWN = 2_000
"""Up to how many steps the file has a graph."""


def incident_file(db: Database, task_id: str) -> str:
    """One HTML page without references to anything outside. Raises `NotFound`."""
    steps = [step for step in queries.task(db, task_id, items=0).steps if step.item_of is None]
    number = {step.name: place for place, step in enumerate(steps)}
    if len(steps) > DRAWN:
        return incident_report(db, task_id)
    parents = [[number[name] for name in step.parents] for step in steps]
    picture = page_svg(list(number), parents, {step.name: step.state for step in steps}, {step.name: step.kind for step in steps})
    return incident_report(db, task_id, picture=picture)
