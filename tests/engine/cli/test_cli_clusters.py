"""The options of `tasker engine` for a cluster: what does not fit is said before anything starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import pytest

from engine.cli.clusters import Place, runner_maker
from engine.errors import TaskerError
from engine.runners.dask import DaskRunner
from engine.runners.processes import ProcessesRunner


def maker(runner: str, **place: Any) -> Any:
    return runner_maker(runner, Place(**place), url=lambda: "postgresql:///none", sources=["flows"], most=None, grace=30, lease=30)


def test_handlers_run_here_unless_a_cluster_is_asked_for() -> None:
    assert maker("threads") is None
    with click.Context(click.Command("engine")):
        made = maker("processes", broker="redis://127.0.0.1")  # TASKER_BROKER_URL may be set for others
        assert isinstance(made(), ProcessesRunner)
        assert made() is not made()
    assert isinstance(maker("dask", scheduler="tcp://127.0.0.1:8786")(), DaskRunner)


@pytest.mark.parametrize(
    ("runner", "place", "said"),
    [
        ("dask", {}, "--scheduler"),
        ("celery", {}, "--broker"),
        ("threads", {"scheduler": "tcp://127.0.0.1:8786"}, "--runner dask"),
        ("dask", {"scheduler": "tls://127.0.0.1:8786"}, "--tls-ca, --tls-cert and --tls-key"),
        ("dask", {"scheduler": "tls://127.0.0.1:8786", "tls_ca": "ca.pem"}, "go together"),
        ("dask", {"scheduler": "tls://127.0.0.1:8786", "tls_ca": "ca.pem", "tls_cert": "c.pem", "tls_key": "k.pem"}, "no file ca.pem"),
        ("dask", {"scheduler": "tcp://scheduler.example.com:8786"}, "not encrypted"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_do(runner: str, place: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises((click.UsageError, TaskerError), match=said):
        maker(runner, **place)


@pytest.mark.parametrize(("runner", "place"), [("dask", {"scheduler": "tcp://127.0.0.1:8786"}), ("celery", {"broker": "redis://127.0.0.1"})])
def test_a_missing_package_is_named_with_what_installs_it(runner: str, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    package = {"dask": "distributed", "celery": "celery"}[runner]
    for name in [name for name in sys.modules if name.startswith(("engine.runners.dask", "engine.celery_worker", "engine.runners.seats"))]:
        monkeypatch.delitem(sys.modules, name)
    import engine
    import engine.runners

    monkeypatch.delattr(engine, "celery_worker", raising=False)
    monkeypatch.delattr(engine.runners, "dask", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(TaskerError, match=rf"tasker-engine\[{runner}\]"):
        maker(runner, **place)
