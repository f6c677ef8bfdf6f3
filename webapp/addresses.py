"""The addresses that templates ask for, each built once: a page has about fifty of them that never change, a table two more in every row."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import flask
from flask import Flask, current_app, request

MOST_KEPT, LONGEST_KEPT = 8_192, 200
PLAIN = (str, int, UUID, type(None))


def init_app(app: Flask) -> None:
    """Give templates `url_for` as Flask has it, and the application its place for what was built."""
    app.extensions["tasker_addresses"] = {}
    app.jinja_env.globals["url_for"] = url_for


def url_for(endpoint: str, **values: Any) -> str:
    """What `flask.url_for` gives for the path of this request's application; whatever depends on more is built anew."""
    if endpoint.startswith(".") or not request or any(type(value) not in PLAIN for value in values.values()):
        return flask.url_for(endpoint, **values)
    kept: dict[Any, str] = current_app.extensions["tasker_addresses"]
    key = (request.script_root, endpoint, *values.items())
    return kept.get(key) or _keep(kept, key, flask.url_for(endpoint, **values))


def _keep(kept: dict[Any, str], key: Any, address: str) -> str:
    if len(kept) >= MOST_KEPT:
        kept.clear()
    if len(address) <= LONGEST_KEPT:
        kept[key] = address
    return address
