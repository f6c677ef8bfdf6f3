"""What a request brings: its JSON body, by the one reader of JSON, and its query parameters, none of them unknown or given twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, NoReturn

from flask import Request, request
from marshmallow import RAISE, Schema, ValidationError
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import RequestEntityTooLarge

from engine import json_text
from engine.definition import nearest, shown
from engine.errors import MAX_PROBLEMS, Problem, RequestError
from webapp.api.errors import Refused

UNKNOWN = "Unknown field."
MISSING = "Missing data for required field."


class Reader(FlaskParser):
    """Hands the endpoints what their schemas describe. Raises `RequestError` with everything that is wrong."""

    DEFAULT_UNKNOWN_BY_LOCATION = {"json": RAISE, "query": RAISE}

    def load_json(self, req: Request, schema: Schema) -> Any:
        return read_body()

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        return read_query()

    def handle_error(self, error: ValidationError, req: Request, schema: Schema, **_: Any) -> NoReturn:
        raise RequestError(list(islice(_problems(error.messages, "", list(schema.fields)), MAX_PROBLEMS)))


def read_query() -> dict[str, str]:
    """The query parameters. Raises `RequestError` for one that is given twice, or holds what no text may hold."""
    found = [Problem(shown_name(name), "given_twice", "may be given once") for name, values in request.args.lists() if len(values) > 1]
    found += [Problem(shown_name(name), "nul_character", "contains a NUL character") for name, value in request.args.items() if "\0" in name + value]
    if found:
        raise RequestError(found)
    return request.args.to_dict()


def read_body() -> Any:
    """The JSON of the body; `{}` for an empty one without a type. Raises `Refused` and `RequestError`."""
    _check_type()
    request.max_content_length = json_text.MAX_BYTES
    body = request.get_data(cache=False)
    if len(body) > json_text.MAX_BYTES:
        raise RequestEntityTooLarge
    if not body and not request.content_type:
        return {}
    try:
        return json_text.read_input(body)
    except RequestError as error:
        raise RequestError([replace(one, path=from_root(one.path)) for one in error.problems]) from None


def from_root(path: str, root: str = "") -> str:
    """A path of the JSON reader, `$.a[3]`, as the API says it: `a[3]`, or `root.a[3]`."""
    rest = path.removeprefix("$")
    return f"{root}{rest}" if root else rest.removeprefix(".")


def shown_name(name: str) -> str:
    """A name from outside, fit to be a path."""
    return json_text.clean_text(name)[:80]


def _check_type() -> None:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(415, "unsupported_media_type", "send the body uncompressed, without Content-Encoding")
    if not request.content_type:
        if request.content_length:
            raise Refused(415, "unsupported_media_type", "say what the body is: Content-Type: application/json")
        return
    if request.mimetype != "application/json" or request.mimetype_params.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise Refused(415, "unsupported_media_type", "send application/json in UTF-8")


def _problems(messages: Any, path: str, known: list[str]) -> Iterator[Problem]:
    if isinstance(messages, Mapping):
        for key, inner in messages.items():
            yield from _problems(inner, _joined(path, key), known)
        return
    for text in messages if isinstance(messages, list) else [messages]:
        yield _problem(str(text), path, known)


def _problem(text: str, path: str, known: list[str]) -> Problem:
    if text == UNKNOWN:
        name = path.rpartition(".")[2]
        return Problem(shown_name(path), "unknown_key", f"unknown field {shown(name)}{nearest(name, known)}")
    if text == MISSING:
        return Problem(path, "missing", "is required")
    return Problem(shown_name(path), "invalid", text)


def _joined(path: str, key: object) -> str:
    if key in ("json", "query", "_schema"):
        return path
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)
