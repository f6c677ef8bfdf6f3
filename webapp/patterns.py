"""`/patterns`, in development only: every component and region of the pages in every state, made by the templates that the pages use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, abort, current_app, render_template
from markupsafe import Markup

from webapp.htmx import page
from webapp.pattern_rows import specimens

DEVELOPMENT = "development"
# An id stands once on a page, but a region is shown here more than once.
_NAMED = re.compile(r'\b(id|for|form|list|href|aria-labelledby|aria-describedby)="([^"]*)"')

blueprint = Blueprint("patterns", __name__)


@dataclass(frozen=True, slots=True)
class Shown:
    """A specimen as it is drawn."""

    title: str
    template: str
    drawn: Markup


@blueprint.get("/patterns")
def index() -> Response:
    """Every specimen under its group; 404 but in development."""
    if current_app.config["TASKER_ENV"] != DEVELOPMENT:
        abort(404)
    groups: dict[str, list[Shown]] = {}
    for no, (group, title, template, context) in enumerate(specimens()):
        groups.setdefault(group, []).append(_shown(no, title, template, context))
    return page("patterns/index.html", groups=groups)


def _shown(no: int, title: str, template: str, context: dict[str, Any]) -> Shown:
    drawn = render_template(template, **context)
    own = set(re.findall(r'\bid="([^"]*)"', drawn))
    return Shown(title, template, Markup(_NAMED.sub(lambda found: f'{found[1]}="{_renamed(found[2], own, no)}"', drawn)))


def _renamed(value: str, own: set[str], no: int) -> str:
    """The value with the ids of this specimen made its own; addresses and ids of the page stay."""
    if value.startswith("#"):
        return f"#s{no}-{value[1:]}" if value[1:] in own else value
    return " ".join(f"s{no}-{word}" if word in own else word for word in value.split(" "))
