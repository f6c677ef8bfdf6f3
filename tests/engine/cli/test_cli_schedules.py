"""`tasker schedule`: add, list, pause, resume, run, remove."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from terminal import Terminal, refused

EU = ("--context", '{"order_id": 1}')


@pytest.fixture
def added(shop: Terminal) -> dict[str, Any]:
    ended = shop.run("schedule", "add", "shop/process_order", "--cron", "30 2 * * *", "--zone", "Asia/Kolkata", *EU, "--json")
    assert ended.status == 0, ended.err
    return dict(ended.json())


def test_add_prints_what_was_added(shop: Terminal, added: dict[str, Any]) -> None:
    assert (added["namespace"], added["name"], added["version"], added["policy"]) == ("shop", "process_order", None, "one")
    assert (added["kind"], added["expression"], added["time_zone"]) == ("cron", "30 2 * * *", "Asia/Kolkata")
    assert added["words"] == "At 02:30 every day, Asia/Kolkata time"
    assert len(added["upcoming"]) == 5
    assert added["upcoming"][0] == added["next_run_at"]
    assert added["next_run_at"].endswith("T21:00:00Z")


def test_a_schedule_may_have_an_interval_a_version_and_a_policy(shop: Terminal) -> None:
    ended = shop.run("schedule", "add", "shop/process_order@1.1.0", "--every", "90m", "--policy", "all", *EU)
    assert ended.status == 0
    assert "shop/process_order@1.1.0, Every 1 hour 30 minutes" in ended.out
    assert len(ended.out.splitlines()) == 6


def test_list_shows_every_schedule(shop: Terminal, added: dict[str, Any]) -> None:
    listed = shop.run("schedule", "list", "--json").json()["schedules"]
    assert listed == [added]
    assert shop.run("schedule", "list", "--namespace", "other", "--json").json() == {"schedules": []}
    table = shop.run("schedule", "list").out
    assert "At 02:30 every day" in table
    assert "shop/process_order" in table


def test_pause_and_resume(shop: Terminal, added: dict[str, Any]) -> None:
    number = added["schedule_id"]
    paused = shop.run("schedule", "pause", number, "--reason", "stocktaking", "--json").json()
    assert (paused["paused"], paused["change_reason"], paused["upcoming"]) == (True, "stocktaking", [])
    assert "paused" in shop.run("schedule", "list").out
    assert "paused already" in refused(shop.run("schedule", "pause", number))
    resumed = shop.run("schedule", "resume", number, "--json").json()
    assert (resumed["paused"], resumed["next_run_at"]) == (False, added["next_run_at"])


def test_run_makes_a_task_now(shop: Terminal, added: dict[str, Any]) -> None:
    task = shop.run("schedule", "run", added["schedule_id"], "--reason", "to see it", "--json").json()["task_id"]
    shown = shop.run("tasks", "--tag", f"schedule:{added['schedule_id']}", "--json").json()["tasks"]
    assert [each["task_id"] for each in shown] == [task]
    recent = shop.run("schedule", "list", "--json").json()["schedules"][0]["recent"]
    assert [each["task_id"] for each in recent] == [task]
    assert shop.run("schedule", "run", added["schedule_id"]).out.strip() != task


def test_remove_forgets_it(shop: Terminal, added: dict[str, Any]) -> None:
    assert shop.run("schedule", "remove", added["schedule_id"]).out == "removed\n"
    assert "there is no schedule" in refused(shop.run("schedule", "remove", added["schedule_id"]))
    assert shop.run("schedule", "list", "--json").json() == {"schedules": []}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("shop/process_order", "--cron", "0 0 31 2 *", *EU), "bad day-of-month"),
        (("shop/process_order", "--cron", "0 0 * * *", "--zone", "Europe/Berlim", *EU), "Europe/Berlin"),
        (("shop/process_order", "--every", "often", *EU), "15m"),
        (("shop/process_order", "--every", "1h"), "order_id"),
        (("shop/nothing", "--every", "1h"), "nothing"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line_and_leaves_nothing(shop: Terminal, conn: psycopg.Connection[Any], arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(shop.run("schedule", "add", *arguments))
    assert conn.execute("select (select count(*) from tasker_schedule) + (select count(*) from tasker_definition)").fetchone() == (0,)


@pytest.mark.parametrize("arguments", [(), ("--cron", "@daily", "--every", "1h"), ("--every", "1h", "--zone", "Europe/Berlin"), ("--policy", "some")])
def test_contradictions_are_wrong_usage(shop: Terminal, arguments: tuple[str, ...]) -> None:
    ended = shop.run("schedule", "add", "shop/process_order", *arguments, *EU)
    assert (ended.status, ended.out) == (2, "")
    assert "Traceback" not in ended.err
