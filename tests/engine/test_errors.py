import pickle
from datetime import timedelta
from decimal import Decimal

import pytest

from engine.errors import DefinitionError, PermanentError, Problem, RequestError, RetryableError, TaskerError


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        (None, None),
        (60, 60.0),
        (0.5, 0.5),
        (timedelta(minutes=2), 120.0),
        (-5, 0.0),
        (float("nan"), None),
        (float("inf"), 366 * 86400.0),
        (10**400, 366 * 86400.0),
        (timedelta.max, 366 * 86400.0),
        (True, None),
        ("soon", None),
        (Decimal(3), None),
    ],
)
def test_a_delay_is_seconds_within_a_year_and_nonsense_is_no_delay(delay: object, seconds: float | None) -> None:
    assert RetryableError("busy", delay=delay).delay == seconds  # type: ignore[arg-type]


def test_a_permanent_error_carries_its_code() -> None:
    error = PermanentError("card refused", error_code="card_refused")
    assert (str(error), error.error_code) == ("card refused", "card_refused")


def test_a_definition_error_lists_every_problem_on_a_line_of_its_own() -> None:
    error = DefinitionError([Problem("name", "bad_name", "is bad"), Problem("version", "bad_version", "is too", 3, 7)], "a.yaml")
    assert str(error) == "a.yaml:\n  name: is bad [bad_name]\n  line 3, column 7: version: is too [bad_version]"


def test_a_long_list_of_problems_is_cut_in_the_text_only() -> None:
    error = RequestError(Problem(f"$.a[{no}]", "type", "is bad") for no in range(80))
    assert len(error.problems) == 80
    assert str(error).splitlines()[-1] == "... and 30 more"


def test_a_problem_can_be_seen_from_outside() -> None:
    assert Problem("retry_limit", "x", "y").under("step_templates[2]").path == "step_templates[2].retry_limit"
    assert Problem("[1]", "x", "y").under("tags").path == "tags[1]"
    assert Problem("", "x", "y").under("tags").path == "tags"


def test_errors_with_problems_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(RequestError([Problem("a", "b", "c")], "subject")))
    assert isinstance(error, TaskerError)
    assert error.problems == [Problem("a", "b", "c")]
