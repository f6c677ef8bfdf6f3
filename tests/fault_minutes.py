"""What the faults cost: said at the end of each run of those that are tried with every change, as everybody who changes anything waits for them, and of those of the night."""

from __future__ import annotations

import pytest

FOLDER = "tests/faults/"
MOST_SECONDS = {
    "not nightly and not release": (8 * 60, "that they may take together with every change"),
    "nightly": (60 * 60, "that they may take together at night"),
}
"""By what is chosen of them, and for what."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The sum over all processes; on a machine that is busy with other things it is longer than on one of its own."""
    reports = [report for kind in terminalreporter.stats.values() for report in kind if isinstance(report, pytest.TestReport)]
    of_faults = [report for report in reports if report.nodeid.startswith(FOLDER)]
    if of_faults and config.option.markexpr in MOST_SECONDS:
        most, what_for = MOST_SECONDS[config.option.markexpr]
        seconds = sum(report.duration for report in of_faults)
        is_more = seconds > most
        terminalreporter.write_line(f"{FOLDER} took {seconds:.0f} s of the {most} {what_for}", yellow=is_more, bold=is_more)
