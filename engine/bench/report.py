"""The bench's report as tables for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_report(report: dict[str, Any]) -> None:
    """The whole report on standard output."""
    console = Console(highlight=False, width=110)
    for table in (_floors(report), _throughput(report), _latency(report), _claims(report), _readiness(report)):
        console.print(table)
    creation = report["creation"]
    console.print(f"Creating tasks: {creation['tasks_per_s']:,} tasks/s, {creation['steps_per_s']:,} steps/s, {creation['ratio']} F2")
    if report["noisy"]:
        console.print("The floors before and after differ by more than 1.5: the machine was busy, run it again.")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    return table


def _floors(report: dict[str, Any]) -> Table:
    table = _table("Floors of this machine", "floor", "before", "after", "mean")
    rows = [report[key] for key in ("floors_before", "floors_after", "floors")]
    table.add_row("F2 insert + update, batches of 500, steps/s", *(f"{row['F2']:,}" for row in rows))
    table.add_row("C1 one insert + commit, ms", *(f"{row['C1']:.3f}" for row in rows))
    table.add_row("N1 the same after a rest, heard by another, ms", *(f"{row['N1']:.3f}" for row in rows))
    return table


def _throughput(report: dict[str, Any]) -> Table:
    table = _table("\nThroughput, steps/s (ratio to F2)", "workload", "threads", "processes")
    names = {"W1": "W1 2,000 chains of 5", "W2": "W2 1,000 diamonds 1-4-1", "W3": "W3 fan of 1,000 + join"}
    for key, name in names.items():
        found = report["workloads"][key]
        table.add_row(name, *(f"{found[runner]['steps_per_s']:,} ({found[runner]['ratio']:.2f})" for runner in ("threads", "processes")))
    return table


def _latency(report: dict[str, Any]) -> Table:
    table = _table("\nLatency on an idle system, ms (p50 / p99)", "W4", "threads", "processes")
    found = report["workloads"]["W4"]
    runners = ("threads", "processes")
    table.add_row("one hop", *(f"{found[r]['hop_p50_ms']} / {found[r]['hop_p99_ms']} ({found[r]['hop_ratio']} C1)" for r in runners))
    table.add_row("submit to claimed, one after another", *(f"{found[r]['submit_awake_p50_ms']} / {found[r]['submit_awake_p99_ms']}" for r in runners))
    table.add_row("the same, 3 ms of rest before", *(f"{found[r]['submit_to_claim_p50_ms']} / {found[r]['submit_to_claim_p99_ms']}" for r in runners))
    table.add_row("the same, 20 ms of rest before", *(f"{found[r]['submit_rested_p50_ms']} / {found[r]['submit_rested_p99_ms']} ({found[r]['submit_rested_ratio']} N1)" for r in runners))
    return table


def _claims(report: dict[str, Any]) -> Table:
    table = _table("\nOne claim, ms", "ready steps", "p50", "p99", "p50 to the smallest")
    for row in report["claim"]:
        table.add_row(f"{row['ready']:,}", f"{row['p50_ms']}", f"{row['p99_ms']}", f"{row['ratio']}")
    return table


def _readiness(report: dict[str, Any]) -> Table:
    table = _table("\nInside the server, ms", "steps of the task", "ready, in a chain", "ready, ten open of a fan", "complete + hand over")
    for row in report["readiness"]:
        table.add_row(f"{row['steps']:,}", f"{row['ready_in_chain_ms']}", f"{row['ready_in_fan_ms']}", f"{row['hand_over_ms']}")
    return table
