"""Decisions and map steps, run by real engines with either runner."""

from __future__ import annotations

import re
from typing import Any

import pytest
from story import ROOT, Story, until

from engine import queries, steps
from engine.errors import RequestError
from engine.yaml_config import load_text

FLOWS = {
    "decisions.py": '''
        refund = Workflow("refund")

        @refund.step(decision=True)
        def route(task):
            return task.context["by"]

        for way in ("card", "bank", "voucher"):
            @refund.step(name=way, depends_on_step="route")
            def pay(step):
                return step.name

        @refund.step(depends_on_step=["card", "bank", "voucher"])
        def receipt(card, bank, voucher, route):
            return {"paid": [card, bank, voucher], "route": route}


        nested = Workflow("nested")

        @nested.step(decision=True)
        def outer():
            return "inner"

        @nested.step(decision=True, depends_on_step="outer")
        def inner():
            return ["left"]

        @nested.step(depends_on_step="outer")
        def other(): ...

        @nested.step(depends_on_step="inner")
        def left():
            return "left"

        @nested.step(depends_on_step="inner")
        def right(): ...

        @nested.step(depends_on_step="right")
        def behind_right(): ...

        @nested.step(depends_on_step=["left", "behind_right", "other"])
        def end(left):
            return left
    ''',
    "maps.py": '''
        class Square(StepHandler):
            def process(self, task, sequence, step):
                note("square", task.task_id, step.name, step.attempt)
                if step.item == task.context.get("breaks") and not (HERE / f"mended-{task.task_id}").exists():
                    raise PermanentError(f"{step.item} is broken")
                return {"index": step.index, "square": step.item ** 2, "of": self.step_results(sequence, "numbers")["count"]}


        squares = Workflow("squares")

        @squares.step()
        def numbers(task):
            return {"count": task.context["count"], "rows": list(range(task.context["count"]))}

        squares.define("square", handler_class=Square, depends_on_step="numbers", for_each="numbers.rows")

        @squares.step(depends_on_step="square")
        def total(square):
            return sum(one["square"] for one in square if one)


        wrong = Workflow("wrong")

        @wrong.step()
        def numbers():
            return {"rows": 5}

        @wrong.step(depends_on_step="numbers", for_each="numbers.rows")
        def each(item): ...


        pages = Workflow("pages")

        @pages.step()
        def books():
            return ["a", "b"]

        @pages.step(depends_on_step="books", for_each="books", retry_limit=2, backoff={"base": 0.01}, output_schema={"type": "string"})
        def print_book(item, index, books, step):
            if step.attempt == 1:
                raise RetryableError("paper jam")
            return f"{item}{index} of {len(books)}"

        @pages.step(depends_on_step="print_book", decision=True)
        def quality(print_book):
            return "ship" if print_book == ["a0 of 2", "b1 of 2"] else "scrap"

        @pages.step(depends_on_step="quality", for_each="print_book")
        def ship(item, index):
            return [index, item]

        @pages.step(depends_on_step="quality")
        def scrap(): ...
    ''',
}


def states(outcome: dict[str, Any]) -> dict[str, str]:
    return {name: step["state"] for name, step in outcome["steps"].items()}


@pytest.mark.parametrize("way", ["card", "bank", "voucher"])
def test_one_branch_of_three_runs_and_the_join_waits_for_it_alone(running: Story, way: str) -> None:
    outcome = running.run("refund", {"by": way})
    assert outcome["state"] == "completed"
    assert states(outcome) == {"route": "completed", **dict.fromkeys(("card", "bank", "voucher"), "skipped"), way: "completed", "receipt": "completed"}
    assert outcome["steps"]["receipt"]["result"] == {"paid": [way if way == each else None for each in ("card", "bank", "voucher")], "route": [way]}


def test_two_branches_may_run_or_none(running: Story) -> None:
    assert states(running.run("refund", {"by": ["card", "voucher"]}))["bank"] == "skipped"
    nothing = running.run("refund", {"by": None})
    assert (nothing["state"], states(nothing)["receipt"], nothing["steps"]["route"]["result"]) == ("completed", "skipped", [])


