"""What the faults cost that are tried with every change: said at the end of each run, as everybody who changes anything waits for them."""

from __future__ import annotations

import pytest

FOLDER = "tests/faults/"
MOST_SECONDS = 8 * 60
OF_EVERY_CHANGE = "not nightly and not release"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The sum over all processes; on a machine that is busy with other things it is longer than on one of its own."""
    reports = [report for kind in terminalreporter.stats.values() for report in kind if isinstance(report, pytest.TestReport)]
    of_faults = [report for report in reports if report.nodeid.startswith(FOLDER)]
    if of_faults and config.option.markexpr == OF_EVERY_CHANGE:
        seconds = sum(report.duration for report in of_faults)
        words = f"{FOLDER} took {seconds:.0f} s of the {MOST_SECONDS} that they may take together with every change"
        terminalreporter.write_line(words, yellow=seconds > MOST_SECONDS, bold=seconds > MOST_SECONDS)
