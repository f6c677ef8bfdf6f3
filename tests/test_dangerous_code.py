"""What must not be written here at all, by reading the code: SQL made of values, text that is run, objects that are loaded, JSON read past its one reader, pages that are not escaped."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for part in ("engine", "webapp") for path in (ROOT / part).rglob("*.py"))
RUNS_TEXT = {"eval", "exec", "compile", "__import__", "render_template_string", "from_string"}
LOADS_OBJECTS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle"}
UNESCAPED = {"yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen"}
ASKS = {"execute", "executemany", "rows", "value"}
FETCHES = {"urllib.request", "requests", "httpx", "aiohttp", "http.client", "socket.create_connection"}
ASK_OTHERS = {"engine/http.py", "engine/webhooks.py", "engine/client.py", "engine/traces/otlp.py", "engine/outgoing/posting.py", "webapp/methods.py"}
"""Steps and subscribers whose authors wrote the address, the client of the API, and the collector of traces and the provider of sign-ins that the settings name.

engine/outgoing/posting.py alone goes to addresses that were typed on a page, and to no private one that no setting names."""
OWN_JSON = ("engine/json_text.py", "engine/schemas.py", "engine/embedded/place.py", "engine/keeping/", "engine/cli/new.py", "engine/cli/archive.py", "engine/examples/", "engine/bench/")
"""The one reader of what comes from outside; and files, schemas and answers that this program, or an example's own service, has written."""
OWN_FRAMES = "engine/runners/"
"""Between an engine and the processes that it started itself, whose code is as trusted as its own."""
OWN_HTML = {"webapp/diff_drawing.py", "webapp/drawing.py", "webapp/filters.py", "webapp/patterns.py"}
"""Lines of a drawing, a time, and a drawing of the gallery: numbers and names of ours."""
MAY_RUN = {
    "engine/discovery.py": {"exec", "compile", "__import__"},
    "engine/patterns.py": {"compile"},
}
BY_NAME = {"engine/embedded/server.py", "engine/migrate.py", "engine/scheduler.py", "engine/testing/server.py", "engine/bench/statements.py", "engine/bench/analytics.py", "engine/bench/past.py", "engine/bench/grown.py"}
"""Where a statement holds a name of ours: the table of the schema's version, our channels, databases of tests and benches."""


def faults(path: Path, tree: ast.AST) -> Iterator[str]:
    name = str(path.relative_to(ROOT))
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Import, ast.ImportFrom, ast.Call)):
            continue
        place = f"{name}:{node.lineno}"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = {each.name.split(".")[0] for each in node.names} if isinstance(node, ast.Import) else {(node.module or "").split(".")[0]}
            yield from (f"{place} imports {module}" for module in modules & LOADS_OBJECTS if not name.startswith(OWN_FRAMES))
        else:
            yield from (f"{place} {fault}" for fault in of_call(name, node))


def of_call(name: str, call: ast.Call) -> Iterator[str]:
    called = dotted(call.func)
    plain = called.rpartition(".")[2]
    if (called in RUNS_TEXT or plain in ("render_template_string", "from_string")) and called not in MAY_RUN.get(name, ()):
        yield f"runs text: {called}"
    if called in UNESCAPED or any(each.arg == "shell" for each in call.keywords):
        yield f"calls {called}"
    if called in ("json.loads", "json.load") and not name.startswith(OWN_JSON):
        yield "reads JSON past engine.json_text"
    if plain == "Markup" and name not in OWN_HTML and call.args and not isinstance(call.args[0], ast.Constant):
        yield "makes HTML of what is no constant"
    if plain in ASKS and call.args and name not in BY_NAME and is_made(call.args[0]):
        yield f"asks with text that was put together: {ast.unparse(call.args[0])[:80]}"


def dotted(called: ast.expr) -> str:
    """`yaml.load` for what is called by that name; of a longer expression its last part."""
    if isinstance(called, ast.Attribute):
        return f"{dotted(called.value)}.{called.attr}"
    return called.id if isinstance(called, ast.Name) else ""


def is_made(statement: ast.expr) -> bool:
    """Whether the text comes from a way that the type checker's LiteralString does not see through: encoded, formatted, replaced or joined."""
    if not isinstance(statement, ast.Call) or not isinstance(statement.func, ast.Attribute):
        return False
    return statement.func.attr in ("encode", "format", "replace", "join") and not ast.unparse(statement).startswith("sql.SQL(")  # which quotes


def test_no_value_becomes_sql_code_an_object_or_html() -> None:
    assert [fault for source in SOURCES for fault in faults(source, parsed(source))] == []


@cache
def parsed(source: Path) -> ast.Module:
    return ast.parse(source.read_text())


def test_the_reading_finds_what_it_looks_for() -> None:
    bad = 'import pickle\nyaml.load(x)\neval(x)\nsubprocess.run(x, shell=True)\nMarkup(x)\ndb.rows(f"select {x}".encode())\napp.jinja_env.from_string(x)\n'
    assert len(list(faults(ROOT / "engine" / "bad.py", ast.parse(bad)))) == 7


def test_statements_are_literals_for_the_type_checker() -> None:
    """mypy refuses an f-string of anything but literals where LiteralString is asked for, so that a value can only be a parameter."""
    text = (ROOT / "engine" / "db.py").read_text()
    assert all(f"def {name}(self, query: LiteralString," in text for name in ("rows", "value"))


def test_no_template_leaves_text_unescaped() -> None:
    marks = re.compile(r"\|\s*safe\b|autoescape\s+false|<[^>]*\s(on\w+|hx-on\S*)=")
    assert [path.name for path in (ROOT / "webapp" / "templates").rglob("*.html") if marks.search(path.read_text())] == []


def test_no_other_server_is_asked_but_where_its_address_was_configured() -> None:
    found = set()
    for source in SOURCES:
        for node in ast.walk(parsed(source)):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {str(source.relative_to(ROOT)) for name in names if name in FETCHES or name.startswith("authlib.integrations")}
    assert found <= ASK_OTHERS | {name for name in found if name.startswith(("engine/bench/", "engine/examples/", "engine/testing/"))}
