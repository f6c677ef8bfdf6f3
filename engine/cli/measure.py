"""`tasker bench`: how fast is it here?"""

from __future__ import annotations

import click

from engine.cli.output import print_json
from engine.cli.setting import json_option
from engine.settings import Settings

ROUNDS, PAIRS = 5, 30


@click.command()
@click.option("--quick", is_flag=True, help="Smaller sizes and one round each: seconds instead of minutes.")
@click.option("--rounds", type=click.IntRange(1, 100), help="How often each is measured. Default: 5, and 30 pairs with --observability.")
@click.option("--observability", is_flag=True, help="Only what logs, metrics and traces cost, on against off; needs the extra traces.")
@click.option("--first-hour", is_flag=True, help="Only what somebody new waits for: a new project's tests, one test, the help, an engine's start.")
@json_option
def bench(quick: bool, rounds: int | None, observability: bool, first_hour: bool, as_json: bool) -> None:
    """Measure throughput, latency and readiness against the floors of this machine. Example: tasker bench --json"""
    if first_hour:
        _bench_first_hour(1 if quick else rounds or ROUNDS, as_json=as_json)
        return
    if observability:
        _bench_signals(2 if quick else rounds or PAIRS, as_json=as_json)
        return
    from engine.bench import whole

    report = whole.run(Settings.from_environ(), rounds=1 if quick else rounds or ROUNDS, quick=quick, progress=lambda line: click.echo(line, err=True))
    print_json(report) if as_json else whole.print_report(report)


def _bench_signals(rounds: int, *, as_json: bool) -> None:
    from engine.bench import signals

    report = signals.run(Settings.from_environ(), rounds=rounds, progress=lambda line: click.echo(line, err=True))
    print_json(report) if as_json else signals.print_report(report)


def _bench_first_hour(rounds: int, *, as_json: bool) -> None:
    from engine.bench import first_hour
    from engine.cli.new import requirement

    report = first_hour.run(Settings.from_environ(), requirement(), rounds=rounds, progress=lambda line: click.echo(line, err=True))
    print_json(report) if as_json else first_hour.print_report(report)
