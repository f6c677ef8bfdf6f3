"""Shipping labels: an SVG file with the address and the tracking number as an interleaved 2-of-5 bar code."""

import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from engine.examples import storage

# Which two of a digit's five elements are wide.
_WIDE = ("00110", "10001", "01001", "11000", "00101", "10100", "01100", "00011", "10010", "01010")
_NARROW_WIDTH, _WIDE_WIDTH = 2, 5
_MARGIN = 24


def tracking_number(key: str) -> str:
    """Fourteen digits that belong to `key`; the last one checks the others."""
    digits = f"{int(hashlib.sha256(key.encode()).hexdigest(), 16) % 10**13:013d}"
    return digits + check_digit(digits)


def check_digit(digits: str) -> str:
    """The digit that makes the sum, weighted 3 and 1 from the right, a multiple of ten."""
    weighted = (int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    return str(-sum(weighted) % 10)


def print_label(tracking: str, *, carrier: str, lines: Sequence[str]) -> Path:
    """Write the label and return its file; printing it again replaces it by the same label."""
    return storage.write_file(storage.folder("labels") / f"{tracking}.svg", _svg(tracking, carrier=carrier, lines=lines))


def bars(digits: str) -> Iterator[tuple[int, int]]:
    """The black bars (left edge, width) of an even number of digits; each pair shares bars and gaps."""
    left = 0
    for position, width in enumerate(_elements(digits)):
        if position % 2 == 0:
            yield left, width
        left += width


def _elements(digits: str) -> Iterator[int]:
    yield from (_NARROW_WIDTH,) * 4
    for first, second in zip(digits[::2], digits[1::2], strict=True):
        for bar, gap in zip(_WIDE[int(first)], _WIDE[int(second)], strict=True):
            yield _width(bar)
            yield _width(gap)
    yield from (_WIDE_WIDTH, _NARROW_WIDTH, _NARROW_WIDTH)


def _width(wide: str) -> int:
    return _WIDE_WIDTH if wide == "1" else _NARROW_WIDTH


def _svg(tracking: str, *, carrier: str, lines: Sequence[str]) -> str:
    height = 206 + 22 * len(lines)
    code = "".join(f'<rect x="{_MARGIN + left}" y="{height - 120}" width="{width}" height="70"/>' for left, width in bars(tracking))
    address = "".join(f'<text x="{_MARGIN}" y="{86 + 22 * row}" font-size="16">{escape(line)}</text>' for row, line in enumerate(lines))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 380 {height}" width="380" height="{height}" font-family="sans-serif">'
        f'<rect width="380" height="{height}" fill="white"/>'
        f'<rect x="8" y="8" width="364" height="{height - 16}" fill="none" stroke="black" stroke-width="2" rx="6"/>'
        f'<text x="{_MARGIN}" y="46" font-size="22" font-weight="bold">{escape(carrier)}</text>'
        f"{address}{code}"
        f'<text x="{_MARGIN}" y="{height - 26}" font-size="16" letter-spacing="3">{tracking}</text></svg>\n'
    )
