"""A kept list is counted with its owner's rights, and tells once when it holds too many and once when it does no more; receivers and mail server are real."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
import pytest

from engine import TaskRequest, Workflow, tasks
from engine.access import accounts
from engine.db import Database
from engine.errors import NotFound, PermanentError, RequestError, RetryableError, TaskerError, WrongState
from engine.finding import failures, task_counts, views
from engine.finding.tally import Tally
from engine.finding.task_counts import MOST, count_tasks
from engine.finding.task_filter import read_filter
from engine.finding.views import Alert
from engine.keeping import retention
from engine.outgoing import followers, notices, posting
from engine.outgoing.mail import MailServer
from engine.registry import HandlerRegistry
from engine.scheduler import Engine
from engine.webhooks import is_authentic

GOING = threading.Event()
HERE = frozenset({"127.0.0.1"})
Post = tuple[dict[str, str], bytes]


class Receiver:
    """A web server that keeps what it is sent and answers with the next of `answers`, then 204."""

    def __init__(self) -> None:
        self.received: list[Post] = []
        self.answers: list[int] = []
        made = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                made.received.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
                status = made.answers.pop(0) if made.answers else 204
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", made.url)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?key=hidden"

    @property
    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.received]


class Mailbox:
    """A mail server that speaks as much SMTP as it takes to hand in a message."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.refuses = b""
        made = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 tests\r\n")
                while line := self.rfile.readline():
                    word = line[:4].upper()
                    if word == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        made.messages.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode())
                    refused = made.refuses if word == b"RCPT" else b""
                    self.wfile.write(refused or (b"221 bye\r\n" if word == b"QUIT" else b"250 fine\r\n"))
                    if word == b"QUIT":
                        return

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.url = f"smtp://127.0.0.1:{self.server.server_address[1]}?tls=no"