def test_the_history_says_why_a_branch_was_skipped(running: Story) -> None:
    task = running.run("refund", {"by": "bank"})["task_id"]
    reasons = {move.step_name: move.reason for move in queries.activity(running.db, task) if move.to_state == "skipped"}
    assert reasons == dict.fromkeys(("card", "voucher"), "not chosen by route")


def test_a_choice_that_is_no_branch_fails_and_a_person_decides(running: Story) -> None:
    outcome = running.run("refund", {"by": "cards"})
    assert outcome["state"] == "failed"
    assert outcome["steps"]["route"]["error"] == {
        "type": "not_a_branch", "code": None,
        "message": "the decision chose 'cards', which is no step after it; did you mean 'card'? After it come card, bank, voucher",
    }  # fmt: skip
    task = outcome["task_id"]
    with pytest.raises(RequestError, match="did you mean 'card'"):
        steps.resolve_step(running.db, task, "route", result="cards", actor="ann")
    steps.resolve_step(running.db, task, "route", result="card", actor="ann")
    ended = running.ended(task)
    assert (ended["state"], ended["steps"]["route"]["result"]) == ("completed", ["card"])


def test_a_decision_behind_a_decision(running: Story) -> None:
    outcome = running.run("nested")
    assert outcome["state"] == "completed"
    assert states(outcome) == {
        "outer": "completed", "inner": "completed", "other": "skipped", "left": "completed", "right": "skipped",
        "behind_right": "skipped", "end": "completed",
    }  # fmt: skip
    assert outcome["steps"]["end"]["result"] == "left"


@pytest.mark.parametrize("count", [0, 1, 50])
def test_a_map_runs_its_handler_once_per_item_and_joins_the_results_in_order(running: Story, count: int) -> None:
    outcome = running.run("squares", {"count": count})
    assert outcome["state"] == "completed"
    assert outcome["steps"]["square"] == {
        "state": "completed", "attempts": 1, "error": None, "result": [{"index": no, "square": no**2, "of": count} for no in range(count)],
    }  # fmt: skip
    assert outcome["steps"]["total"]["result"] == sum(no**2 for no in range(count))
    assert sorted(line[2] for line in running.ledger("square", outcome["task_id"])) == sorted(f"square[{no}]" for no in range(count))


def test_a_failed_item_holds_the_join_until_a_person_retries_it(running: Story) -> None:
    outcome = running.run("squares", {"count": 5, "breaks": 3})
    task = outcome["task_id"]
    assert (outcome["state"], states(outcome)["square"], states(outcome)["square[3]"]) == ("failed", "pending", "failed")
    assert outcome["steps"]["square[3]"]["error"]["message"] == "3 is broken"
    running.open(f"mended-{task}")
    steps.retry_step(running.db, task, "square[3]", actor="ann")
    ended = running.ended(task)
    assert (ended["state"], ended["steps"]["total"]["result"]) == ("completed", 30)
    assert len(running.ledger("square", task)) == 6


def test_a_skipped_item_is_null_in_the_join(running: Story) -> None:
    task = running.run("squares", {"count": 3, "breaks": 1})["task_id"]
    steps.skip_step(running.db, task, "square[1]", actor="ann")
    outcome = running.ended(task)
    assert [one and one["square"] for one in outcome["steps"]["square"]["result"]] == [0, None, 4]
    assert outcome["steps"]["total"]["result"] == 4


def test_what_is_no_list_fails_the_map_step_for_good(running: Story) -> None:
    outcome = running.run("wrong")
    assert (outcome["state"], outcome["steps"]["each"]["attempts"]) == ("failed", 1)
    assert outcome["steps"]["each"]["error"] == {
        "type": "not_a_list", "code": None, "message": "numbers.rows, which gives this step its items, is a number, not a list",
    }  # fmt: skip


