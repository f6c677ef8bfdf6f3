"""Where the blocks of a page are tried: a folder, a database, a registry and a process's worth of names of the page's own."""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]
from blocks import ROOT, Block
from loaded import forget_modules_of, without_modules_of
from shell import commands, problems
from werkzeug.routing import MapAdapter

from engine import cli, json_text, yaml_config
from engine.embedded.binaries import find_binaries
from engine.registry import HandlerRegistry
from engine.scheduler import Engine
from engine.testing import Workbench
from engine.testing.workbench import FinishedTask

if TYPE_CHECKING:
    from engine.testing.databases import Databases
    from webapp.server import Server

ELSEWHERE = "https://tasker.example"
"""The address that pages write for an installation; blocks that name it get a real one, on the page's database."""
PATIENCE_SECONDS = 60
RENEW = bool(os.environ.get("RENEW_PICTURES"))
MODULE = "page_under_test"


class Desk:
    """One page's desk. Hidden code of a page knows it as `desk`."""

    def __init__(self, folder: Path, databases: Databases, patch: pytest.MonkeyPatch, stack: ExitStack, *, real: bool) -> None:
        self.real = real
        self.folder, self._databases, self._patch, self._stack = folder, databases, patch, stack
        self.here = folder
        self.url = stack.enter_context(databases.fresh(databases.template()))
        patch.setattr(HandlerRegistry, "_instance", HandlerRegistry())
        for name in [name for name in os.environ if name.startswith("TASKER_")]:
            patch.delenv(name)
        patch.setenv("TASKER_DATABASE_URL", self.url)
        patch.setenv("TASKER_DATA_DIR", str(folder / "data"))
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        (folder / ".venv").symlink_to(sys.prefix)
        self.names = types.ModuleType(MODULE)
        patch.setitem(sys.modules, MODULE, self.names)
        self.names.__dict__["desk"] = self
        self._latest: dict[str, str] = {}
        self._engine: Engine | None = None
        stack.callback(forget_modules_of, folder)
        stack.callback(self.end_engine)

    # ---- blocks

    def try_out(self, block: Block) -> None:
        """The block has run, or was read by what reads its like; raises what is wrong with it."""
        if not block.hidden:
            self._latest[block.language] = block.code
        if block.file:
            self.write(block.file, block.code)
        if block.not_run is not None:
            compile(block.code, block.place, "exec") if block.language == "python" else None
            return
        readers: dict[str, Callable[[Block], None]] = {
            "python": self._python, "sh": self._shell, "sql": self._sql,
            "yaml": _yaml, "json": _json, "toml": _toml, "ini": _nothing, "text": _nothing, "ruby": _nothing,
        }  # fmt: skip
        if not block.language.startswith("{"):
            readers[block.language](block)

    def _python(self, block: Block) -> None:
        if block.file:
            tests = vars(self._module(Path(block.file)))
        else:
            before = dict(self.names.__dict__)
            exec(compile(self._real(block.code), block.place, "exec"), self.names.__dict__)
            tests = {name: value for name, value in self.names.__dict__.items() if before.get(name) is not value}
        for name, test in tests.items():
            if name.startswith("test_"):
                self.call(test)

    def _shell(self, block: Block) -> None:
        wrong = problems(block.code, lambda: self.addresses)
        assert not wrong, f"{block.place}: {wrong}"
        if block.run is not None or block.fails is not None:
            code = re.sub(r"\b[A-Z]{3,}\b", lambda name: str(getattr(self.names, name[0], name[0])), block.code)
            status, said = self.terminal(code)
            assert status == (0 if block.fails is None else 1), said
            assert (block.fails or "") in said

    def _sql(self, block: Block) -> None:
        statement = re.sub(r":'(\w+)'", lambda name: psycopg.sql.quote(getattr(self.names, name[1])), block.code)
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(statement.encode())

    def _real(self, code: str) -> str:
        return code.replace(ELSEWHERE, self.server.url) if ELSEWHERE in code else code

    def _module(self, file: Path) -> types.ModuleType:
        """The file as the module that its place makes it; a test is nobody's to import."""
        if file.parts[0] != "tests":
            self._patch.syspath_prepend(str(self.here))
            importlib.invalidate_caches()
            return importlib.import_module(".".join(file.with_suffix("").parts))
        spec = importlib.util.spec_from_file_location(f"page_{file.stem}", self.here / file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    # ---- for hidden code

    def write(self, file: str, text: str) -> None:
        """The file is there."""
        place = self.here / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def terminal(self, code: str) -> tuple[int, str]:
        """How the lines ended and what they said, from the folder where the last ones ended. Commands of ours that stand alone run in this process."""
        lines = commands(code)
        if not self.real and all(line[0] == "tasker" for line in lines) and not re.search(r"[|<>$]", code):
            return self._in_process(lines)
        where = self.folder / "where"
        environment = {**os.environ, "HOME": str(self.folder), "PATH": f"{sys.prefix}/bin:{find_binaries().postgres.parent}:{os.environ['PATH']}"}
        script = f"set -eu\n{code}\npwd > '{where}'\n"
        ended = subprocess.run(["bash", "-c", script], cwd=self.here, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        if ended.returncode == 0:
            self.here = Path(where.read_text().strip())
        return ended.returncode, ended.stdout + ended.stderr

    def shell(self, code: str) -> None:
        """The lines have run. Raises AssertionError when one fails."""
        status, said = self.terminal(code)
        assert status == 0, f"{code}\n{said}"

    def _in_process(self, lines: list[list[str]]) -> tuple[int, str]:
        said = io.StringIO()
        for line in lines:
            with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said), without_modules_of(self.folder):
                patch.setattr(HandlerRegistry, "_instance", HandlerRegistry())
                patch.chdir(self.here)
                with pytest.raises(SystemExit) as end:
                    cli.main(line[1:])
            if end.value.code:
                return int(end.value.code), said.getvalue()
        return 0, said.getvalue()

    def run(self, workflow: Any, context: dict[str, Any] | None = None, **fields: Any) -> FinishedTask:
        """A task of it has run to its end."""
        return self.workbench.run(workflow, context, **fields)

    def call(self, test: Callable[..., None]) -> None:
        """A test of the page has passed; one that asks for `tasker` has a database of its own, and `tmp_path` is a new folder, as under pytest."""
        asked = test.__code__.co_varnames[: test.__code__.co_argcount]
        with ExitStack() as stack:
            offered = {"tasker": self._own_workbench, "tmp_path": lambda _: Path(tempfile.mkdtemp(dir=self.folder))}
            test(**{name: offered[name](stack) for name in asked})

    def _own_workbench(self, stack: ExitStack) -> Workbench:
        place = stack.enter_context(self._databases.lent(self._databases.template()))
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("TASKER_DATABASE_URL", place.url)
        workbench = Workbench(place.url, HandlerRegistry.instance(), place.session)
        stack.callback(workbench.close)
        return workbench

    def start_engine(self) -> None:
        """An engine with the handlers of the folder `flows` works until the page ends, or the next one starts."""
        self.end_engine()
        registry = HandlerRegistry()
        with without_modules_of(self.folder), pytest.MonkeyPatch.context() as patch:
            patch.setattr(HandlerRegistry, "_instance", registry)
            report = registry.load([self.here / "flows"])
            assert not report.failures, report.failures
            self._engine = Engine(self.url, registry, runner="threads", concurrency=4, sources=("flows",))
            self._engine.start()

    def end_engine(self) -> None:
        """It has done what it was doing."""
        if self._engine is not None:
            self._engine.drain()
        self._engine = None

    def until(self, query: str, answer: Any) -> None:
        """Returns when the page's database answers so."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := self.rows(query)[0][0]) != answer:
            assert time.monotonic() < deadline, f"{query}: {found}, not {answer}"
            time.sleep(0.05)

    def code(self, language: str) -> str:
        """The latest block of that language, whatever is hidden."""
        return self._latest[language]

    def drawn(self, workflow: str, picture: str) -> None:
        """The picture of the page is what `tasker graph` draws of the workflow."""
        status, drawing = self.terminal(f"tasker graph {workflow} --svg")
        place = ROOT / "docs" / picture
        assert status == 0, drawing
        if RENEW:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(drawing)
        assert place.read_text() == drawing, f"{picture} is not how {workflow} looks; RENEW_PICTURES=1 make test ARGS=tests/docs draws it anew"

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the page's database answers."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            return conn.execute(query.encode()).fetchall()

    def set(self, variable: str, value: str) -> None:
        """The environment variable has the value until the page ends."""
        self._patch.setenv(variable, value)

    def empty_database(self) -> str:
        """The URL of a database in which nothing is yet."""
        return self._stack.enter_context(self._databases.fresh())

    def workbench_on(self, url: str) -> Workbench:
        """An engine in the foreground on that database."""
        made = Workbench(url, HandlerRegistry.instance())
        self._stack.callback(made.close)
        return made

    @cached_property
    def workbench(self) -> Workbench:
        """An engine in the foreground, on the page's database."""
        return self.workbench_on(self.url)

    @cached_property
    def app(self) -> Any:
        """The dashboard on the page's database."""
        from engine.settings import Settings
        from webapp import create_app, database, live

        made = create_app(Settings(secret_key="a key for tests", data_dir=self.folder), database_url=self.url)
        self._stack.callback(database.close, made)
        self._stack.callback(live.close, made)
        return made

    @property
    def addresses(self) -> MapAdapter:
        """Every address that the dashboard answers."""
        adapter: MapAdapter = self.app.url_map.bind("localhost")
        return adapter

    @cached_property
    def server(self) -> Server:
        """The dashboard, being served."""
        from webapp.server import Server, bind

        running = Server(self.app, "127.0.0.1", bind("127.0.0.1", 0))
        thread = threading.Thread(target=running.run)
        thread.start()
        self._stack.callback(thread.join, PATIENCE_SECONDS)
        self._stack.callback(running.stop)
        return running


@contextmanager
def desk(folder: Path, databases: Databases, *, real: bool = False) -> Iterator[Desk]:
    """A desk for one page; nothing of it is left. With `real` every line for the shell has a shell and processes of its own."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        yield Desk(folder, databases, patch, stack, real=real)


def _yaml(block: Block) -> None:
    if "step_templates" in block.code:
        yaml_config.load_text(block.code)
    else:
        assert yaml.safe_load(block.code) is not None


def _json(block: Block) -> None:
    json_text.load(block.code)
    json.loads(block.code)


def _toml(block: Block) -> None:
    tomllib.loads(block.code)


def _nothing(block: Block) -> None:
    """No reader of ours."""
