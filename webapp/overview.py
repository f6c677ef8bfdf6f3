"""`/`: what runs, what waits and what needs somebody, at one glance."""

from __future__ import annotations

from flask import Blueprint, Response

from engine import queries
from webapp.database import database
from webapp.htmx import asks_for_regions, page, regions

blueprint = Blueprint("overview", __name__)


@blueprint.get("/")
def index() -> Response:
    """The overview; its live region alone for htmx."""
    overview = queries.overview(database())
    if asks_for_regions():
        return regions(["overview/_now.html"], overview=overview)
    return page("overview/index.html", overview=overview)
