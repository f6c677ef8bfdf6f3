"""Decisions, map steps and their items on the command line."""

from __future__ import annotations

import re

import pytest
from terminal import Terminal, refused

PRESS = '''
from engine import PermanentError, Workflow

press = Workflow("print_books", namespace="press", version="1.0.0")

@press.step()
def list_books(task):
    return {"books": list(range(task.context["count"]))}

@press.step(depends_on_step="list_books", for_each="list_books.books")
def print_book(item, task):
    if item == 25:
        raise PermanentError("no paper")
    return item

@press.step(depends_on_step="print_book", decision=True)
def carry():
    return "pst"

@press.step(depends_on_step="carry")
def post(): ...

@press.step(depends_on_step="carry")
def courier(): ...
'''


@pytest.fixture
def press(terminal: Terminal) -> Terminal:
    terminal.environment["TASKER_HANDLERS"] = str(terminal.write(PRESS))
    return terminal


def test_a_task_is_shown_with_its_items_and_led_on_by_an_operator(press: Terminal) -> None:
    press.start("engine", "--runner", "threads")
    ended = press.run("launch", "press/print_books", "--context", '{"count": 30}', "--wait", "--json")
    task = ended.json()["task_id"]
    assert (ended.json()["state"], ended.json()["steps"]["print_book[25]"]["state"]) == ("failed", "failed")
    shown = press.run("show", task).out
    assert re.search(r"^print_book +pending 29/30 +0/3 +a retry of print_book\[25\]", shown, re.MULTILINE)
    assert re.search(r"^  print_book\[25\] +failed +1/3 .*PermanentError: no paper", shown, re.MULTILINE)
    assert re.search(r"^  10 more of print_book +all of them: tasker show --json", shown, re.MULTILINE)
    assert press.run("skip", task, "print_book[25]").status == 0
    assert "the task has no step" in refused(press.run("skip", task, "print_book[30]"))


def test_a_person_decides_and_only_for_a_branch(press: Terminal) -> None:
    task = press.run("launch", "press/print_books", "--context", '{"count": 0}').out.strip()
    assert "did you mean 'post'?" in refused(press.run("resolve", task, "carry", "--result", '"pst"'))
    assert press.run("resolve", task, "carry", "--result", '"post"').out.strip() == "resolved"
    assert re.search(r"courier +skipped +0/3 +passed over", press.run("show", task).out)


def test_a_workflow_is_drawn_with_its_decisions_and_map_steps(press: Terminal) -> None:
    press.run("launch", "press/print_books", "--context", '{"count": 1}')
    text = press.run("graph", "press/print_books").out
    assert "print_book  (for each of list_books.books)  <- list_books" in text
    assert "carry  (decision)  <- print_book" in text
    mermaid = press.run("graph", "press/print_books", "--mermaid").out
    assert '  s1[["print_book<br/>for each of list_books.books"]]' in mermaid
    assert '  s2{"carry"}' in mermaid
    svg = press.run("graph", "press/print_books", "--svg").out
    assert "<title>print_book, map</title>" in svg
    assert "<title>carry, decision</title>" in svg


def test_check_tells_what_cannot_decide_or_fan_out(terminal: Terminal) -> None:
    folder = terminal.write(PRESS.replace('for_each="list_books.books"', 'for_each="list_boks"'))
    ended = terminal.run("check", str(folder))
    assert ended.status == 1
    assert "'list_boks' begins with no step that comes before it; did you mean 'list_books'?" in ended.out + ended.err
