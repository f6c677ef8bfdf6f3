"""Times as the examples write them: ISO-8601 in UTC with a `Z`, as in the events of the engine."""

from datetime import UTC, datetime, timedelta


def now() -> str:
    """This moment to the second."""
    return written(datetime.now(UTC))


def moment(text: str) -> datetime:
    """The moment that `text` names."""
    return datetime.fromisoformat(text)


def later(text: str, by: timedelta) -> str:
    """The moment `by` after the one that `text` names; a negative `by` goes back."""
    return written(moment(text) + by)


def written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
