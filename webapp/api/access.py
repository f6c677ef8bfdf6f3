"""What the endpoints ask about their caller. Whether an address may be asked for at all `webapp.access` has decided before, by the table of routes."""

from __future__ import annotations

from webapp.access import allowed_namespaces, hidden_as_missing, known_caller, note, note_act, require

__all__ = ["actor", "allowed_namespaces", "caller", "hidden_as_missing", "note", "note_act", "require"]


def actor() -> str:
    """Who acts, for the history."""
    return known_caller().name


def caller() -> str:
    """Whose requests are counted together: those of one token."""
    return str(known_caller().token)
