"""Making definitions known: the same content is no change, used content is immutable, and versions sort as their numbers say."""

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from graphs import Conn, create, definition, given_task, refused, register, request, states, value
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.definition import is_prerelease, version_key


def steps_of(conn: Conn, definition_id: int) -> list[tuple[Any, ...]]:
    return conn.execute("select name, parents, children from tasker_template where definition_id = %s order by step_no", [definition_id]).fetchall()


def test_a_definition_is_kept_as_it_was_given(conn: Conn) -> None:
    options = {"b": {"retry_limit": 5, "timeout": 1500, "backoff": {"base": 2.0}, "handler_config": {"x": 1}, "output_schema": {"type": "object"}}}
    known = register(conn, definition("a -> b, a -> c", steps=options))
    assert steps_of(conn, known) == [("a", [], [1, 2]), ("b", [0], []), ("c", [0], [])]
    query = "select retry_limit, timeout_ms, backoff_base, backoff_multiplier, handler_config, output_schema from tasker_template where definition_id = %s and name = 'b'"
    assert conn.execute(query, [known]).fetchone() == (5, 1500, 2.0, 2.0, {"x": 1}, {"type": "object"})
    assert value(conn, "select step_count from tasker_definition where definition_id = %s", known) == 3


def test_the_same_content_again_is_no_change(conn: Conn) -> None:
    content = definition("a -> b")
    known = register(conn, content)
    create(conn, request(known))
    assert register(conn, content) == known
    assert value(conn, "select count(*) from tasker_definition") == 1


def test_unused_content_is_replaced_under_a_number_of_its_own(conn: Conn) -> None:
    # A process that remembers what it knows by that number never takes one content for the other.
    old = register(conn, definition("a -> b", name="flow", needs="gpu"))
    new = register(conn, definition("x -> y -> z", name="flow"))
    assert new != old
    assert (steps_of(conn, old), [row[0] for row in steps_of(conn, new)]) == ([], ["x", "y", "z"])
    assert conn.execute("select definition_id, step_count from tasker_definition").fetchall() == [(new, 3)]
    assert value(conn, "select count(*) from tasker_lane") == 0


def test_no_task_is_made_of_content_that_was_replaced(conn: Conn) -> None:
    old, other = register(conn, definition("a -> b", name="flow")), register(conn, definition("a"))
    register(conn, definition("x -> y", name="flow"))
    with refused("WF001"):
        create(conn, request(other), request(old))
    assert value(conn, "select count(*) from tasker_task") == 0
    assert value(conn, "select count(*) from tasker_definition where used") == 0


