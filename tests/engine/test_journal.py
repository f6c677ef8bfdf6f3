"""What an attempt says is bounded, cleaned and handed on."""

from __future__ import annotations

import json
import marshal
from decimal import Decimal
from typing import Any

import pytest

from engine import journal
from engine.journal import NOWHERE, Journal, Line, Progress, Said


@pytest.fixture
def said() -> list[Said]:
    return []


@pytest.fixture
def own(said: list[Said]) -> Journal:
    return Journal(said.append)


def fields_of(said: list[Said]) -> Any:
    line = said[-1]
    assert isinstance(line, Line)
    return None if line.fields is None else json.loads(line.fields)


def test_a_line_has_level_text_and_fields(own: Journal, said: list[Said]) -> None:
    own.log("warning", "slow answer", {"seconds": 1.5, "tries": [1, 2], "last": None})
    [line] = said
    assert isinstance(line, Line)
    assert (line.level, line.message, fields_of(said)) == (30, "slow answer", {"seconds": 1.5, "tries": [1, 2], "last": None})


def test_a_line_without_fields_has_none(own: Journal, said: list[Said]) -> None:
    own.log("info", "x", {})
    assert fields_of(said) is None


def test_a_level_that_does_not_exist_is_named(own: Journal) -> None:
    with pytest.raises(ValueError, match="no level 'loud'; one of debug, info"):
        own.log("loud", "x", {})


@pytest.mark.parametrize(("level", "number"), [("DEBUG", 10), (20, 20), (25, 20), (99, 50), (1, 10)])
def test_levels_are_those_of_logging(own: Journal, said: list[Said], level: Any, number: int) -> None:
    own.log(level, "x", {})
    assert said[0][1] == number


def test_a_line_is_cleaned_and_masked_and_cut(own: Journal, said: list[Said]) -> None:
    own.log("info", "\x1b[31mred\x00\ud800 password=hunter2 " + "ä" * 9000, {"token": 7, "\x1b[1mnote": "api_key=abc", "deep": {"secret": "x"}})
    line = said[0]
    assert isinstance(line, Line)
    assert line.message.startswith("red\ufffd\ufffd password=*** ää")
    assert len(line.message.encode()) <= 8192
    assert fields_of(said) == {"token": "***", "note": "api_key=***", "deep": {"secret": "***"}}


def test_what_the_attempt_was_given_in_secret_is_in_no_line_and_leaves_its_fields_json(own: Journal, said: list[Said]) -> None:
    own.secrets = frozenset({"4711", "true", "a;b c"})
    own.log("info", "\x1b[31m4\x1b[0m711 token=a;b c " + "x" * 8140 + " a;b c" * 9, {"pin": 4711, "on": True, "list": ("is 4711", 1.5), "a;b c": "y" * 998 + "4711"})
    line = said[0]
    assert isinstance(line, Line)
    assert line.message.startswith("*** token=*** xx")
    assert not [secret for secret in ("4711", "a;") if secret in str(line)]
    assert fields_of(said) == {"pin": "***", "on": True, "list": ["is ***", 1.5], "***": "y" * 997 + "\u2026"}


def test_fields_that_json_cannot_hold_are_text(own: Journal, said: list[Said]) -> None:
    own.log("info", "x", {"price": Decimal("1.5"), "far": float("inf"), "big": 2**70, "kind": {1}, "key": {3: True}})
    assert fields_of(said) == {"price": "1.5", "far": "inf", "big": str(2**70), "kind": [1], "key": {"3": True}}


def test_fields_are_bounded(own: Journal, said: list[Said]) -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    own.log("info", "x", {"long": "y" * 5000, "circle": circle})
    assert len(said[-1][3]) < 4096  # type: ignore[arg-type]
    own.log("info", "x", {f"field{number}": "y" * 900 for number in range(20)})
    assert list(fields_of(said)) == ["\u2026"]


def test_an_attempt_may_write_a_thousand_lines(own: Journal, said: list[Said]) -> None:
    for number in range(1, 1200):
        own.log("info", f"line {number}", {})
    assert len(said) == journal.MAX_LINES + 1
    assert said[-2][2] == "line 1000"
    assert "more were not kept" in str(said[-1][2])


def test_an_attempt_may_write_a_mebibyte(own: Journal, said: list[Said]) -> None:
    for _ in range(200):
        own.log("info", "x" * 8192, {})
    assert len(said) == 130
    assert "more were not kept" in str(said[-1][2])


def test_what_is_said_goes_through_marshal(own: Journal, said: list[Said]) -> None:
    class Text(str):
        """A text of its own kind."""

    own.log("info", Text("x"), {Text("a"): Text("b")})
    own.progress(Decimal(3), 10, Text("page"))
    for one in said:
        assert marshal.loads(marshal.dumps(tuple(one))) == tuple(one)


def test_of_progress_in_quick_succession_the_first_and_the_last_are_handed_on(own: Journal, said: list[Said]) -> None:
    for done in range(1, 100):
        own.progress(done, 100, f"page {done}")
    own.close()
    assert [one[1:] for one in said] == [(1.0, 100.0, "page 1"), (99.0, 100.0, "page 99")]


@pytest.mark.parametrize(
    ("done", "total", "kept"),
    [(3, None, (3.0, None)), (-1, 10, (0.0, 10.0)), (float("nan"), float("inf"), (0.0, None)), (12, 10, (12.0, 10.0)), (10**400, 0, (0.0, 0.0))],
)
def test_a_number_that_makes_no_sense_fails_no_step(own: Journal, said: list[Said], done: Any, total: Any, kept: Any) -> None:
    own.progress(done, total, None)
    assert (said[0][1], said[0][2]) == kept


@pytest.mark.parametrize("wrong", ["3", True, None, [1]])
def test_what_is_no_number_is_refused(own: Journal, wrong: Any) -> None:
    with pytest.raises(TypeError, match="the done of a progress must be a number"):
        own.progress(wrong, 10, None)


def test_a_note_is_cleaned_and_cut(own: Journal, said: list[Said]) -> None:
    own.progress(1, 2, "\x1b[1mtoken=abc " + "x" * 900)
    progress = said[0]
    assert isinstance(progress, Progress)
    assert progress.note is not None
    assert progress.note.startswith("token=*** xxx")
    assert len(progress.note.encode()) <= 500


def test_an_attempt_that_is_over_says_nothing(own: Journal, said: list[Said]) -> None:
    own.close()
    own.log("info", "x", {})
    own.progress(1, 2, None)
    NOWHERE.log("info", "x", {})
    NOWHERE.progress(1, 2, None)
    assert said == []
