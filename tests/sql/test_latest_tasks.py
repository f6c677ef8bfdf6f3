"""Lists begin in the middle: at a definition's newest tasks, and at a time."""

from datetime import UTC, datetime, timedelta

from graphs import Conn, definition, given_task, register, task_of, value


def test_the_newest_tasks_of_a_definition_come_first(conn: Conn) -> None:
    known = register(conn, definition("a"))
    mine = [task_of(conn, known, ["a"]).no for _ in range(4)]
    given_task(conn, "other")
    rows = conn.execute("select task_no, took from tasker_latest_tasks(%s, 3)", [known]).fetchall()
    assert rows == [(no, None) for no in mine[:0:-1]]
    older = conn.execute("select task_no from tasker_latest_tasks(%s, 9, %s)", [known, mine[2]]).fetchall()
    assert older == [(mine[1],), (mine[0],)]


def test_a_time_leads_to_the_first_task_made_then_or_later(conn: Conn) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    tasks = [given_task(conn, "a").no for _ in range(7)]
    for hours, no in enumerate(tasks):
        conn.execute("update tasker_task set created_at = %s where task_no = %s", [begin + timedelta(hours=hours), no])
    conn.execute("delete from tasker_task where task_no = any(%s)", [[tasks[0], tasks[3], tasks[4]]])
    left = {no: begin + timedelta(hours=hours) for hours, no in enumerate(tasks) if hours not in (0, 3, 4)}
    for minutes in range(-30, 420, 30):
        at = begin + timedelta(minutes=minutes)
        expected = min((no for no, made in left.items() if made >= at), default=None)
        assert value(conn, "select tasker_task_no_at(%s)", at) == expected, minutes


def test_without_tasks_a_time_leads_nowhere(conn: Conn) -> None:
    assert value(conn, "select tasker_task_no_at(now())") is None
