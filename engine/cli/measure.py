"""`tasker bench`: how fast is it here?"""

from __future__ import annotations

import click

from engine.cli.output import print_json
from engine.cli.setting import json_option
from engine.settings import Settings


@click.command()
@click.option("--quick", is_flag=True, help="Smaller sizes and one round each: seconds instead of minutes.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100))
@json_option
def bench(quick: bool, rounds: int, as_json: bool) -> None:
    """Measure throughput, latency and readiness against the floors of this machine. Example: tasker bench --json"""
    import engine.bench as measuring

    report = measuring.run(Settings.from_environ(), rounds=1 if quick else rounds, quick=quick, progress=lambda line: click.echo(line, err=True))
    print_json(report) if as_json else measuring.print_report(report)
