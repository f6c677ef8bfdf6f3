"""What stands on a page, as its reader sees it: words without their markup, the cells of a table, and durations as seconds."""

from __future__ import annotations

import re

UNITS = {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86_400}
TO_A_QUARTER = 1.3
"""What lies between a percentile of the roll-ups and the true one, and the rounding of its words."""


def words(markup: str) -> str:
    """The text alone, with single spaces."""
    return re.sub(r"[ \n]+", " ", re.sub(r"<svg.*?</svg>|<[^>]+>", " ", markup, flags=re.DOTALL)).strip(" \n")


def facts(page: str) -> dict[str, str]:
    """What the page says under each word, with its markup."""
    return dict(re.findall(r"<div><dt>([^<]+)</dt><dd>(.*?)</dd></div>", page, re.DOTALL))


def cells(page: str, caption: str) -> list[list[str]]:
    """The rows of the table whose caption begins so, as the words in their cells."""
    body = page.partition(f'<caption class="hidden">{caption}')[2].partition("<tbody>")[2].partition("</tbody>")[0]
    rows = re.findall(r"<tr.*?</tr>", body, re.DOTALL)
    return [[words(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)] for row in rows]


def length(shown: str) -> float:
    """Seconds, from `3 min 20 s`."""
    parts = shown.split()
    return sum(float(number) * UNITS[unit] for number, unit in zip(parts[::2], parts[1::2], strict=True))


def is_near(shown: str, seconds: float) -> bool:
    """Whether these words tell a percentile that is truly so long."""
    return seconds / TO_A_QUARTER <= length(shown) <= seconds * TO_A_QUARTER
