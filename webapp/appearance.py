"""The reader's choice of light or dark, kept in a cookie so that it needs no script."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, redirect, request, url_for

THEMES = ("system", "light", "dark")
YEAR_SECONDS = 365 * 86_400

blueprint = Blueprint("appearance", __name__)


@blueprint.app_context_processor
def offer_theme() -> dict[str, object]:
    """Every page needs to know its theme."""
    return {"theme": chosen_theme(), "themes": THEMES}


def chosen_theme() -> str:
    """The theme of this reader; `system` follows the machine."""
    theme = request.cookies.get("theme", "system")
    return theme if theme in THEMES else "system"


@blueprint.post("/appearance")
def choose() -> Response:
    """Keep the chosen theme and go back to the page the reader came from."""
    theme = request.form.get("theme", "")
    response = make_response(redirect(own_path(request.form.get("back", "")), code=303))
    if theme in THEMES:
        response.set_cookie("theme", theme, max_age=YEAR_SECONDS, samesite="Lax", httponly=True, path=request.script_root or "/")
    return response


def own_path(path: str) -> str:
    """`path` when it stays on this server, else the overview."""
    inside = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if inside else url_for("overview.index")
