"""A JSON value as a page shows it: objects and lists fold away, the whole is cut before it could be a burden to a browser.

The filter `json_block` renders it; what was cut can be had whole from the link beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from flask import Flask
from markupsafe import Markup

from webapp.filters import visible

MAX_SHOWN = 64 * 1024  # characters of text
MAX_MEMBERS = 200  # of one object or list
MAX_TEXT = 2_000  # of one string
MAX_DEPTH = 24
OPEN_DEPTH = 2
OPEN_MEMBERS = 40


def init_app(app: Flask) -> None:
    """Offer templates the filter."""
    app.add_template_filter(json_block)


def json_block(value: Any, whole_url: str | None = None) -> Markup:
    """The value with its parts told apart; `whole_url` leads to all of it when something had to be left out."""
    view = _View()
    body = Markup("").join(view.value(value, 0, ""))
    cut = _cut_words(whole_url) if view.is_cut else Markup("")
    return Markup('<div class="json">{}</div>{}').format(body, cut)


def _cut_words(whole_url: str | None) -> Markup:
    said = Markup('<p class="hint">It is too large to show whole.{}</p>')
    return said.format(Markup(' <a href="{}" download>Download all of it</a>').format(whole_url) if whole_url else "")


class _View:
    """One rendering: how much may still be shown, and whether anything was left out."""

    def __init__(self) -> None:
        self.left = MAX_SHOWN
        self.is_cut = False

    def value(self, value: Any, depth: int, name: str) -> Iterator[Markup]:
        if isinstance(value, dict | list) and value and depth < MAX_DEPTH:
            yield from self._folded(value, depth, name)
        else:
            yield Markup('<div class="json-line">{}{}</div>').format(_name(name), self._leaf(value))

    def _folded(self, value: dict[str, Any] | list[Any], depth: int, name: str) -> Iterator[Markup]:
        is_open = depth < OPEN_DEPTH and len(value) <= OPEN_MEMBERS
        yield Markup("<details{}><summary>{}<span>{}</span></summary>").format(
            Markup(" open") if is_open else "", _name(name), _size(value)
        )
        yield from self._members(value, depth)
        yield Markup("</details>")

    def _members(self, value: dict[str, Any] | list[Any], depth: int) -> Iterator[Markup]:
        shown = 0
        for name, member in islice(_named(value), MAX_MEMBERS):
            if self.left <= 0:
                break
            self.left -= len(name) + 8
            shown += 1
            yield from self.value(member, depth + 1, name)
        if shown < len(value):
            self.is_cut = True
            yield Markup('<div class="json-line json-rest">{} more</div>').format(len(value) - shown)

    def _leaf(self, value: Any) -> Markup:
        kind, text = _text(value)
        most = max(min(MAX_TEXT, self.left), 40)
        self.left -= min(len(text), most)
        if len(text) <= most:
            return Markup('<span class="json-{}">{}</span>').format(kind, text)
        self.is_cut = True
        rest = Markup('<span class="json-rest">… {} more characters</span>').format(len(text) - most)
        return Markup('<span class="json-{}">{}</span>{}').format(kind, text[:most], rest)


def _named(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    return iter(value.items()) if isinstance(value, dict) else ((str(no), each) for no, each in enumerate(value))


def _name(name: str) -> Markup:
    return Markup('<span class="json-key">{}</span> ').format(visible(name[:MAX_TEXT])) if name else Markup("")


def _size(value: dict[str, Any] | list[Any]) -> str:
    many = len(value)
    if isinstance(value, dict):
        return "{1 field}" if many == 1 else f"{{{many} fields}}"
    return "[1 entry]" if many == 1 else f"[{many} entries]"


def _text(value: Any) -> tuple[str, str]:
    """Which kind of leaf it is, and its text as JSON writes it; what is nested too deep is one text."""
    kind = "text" if isinstance(value, str) else "word" if value is None or isinstance(value, bool) else "number"
    if isinstance(value, dict | list):
        kind = "rest"
    return kind, visible(json.dumps(value, ensure_ascii=False, default=str))