def test_a_task_waits_for_the_replacement_of_its_definition_and_is_not_made_then(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: a task that finds its definition before another content is committed, and is made of nothing after it.
    old = register(conn, definition("a -> b", name="flow"))
    replacing, creating = connect(), connect()
    with replacing.transaction():
        register(replacing, definition("x -> y", name="flow"))
        told: list[str | None] = []
        made = threading.Thread(target=lambda: told.append(refusal(creating, old)))
        made.start()
        wait_for_lock(conn, creating)
    made.join(timeout=30)
    assert told == ["WF001"]
    assert value(conn, "select count(*) from tasker_task") == 0


def test_content_waits_for_the_task_that_is_made_of_the_one_before_and_is_refused_then(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: content that is replaced between a task's first look at it and its steps.
    old = register(conn, definition("a -> b", name="flow"))
    creating, replacing = connect(), connect()
    with creating.transaction():
        create(creating, request(old))
        told: list[str | None] = []
        other = threading.Thread(target=lambda: told.append(refusal(replacing, old, definition("x -> y", name="flow"))))
        other.start()
        wait_for_lock(conn, replacing)
    other.join(timeout=30)
    assert told == ["WF004"]
    assert [row[0] for row in steps_of(conn, old)] == ["a", "b"]


def refusal(session: Conn, known: int, content: dict[str, Any] | None = None) -> str | None:
    try:
        register(session, content) if content else create(session, request(known))
    except psycopg.Error as error:
        return error.sqlstate
    return None


def wait_for_lock(conn: Conn, session: Conn) -> None:
    query = "select count(*) from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
    deadline = time.monotonic() + 20
    while not value(conn, query, session.info.backend_pid):
        assert time.monotonic() < deadline, "it waits for nothing"
        time.sleep(0.005)


def test_used_content_is_immutable(conn: Conn) -> None:
    known = register(conn, definition("a -> b", name="flow"))
    create(conn, request(known))
    with refused("WF004"):
        register(conn, definition("a -> b -> c", name="flow"))
    assert [row[0] for row in steps_of(conn, known)] == ["a", "b"]


def described(conn: Conn, known: int) -> tuple[list[str], set[Any]]:
    """The description of the definition and those of its steps, and which transactions wrote them."""
    rows = conn.execute(
        "select description, xmin::text from tasker_definition where definition_id = %(id)s union all"
        " (select description, xmin::text from tasker_template where definition_id = %(id)s order by step_no)", {"id": known},
    ).fetchall()
    return [row[0] for row in rows], {row[1] for row in rows}


def test_better_descriptions_reach_a_version_in_use(conn: Conn) -> None:
    content = definition("a -> b", steps={"a": {"description": "does tihs"}, "b": {"description": "does that"}})
    known = register(conn, content | {"description": "Old."})
    create(conn, request(known))
    assert register(conn, content | {"description": "New.", "steps": [content["steps"][0] | {"description": "does this"}, content["steps"][1]]}) == known
    assert described(conn, known)[0] == ["New.", "does this", "does that"]
    assert value(conn, "select fingerprint from tasker_definition where definition_id = %s", known) == content["fingerprint"]


def test_descriptions_that_are_the_same_are_not_written(conn: Conn) -> None:
    content = definition("a -> b", description="does this") | {"description": "Sells."}
    known = register(conn, content)
    create(conn, request(known))
    before = described(conn, known)
    register(conn, content)
    assert described(conn, known) == before


def test_what_a_fingerprint_is_made_of_is_kept_beside_it(conn: Conn) -> None:
    register(conn, definition("a -> b", name="flow"))
    known = register(conn, content := definition("x -> y", name="flow", retry_limit=5))
    assert value(conn, "select content from tasker_definition where definition_id = %s", known) == content["content"]


def test_a_new_version_stands_beside_the_old_one(conn: Conn) -> None:
    old = given_task(conn, "a", name="flow")
    new = register(conn, definition("a -> b", name="flow", version="1.1.0"))
    assert new != old.definition_id
    assert states(conn, old) == {"a": "ready"}


def test_a_namespace_is_made_once_and_keeps_its_description(conn: Conn) -> None:
    register(conn, definition("a") | {"namespace_description": "what we test"})
    register(conn, definition("b"))
    assert conn.execute("select namespace, description from tasker_namespace").fetchall() == [("tests", "what we test")]


def together(sessions: list[Conn], act: Callable[[Conn, int], Any]) -> list[Any]:
    gate = threading.Barrier(len(sessions))
    found: list[Any] = []

    def one(session: Conn, number: int) -> None:
        gate.wait(timeout=30)
        try:
            found.append(act(session, number))
        except psycopg.Error as error:
            found.append(error.sqlstate)

    threads = [threading.Thread(target=one, args=[session, number]) for number, session in enumerate(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return found


def test_engines_that_start_at_once_register_one_definition(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: two engines that both miss the definition and both insert it.
    content = definition("a -> b -> c")
    found = together([connect() for _ in range(12)], lambda session, _: register(session, content))
    assert len(found) == 12
    assert len(set(found)) == 1
    assert [row[0] for row in steps_of(conn, found[0])] == ["a", "b", "c"]


def test_content_that_changes_while_a_task_is_made_of_it_stays_whole(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: a task with steps of two contents or of none, and content replaced under a task.
    sessions = [connect() for _ in range(8)]
    for turn in range(15):
        name = f"flow{turn}"
        contents = [definition("a -> b", name=name), definition("x -> y -> z", name=name)]
        known = register(conn, contents[0])

        def act(session: Conn, number: int, known: int = known, contents: list[dict[str, Any]] = contents) -> Any:
            return register(session, contents[1]) if number % 2 else create(session, request(known))

        found = together(sessions, act)
        assert set(map(type, found)) <= {int, str, list}
        created = sum(isinstance(answer, list) for answer in found)
        # whoever came first decides for all: tasks of the old content, or the new content and no task
        expected = [("a", "b")] * created if created else []
        assert {answer for answer in found if isinstance(answer, str)} == {"WF004" if created else "WF001"}
        assert made_of(conn, name) == expected
        assert value(conn, "select step_count from tasker_definition where name = %s", name) == (2 if created else 3)


def made_of(conn: Conn, name: str) -> list[tuple[str, ...]]:
    """The steps of each task of the workflow; none of them twice."""
    rows = conn.execute(
        "select (select array_agg(p.name order by s.step_no) from tasker_step s join tasker_template p using (definition_id, step_no) where s.task_no = t.task_no)"
        "  from tasker_task t left join tasker_definition d using (definition_id) where d.name = %s or d.name is null", [name],
    ).fetchall()
    return [tuple(row[0] or ()) for row in rows]


def test_content_that_several_replace_at_once_is_that_of_one_of_them(connect: Callable[..., Conn], conn: Conn) -> None:
    # Forbids: two that both take away what was there, of whom the later one finds nothing and fails, or leaves a version twice.
    sessions = [connect() for _ in range(6)]
    for turn in range(10):
        name = f"flow{turn}"
        register(conn, definition("a", name=name))
        contents = [definition(" -> ".join("xyz"[: number % 3 + 1]), name=name) for number in range(6)]
        found = together(sessions, lambda session, number, contents=contents: register(session, contents[number]))
        assert [type(each) for each in found] == [int] * 6
        [(known, count)] = conn.execute("select definition_id, step_count from tasker_definition where name = %s", [name]).fetchall()
        assert known in found
        assert len(steps_of(conn, known)) == count


# ---- versions

_number = st.integers(0, 10**9 - 1).map(str)
_identifier = st.one_of(st.integers(0, 10**15).map(str), st.from_regex(r"[0-9A-Za-z-]{1,12}", fullmatch=True))
_prerelease = st.lists(_identifier, min_size=1, max_size=3).map(lambda parts: "-" + ".".join(parts))
versions = st.builds("{}.{}.{}{}".format, _number, _number, _number, st.one_of(st.just(""), _prerelease)).filter(lambda text: len(text) <= 64)
close = st.builds("{}.{}.{}{}".format, *[st.sampled_from(["0", "1", "9", "10"])] * 3, st.sampled_from(["", "-a", "-a.1", "-a-1", "-1", "-10", "-9", "-01", "-A", "-12345678901", "-2.a"]))


def test_versions_sort_in_sql_as_in_python(conn: Conn) -> None:
    @settings(max_examples=200, deadline=None, database=None)
    @given(st.lists(st.one_of(versions, close), min_size=2, max_size=12))
    @example(["1.0.0-12345678901", "1.0.0-2345678901", "1.0.0-00012345678901"])
    def sorts_alike(found: list[str]) -> None:
        ranks = dict(conn.execute("select v, tasker_version_rank(v) from unnest(%s::text[]) v", [found]).fetchall())
        for one in found:
            for other in found:
                by_rank = (ranks[one].encode() > ranks[other].encode()) - (ranks[one].encode() < ranks[other].encode())
                by_key = (version_key(one) > version_key(other)) - (version_key(one) < version_key(other))
                assert by_rank == by_key, (one, other, ranks[one], ranks[other])

    sorts_alike()


def test_the_database_orders_ranks_by_their_bytes(conn: Conn) -> None:
    ordered = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-rc.2", "1.0.0-rc.10", "1.0.0", "1.9.0", "1.10.0-rc.1", "1.10.0"]
    rows = conn.execute('select v from unnest(%s::text[]) v order by tasker_version_rank(v) collate "C"', [ordered[::-1]]).fetchall()
    assert [row[0] for row in rows] == ordered == sorted(ordered, key=version_key)


def test_a_prerelease_is_known_as_one(conn: Conn) -> None:
    for version in ("1.0.0", "1.0.0-rc.1"):
        known = register(conn, definition("a", name="flow", version=version))
        assert value(conn, "select prerelease from tasker_definition where definition_id = %s", known) is is_prerelease(version)
