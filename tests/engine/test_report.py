"""The report on a task: what it tells, within which limits, and that no text from outside is ever more than text in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import psycopg
import pytest
from markdown_it import MarkdownIt

from engine import TaskRequest, Workflow, steps, tasks
from engine.db import Database
from engine.errors import NotFound
from engine.registry import HandlerRegistry
from engine.report import html_report, markdown_report
from engine.report.document import length
from engine.report.facts import RESULTS, TEXT, read_facts

Conn = psycopg.Connection[Any]

# What means something to a browser, to Markdown, or to both.
INJECTIONS = [
    "<script>alert(1)</script>",
    "</code></pre><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "</style><script>alert(1)</script>",
    "<!-- --><svg/onload=alert(1)>",
    "&lt;b&gt;&#60;b&#62;",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/x.png)",
    "<https://evil.example>",
    "https://evil.example www.evil.example a@evil.example",
    "# heading\n\n---\n\n* list",
    "```\n# out of the fence\n```",
    "~~~\n```` `` ` \\` \\\\`",
    "| a | b |\n|---|---|\n| \\| | `|` |",
    "**bold** _it_ ~~gone~~ ==x== [ref][x]\n\n[x]: https://evil.example",
    "\u202egnp.exe\u202c \u2066x",
    "    four spaces\n\ttab",
    "1. one\n2) two\n> quote\n- [ ] task",
    "\r\n\r\n<details open>\r\n",
]


def list_pages() -> list[int]:
    return [1, 2]


def print_page(item: Any) -> None: ...


class Hand:
    """An engine that does what the test says."""

    def __init__(self, conn: Conn) -> None:
        self.conn = conn
        self.worker = self._one("select tasker_register_worker('host:1', 'threads', 4, '{}', interval '9000 days', false)")
        self.claims = 0

    def start(self) -> None:
        self.claims += 1
        self.conn.execute("select tasker_wake_due(1000)")
        known = [row[0] for row in self.conn.execute("select definition_id from tasker_definition").fetchall()]
        self.conn.execute("select * from tasker_claim_steps(%s, %s, 1000, %s)", [self.worker, self.claims, known])

    def complete(self, task_id: str, name: str, result: Any = None) -> None:
        self.start()
        query = "select * from tasker_complete_batch(%s, %s, %s, %s, %s::smallint[], %s::jsonb, 0)"
        self.conn.execute(query, [self.worker, self.claims, *self._held(task_id, name), json.dumps([result])])

    def fail(self, task_id: str, name: str, *, retryable: bool = False, delay: float = 0, **error: Any) -> None:
        self.start()
        told = {"type": "GatewayError", "message": "no answer", "code": "slow", "traceback": "", "retryable": retryable, "delay": delay, **error}
        query = "select tasker_fail_steps(%s, %s, %s, %s::smallint[], %s::jsonb)"
        self.conn.execute(query, [self.worker, *self._held(task_id, name), json.dumps([told])])

    def expand(self, task_id: str, name: str) -> None:
        self.start()
        numbers = [number for [number] in self._held(task_id, name)]
        self.conn.execute("select tasker_expand_step(%s, %s, %s, %s::smallint)", [self.worker, *numbers])

    def release(self, task_id: str, name: str) -> None:
        self.start()
        self.conn.execute("select tasker_release_steps(%s, %s, %s, %s::smallint[])", [self.worker, *self._held(task_id, name)])

    def _held(self, task_id: str, name: str) -> list[list[int]]:
        query = "select task_no, step_no, attempts from tasker_steps where task_id = %s and name = %s and state = 'running'"
        found = self.conn.execute(query, [task_id, name]).fetchone()
        assert found, f"{name} does not run"
        return [[number] for number in found]

    def _one(self, query: Any) -> Any:
        found = self.conn.execute(query).fetchone()
        return found[0] if found else None


@pytest.fixture
def hand(conn: Conn) -> Hand:
    return Hand(conn)


@pytest.fixture
def launch(registry: HandlerRegistry, db: Database) -> Callable[..., str]:
    """Makes a task: check -> charge -> ship, check -> pack -> ship."""
    flow = Workflow("order", namespace="shop", version="2.1.0", description="From payment to courier.")
    flow.define("check")
    flow.define("charge", depends_on_step="check", retry_limit=3)
    flow.define("pack", depends_on_step="check")
    flow.define("ship", depends_on_step=["charge", "pack"])
    tasks.register_definition(db, flow.definition)
    return lambda **fields: tasks.submit(db, TaskRequest("order", "shop", **fields))


def pass_time(conn: Conn, seconds: float) -> None:
    ahead = timedelta(seconds=seconds)
    conn.execute("select set_config('tasker.clock_offset', (coalesce(nullif(current_setting('tasker.clock_offset', true), ''), '0')::interval + %s)::text, false)", [ahead])


def section(text: str, title: str) -> str:
    """The part of a Markdown report under a heading."""
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_a_completed_task_is_told_with_identity_times_steps_and_results(db: Database, hand: Hand, conn: Conn, launch: Callable[..., str]) -> None:
    fields = {"initiator": "ann", "source_system": "web shop", "reason": "a test", "correlation_id": "req_1", "tags": ["vip", "eu"]}
    task = launch(context={"order_id": 7}, **fields)
    pass_time(conn, 2)
    hand.start()
    pass_time(conn, 1)
    hand.complete(task, "check")
    hand.fail(task, "charge", retryable=True, delay=30)
    hand.complete(task, "pack")
    pass_time(conn, 40)
    hand.complete(task, "charge", {"payment_id": "p1"})
    hand.complete(task, "ship", "sent")
    text = markdown_report(db, task)
    assert text.startswith("# `shop/order` `2.1.0`\n\n**Completed**: All 4 steps ended well in 41.")
    assert "Of these 1 needed more than one attempt." in text
    identity = section(text, "Task")
    assert all(f"`{value}`" in identity for value in ("shop/order", "2.1.0", task, "req_1", "ann", "web shop", "a test", "vip", "eu"))
    timings = section(text, "Timings")
    assert re.search(r"Waited for its start:\*\* 2\.\d{3} s", timings)
    assert re.search(r"Total:\*\* 43\.\d{3} s", timings)
    assert re.search(r"Critical path:\*\* `check` 1\.\d{3} s → `charge` \d\.\d{3} s → `ship` \d\.\d{3} s; 3 steps, 1\.\d{3} s of work", timings)
    row = next(line for line in section(text, "Steps").splitlines() if line.startswith("| `charge`"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:3] == ["**Completed**", "2 of 3"]
    assert re.fullmatch(r"40\.\d{3} s", cells[5])
    results = section(text, "Results")
    assert '### `charge`\n\n```json\n{\n    "payment_id": "p1"\n}\n```' in results
    assert '"sent"' in results
    assert "`host:1`" in section(text, "Engines")
    assert '"order_id": 7' in section(text, "Input")
    assert "## What people did" not in text


def test_a_failed_task_tells_the_failure_every_attempts_error_and_what_people_did(db: Database, hand: Hand, launch: Callable[..., str]) -> None:
    task = launch()
    hand.complete(task, "check")
    hand.fail(task, "charge", retryable=True, message="first")
    hand.fail(task, "charge", message="card refused\nby the bank", traceback='File "gateway.py", line 7')
    hand.complete(task, "pack")
    steps.retry_step(db, task, "charge", actor="ann", reason="the gateway is back")
    hand.fail(task, "charge", message="refused again")
    text = markdown_report(db, task)
    assert "**Failed**: Step `charge` failed after 3 attempts with `GatewayError`: `refused again`. 1 step could not start." in text
    errors = section(text, "Errors")
    assert re.findall(r"### `charge`, attempt (\d): \*\*(\w+)\*\*", errors) == [("1", "Retrying"), ("2", "Failed"), ("3", "Failed")]
    assert "`GatewayError`, code `slow`, on " in errors
    assert "\n```\ncard refused\nby the bank\n```\n" in errors
    assert 'File "gateway.py", line 7' in errors
    people = section(text, "What people did")
    assert "`ann` | `charge`: failed → **Ready** | `the gateway is back` |" in people


def test_a_cancelled_task_tells_who_and_why(db: Database, hand: Hand, launch: Callable[..., str]) -> None:
    task = launch()
    hand.complete(task, "check")
    tasks.cancel_task(db, task, actor="bob", reason="ordered twice")
    assert "It was cancelled by `bob`: `ordered twice`. 1 of 4 steps had been done." in markdown_report(db, task)


def test_a_resolved_and_a_skipped_step_are_counted(db: Database, hand: Hand, launch: Callable[..., str]) -> None:
    task = launch()
    hand.complete(task, "check")
    steps.resolve_step(db, task, "charge", result={"by": "hand"}, actor="ann")
    steps.skip_step(db, task, "pack", actor="ann")
    hand.complete(task, "ship")
    text = markdown_report(db, task)
    assert "Of these 1 skipped, 1 resolved by hand." in text
    assert '"by": "hand"' in section(text, "Results")


def test_a_task_that_has_not_ended_has_a_report_too(db: Database, hand: Hand, launch: Callable[..., str]) -> None:
    task = launch()
    assert "It has not ended: 0 of 4 steps are done." in markdown_report(db, task)
    hand.complete(task, "check")
    hand.start()
    assert "It has not ended: 1 of 4 steps are done." in html_report(db, task)


def test_a_map_step_makes_one_attempt_that_holds_its_items(db: Database, hand: Hand, conn: Conn, registry: HandlerRegistry) -> None:
    flow = Workflow("print", namespace="shop", version="1.0.0")
    flow.step()(list_pages)
    flow.step(depends_on_step="list_pages", for_each="list_pages")(print_page)
    tasks.register_definition(db, flow.definition)
    task = tasks.submit(db, TaskRequest("print", "shop"))
    hand.complete(task, "list_pages", [1, 2])
    hand.expand(task, "print_page")
    hand.start()
    pass_time(conn, 12)
    hand.complete(task, "print_page[0]")
    hand.complete(task, "print_page[1]")
    hand.expand(task, "print_page")
    [mapped] = [step for step in read_facts(db, task).steps if step.row.name == "print_page"]
    assert [(attempt.number, attempt.state) for attempt in mapped.attempts] == [(1, "completed")]
    assert (mapped.ran_seconds or 0) >= 12
    text = markdown_report(db, task)
    assert "more than one attempt" not in text
    assert re.search(r"2 steps, 1\d\.\d{3} s of work", section(text, "Timings"))


def test_a_step_that_was_handed_back_needed_one_attempt(db: Database, hand: Hand, launch: Callable[..., str]) -> None:
    task = launch()
    hand.release(task, "check")
    for name in ("check", "charge", "pack", "ship"):
        hand.complete(task, name)
    assert "more than one attempt" not in markdown_report(db, task)
    assert [attempt.state for attempt in read_facts(db, task).steps[0].attempts] == ["ready", "completed"]


def test_an_unknown_task_has_none(db: Database) -> None:
    for name in ("7f3b4c80-0000-4000-8000-000000000000", "nonsense"):
        with pytest.raises(NotFound):
            markdown_report(db, name)


def test_large_texts_are_cut_and_say_so(db: Database, hand: Hand, launch: Callable[..., str]) -> None:
    task = launch(context={"text": "x" * 50_000})
    hand.complete(task, "check", ["y" * 50_000])
    hand.fail(task, "charge", message="z" * 5_000, traceback="t" * 50_000)
    for text in (markdown_report(db, task), html_report(db, task)):
        assert len(text) < 45_000
        assert f"The first {TEXT:,} of 50,0" in text
        assert f"the first {TEXT:,} of " in text


def test_a_task_of_very_many_steps_is_cut_and_says_so(db: Database, hand: Hand, conn: Conn, registry: HandlerRegistry) -> None:
    flow = Workflow("wide", namespace="shop", version="1.0.0")
    for number in range(2_100):
        flow.define(f"part_{number}")
    tasks.register_definition(db, flow.definition)
    task = tasks.submit(db, TaskRequest("wide", "shop"))
    conn.execute("update tasker_step set state = 4, result = '1'")
    text = markdown_report(db, task)
    assert "100 further steps not shown." in text
    assert f"{2_100 - RESULTS:,} further results not shown." in text


def test_the_critical_path_follows_the_parent_that_ended_last(db: Database, hand: Hand, conn: Conn, launch: Callable[..., str]) -> None:
    task = launch()
    hand.complete(task, "check")
    hand.start()
    hand.complete(task, "charge")
    pass_time(conn, 5)
    hand.complete(task, "pack")
    hand.complete(task, "ship")
    assert [step.row.name for step in read_facts(db, task).path] == ["check", "pack", "ship"]


@pytest.mark.parametrize(("seconds", "text"), [(0, "0.000 s"), (59.9, "59.900 s"), (200.5, "3 min 20.5 s"), (7_500, "2 h 5 min 0.0 s"), (90_000, "1 d 1 h 0.0 s")])
def test_a_length_reads_in_its_largest_units(seconds: float, text: str) -> None:
    assert length(seconds) == text


# ---- text from outside


def poison(db: Database, hand: Hand, launch: Callable[..., str], text: str) -> str:
    """A task that carries the text wherever one can be given."""
    line = " ".join(text.split())
    task = launch(context={text: text}, initiator=line, source_system=line, reason=text, correlation_id=line, tags=[line])
    hand.complete(task, "check", {text: [text]})
    hand.fail(task, "charge", type=text, message=text, code=text, traceback=text)
    hand.complete(task, "pack", text)
    steps.retry_step(db, task, "charge", actor=text, reason=text)
    tasks.cancel_task(db, task, actor=text, reason=text)
    return task


class Page(HTMLParser):
    """The elements and attributes of a page, and the texts in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.comments: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def test_no_text_from_outside_is_markup_in_the_page(db: Database, hand: Hand, launch: Callable[..., str]) -> None:
    for text in INJECTIONS:
        page = Page(html_report(db, poison(db, hand, launch, text)))
        assert page.tags <= {
            "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "span", "bdi", "dl", "dt", "dd", "div", "table", "thead", "tbody", "tr",
            "th", "td", "pre", "code",
        }, text
        assert page.attributes <= {"lang", "charset", "name", "content", "http-equiv", "class", "scope", "role", "tabindex", "aria-hidden", "aria-label"}, text
        assert page.comments == [], text
        assert " ".join(text.split()) in " ".join(" ".join(page.texts).split())


