"""What is written in a box: the name, cut where it is long."""

from __future__ import annotations

import unicodedata

from webapp.graph.measures import LABEL_LENGTH, LABEL_TAIL


def label(name: str) -> str:
    """The name, or its beginning and its end: names that differ often differ in their last letters."""
    if letters(name) <= LABEL_LENGTH:
        return name
    tail = _head(name[::-1], LABEL_TAIL)[::-1]
    return f"{_head(name, LABEL_LENGTH - LABEL_TAIL - 1)}…{tail}"


def _head(name: str, length: int) -> str:
    end = 0
    while end < len(name) and letters(name[: end + 1]) <= length:
        end += 1
    return name[:end]


def letters(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
