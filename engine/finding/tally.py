"""How many of something were found: for kept views, by their engines and on their pages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tally:
    """So many were found; `is_least` where there may be more, as older ones were not looked through."""

    number: int
    is_least: bool = False
