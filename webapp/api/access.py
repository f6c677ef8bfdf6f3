"""Who may do what over the API. The endpoints ask here, each with its permission and the namespace of the stored object; nobody else decides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import abort, request
from werkzeug.exceptions import NotFound as Hidden

from engine.errors import NotFound
from webapp import security

ONLY_HERE = "Without accounts the API answers this machine alone."


def require_caller() -> None:
    """Somebody we know asks; else the request ends with 401, before anything is looked up."""
    if not security.from_this_machine():
        abort(401, ONLY_HERE)


def require(permission: str, namespace: str | None) -> None:
    """The caller has the permission there; else the request ends with 401, 403, or 404 for what the caller may not see."""
    require_caller()


def allowed_namespaces(permission: str) -> frozenset[str] | None:
    """The namespaces in which the caller has the permission, None for all; the request ends with 401 or 403 when there is none."""
    require(permission, None)
    return None


def actor() -> str:
    """Who acts, for the history."""
    return security.actor()


def caller() -> str:
    """Whose requests are counted together."""
    return request.remote_addr or ""


@contextmanager
def hidden_as_missing(words: str) -> Iterator[None]:
    """What the caller may not see is answered in the words of what does not exist."""
    try:
        yield
    except (Hidden, NotFound):
        raise NotFound(words) from None
