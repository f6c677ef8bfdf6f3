"""One check and its outcome, and what checks are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.settings import Settings

STATES = ("ok", "warning", "problem")


@dataclass(frozen=True, slots=True)
class Check:
    """How one thing is: `state` is ok, warning or problem; `advice` says what to do, and is empty where all is well."""

    name: str
    state: str
    said: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the checks look: the environment, what it says, the address of the database (None: there is none to look at), and where the dashboard listens."""

    environ: Mapping[str, str]
    settings: Settings
    url: str | None
    host: str


def ok(name: str, said: str) -> Check:
    """It is as it should be."""
    return Check(name, "ok", said)


def warning(name: str, said: str, advice: str) -> Check:
    """It works, and may not be what was meant."""
    return Check(name, "warning", said, advice)


def problem(name: str, said: str, advice: str) -> Check:
    """It does not work, or is open to others."""
    return Check(name, "problem", said, advice)
