"""`/databases`: every database of an installation that has several, whether it answers, what lives in it and how that stands."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg
from flask import Blueprint, Response, current_app

from engine import queries
from engine.access.permissions import Namespaces
from engine.db import end_calls_within
from engine.errors import TaskerError
from engine.monitoring import health
from engine.rows import NamespaceRow
from engine.shards import Shards
from webapp.access import allowed_namespaces
from webapp.database import CALL_SECONDS, primary_of
from webapp.downloads import Row, asked_format, list_file
from webapp.glance import shared
from webapp.htmx import asks_for_regions, page, regions
from webapp.shards import Front, Place, address_of, front_of

COLUMNS = ("database", "state", "said", "engine_count", "namespace", "lives_in", "workflow_count", "open_task_count", "failed_task_count")

blueprint = Blueprint("databases", __name__)


@dataclass(frozen=True, slots=True)
class DatabaseView:
    """One database as it is now; without rows, and with what is `said`, when it does not answer or is not prepared."""

    place: Place
    address: str
    namespaces: tuple[NamespaceRow, ...] = ()
    engine_count: int = 0
    said: str = ""
    words: tuple[str, str] = ("Answers", "completed")
    """Its state as a word, and the state of a step that has the same look."""

    @property
    def open_count(self) -> int:
        """How many tasks have not ended."""
        return sum(row.open_task_count for row in self.namespaces)

    @property
    def failed_count(self) -> int:
        """How many have failed."""
        return sum(row.failed_task_count for row in self.namespaces)


@blueprint.get("/databases")
def index() -> Response:
    """Every database with its namespaces; for htmx the region of them; as a file a row for each namespace, and for a database that has none or does not answer one row."""
    if form := asked_format():
        seen = _seen()
        return list_file("databases", COLUMNS, [[line for each in seen["databases"] for line in _lines(each, seen["shards"])]], form)
    if asks_for_regions():
        return regions(["databases/_list.html"], **_seen())
    return page("databases/index.html", **_seen())


def _lines(view: DatabaseView, shards: Shards) -> Iterator[Row]:
    about = {"database": view.place.shard.name, "state": view.words[0], "said": view.said or None, "engine_count": view.engine_count}
    for row in view.namespaces:
        counts = {name: getattr(row, name) for name in COLUMNS[-3:]}
        yield {**about, "namespace": row.name, "lives_in": shards.of(row.name).name, **counts}
    if not view.namespaces:
        yield dict.fromkeys(COLUMNS) | about


@shared
def _seen() -> dict[str, Any]:
    front = front_of(current_app)
    found = _looked_at(front) if front else []
    return {"databases": found, "shards": front.shards if front else None}


def _looked_at(front: Front) -> list[DatabaseView]:
    here, addresses = allowed_namespaces("tasker.workflow:index"), [address_of(place, "") for place in front.places]
    # all at once, so that one that does not answer costs its own deadline and nobody else's
    with ThreadPoolExecutor(len(front.places)) as pool:
        return list(pool.map(lambda place, address: _view(place, address, here), front.places, addresses))


def _view(place: Place, address: str, here: Namespaces) -> DatabaseView:
    end_calls_within(CALL_SECONDS)
    try:
        db = primary_of(place.app)
        standing = health.readiness(db)
        if not standing.is_ready:
            said = f"it has not the schema this version needs; run: tasker --shard {place.shard.name} db upgrade"
            return DatabaseView(place, address, said=said, words=("Not prepared", "retrying"))
        return DatabaseView(place, address, tuple(queries.namespaces(db, only=here)), standing.engine_count)
    except (TaskerError, psycopg.Error) as error:
        return DatabaseView(place, address, said=str(error).splitlines()[0], words=("Does not answer", "failed"))
