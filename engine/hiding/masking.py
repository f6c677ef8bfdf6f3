"""Text that people will read on pages and terminals: without what harms those, and with likely secrets masked. Errors and log lines pass through here."""

from __future__ import annotations

import os
import re

from engine import json_text

MAX_MESSAGE_BYTES = 8 << 10
MASK = "***"
"""What stands in the place of a secret."""

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROLS = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_WORDS = ("password", "passwd", "secret", "token", "api[_-]?key", *(re.escape(word.strip()) for word in os.environ.get("TASKER_SECRET_NAMES", "").split(",") if word.strip()))
"""How names of secrets end. Read once and from the surroundings, so that the processes of handlers, which inherit those, mask as the engine does."""
_SECRET = re.compile(rf"""(?i)\b([\w-]*(?:{"|".join(_WORDS)})["']?\s*[=:]\s*["']?)(?:bearer\s+)?[^\s"',;&)}}\]]+""")
SECRET_NAMES = (*_WORDS, "authorization")
"""How names of secrets end, as regular expressions that the database understands too."""
_SECRET_NAME = re.compile(rf"(?i)(?:{'|'.join(SECRET_NAMES)})\Z")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
_USERINFO = re.compile(r"(://[^\s:/@]*:)[^\s/@]+@")


def clean_message(text: str, limit: int = MAX_MESSAGE_BYTES) -> str:
    """The text without terminal codes, NUL and half surrogates, likely secrets masked, in at most `limit` bytes of UTF-8: 8 KiB."""
    return cut(clean(text[: 4 * limit]), limit)


def clean(text: str) -> str:
    """The same at any length."""
    text = _CONTROLS.sub("\ufffd", without_codes(json_text.clean_text(text)))
    return _USERINFO.sub(r"\1***@", _SECRET.sub(r"\1***", _BEARER.sub(r"\1 ***", text)))


def without_codes(text: str) -> str:
    """The text without terminal codes."""
    return _ANSI.sub("", text)


def cut(text: str, limit: int) -> str:
    """Its beginning, in at most `limit` bytes of UTF-8; an ellipsis says that there was more."""
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= limit else raw[: limit - 3].decode("utf-8", "ignore") + "\u2026"


def is_secret_name(name: str) -> bool:
    """Whether a value of that name is likely a secret."""
    return _SECRET_NAME.search(name) is not None
