"""Answers of text are sent compressed to browsers that take it: a page of a thousand steps shrinks to a fifteenth."""

from __future__ import annotations

import gzip

from flask import Flask, Response, request

SMALLEST = 1_000
LEVEL = 4  # higher ones take longer than they save on the way
TEXTS = ("text/html", "text/css", "text/javascript", "application/json", "image/svg+xml")


def init_app(app: Flask) -> None:
    """Look at every answer on its way out."""
    app.after_request(compress)


def compress(response: Response) -> Response:
    """The same answer, smaller where that is worth it. A stream of events is never held back for it."""
    if not _is_wanted() or not _is_worth_it(response):
        return response
    response.direct_passthrough = False
    response.set_data(gzip.compress(response.get_data(), LEVEL, mtime=0))
    response.headers["Content-Encoding"] = "gzip"
    response.vary.add("Accept-Encoding")
    tag, is_weak = response.get_etag()
    if tag and not is_weak:
        response.set_etag(tag, weak=True)
    return response


def _is_wanted() -> bool:
    # A page that another site had the browser ask for is sent plain: from its compressed length that site could guess a form token.
    is_foreign = request.headers.get("Sec-Fetch-Site") == "cross-site"
    return request.accept_encodings["gzip"] > 0 and not is_foreign and request.method != "HEAD"


def _is_worth_it(response: Response) -> bool:
    is_whole = response.status_code not in (204, 206, 304) and "Content-Encoding" not in response.headers
    length = response.content_length if response.direct_passthrough or response.is_sequence else None
    if response.is_sequence and length is None:
        length = len(response.get_data())
    return is_whole and response.mimetype in TEXTS and length is not None and length >= SMALLEST
