"""The other application's side of a request, when the dashboard is a part of one: who is signed in there, and where one signs in.

`webapp.embedding` lays a `Door` into each request that it hands on; `webapp.access` asks it. Without one nobody is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from flask import Flask, current_app, g, request, url_for

from engine.access import visitors
from engine.db import Database

DOOR = "tasker.door"
EVERYWHERE = "*"
SIGNS_IN_HERE = frozenset(
    {
        "settings.password",
        "settings.second_factor",
        "settings.no_second_factor",
        "settings.end_session",
        "settings.sign_out_elsewhere",
        "settings.make_link",
        "settings.create_account",
        "settings.sign_out_account",
        "settings.grant",
        "settings.revoke",
        "api_accounts.create",
        "api_accounts.sign_out",
        "api_accounts.grant",
        "api_accounts.revoke",
    }
)
"""Endpoints beside those of `webapp.signing_in` that have no sense where people sign in elsewhere and have their roles from there."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody whom the application has signed in.

    `roles` is a role that holds everywhere, or says the role or roles by namespace, `"*"` being all of them. `id` is the same for good and nobody
    else's; without one the name stands for it.
    """

    name: str
    roles: str | Mapping[str, str | Sequence[str]]
    id: object = None

    @property
    def outside_id(self) -> str:
        """What the account is found by."""
        return f"application {self.name if self.id is None else self.id}"

    @property
    def given(self) -> list[visitors.Given]:
        """Each role with its namespace."""
        by_namespace = {EVERYWHERE: self.roles} if isinstance(self.roles, str) else self.roles
        return [(role, None if namespace == EVERYWHERE else namespace) for namespace, roles in by_namespace.items() for role in _listed(roles)]


def _listed(roles: str | Sequence[str]) -> Sequence[str]:
    return [roles] if isinstance(roles, str) else roles


Who = Callable[[], Visitor | None]
"""Tells in a request of the application who is signed in there."""


@dataclass(frozen=True, slots=True)
class Door:
    """The application's side of one request; `context` is the one in which it knows the request as its own."""

    app: Flask
    who: Who
    login: str | None
    context: Context
    environ: Mapping[str, Any]

    def visitor(self) -> Visitor | None:
        """Who is signed in there."""
        return self.context.run(self.who)

    def visitor_now(self) -> Visitor | None:
        """The same as another request like this one would find it now, also when this one is long over; nobody where the application would turn it away."""
        # without its body, which has been read
        environ = {**self.environ, "wsgi.input": BytesIO(), "CONTENT_LENGTH": "0"}
        with self.app.request_context(environ):
            # what `who` relies on, such as a connection or a person in `g`, may be made by hooks
            return self.who() if self.app.preprocess_request() is None else None

    def sign_in_address(self, wanted: str | None) -> str | None:
        """Where one signs in and comes back to `wanted`, if the application said so."""
        login = self.login
        return self.context.run(lambda: url_for(login, next=wanted)) if login else None


def is_embedded() -> bool:
    """Whether people sign in at another application, of which this dashboard is a part."""
    return bool(current_app.config["EMBEDDED"])


def door() -> Door | None:
    """The application's side of this request."""
    found: Door | None = request.environ.get(DOOR)
    return found


def visitor_of_request() -> Visitor | None:
    """Who is signed in there, asked once; nobody where the application has not handed the request on itself."""
    if "visitor" not in g:
        here = door()
        g.visitor = here.visitor() if here else None
    found: Visitor | None = g.visitor
    return found


def sign_in_address(wanted: str | None = None) -> str | None:
    """Where one signs in and comes back to `wanted`; None when the application did not say."""
    if not is_embedded():
        return url_for("signing_in.form", next=wanted)
    here = door()
    return here.sign_in_address(wanted) if here else None


def arrived(opened: Database, visitor: Visitor | None, address: str | None) -> visitors.Arrived | None:
    """The account of whom the application vouches for, with their rights of now. Raises as `engine.access.visitors.arrive`."""
    if visitor is None:
        return None
    return visitors.arrive(opened, visitor.outside_id, visitor.name, visitor.given, host="application", address=address)


def is_elsewhere(endpoint: str | None) -> bool:
    """Whether this is about signing in here, where nobody does."""
    return is_embedded() and endpoint is not None and (endpoint.startswith("signing_in.") or endpoint in SIGNS_IN_HERE)
