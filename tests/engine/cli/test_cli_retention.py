"""`tasker retention`, and what becomes of a task after it; the report by `tasker show --report`."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from terminal import Terminal, refused

TASK = ("launch", "shop/process_order", "--context", '{"order_id": 7}')


@pytest.fixture
def task(shop: Terminal) -> str:
    """A task that has not begun; its namespace is known."""
    return shop.run(*TASK).out.strip()


def end(shop: Terminal, *, days_ago: int) -> None:
    with psycopg.connect(shop.environment["TASKER_DATABASE_URL"]) as conn:
        conn.execute("update tasker_task set state = 4, created_at = now() - %s * interval '1 day', finished_at = now() - %s * interval '1 day'", [days_ago] * 2)


@pytest.mark.usefixtures("task")
def test_without_a_setting_tasks_are_kept_for_ever(shop: Terminal) -> None:
    assert shop.run("retention", "list", "--json").json() == {
        "default": None,
        "namespaces": [{"namespace": "shop", "retention": None, "by_default": True, "set_by": None, "set_at": None, "archive": None, "archive_error": None}],
    }
    assert "for ever" in shop.run("retention", "list").out


@pytest.mark.usefixtures("task")
def test_a_namespace_and_the_default_are_set(shop: Terminal) -> None:
    assert shop.run("retention", "set", "shop", "90d").out == "shop: 90d\n"
    assert shop.run("retention", "default", "365d").out == "default: 365d\n"
    listed = shop.run("retention", "list", "--json").json()
    assert listed["default"] == "365d"
    assert (listed["namespaces"][0]["retention"], listed["namespaces"][0]["by_default"]) == ("90d", False)
    assert listed["namespaces"][0]["set_by"]
    assert shop.run("retention", "set", "shop", "--default").out == "shop: 365d, by default\n"
    assert shop.run("retention", "set", "shop", "--off").out == "shop: for ever\n"
    assert shop.run("retention", "default", "--off", "--json").json() == {"default": None}


@pytest.mark.usefixtures("task")
def test_what_cannot_be_is_refused_in_one_line(shop: Terminal) -> None:
    assert "must be from 1m to 36500d" in refused(shop.run("retention", "set", "shop", "soon"))
    assert 'there is no namespace "nowhere"' in refused(shop.run("retention", "set", "nowhere", "90d"))
    assert 'there is no namespace "nowhere"' in refused(shop.run("retention", "run", "nowhere"))
    for arguments in (("set", "shop"), ("set", "shop", "90d", "--off"), ("set", "shop", "--off", "--default"), ("default",), ("default", "1d", "--off")):
        assert shop.run("retention", *arguments).status == 2


def test_a_run_drops_what_is_old_and_a_dry_one_only_counts(shop: Terminal, task: str) -> None:
    shop.run("retention", "set", "shop", "30d")
    end(shop, days_ago=31)
    shop.run(*TASK)
    counted = shop.run("retention", "run", "--dry-run", "--json").json()
    assert counted == {"dry_run": True, "namespaces": {"shop": {"due_count": 1, "open_count": 0, "unread_count": 0}}}
    assert "would be dropped" in shop.run("retention", "run", "--dry-run").out
    assert shop.run("show", task).status == 0
    assert shop.run("retention", "run", "shop", "--json").json() == {"dry_run": False, "namespaces": {"shop": {"task_count": 1, "step_count": 2}}}
    assert "it may have been dropped after its retention" in refused(shop.run("show", task))
    assert len(shop.run("tasks", "--json").json()["tasks"]) == 1


def test_a_report_is_printed_or_written_to_a_file(shop: Terminal, task: str, tmp_path: Path) -> None:
    printed = shop.run("show", task, "--report")
    assert printed.status == 0
    assert printed.out.startswith("# `shop/process_order` `1.1.0`\n")
    file = tmp_path / "task.html"
    assert shop.run("show", task, "--report", "--html", "--output", file).out == f"{file}\n"
    assert file.read_text().startswith("<!doctype html>")
    assert shop.run("show", task, "--report", "--html").out.endswith("</html>\n")


def test_a_report_that_cannot_be_made_is_refused(shop: Terminal, task: str, tmp_path: Path) -> None:
    assert "cannot be written" in refused(shop.run("show", task, "--report", "--output", tmp_path / "nowhere" / "task.md"))
    assert "there is no task" in refused(shop.run("show", "7f3b4c80-0000-4000-8000-000000000000", "--report"))
    for arguments in (("--html",), ("--output", "x.md"), ("--report", "--json")):
        assert shop.run("show", task, *arguments).status == 2