def test_items_retry_as_their_template_says_and_a_map_may_follow_a_decision_over_a_map(running: Story) -> None:
    outcome = running.run("pages")
    assert outcome["state"] == "completed"
    assert outcome["steps"]["print_book[1]"] == {"state": "completed", "attempts": 2, "result": "b1 of 2", "error": None}
    assert outcome["steps"]["ship"]["result"] == [[0, "a0 of 2"], [1, "b1 of 2"]]
    assert states(outcome)["scrap"] == "skipped"


def test_a_person_sees_the_map_step_start_and_end_once(running: Story) -> None:
    task = running.run("squares", {"count": 2})["task_id"]
    step = queries.step(running.db, task, "square")
    assert [(attempt.attempt, attempt.state) for attempt in step.attempts] == [(1, "completed")]
    assert step.row.item_states == {"completed": 2}
    item = queries.step(running.db, task, "square[1]")
    assert (item.item, item.row.item_of, item.row.item_no, item.row.parents, item.row.children) == (1, "square", 1, ("numbers",), ("square",))
    assert item.parent_results["numbers"]["count"] == 2


HANGING = """
    slow = Workflow("slow")

    @slow.step()
    def numbers():
        return list(range(12))

    @slow.step(depends_on_step="numbers", for_each="numbers", backoff={"base": 0.01})
    def work(item, step):
        note("begins", step.name, step.attempt)
        if item >= 4:
            wait_for("gate")
        return item

    @slow.step(depends_on_step="work")
    def total(work):
        return sum(work)
"""


def test_a_map_goes_on_elsewhere_when_its_engine_is_killed(story: Story) -> None:
    story.write(HANGING)
    first = story.start("--lease", "2")
    task = story.launch("slow")
    story.noted("begins", times=8)  # four are done, four hang
    until(lambda: sum(state == "completed" for state in states(story.outcome(task)).values()) == 5, "the first items to be done")
    first.kill()
    story.open("gate")
    story.start("--lease", "2")
    outcome = story.ended(task, 30)
    assert (outcome["state"], outcome["steps"]["total"]["result"]) == ("completed", sum(range(12)))
    assert len(outcome["steps"]) == 15
    attempts = [outcome["steps"][f"work[{no}]"]["attempts"] for no in range(12)]
    assert attempts[:8] == [1] * 4 + [2] * 4   # what was done is not done again, what hung is charged
    assert outcome["steps"]["work"]["attempts"] == 1


def test_two_engines_share_the_items_of_one_map(story: Story) -> None:
    story.write(HANGING)
    for _ in range(2):
        story.start(concurrency=4)
    task = story.launch("slow")
    story.noted("begins", times=12)
    assert len({line[-2] for line in story.ledger("begins")}) > 4   # more processes than one engine has
    story.open("gate")
    assert story.ended(task)["steps"]["total"]["result"] == sum(range(12))


def examples(language: str) -> list[str]:
    text = (ROOT / "docs" / "dynamic-steps.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_examples_in_the_documentation_run(story: Story) -> None:
    for number, code in enumerate(examples("python")):
        story.write(code, f"example_{number}.py")
    story.start(runner="threads")
    cheap = story.run("settle_order", {"total": 5}, namespace="shop")
    assert cheap["steps"]["ship"]["result"] == {"chosen": ["pay_by_card"]}
    dear = story.run("settle_order", {"total": 5000}, namespace="shop")
    assert states(dear) == {
        "choose": "completed", "pay_by_card": "skipped", "pay_by_bank": "completed", "ask_a_person": "completed", "ship": "completed",
    }  # fmt: skip
    printed = story.run("print_books", {"books": ["Emma", "Ulysses"]}, namespace="shop")
    assert printed["steps"]["ship"]["result"] == {"parcel": ["0: Emma on A5", "1: Ulysses on A5"]}


def test_the_yaml_in_the_documentation_is_sound() -> None:
    [text] = examples("yaml")
    definition = load_text(text).definition
    assert [(step.name, step.decision, step.for_each) for step in definition.steps] == [
        ("list_books", False, None), ("print_book", False, "list_books.books"), ("choose", True, None), ("ship", False, None),
    ]  # fmt: skip
