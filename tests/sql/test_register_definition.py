"""Making definitions known: the same content is no change, used content is immutable, and versions sort as their numbers say."""

import threading
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


def test_unused_content_is_replaced(conn: Conn) -> None:
    known = register(conn, definition("a -> b", name="flow"))
    assert register(conn, definition("x -> y -> z", name="flow")) == known
    assert [row[0] for row in steps_of(conn, known)] == ["x", "y", "z"]
    assert value(conn, "select step_count from tasker_definition where definition_id = %s", known) == 3


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
    known = register(conn, definition("a -> b", name="flow"))
    register(conn, content := definition("x -> y", name="flow", retry_limit=5))
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
    # Forbids: a task with steps of two contents, or content replaced under a task.
    sessions = [connect() for _ in range(8)]
    for turn in range(15):
        name = f"flow{turn}"
        contents = [definition("a -> b", name=name), definition("x -> y -> z", name=name)]
        known = register(conn, contents[0])

        def act(session: Conn, number: int, known: int = known, contents: list[dict[str, Any]] = contents) -> Any:
            return register(session, contents[1]) if number % 2 else create(session, request(known))

        found = together(sessions, act)
        assert set(map(type, found)) <= {int, str, list}
        assert {answer for answer in found if isinstance(answer, str)} <= {"WF004"}
        steps = {tuple(row[0]) for row in conn.execute(
            "select array_agg(p.name order by s.step_no) from tasker_step s join tasker_template p using (definition_id, step_no)"
            " where s.definition_id = %s group by s.task_no", [known],
        ).fetchall()}
        assert steps in ({("a", "b")}, {("x", "y", "z")})
        expected = value(conn, "select step_count from tasker_definition where definition_id = %s", known)
        assert value(conn, "select count(distinct step_no) from tasker_step where definition_id = %s", known) == expected


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