def serving(server: Any) -> Callable[[], None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    return lambda: (server.shutdown(), server.server_close(), thread.join())  # type: ignore[func-returns-value]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    stop = serving(made.server)
    yield made
    stop()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox()
    stop = serving(made.server)
    yield made
    stop()


@pytest.fixture
def clocked(database_url: str) -> Iterator[Database]:
    """A database of one session, whose clock `move` can set."""
    made = Database(database_url, max_size=1)
    yield made
    made.close()


def move(db: Database, **ahead: float) -> None:
    db.value("select set_config('tasker.clock_offset', (coalesce(nullif(current_setting('tasker.clock_offset', true), ''), '0')::interval + %(by)s)::text, false)", {"by": timedelta(**ahead)})


def given_workflow(db: Database, name: str = "pay", namespace: str = "shop", schema: dict[str, Any] | None = None) -> None:
    flow = Workflow(name, namespace=namespace, version="1.0.0", schema=schema)

    @flow.step
    def only(task: Any) -> None: ...

    tasks.register_definition(db, flow.definition)


def given_owner(db: Database, name: str = "ada", namespace: str | None = None) -> int:
    accounts.create_account(db, name, role="operator", namespace=namespace, actor="tests")
    return accounts.account(db, name).account_id


def submitted(db: Database, count: int, namespace: str = "shop", **fields: Any) -> list[str]:
    return tasks.submit_many(db, [TaskRequest("pay", namespace, **fields) for _ in range(count)])


def told(db: Database, receiver: Receiver, mailbox: Mailbox) -> int:
    ways = {"webhook": lambda notice: notices._post(notice, HERE), "email": lambda notice: notices._mail(notice, MailServer.from_environ({"TASKER_SMTP_URL": mailbox.url}))}
    return notices.deliver_due(db, ways, GOING)


def test_a_view_tells_once_when_it_holds_too_many_and_once_when_it_does_no_more(clocked: Database, receiver: Receiver, mailbox: Mailbox) -> None:
    db = clocked
    given_workflow(db)
    alert = Alert(2, timedelta(minutes=15), receiver.url, "quiet", "ops@example.com")
    view = views.keep_view(db, "Open payments", {"state": "pending", "name": "pay"}, namespace="shop", owner_id=given_owner(db), alert=alert, link="http://desk/views/1")
    made = submitted(db, 2)
    assert views.watch(db, GOING) == 1
    assert views.watch(db, GOING) == 0, "counted twice within the time between two counts"
    assert told(db, receiver, mailbox) == 0

    made += submitted(db, 1)
    for _ in range(3):  # it holds too many all the time, and tells once
        move(db, seconds=20)
        assert views.watch(db, GOING) == 1
    assert told(db, receiver, mailbox) == 2
    [(headers, body)] = receiver.received
    assert json.loads(body) == {**json.loads(body), "type": "view.alert", "count": 3, "is_least": False, "threshold": 2, "view": "Open payments", "namespace": "shop"}
    assert is_authentic("quiet", body, headers["Tasker-Signature"])
    [message] = mailbox.messages
    assert "Subject: [Tasker] Open payments: 3 tasks" in message
    assert "http://desk/views/1" in message

    tasks.cancel_task(db, made[0], actor="tests")
    move(db, seconds=20)
    views.watch(db, GOING)
    submitted(db, 1)
    move(db, seconds=20)
    views.watch(db, GOING)  # too many again, but within the rest after the last alert
    told(db, receiver, mailbox)
    assert receiver.types == ["view.alert", "view.resolved"]

    move(db, minutes=15)
    views.watch(db, GOING)
    told(db, receiver, mailbox)
    assert receiver.types == ["view.alert", "view.resolved", "view.alert"]
    assert [each.kind for each in notices.deliveries(db, view) if each.channel == "email"] == ["view.alert", "view.resolved", "view.alert"]


def test_a_count_that_takes_too_long_is_unknown_and_keeps_no_other_view_from_being_counted(
    db: Database, conn: psycopg.Connection[Any], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "COUNT_MS", 100)
    given_workflow(db)
    owner = given_owner(db)
    kept = [views.keep_view(db, name, {}, namespace="shop", owner_id=owner, alert=Alert(0, webhook=receiver.url)) for name in ("One", "Two")]
    submitted(db, 1)
    with conn.transaction():
        conn.execute("lock table tasker_task in access exclusive mode")
        assert views.watch(db, GOING) == 2
    assert [(each.count, each.counted_at is None) for each in (views.view(db, one, owner, None) for one in kept)] == [(None, False), (None, False)]
    assert count_tasks(db, read_filter({}).chosen, namespaces=None, within_ms=5_000) == Tally(1), "its connection was lost"


def test_what_is_not_taken_is_told_again_after_longer_rests_in_order_and_at_last_given_up(clocked: Database, receiver: Receiver, mailbox: Mailbox) -> None:
    db = clocked
    given_workflow(db)
    view = views.keep_view(db, "All", {}, namespace="shop", owner_id=given_owner(db), alert=Alert(0, webhook=receiver.url, email="nobody@example.com"))
    [task] = submitted(db, 1)
    tasks.cancel_task(db, task, actor="tests")
    views.watch(db, GOING)
    receiver.answers, mailbox.refuses = [500, 302, 204], b"550 nobody\r\n"
    assert told(db, receiver, mailbox) == 0
    by_mail, by_hook = (next(each for each in notices.deliveries(db, view) if each.channel == channel) for channel in ("email", "webhook"))
    assert by_mail.given_up_at is not None, "a mailbox that does not exist is tried again"
    assert (by_hook.attempts, by_hook.error) == (1, "127.0.0.1 answered 500")
    assert told(db, receiver, mailbox) == 0, "it was tried again at once"

    move(db, seconds=11)
    told(db, receiver, mailbox)
    db.rows("update tasker_view set parameters = '{\"state\": \"failed\"}', counted_at = null returning 1")
    views.watch(db, GOING)  # nothing matches any more: told after what is still to be told
    told(db, receiver, mailbox)
    assert receiver.types == ["view.alert", "view.alert"], "a redirect was followed, or the end told before the alert"
    move(db, seconds=21)
    told(db, receiver, mailbox)
    told(db, receiver, mailbox)
    assert receiver.types == ["view.alert", "view.alert", "view.alert", "view.resolved"]

    move(db, days=31)
    notices.drop_old(db)
    assert notices.deliveries(db, view) == []


def test_a_notice_that_cannot_be_put_together_holds_up_no_other(clocked: Database, receiver: Receiver, mailbox: Mailbox) -> None:
    db = clocked
    given_workflow(db)
    view = views.keep_view(db, "All", {}, namespace="shop", owner_id=given_owner(db), alert=Alert(0, webhook=receiver.url, email="ops@example.com"))
    submitted(db, 1)
    views.watch(db, GOING)
    db.rows("update tasker_notice set facts = facts - 'filter' where channel = 'email' returning 1")
    assert told(db, receiver, mailbox) == 1
    assert {each.channel: each.error for each in notices.deliveries(db, view)} == {"webhook": None, "email": "KeyError"}


def test_a_list_of_failures_tells_when_there_is_a_cause_that_nobody_looks_after(clocked: Database, receiver: Receiver, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    db = clocked
    monkeypatch.setattr(failures, "LOOKED_AT", 1)
    given_workflow(db)
    view = views.keep_view(db, "Charges", {"step": "only"}, kind=views.FAILURES, namespace="shop", owner_id=given_owner(db), alert=Alert(0, webhook=receiver.url, email="ops@example.com"))
    views.keep_view(db, "Elsewhere", {}, kind=views.FAILURES, namespace=None, owner_id=given_owner(db, "ben", "bank"), alert=Alert(0, email="ben@example.com"))
    views.watch(db, GOING)
    assert told(db, receiver, mailbox) == 0
    submitted(db, 2)
    db.value("update tasker_task set failed_count = 1 returning 1")
    db.value("""update tasker_step set state = 5, started_at = tasker_clock(), finished_at = tasker_clock(), error = '{"type": "Timeout", "message": "no answer"}' returning 1""")
    move(db, seconds=11)
    views.watch(db, GOING)
    assert told(db, receiver, mailbox) == 2
    sent = json.loads(receiver.received[0][1])
    assert (sent["kind"], sent["count"], sent["is_least"]) == ("failures", 1, True)
    assert "Subject: [Tasker] Charges: at least 1 group of failures" in mailbox.messages[0]
    assert "Older ones were not looked through" in mailbox.messages[0]
    assert views.view(db, view, 0, None).is_least

    [group] = failures.failure_groups(db)
    failures.keep_note(db, group, failures.FailureNote("ann", until=db.value("select tasker_clock() + interval '1 hour'")), actor="ann")
    move(db, seconds=11)
    views.watch(db, GOING)
    told(db, receiver, mailbox)
    assert receiver.types == ["view.alert", "view.resolved"]


def test_a_view_counts_what_its_owner_may_see_and_nothing_once_they_may_not(clocked: Database) -> None:
    db = clocked
    given_workflow(db)
    given_workflow(db, namespace="bank")
    owner = given_owner(db, "ada", "shop")
    view = views.keep_view(db, "Everything", {}, namespace=None, owner_id=owner, alert=Alert(0, email="ops@example.com"))
    submitted(db, 2, "bank")
    views.watch(db, GOING)
    assert views.view(db, view, owner, None).count == 0
    submitted(db, 1)
    move(db, seconds=11)
    views.watch(db, GOING)
    assert views.view(db, view, owner, None).count == 1

    accounts.create_account(db, "root", role="admin", actor="tests")
    accounts.disable_account(db, "ada", actor="tests")
    move(db, seconds=11)
    views.watch(db, GOING)
    seen = views.view(db, view, owner, None)
    assert seen.count is None
    assert seen.over_since is not None, "an owner who may see nothing any more has resolved the alert"


def test_a_shared_view_is_seen_where_it_is_shared_and_a_private_one_by_its_owner(db: Database) -> None:
    ada, ben = given_owner(db), given_owner(db, "ben")
    shared = views.keep_view(db, "Shared", {"namespace": "bank"}, namespace="shop", owner_id=ada)
    private = views.keep_view(db, "Private", {"state": "failed"}, namespace=None, owner_id=ada)
    assert [each.view_id for each in views.views(db, ben, frozenset({"shop"}))] == [shared]
    assert views.views(db, ben, frozenset({"bank"})) == []
    assert [each.view_id for each in views.views(db, ada, None)] == [private, shared]
    assert views.view(db, shared, ben, None).filter.namespace == "shop", "a shared view leads out of its namespace"
    with pytest.raises(NotFound):
        views.view(db, private, ben, None)
    with pytest.raises(WrongState):
        views.keep_view(db, "SHARED", {}, namespace="shop", owner_id=ben)
    views.keep_view(db, "Shared", {}, namespace=None, owner_id=ben)
    views.remove_view(db, shared)
    with pytest.raises(NotFound):
        views.remove_view(db, shared)


@pytest.mark.parametrize(
    ("alert", "path"),
    [
        (Alert(5), "webhook"), (Alert(1_001, email="a@b"), "threshold"), (Alert(1, timedelta(seconds=1), email="a@b"), "rest"), (Alert(1, webhook="ftp://host"), "webhook"),
        (Alert(1, webhook="http://me:secret@host"), "webhook"), (Alert(1, email="a@b\nBcc: c@d"), "email"), (Alert(1, webhook="http://h/\r\nX: y"), "webhook"), (Alert(1, webhook="http://h:99999"), "webhook"),
    ],
)  # fmt: skip
def test_an_alert_that_cannot_be_told_is_refused(db: Database, alert: Alert, path: str) -> None:
    with pytest.raises(RequestError) as refused:
        views.keep_view(db, "View", {}, namespace=None, owner_id=1, alert=alert)
    assert [problem.path for problem in refused.value.problems] == [path]


def test_a_count_is_that_of_the_list_and_ends_at_its_limit(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    given_workflow(db, schema={"type": "object", "properties": {"pin": {"type": "string", "writeOnly": True}, "n": {"type": "integer"}}})
    submitted(db, 3, tags=("vip",), initiator="50%", context={"n": 7, "pin": "1234"})
    submitted(db, 1, correlation_id="web-1")

    def tally(**parameters: str) -> Tally | None:
        return count_tasks(db, read_filter(parameters).chosen, namespaces=None, within_ms=5_000)

    def counted(**parameters: str) -> int:
        found = tally(**parameters)
        assert found
        assert not found.is_least
        return found.number

    assert counted() == 4
    assert counted(tag="vip") == counted(context="n=7") == counted(q="0%") == counted(state="pending", initiator="50%") == 3
    assert counted(q="%") == 3, "a percent sign stands for anything"
    assert counted(context="pin=1234") == 0, "a count tells what a page would not"
    assert counted(state="completed") == counted(state="failed") == counted(created_to="2001-01-01") == counted(stuck="paused") == counted(slower="yes") == 0
    assert counted(within="1h") == counted(created_from="2001-01-01") == 4
    assert count_tasks(db, read_filter({}).chosen, namespaces=frozenset({"bank"}), within_ms=5_000) == Tally(0)
    monkeypatch.setattr(task_counts, "LOOKED_AT", 3)
    assert tally(initiator="50%") == tally(q="0%") == tally(context="n=7") == Tally(2, is_least=True), "the oldest is not looked at"
    assert (tally(tag="vip"), tally(tag="vip", initiator="50%")) == (Tally(3), Tally(3)), "the rest of the filter leaves no more than are looked at"
    submitted(db, MOST)
    assert counted() == MOST


def test_who_follows_a_task_is_told_of_its_end_once_if_they_may_still_see_it(db: Database, receiver: Receiver, mailbox: Mailbox) -> None:
    given_workflow(db)
    ada, ben = given_owner(db), given_owner(db, "ben", "bank")
    [task] = submitted(db, 1)
    for _ in range(2):
        followers.follow(db, task, ada, channel="webhook", target=receiver.url)
    followers.follow(db, task, ada, channel="email", target="ada@example.com", link="http://desk/tasks/1")
    followers.follow(db, task, ada, channel="email", target="else@example.com")
    followers.follow(db, task, ben, channel="email", target="ben@example.com")
    followers.unfollow(db, task, ada, followers.followers(db, task, ada)[2].follower_id)
    assert followers.tell_ended(db, GOING) == 0
    tasks.cancel_task(db, task, actor="tests")
    assert followers.tell_ended(db, GOING) == 3
    assert followers.tell_ended(db, GOING) == 0
    assert told(db, receiver, mailbox) == 2
    assert json.loads(receiver.received[0][1])["state"] == "cancelled"
    [message] = mailbox.messages
    assert "To: ada@example.com" in message
    with pytest.raises(WrongState):
        followers.follow(db, task, ada, channel="email", target="ada@example.com")
    with pytest.raises(RequestError):
        followers.follow(db, task, ada, channel="email", target="ada")


def test_a_running_engine_counts_and_tells(database_url: str, db: Database, receiver: Receiver, eventually: Callable[..., bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(posting.HOSTS, "127.0.0.1")
    flow = Workflow("pay", namespace="shop", version="1.0.0")

    @flow.step
    def only(task: Any) -> None: ...

    registry = HandlerRegistry()
    registry.register(flow)
    tasks.register_definition(db, flow.definition)
    owner = given_owner(db)
    views.keep_view(db, "Done", {"state": "completed"}, namespace="shop", owner_id=owner, alert=Alert(0, webhook=receiver.url))
    [task] = submitted(db, 1)
    followers.follow(db, task, owner, channel="webhook", target=receiver.url)
    engine = Engine(database_url, registry, runner="threads", concurrency=2, grace=1.0)
    engine.start()
    try:
        assert eventually(lambda: sorted(receiver.types) == ["task.ended", "view.alert"], 100.0)
    finally:
        engine.drain()


@pytest.mark.parametrize("url", ["imap://host", "smtp://", "smtp://host:many"])
def test_a_mail_server_that_is_named_wrongly_is_said_so_at_the_start(url: str) -> None:
    with pytest.raises(TaskerError, match="must read like"):
        MailServer.from_environ({"TASKER_SMTP_URL": url})


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://localhost/", "http://169.254.169.254/latest", "http://[::1]/", "http://[::ffff:10.0.0.1]/", "http://0.0.0.0/", "http://2130706433/"])
def test_nothing_is_sent_to_an_address_inside_unless_its_host_is_named(url: str) -> None:
    with pytest.raises((PermanentError, RetryableError)) as refused:
        posting.post(url, b"{}", {}, private=frozenset())
    assert "private" in str(refused.value) or "cannot be found" in str(refused.value)


def test_a_receiver_that_drips_its_answer_is_left_after_the_time_for_all_of_it() -> None:
    class Dripping(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            try:
                for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2_000:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.05)
            except OSError:
                pass  # the sender has hung up

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dripping)
    server.daemon_threads = True
    stop = serving(server)
    began = time.monotonic()
    with pytest.raises(RetryableError):
        posting.post(f"http://127.0.0.1:{server.server_address[1]}/", b"{}", {}, private=HERE, seconds=0.5)
    assert time.monotonic() - began < 60, "the time limit holds between two bytes only"
    stop()


def test_a_batch_of_actions_is_gone_when_its_tasks_are(clocked: Database) -> None:
    from engine import batches

    db = clocked
    given_workflow(db)
    [task, other] = submitted(db, 2)
    batch = batches.make_batch(db, "cancel", [(task, None)], about="one", actor="tests")
    kept = batches.make_batch(db, "cancel", [(other, None)], about="other", actor="tests")
    batches.run_due(db, GOING)
    move(db, days=8)
    retention.Sweep(db).drop_batches()
    assert len(batches.batches(db)) == 2
    db.rows("delete from tasker_task where task_id = %(task)s returning 1", {"task": task})
    retention.Sweep(db).drop_batches()
    assert [each.batch_id for each in batches.batches(db)] == [kept]
    assert batches.batch_items(db, batch) == []
