"""What the groups of endpoints have in common: their prefix, the errors that any of them may answer, and how both are described."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol, TypeVar, cast

import flask_smorest

from webapp.api import errors
from webapp.api.answers import ErrorsSchema
from webapp.api.reading import Reader

PREFIX = "/api/v1"
ANYWHERE = (401, 403, 429, 503)
"""What every endpoint may answer: no token, not allowed, too fast, no database."""

View = TypeVar("View", bound=Callable[..., Any])


class Decorator(Protocol):
    """Leaves the type of what it decorates as it is."""

    def __call__(self, view: View, /) -> View: ...


class Api(flask_smorest.Api):  # type: ignore[misc]
    """Our description of the API; errors are `errors`' business."""

    ERROR_SCHEMA = ErrorsSchema
    DEFAULT_ERROR_RESPONSE_NAME = None

    def _register_error_handlers(self) -> None:
        pass


class Endpoints(flask_smorest.Blueprint):  # type: ignore[misc]
    """A group of endpoints with its name in the description."""

    ARGUMENTS_PARSER = Reader()

    def __init__(self, name: str, description: str) -> None:
        super().__init__(f"api_{name}", __name__, url_prefix=PREFIX, description=description)
        errors.speak_json(self)

    def may_answer(self, *statuses: int) -> Decorator:
        """Describe the errors of an endpoint, and those of all."""

        def describe(view: View) -> View:
            for status in sorted({*statuses, *ANYWHERE}):
                view = self.alt_response(status, HTTPStatus(status).name)(view)
            return view

        return describe

    # The library has no types of its own.

    def route(self, rule: str, **options: Any) -> Decorator:
        return cast(Decorator, super().route(rule, **options))

    def arguments(self, schema: Any, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        return cast(Decorator, super().arguments(schema, **options))

    def response(self, status_code: int, schema: Any = None, **options: Any) -> Decorator:
        return cast(Decorator, super().response(status_code, schema, **options))

    def alt_response(self, status_code: int, response: str | None = None, **options: Any) -> Decorator:
        return cast(Decorator, super().alt_response(status_code, response, **options))

    def describe(self, **properties: Any) -> Decorator:
        """Further properties of the operation in the description."""
        return cast(Decorator, self.doc(**properties))