def test_no_text_from_outside_is_markup_in_markdown(db: Database, hand: Hand, launch: Callable[..., str]) -> None:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for text in INJECTIONS:
        task = poison(db, hand, launch, text)
        tokens = parser.parse(markdown_report(db, task))
        kinds = {token.type for token in tokens} | {child.type for token in tokens for child in token.children or []}
        assert kinds <= {
            "heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline", "text", "text_special", "code_inline", "strong_open",
            "strong_close", "bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close", "fence", "table_open", "table_close",
            "thead_open", "thead_close", "tbody_open", "tbody_close", "tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close", "softbreak",
        }, text
        headings = [tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open" and token.tag != "h3"]
        assert headings[1:] == ["Task", "Timings", "Steps", "Errors", "Results", "What people did", "Engines", "Input"], text
        bold = [child.content for token in tokens for at, child in enumerate(token.children or []) if at and (token.children or [])[at - 1].type == "strong_open"]
        assert "bold" not in bold
        cells = [token for token in tokens if token.type in ("th_open", "td_open")]
        assert len(cells) == 8 * (1 + 4) + 4 * (1 + len(read_facts(db, task).actions)), text
        fences = [token.content for token in tokens if token.type == "fence"]
        assert len(fences) == 2 + 2 + 1, text   # message and traceback, two results, the input
        shown = re.sub("[\u202a-\u202e\u2066-\u2069]", "\ufffd", json.dumps(text, ensure_ascii=False)[1:-1])
        assert shown in "".join(fences)


def test_a_fence_is_longer_than_any_inside(db: Database, hand: Hand, launch: Callable[..., str]) -> None:
    task = launch()
    hand.complete(task, "check")
    hand.fail(task, "charge", message="`````\nout\n`````", traceback="")
    assert "\n``````\n`````\nout\n`````\n``````\n" in markdown_report(db, task)


def test_the_page_needs_nothing_else(db: Database, launch: Callable[..., str]) -> None:
    page = html_report(db, launch())
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=|url\(|@import", page)
    assert "default-src &#x27;none&#x27;; style-src &#x27;sha256-" in page
    assert "color-scheme: light dark" in page
    assert "@media print" in page
