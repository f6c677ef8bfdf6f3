"""How values read on a page."""

from __future__ import annotations

from datetime import timedelta

import pytest

from webapp import filters
from webapp.form_parts import sentence as form_sentence


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (None, "–"),
        (0.0004, "0 ms"),
        (0.0123, "12 ms"),
        (1, "1 s"),
        (1.43, "1.4 s"),
        (59.7, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (timedelta(hours=2, minutes=5), "2 h 5 min"),
        (timedelta(days=3, hours=4), "3 d 4 h"),
        (-1, "0 ms"),
    ],
)
def test_a_duration_has_two_units_at_most(length: float, words: str) -> None:
    assert filters.seconds(length) == words


def test_a_count_that_stopped_says_so() -> None:
    assert filters.count(9_999) == "9\u202f999"
    assert filters.count(10_001) == "10\u202f000+"
    assert filters.plural(1, "step") == "1 step"
    assert filters.plural(2, "step") == "2 steps"


@pytest.mark.parametrize("name", ["Europe/" + "a/" * 3_000 + "a", "", "nowhere", "../UTC", "/etc/passwd", "Europe/\x00", "x" * 5000, "Europe"])
def test_a_zone_that_is_none_is_utc(name: str) -> None:
    assert filters.zone_named(name).key == "UTC"


def test_a_sentence_begins_large_and_ends() -> None:
    assert filters.sentence("the step is completed") == "The step is completed."
    assert filters.sentence("Really?") == "Really?"
    assert filters.sentence("") == ""


@pytest.mark.parametrize("text", ["night/slow_job@1.0.0 has no step", "run_at is over", "slow_job.", "a2 is running"])
def test_a_name_that_a_sentence_begins_with_stays_as_it_is(text: str) -> None:
    assert filters.sentence(text) == text.removesuffix(".") + "."
    assert form_sentence("$", text) == text


def test_a_message_of_a_form_begins_large() -> None:
    assert form_sentence("$", "is required") == "Is required"


def test_a_long_name_breaks_after_its_underscores_and_stays_data() -> None:
    assert filters.breakable("user_registration") == "user_<wbr>registration"
    assert filters.breakable("<b>_x") == "&lt;b&gt;_<wbr>x"
