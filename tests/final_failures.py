"""Failures that no second try may hide: a promise that was broken once is broken. pytest keeps their names for `.ci/tests.py`, which tries others again.

A failure is final by its kind (`Violated` of tests/sql/invariants.py says so) or by where it happened (the marker `final`).
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

KEY = "tasker/final"
"""In pytest's cache."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In whichever process the test ran; the report carries it to where all are gathered."""
    report = yield
    if report.failed and call.excinfo is not None and (item.get_closest_marker("final") or _is_final(call.excinfo.value)):
        report.user_properties.append((KEY, True))
    return report


def _is_final(error: BaseException | None) -> bool:
    """Also where it is the cause of another, or one of several."""
    if error is None:
        return False
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return getattr(error, "is_final", False) or any(map(_is_final, parts)) or _is_final(error.__cause__ or error.__context__)


def pytest_configure(config: pytest.Config) -> None:
    """Where tests are gathered, not where they run."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Gathered(config))


class _Gathered:
    def __init__(self, config: pytest.Config) -> None:
        self._config, self._names = config, set[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if (KEY, True) in map(tuple, report.user_properties):
            self._names.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        if (cache := getattr(self._config, "cache", None)) is not None:
            cache.set(KEY, sorted(self._names))
