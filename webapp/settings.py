"""`/settings`: one's own account."""

from __future__ import annotations

from flask import Blueprint, Response

from webapp.htmx import page

blueprint = Blueprint("settings", __name__)


@blueprint.get("/settings")
def index() -> Response:
    """One's own account."""
    return page("settings/index.html")
