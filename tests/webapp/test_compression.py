"""Text goes out compressed where the browser takes it, and plain where that would be slower or tell too much."""

from __future__ import annotations

import gzip

import pytest
from flask.testing import FlaskClient

GZIP = {"Accept-Encoding": "gzip, br"}


@pytest.mark.parametrize("path", ["/tasks", "/static/page.css", "/static/page.js"])
def test_a_page_and_its_files_are_the_same_after_unpacking(client: FlaskClient, path: str) -> None:
    plain, packed = client.get(path), client.get(path, headers=GZIP)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) == len(packed.data) < len(plain.data)
    assert "Accept-Encoding" in packed.headers["Vary"]
    if path != "/tasks":  # a page has its token
        assert gzip.decompress(packed.data) == plain.data


@pytest.mark.parametrize("headers", [{}, {"Accept-Encoding": "identity"}, {**GZIP, "Sec-Fetch-Site": "cross-site"}])
def test_it_is_plain_for_those_who_cannot_or_should_not_have_it(client: FlaskClient, headers: dict[str, str]) -> None:
    assert "Content-Encoding" not in client.get("/tasks", headers=headers).headers


def test_fonts_and_streams_are_left_as_they_are(client: FlaskClient) -> None:
    font = "/static/vendor/atkinson-hyperlegible-next-latin-wght-normal.woff2"
    assert "Content-Encoding" not in client.get(font, headers=GZIP).headers
    stream = client.get("/live", headers=GZIP)
    assert "Content-Encoding" not in stream.headers
    stream.close()


def test_what_the_browser_has_already_is_not_sent_again(client: FlaskClient) -> None:
    first = client.get("/static/page.css", headers=GZIP)
    again = client.get("/static/page.css", headers={**GZIP, "If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
