"""When a schedule is due, computed without a database or a clock."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from engine import timing
from engine.errors import RequestError
from engine.timing import MAX_CATCH_UP, Timing, cron, every, plan

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(runs: list[datetime], zone: ZoneInfo = BERLIN) -> list[str]:
    return [f"{run.astimezone(zone):%m-%d %H:%M %Z}" for run in runs]


def runs(schedule: Timing, after: str, count: int) -> list[datetime]:
    return list(islice(schedule.runs(at(after), at(after)), count))


def problems(error: pytest.ExceptionInfo[RequestError]) -> list[tuple[str, str]]:
    return [(problem.path, problem.code) for problem in error.value.problems]


# Summer time: it begins on 2026-03-29 at 02:00 and ends on 2026-10-25 at 03:00 in Berlin


def test_a_time_that_spring_leaves_out_is_run_when_the_clock_goes_on() -> None:
    found = runs(cron("30 2 * * *", "Europe/Berlin"), "2026-03-27T12:00", 3)
    assert local(found) == ["03-28 02:30 CET", "03-29 03:00 CEST", "03-30 02:30 CEST"]


def test_a_time_that_autumn_shows_twice_is_run_once() -> None:
    found = runs(cron("30 2 * * *", "Europe/Berlin"), "2026-10-23T12:00", 3)
    assert local(found) == ["10-24 02:30 CEST", "10-25 02:30 CEST", "10-26 02:30 CET"]


def test_it_is_not_run_again_when_asked_in_the_second_of_the_two_hours() -> None:
    found = runs(cron("30 2 * * *", "Europe/Berlin"), "2026-10-25T01:15", 1)
    assert local(found) == ["10-26 02:30 CET"]


def test_several_times_that_spring_leaves_out_are_one_run() -> None:
    found = runs(cron("0,30 2 * * *", "Europe/Berlin"), "2026-03-28T23:00", 3)
    assert local(found) == ["03-29 03:00 CEST", "03-30 02:00 CEST", "03-30 02:30 CEST"]


def test_every_quarter_of_an_hour_goes_on_through_the_hour_that_comes_twice() -> None:
    found = runs(cron("*/15 * * * *", "Europe/Berlin"), "2026-10-24T23:59", 12)
    assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(minutes=15)}


def test_an_interval_is_the_same_length_on_every_day() -> None:
    found = runs(every("1d"), "2026-03-27T12:00", 3)
    assert found == [at("2026-03-28T12:00"), at("2026-03-29T12:00"), at("2026-03-30T12:00")]


@pytest.mark.parametrize("expression", ["30 2 * * *", "*/20 * * * *", "0 */6 * * *", "59 23 L * *", "0 0 * * 5#2", "* * * * *", "15 1-3 * * *"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Beirut", "America/Havana", "Africa/Casablanca", "UTC"])
def test_runs_are_always_later_than_what_they_follow_and_than_each_other(expression: str, zone: str) -> None:
    drawn = random.Random(expression + zone)
    for _ in range(30):
        after = at("2026-01-01T00:00") + timedelta(minutes=drawn.randrange(366 * 1440), seconds=drawn.random() * 60)
        found = [after, *islice(cron(expression, zone).runs(after, after), 5)]
        assert all(earlier < later for earlier, later in pairwise(found))


# What is accepted


def test_a_nickname_stands_for_its_expression() -> None:
    assert cron("@daily") == cron("0 0 * * *")
    assert cron(" 0  9 * * MON-FRI ").expression == "0 9 * * MON-FRI"


@pytest.mark.parametrize("expression", ["", "* * * *", "0 * * * * *", "61 * * * *", "0 0 * * 8", "a b c d e", "*/0 * * * *", "5-1 * * * *", "0 0 * * 5L/2", "1," * 200])
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(RequestError) as error:
        cron(expression)
    assert problems(error) == [("cron", "bad_cron")]


@pytest.mark.parametrize("expression", ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 */31 2 MON#5"])
def test_a_time_that_never_comes_is_refused_at_once(expression: str) -> None:
    begun = time.process_time()
    with pytest.raises(RequestError) as error:
        cron(expression)
    assert problems(error) == [("cron", "bad_cron")]
    assert time.process_time() - begun < 5  # processor seconds: looking for it would take minutes


def test_an_unknown_zone_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(RequestError, match="Europe/Berlin") as error:
        cron("61 * * * *", "Europe/Berlinn")
    assert problems(error) == [("cron", "bad_cron"), ("time_zone", "unknown_zone")]
    for name in ("", "../etc/passwd", "/etc/localtime", "Europe", "Europe/" + "a/" * 3_000 + "a"):
        with pytest.raises(RequestError):
            cron("* * * * *", name)


@pytest.mark.parametrize(
    ("given", "expression", "words"),
    [
        ("90s", "1m30s", "Every 1 minute 30 seconds"),
        ("15m", "15m", "Every 15 minutes"),
        ("1h", "1h", "Every hour"),
        ("1h 30m", "1h30m", "Every 1 hour 30 minutes"),
        ("48h", "2d", "Every 2 days"),
        (timedelta(seconds=1), "1s", "Every second"),
        (timedelta(days=366), "366d", "Every 366 days"),
    ],
)
def test_an_interval_may_be_written_in_several_ways(given: str | timedelta, expression: str, words: str) -> None:
    assert (every(given).expression, every(given).words()) == (expression, words)


@pytest.mark.parametrize("given", ["", "0s", "15", "-5m", "1w", "m", "1.5h", "367d", "30m1h", timedelta(seconds=0.5), timedelta(), timedelta(days=400)])
def test_what_is_no_interval_is_refused(given: str | timedelta) -> None:
    with pytest.raises(RequestError) as error:
        every(given)
    assert problems(error) == [("every", "bad_interval")]


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (cron("30 2 * * *", "Europe/Berlin"), "At 02:30 every day, Europe/Berlin time"),
        (cron("0 9 * * MON-FRI"), "At 09:00 on Monday through Friday, UTC"),
        (cron("0 12 * * 5#2"), "At 12:00 on the second Friday of the month, UTC"),
    ],
)
def test_an_expression_in_words(schedule: Timing, words: str) -> None:
    assert schedule.words() == words


# What becomes of runs that nobody was there for

HOURLY = cron("0 * * * *")


def decided(schedule: Timing, policy: timing.Policy, due: str, now: str) -> tuple[list[datetime], datetime | None]:
    made = plan(schedule, policy, due=at(due), now=at(now))
    return list(made.runs), made.next_run_at


@pytest.mark.parametrize("policy", timing.POLICIES)
def test_a_run_on_time_is_one_task_under_every_policy(policy: timing.Policy) -> None:
    assert decided(HOURLY, policy, "2026-05-01T10:00", "2026-05-01T10:00:01") == ([at("2026-05-01T10:00")], at("2026-05-01T11:00"))


def test_skip_leaves_out_what_is_more_than_a_minute_late() -> None:
    assert decided(HOURLY, "skip", "2026-05-01T10:00", "2026-05-01T10:01") == ([at("2026-05-01T10:00")], at("2026-05-01T11:00"))
    assert decided(HOURLY, "skip", "2026-05-01T10:00", "2026-05-01T10:02") == ([], at("2026-05-01T11:00"))
    assert decided(HOURLY, "skip", "2026-05-01T10:00", "2026-05-01T14:00:30") == ([at("2026-05-01T14:00")], at("2026-05-01T15:00"))


def test_one_makes_up_for_all_of_them_with_the_newest() -> None:
    assert decided(HOURLY, "one", "2026-05-01T10:00", "2026-05-03T09:30") == ([at("2026-05-03T09:00")], at("2026-05-03T10:00"))


def test_all_makes_up_for_each() -> None:
    found, following = decided(HOURLY, "all", "2026-05-01T10:00", "2026-05-01T12:30")
    assert found == [at("2026-05-01T10:00"), at("2026-05-01T11:00"), at("2026-05-01T12:00")]
    assert following == at("2026-05-01T13:00")


@pytest.mark.parametrize("schedule", [cron("* * * * *", "Europe/Berlin"), every("1m")])
def test_all_has_a_limit_and_keeps_the_newest(schedule: Timing) -> None:
    begun = time.process_time()
    found, following = decided(schedule, "all", "2025-05-01T10:00", "2026-05-01T10:00:30")
    assert (len(found), found[-1], following) == (MAX_CATCH_UP, at("2026-05-01T10:00"), at("2026-05-01T10:01"))
    assert time.process_time() - begun < 5


def test_an_interval_keeps_its_rhythm() -> None:
    assert decided(every("7m"), "one", "2026-05-01T10:00", "2026-05-01T10:30") == ([at("2026-05-01T10:28")], at("2026-05-01T10:35"))


def test_a_yearly_run_is_made_up_for() -> None:
    assert decided(cron("@yearly"), "one", "2020-01-01T00:00", "2026-05-01T10:30") == ([at("2026-01-01T00:00")], at("2027-01-01T00:00"))
