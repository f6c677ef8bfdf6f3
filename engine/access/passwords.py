"""Passwords: which are good enough, how they are kept, and how one is compared without telling whether there is such an account."""

from __future__ import annotations

import re
import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from engine.errors import Problem, RequestError

SHORTEST, LONGEST = 12, 1_000
HASHES_AT_ONCE = 2

# 64 MiB and three passes: about a tenth of a second, and no more than 128 MiB at a time
_hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=1)
_turn = threading.BoundedSemaphore(HASHES_AT_ONCE)
_DUMMY = "$argon2id$v=19$m=65536,t=3,p=1$c29tZSBzYWx0IG9mIDE2IQ$ebVOTuRURtUWLLQ7NzMr9GsRxkVBNt8pI2tVWLmNxzU"

# What the usual passwords of twelve and more characters are made of: one of these, with digits and signs around it, or again and again.
_COMMON = frozenset(
    ["password", "passwort", "passwords", "secret", "topsecret", "admin", "administrator", "root", "user", "username", "login", "welcome", "willkommen", "hello", "hallo", "letmein", "letmeinplease", "changeme", "changemenow", "pleasechangeme", "default", "master", "qwerty", "qwertz", "azerty", "qwertyuiop", "qwertzuiop", "asdf", "asdfgh", "asdfghjkl", "zxcvbn", "zxcvbnm", "qwertyasdfgh", "qwertyuiopasdfghjkl", "abc", "abcd", "abcdef", "abcdefgh", "abcdefghijkl", "iloveyou", "loveyou", "love", "dragon", "monkey", "football", "baseball", "basketball", "soccer", "sunshine", "princess", "superman", "batman", "starwars", "trustno", "trustnoone", "shadow", "michael", "jordan", "summer", "winter", "spring", "autumn", "sommer", "geheim", "test", "testing", "tester", "guest", "temp", "temporary", "company", "access", "server", "database", "postgres", "postgresql", "tasker", "workflow", "mypassword", "thisismypassword", "passwordpassword", "adminadmin", "adminpassword", "passwordadmin", "rootpassword", "testpassword", "testtest", "correcthorsebatterystaple", "letmeinnow", "newpassword", "oldpassword", "yourpassword", "mysecret", "mysecretpassword", "supersecret", "verysecret", "verysecretpassword", "computer", "internet", "samsung", "pokemon", "naruto", "cheese", "chocolate", "butterfly", "liverpool", "chelsea", "arsenal", "barcelona", "whatever", "freedom", "ninja", "mustang", "maverick", "charlie", "thomas", "george", "jennifer", "jessica", "ashley", "nicole", "daniel", "andrew", "joshua", "matthew", "anthony", "hunter", "ranger", "buster", "killer", "pepper", "ginger", "cookie", "banana", "orange", "purple", "silver", "golden", "diamond", "blink", "family", "friends", "forever", "lovely", "angel", "hottie", "flower"]
)
_LEET = str.maketrans("0135$@!", "olessai")
_RUNS = ("abcdefghijklmnopqrstuvwxyz", "01234567890123456789", "qwertyuiop", "qwertzuiop", "asdfghjkl", "zxcvbnm", "1qaz2wsx3edc4rfv5tgb6yhn")


def check_password(password: str, name: str = "") -> None:
    """Raises `RequestError` for a password that is too short, too long, or one of those that are tried first."""
    if len(password) < SHORTEST:
        raise RequestError([Problem("password", "too_short", f"has {len(password)} characters; it needs at least {SHORTEST}")])
    if len(password) > LONGEST or "\x00" in password:
        raise RequestError([Problem("password", "too_long", f"may have at most {LONGEST:,} characters, and no NUL")])
    if is_common(password, name):
        raise RequestError([Problem("password", "too_common", "is one that is tried first; three or four words that do not belong together are better")])


def is_common(password: str, name: str = "") -> bool:
    """Whether it is a common word or the account's name with digits and signs, one of them repeated, a run of keys, or a short text repeated."""
    plain = password.casefold()
    if len(set(plain)) < 5 or _repeated(plain) or any(plain in run or plain in run[::-1] for run in _RUNS):
        return True
    known = _COMMON | {_letters(name.casefold())} - {""}
    middle = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", plain)
    return any(_once(_letters(text)) in known for text in (middle, middle.translate(_LEET)))


def _letters(text: str) -> str:
    return re.sub(r"[\W\d_]+", "", text)


def _repeated(text: str) -> bool:
    return re.fullmatch(r"(.{1,6}?)\1+.{0,3}", text, re.DOTALL) is not None


def _once(text: str) -> str:
    """The text without its repetitions."""
    found = re.fullmatch(r"(.+?)\1+", text)
    return found[1] if found else text


def hashed(password: str) -> str:
    """What is kept of a password."""
    with _turn:
        return _hasher.hash(_typed(password))


def is_right(kept: str | None, password: str) -> bool:
    """Whether this is the password that was kept; without one, false after the same work."""
    with _turn:
        try:
            return _hasher.verify(kept or _DUMMY, _typed(password[:LONGEST])) and kept is not None and len(password) <= LONGEST
        except (VerificationError, InvalidHashError):
            return False


def _typed(password: str) -> str:
    # one keyboard sends a letter with its accent as one character, another as two
    return unicodedata.normalize("NFKC", password)


def is_outdated(kept: str) -> bool:
    """Whether it was kept by other parameters than today's, and should be kept anew when it is next seen."""
    return _hasher.check_needs_rehash(kept)
