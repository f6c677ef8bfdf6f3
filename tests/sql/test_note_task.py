"""tasker_note_task: a remark in the history that moves nothing."""

from uuid import uuid4

from graphs import Conn, complete, given_task, history, refused, task_state, value


def note(conn: Conn, task_id: object, text: str) -> None:
    conn.execute("select tasker_note_task(%s, 'ana', %s)", [task_id, text])


def test_a_note_keeps_the_state_and_names_who_wrote_it(conn: Conn) -> None:
    task = given_task(conn, "a")
    note(conn, task.id, "look here")
    complete(conn, task, "a")
    note(conn, task.id, "all is well")
    assert task_state(conn, task) == "completed"
    rows = conn.execute(
        "select actor, reason, from_state = to_state from tasker_history where task_no = %s and detail ? 'note' order by event_id", [task.no]
    ).fetchall()
    assert rows == [("ana", "look here", True), ("ana", "all is well", True)]


def test_a_note_is_no_event(conn: Conn) -> None:
    task = given_task(conn, "a")
    before = value(conn, "select count(*) from tasker_read_events(0, 1000000)")
    note(conn, task.id, "look here")
    assert value(conn, "select count(*) from tasker_read_events(0, 1000000)") == before
    assert history(conn, task, "a") == []


def test_an_unknown_task_takes_no_note(conn: Conn) -> None:
    with refused("WF001"):
        note(conn, uuid4(), "look here")
