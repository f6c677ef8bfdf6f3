"""What is usual for a version, for every page that says how long something takes: it changes slowly, so it is found once for all readers and kept for some seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

from flask import current_app

from engine.measures import standing, usual
from engine.measures.quantiles import Spread
from engine.rows import UsualRow
from webapp.database import database
from webapp.glance import Glance

KEPT_FOR = 10
"""Times as long as an answer at a glance serves."""

Version = tuple[str, str, str]


def usuals(versions: Iterable[Version]) -> dict[Version, UsualRow]:
    """How long tasks of these versions (namespace, name, version) usually take, for those of which enough completed."""
    asked, kept, now = set(versions), _kept_usuals(), time.monotonic()
    unknown = {version for version in asked if now >= kept.get(version, (0.0, None))[0]}
    if unknown:
        found = standing.usuals(database(), unknown)
        kept.update((version, (now + _seconds(), found.get(version))) for version in unknown)
    return {version: row for version in asked if (row := kept[version][1]) is not None}


def usual_steps(definition_id: int) -> dict[int, Spread]:
    """How long completed attempts of each step of a definition take, by its number, for those that completed often enough to tell."""
    glance: Glance[dict[int, Spread]] = current_app.extensions["tasker_glances"].setdefault(("usual steps", definition_id), Glance())
    return glance.answer(partial(usual.usual_steps, database(), definition_id), None, _seconds())


def _kept_usuals() -> dict[Version, tuple[float, UsualRow | None]]:
    kept: dict[Version, tuple[float, UsualRow | None]] = current_app.extensions["tasker_usuals"]
    return kept


def _seconds() -> float:
    return KEPT_FOR * float(current_app.config["GLANCE_SECONDS"])
