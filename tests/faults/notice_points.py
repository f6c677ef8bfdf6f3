"""What is asked of kept views, notices, followers and visitors when a process dies in the middle of it; the form is that of account_points.

An engine that dies between counting and telling leaves it to the next one. A notice is told at least once.
"""

from __future__ import annotations

from datetime import timedelta
from threading import Event

from account_points import ACTOR, Ask, Holds, counted, make_accounts, told

from engine import TaskRequest, batches, tasks
from engine.access import accounts, visitors
from engine.db import Database
from engine.finding import views
from engine.keeping import retention
from engine.outgoing import followers, notices
from engine.outgoing.notices import Notice

TARGET = "https://example.com/hook"
NEVER = Event()


def make_task(db: Database) -> None:
    told["task"] = tasks.submit(db, TaskRequest("pair", "crash"))


def keep_view(db: Database) -> None:
    told["view"] = views.keep_view(
        db, "Open", {"state": "pending"}, namespace="crash", owner_id=told["id"], alert=views.Alert(0, timedelta(minutes=1), TARGET)
    )


def watch(db: Database) -> None:
    views.watch(db, NEVER)


def is_told_once(db: Database) -> bool:
    db.rows("update tasker_view set counted_at = null returning 1")  # its next count is due
    watch(db)
    return bool(db.value("select count(*) from tasker_notice") == 1)


def deliver(db: Database) -> None:
    notices.deliver_due(db, {"webhook": _take}, NEVER)


def _take(notice: Notice) -> None:
    told["taken"] = notice.notice_id


def is_delivered(db: Database) -> bool:
    db.rows("update tasker_notice set due_at = tasker_clock() where delivered_at is null returning 1")  # the rest after the attempt is over
    deliver(db)
    return bool(db.value("select notice_id from tasker_notice where delivered_at is not null and error is null") == told["taken"])


def outdate_notice(db: Database) -> None:
    deliver(db)
    db.rows("update tasker_notice set created_at = created_at - interval '40 days', delivered_at = delivered_at - interval '40 days' returning 1")


def follow(db: Database) -> None:
    followers.follow(db, told["task"], told["id"], channel="webhook", target=TARGET)


def unfollow(db: Database) -> None:
    for one in followers.followers(db, told["task"], told["id"]):
        followers.unfollow(db, told["task"], told["id"], one.follower_id)


def cancel(db: Database) -> None:
    tasks.cancel_task(db, told["task"], actor=ACTOR)


def tell_ended(db: Database) -> None:
    followers.tell_ended(db, NEVER)


def leave_batch(db: Database) -> None:
    """A batch that ended long ago, all tasks of which are gone."""
    batches.make_batch(db, "cancel", [(told["task"], None)], about="all", actor=ACTOR)
    db.rows("update tasker_batch_item set task_id = gen_random_uuid() returning 1")
    db.rows("update tasker_batch set finished_at = tasker_clock() - interval '9 days' returning 1")


POINTS: dict[str, tuple[Ask, Holds, *tuple[Ask, ...]]] = {
    "tasker_keep_view": (keep_view, counted("select count(*) from tasker_view", 1), make_accounts),
    "tasker_remove_view": (lambda db: views.remove_view(db, told["view"]), counted("select count(*) from tasker_view", 0), make_accounts, keep_view),
    "tasker_take_views": (watch, is_told_once, make_accounts, make_task, keep_view),
    "tasker_note_count": (watch, is_told_once, make_accounts, make_task, keep_view),
    "tasker_take_notices": (deliver, is_delivered, make_accounts, make_task, keep_view, watch),
    "tasker_end_notice": (deliver, is_delivered, make_accounts, make_task, keep_view, watch),
    "tasker_drop_notices": (
        notices.drop_old,
        counted("select count(*) from tasker_notice", 0),
        make_accounts,
        make_task,
        keep_view,
        watch,
        outdate_notice,
    ),
    "tasker_follow_task": (follow, counted("select count(*) from tasker_follower", 1), make_accounts, make_task),
    "delete from tasker_follower": (unfollow, counted("select count(*) from tasker_follower", 0), make_accounts, make_task, follow),
    "tasker_tell_follower": (tell_ended, counted("select count(*) from tasker_notice", 1), make_accounts, make_task, follow, cancel),
    "tasker_drop_batches": (lambda db: retention.Sweep(db).drop_batches(), counted("select count(*) from tasker_batch", 0), make_task, leave_batch),
    "tasker_set_zone": (
        lambda db: accounts.set_zone(db, told["id"], "Europe/Berlin"),
        counted("select count(*) from tasker_account where zone = 'Europe/Berlin'", 1),
        make_accounts,
    ),
    "tasker_keep_visitor": (
        lambda db: visitors.arrive(db, "host 1", "eve", [("viewer", None)], host="host"),
        counted("select count(*) from tasker_account a join tasker_grant g using (account_id) where a.outside_id = 'host 1' and g.role = 'viewer'", 1),
    ),
}
