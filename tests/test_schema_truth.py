"""`sql/` is today's truth and the migrations are how a database gets there: both must arrive at the same schema."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import LiteralString

import psycopg
import pytest

from engine.migrate import VERSION_TABLE

ROOT = Path(__file__).resolve().parents[1]

# Each query gives (name, definition). The order of a table's columns is left out: nothing here depends on it. So is pg_attver, a mark that some
# servers (15.20 does) set for themselves and differently each time.
CATALOG: dict[str, LiteralString] = {
    "tables": """
      select c.relname, concat_ws(' ', c.relkind, c.relpersistence, c.reloptions::text, obj_description(c.oid, 'pg_class'))
      from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S')""",
    "columns": """
      select c.relname || '.' || a.attname,
             concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attstorage,
                       (select array_agg(o order by o)::text from unnest(a.attoptions) o where o not like 'pg_attver=%'),
                       pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum))
      from pg_attribute a join pg_class c on c.oid = a.attrelid left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
      where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped""",
    "constraints": """
      select conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
      from pg_constraint where connamespace = 'public'::regnamespace""",
    "indexes": """
      select indexname, indexdef from pg_indexes where schemaname = 'public'""",
    "sequences": """
      select sequencename, concat_ws(' ', data_type, start_value, increment_by, cache_size, cycle)
      from pg_sequences where schemaname = 'public'""",
    "functions": """
      select p.oid::regprocedure::text, pg_get_functiondef(p.oid) || coalesce(obj_description(p.oid, 'pg_proc'), '')
      from pg_proc p where p.pronamespace = 'public'::regnamespace and p.prokind in ('f', 'p')""",
    "views": """
      select viewname, definition from pg_views where schemaname = 'public'""",
    "types": """
      select t.typname, concat_ws(' ', t.typtype, format_type(t.typbasetype, t.typtypmod),
                                  (select string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid))
      from pg_type t where t.typnamespace = 'public'::regnamespace and t.typtype in ('e', 'd', 'c')""",
    "triggers": """
      select tgname, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal""",
}


@pytest.fixture(scope="module")
def freeze() -> ModuleType:
    """The script that knows in which order the files of `sql/` load."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / ".ci"))
        return importlib.import_module("freeze")


def schema(url: str) -> dict[str, dict[str, str]]:
    with psycopg.connect(url) as conn:
        found = {kind: dict(conn.execute(query).fetchall()) for kind, query in CATALOG.items()}
    return {kind: {name: text for name, text in rows.items() if VERSION_TABLE not in name} for kind, rows in found.items()}


def write_sources(root: Path, **texts: str) -> None:
    for name, text in texts.items():
        kind, stem = name.split("__")
        (root / "sql" / kind).mkdir(parents=True, exist_ok=True)
        (root / "sql" / kind / f"{stem}.sql").write_text(text)


def test_the_migrations_arrive_at_what_sql_says(freeze: ModuleType, database_url: str, empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as conn:
        for file in freeze.source_files(ROOT / "sql"):
            conn.execute(file.text.encode())
    migrated, written = schema(database_url), schema(empty_database_url)
    assert written["functions"], "sql/ was not loaded"
    for kind in CATALOG:
        assert migrated[kind] == written[kind], f"sql/ and migrations/ differ in {kind}: freeze a revision (make revision NAME=...)"


def test_every_function_and_view_has_the_file_of_its_name(database_url: str) -> None:
    found = schema(database_url)
    functions = {name.partition("(")[0] for name in found["functions"]}
    assert functions == {path.stem for path in (ROOT / "sql" / "functions").glob("*.sql")}
    assert set(found["views"]) == {path.stem for path in (ROOT / "sql" / "views").glob("*.sql")}


def test_everything_carries_the_prefix(database_url: str) -> None:
    found = schema(database_url)
    names = [name for kind in ("tables", "functions", "types", "triggers") for name in found[kind]]
    assert [name for name in names if not name.startswith("tasker_")] == []


def test_a_file_is_loaded_after_what_it_needs(freeze: ModuleType, tmp_path: Path) -> None:
    write_sources(tmp_path, schema__10_a="-- needs: z\n", functions__b="-- needs: v, c\n", functions__c="", functions__z="", views__v="")
    assert [file.name for file in freeze.source_files(tmp_path / "sql")] == [
        "functions/z.sql",
        "schema/10_a.sql",
        "views/v.sql",
        "functions/c.sql",
        "functions/b.sql",
    ]


@pytest.mark.parametrize(("needs", "complaint"), [("nothing_here", "not in sql/"), ("a", "need each other")])
def test_a_need_that_cannot_be_met_is_named(freeze: ModuleType, tmp_path: Path, needs: str, complaint: str) -> None:
    write_sources(tmp_path, functions__a="-- needs: b\n", functions__b=f"-- needs: {needs}\n")
    with pytest.raises(SystemExit, match=complaint):
        freeze.source_files(tmp_path / "sql")


def test_a_later_revision_carries_only_what_changed(freeze: ModuleType, tmp_path: Path) -> None:
    migrations = tmp_path / "migrations"
    (migrations / "versions").mkdir(parents=True)
    (migrations / "script.py.mako").write_text((ROOT / "migrations" / "script.py.mako").read_text())
    write_sources(tmp_path, schema__10_t="create table t ();", functions__f="create function f() old", functions__g="create function g()", views__v="create view v")
    freeze.main("core", tmp_path)

    write_sources(tmp_path, schema__10_t="create table t (id int);", functions__f="create function f() new")
    (tmp_path / "sql" / "views" / "v.sql").unlink()
    freeze.main("second", tmp_path)

    up, down = ((migrations / "versions" / "0002_second" / name).read_text() for name in ("up.sql", "down.sql"))
    assert "drop view if exists v;" in up
    assert "write by hand what changes in schema/10_t.sql" in up
    assert "create function f() new" in up
    assert "create view v" in down
    assert "create function f() old" in down
    assert "function g()" not in up + down

    freeze.main("third", tmp_path)
    assert (migrations / "versions" / "0003_third" / "up.sql").read_text() == ""
