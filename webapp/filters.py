"""How values read on a page: states, times, durations, counts and identities."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from uuid import UUID
from zoneinfo import ZoneInfo

from flask import Flask, g, request
from markupsafe import Markup

from engine.timing import LONGEST_ZONE
from engine.wording import ago as ago
from engine.wording import count as count
from engine.wording import label as label
from engine.wording import plural as plural
from engine.wording import seconds as seconds
from engine.wording import sentence as sentence

ZONE_COOKIE = ZONE_FIELD = "zone"
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")

def init_app(app: Flask) -> None:
    """Offer every filter under its own name."""
    for offered in (label, state_mark, moment, clock, stamp, field_text, visible, audited_task, ago, seconds, count, exact, rate, percent, short, plural, sentence, breakable):
        app.add_template_filter(offered)
    app.context_processor(lambda: {"zone": reader_zone().key, "zone_is_chosen": chosen_zone() is not None})


@lru_cache(maxsize=64)
def state_mark(state: str, form: str = "") -> Markup:
    """A state as it is told everywhere: icon, word and colour. Called for every row of every table, so each is made once."""
    kind = f" state-{form}" if form else ""
    return Markup('<span class="state state-{0}{1}"><svg class="icon" aria-hidden="true"><use href="#icon-{0}"/></svg>{2}</span>').format(state, kind, label(state))


def visible(text: str) -> str:
    """The text with what turns the direction of writing shown by its number: unseen, it makes a text read as another."""
    return text if text.isascii() else _TURNS.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


@lru_cache(maxsize=1024)
def breakable(name: str) -> Markup:
    """A name that a narrow column breaks after its underscores, and not within a word."""
    return Markup("_<wbr>").join(name.split("_"))


def reader_zone() -> ZoneInfo:
    """The reader's time zone: the one chosen for the account, else what the browser told in a cookie; UTC until then and for anything unknown."""
    if "zone" not in g:
        g.zone = zone_named(chosen_zone() or request.cookies.get(ZONE_COOKIE, ""))
    zone: ZoneInfo = g.zone
    return zone


def keep_zone_of_form() -> None:
    """For the rest of this request the reader's zone is the one that the form has named beside its times, whatever the browser tells since."""
    if named := request.form.get(ZONE_FIELD):
        g.zone = zone_named(named)


def read_local(text: str, zone: tzinfo | None = None) -> datetime:
    """The moment that was typed, in UTC: read by the clock of the zone, the reader's without it, unless it names one. Raises `ValueError`, `OverflowError`."""
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=zone or reader_zone())).astimezone(UTC)


def local_text(at: datetime, form: str = "%Y-%m-%dT%H:%M") -> str:
    """The moment as a field for a date and a time has it, by the clock of the reader's zone."""
    try:
        return at.astimezone(reader_zone()).strftime(form)
    except OverflowError:  # the first or the last hours of the calendar
        return at.strftime(form)


def utc_text(at: datetime) -> str:
    """The moment as links have it, the same for every reader."""
    try:
        return f"{at.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
    except OverflowError:
        return at.isoformat(timespec="minutes")


def chosen_zone() -> str | None:
    """The zone that whoever is signed in has chosen."""
    chosen: str | None = getattr(g.get("caller"), "zone", None)
    return chosen


@lru_cache(maxsize=64)
def zone_named(name: str) -> ZoneInfo:
    """The zone of that name, or UTC. The name comes from outside, so nothing it says may raise."""
    try:
        return ZoneInfo(name) if 0 < len(name) <= LONGEST_ZONE else ZoneInfo("UTC")
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")


def moment(at: datetime | None) -> Markup | str:
    """A time for people: the day only when it is not today; UTC in full when pointed at."""
    return _time(at, _text(at, reader_zone())) if at else Markup('<span class="none">–</span>')


def clock(at: datetime | None) -> Markup | str:
    """A time to the second with its day, for the activity and details."""
    return _time(at, f"{at.astimezone(reader_zone()):%d %b %H:%M:%S}", "full") if at else moment(None)


def stamp(at: datetime) -> Markup:
    """A time to the millisecond, for lines that follow each other."""
    local = at.astimezone(reader_zone())
    return _time(at, f"{local:%H:%M:%S}.{local.microsecond // 1000:03}", "exact")


def field_text(value: object) -> str:
    """A field of a log line: text as it is, anything else as JSON."""
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def audited_task(subject: str | None) -> str | None:
    """The id of the task that an entry of the audit is about; None when it is about something else."""
    kind, _, rest = (subject or "").partition(" ")
    task_id = rest.partition(" ")[0]
    try:
        return str(UUID(task_id)) if kind == "task" else None
    except ValueError:
        return None


def _time(at: datetime, text: str, form: str = "short") -> Markup:
    # figures and names of months alone: escaping them is what a table of thousands would pay for
    utc = at.astimezone(UTC).isoformat(" ", "microseconds")
    return Markup(f'<time datetime="{utc[:10]}T{utc[11:26]}Z" data-form="{form}" title="{utc[:19]} UTC">{text}</time>')


def _text(at: datetime, zone: tzinfo) -> str:
    local, today = at.astimezone(zone), datetime.now(zone)
    if local.date() == today.date():
        return f"{local:%H:%M:%S}"
    return f"{local:%d %b %H:%M}" if local.year == today.year else f"{local:%Y-%m-%d}"


def exact(number: int) -> str:
    """A count that was made to the end, with thin spaces between thousands."""
    return f"{number:,}".replace(",", "\u202f")


def rate(number: float) -> str:
    """How many in a unit of time, to about three figures: `0.25`, `12.4`, `1 240`."""
    return exact(round(number)) if number >= 100 else f"{number:.3g}"


def percent(share: float) -> str:
    """`97 %`; never 100 % where something is missing, nor 0 % where there is something."""
    rounded = round(share * 100)
    if 0 < share < 1:
        rounded = min(max(rounded, 1), 99)
    return f"{rounded}\u202f%"


def short(task_id: object) -> str:
    """The first part of a task's id, enough to recognise it in a list."""
    return str(task_id)[:8]
