"""The addresses that templates ask for, each built once: a page has about fifty of them that never change, a table two more in every row.

Scripts and styles have the digest of their content in theirs, so that after an upgrade no page runs with those of before.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

import flask
from flask import Flask, Response, current_app, request

MOST_KEPT, LONGEST_KEPT = 8_192, 200
PLAIN = (str, int, UUID, type(None))
STATIC = Path(__file__).with_name("static")


def init_app(app: Flask) -> None:
    """Give templates `url_for` as Flask has it and `static_url`, and the application its place for what was built."""
    app.extensions["tasker_addresses"] = {}
    app.jinja_env.globals.update(url_for=url_for, static_url=static_url)
    app.after_request(_keep_no_other)


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


def static_url(filename: str) -> str:
    """The address of a script or style, another one as soon as its content is another."""
    return url_for("static", filename=filename, v=_digest(filename))


@lru_cache(maxsize=64)
def _digest(filename: str) -> str:
    return hashlib.sha256((STATIC / filename).read_bytes()).hexdigest()[:12]


def _keep_no_other(response: Response) -> Response:
    # while one server of several is upgraded, a page of the new one may ask an old one for its scripts: browsers must not keep those under the new address
    wanted = request.args.get("v")
    if wanted and request.endpoint == "static" and response.status_code in (200, 304) and wanted != _digest(str((request.view_args or {})["filename"])):
        response.headers["Cache-Control"] = "no-cache"
    return response
