"""`/engines`: the companion processes that execute steps, and what each of them can run."""

from __future__ import annotations

from flask import Blueprint, Response

from engine import queries
from webapp.database import database
from webapp.htmx import asks_for_regions, page, regions

blueprint = Blueprint("engines", __name__)


@blueprint.get("/engines")
def index() -> Response:
    """Every engine that has been seen lately, the living first."""
    engines = queries.engines(database())
    if asks_for_regions():
        return regions(["engines/_list.html"], engines=engines)
    return page("engines/index.html", engines=engines)
