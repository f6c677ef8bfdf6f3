"""Writes docs/peers.md, its chart and the raw figures, all from one report; the page says nothing that is not in the report or in peers.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import chart, figures
from benchmarks.figures import Run, Spread, number
from benchmarks.peers import BY_NAME, OURS, PEERS, WORKLOADS, Peer

SERVER_SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size", "max_connections")
BUSY_LOAD = 0.5
"""Load for each core, before anything ran, from which the figures say more about the neighbours than about the engines."""
COLUMNS: tuple[tuple[str, str, Callable[[Run], float | None]], ...] = (
    ("W1, steps/s", "W1", figures.rate),
    ("W2, steps/s", "W2", figures.rate),
    ("W3, steps/s", "W3", figures.rate),
    ("W4, one hop, ms", "W4", figures.hop),
    ("submit to start, ms", "W4", figures.first_start),
    ("W5, steps/s", "W5", figures.rate),
    ("submitted, tasks/s", "W5", figures.submit_rate),
)


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted beside the best of the others: so many times its rate, or, where `lower` is better, at most that part of its time."""

    label: str
    workload: str
    measure: Callable[[Run], float | None]
    wanted: float
    lower: bool = False


GOALS = (
    Goal("W1, steps/s", "W1", figures.rate, 10),
    Goal("W2, steps/s", "W2", figures.rate, 10),
    Goal("W3, steps/s", "W3", figures.rate, 10),
    Goal("W4, one hop, ms", "W4", figures.hop, 0.2, lower=True),
    Goal("submitted, tasks/s", "W5", figures.submit_rate, 10),
)


def write(report: dict[str, Any], folder: Path) -> None:
    """`performance-peers.json`, `peers.md` and, where there are figures, `peers.svg` are in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "performance-peers.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "peers.md").write_text(text(report))
    picture = folder / "pictures"
    picture.mkdir(exist_ok=True)
    if report["runs"]:
        (picture / "peers.svg").write_text(picture_of(report["runs"]))


def words(run: Run) -> str:
    """One run in a few words, for whoever watches."""
    if "error" in run:
        return f"none: {run['error']}"
    found = [f"{number(value)} {label.rpartition(', ')[2]}" for label, workload, measure in COLUMNS if workload == run["workload"] and (value := measure(run)) is not None]
    return ", ".join(found) or "too quick to tell"


def picture_of(runs: list[Run]) -> str:
    """The chart of the throughputs."""
    there = _there(runs)
    panels: list[chart.Panel] = []
    for workload, title in figures.RATES.items():
        rows = [(peer.title, figures.spread(map(figures.rate, figures.of(runs, peer.name, workload)))) for peer in there]
        if any(found for _, found in rows):
            panels.append((title, rows))
    return chart.svg(panels, BY_NAME[OURS].title)


def text(report: dict[str, Any]) -> str:
    """The page."""
    found = _results(report) if report["runs"] else [NO_FIGURES]
    return "\n".join([HEAD, *found, MEASURED, *_guarantees(), SETTINGS_HEAD, *_settings(), *_fairness(), ""])


HEAD = """# Beside other engines

```sh
make bench-peers                                # an hour or two with all of them; Redis on the machine for Celery
make bench-peers ARGS='--only dbos,procrastinate --quick'
```

The same workflows, whose steps do nothing, on this engine and on those that a Python user would think of, in turns in one run on one machine with one PostgreSQL. The
command makes a virtual environment for each of them under `build/peers`, with the versions that `benchmarks/` pins, and writes this page, its chart and
[the raw figures](performance-peers.json). `benchmarks/README.md` says how to add a peer. Leave the machine alone meanwhile.
"""

NO_FIGURES = """## Figures

None are published yet. Figures come from an idle machine only; the command above makes them and puts them here.
"""

MEASURED = """## What is measured

| | |
|---|---|
| W1, W2, W3 | chains of 5, diamonds 1-4-1, fans with a join: steps per second from the call that submits all tasks until the last one's end is stored; workers are up and warm before |
| W4 | chains of 20, one at a time on an idle system: from the start of a step to the start of the next, and from the call of submit to the first start; each step notes its time in a file |
| W5 | tasks of one step submitted while no worker runs: how many are put on record in a second; then workers start, and the rate between a tenth and nine tenths of the backlog counts |

Submitting is part of W1 to W3 here, so that they are lower than those of [the page on this engine alone](performance.md). Each engine gets as many as it does in some seconds,
for some would need hours for what others do in one: the raw figures have the sizes. Nothing that Celery stores says how many chains have ended, so there the last step counts itself, just before its result is stored: that favours it slightly.
"""

SETTINGS_HEAD = """## How each one is set up

Two worker processes on two cores or more, unless it says otherwise."""


def _results(report: dict[str, Any]) -> list[str]:
    runs, machine = report["runs"], report["machine"]
    peers = _there(runs)
    lines = ["## Figures", "", _origin(report), ""]
    if report["quick"] or machine["load_before"] > BUSY_LOAD * machine["cores"]:
        lines += [_warning(report), ""]
    lines += ["Median of the rounds, with the least and the most; `none` with the reason below.", ""]
    lines += _table(["", *(label for label, _, _ in COLUMNS)], [[_named(peer, runs), *_cells(peer, runs)] for peer in peers])
    lines += ["", "![Steps per second of each engine](pictures/peers.svg)", "", *_goals(peers, runs), ""]
    return lines + _reasons(peers, runs)


def _goals(peers: list[Peer], runs: list[Run]) -> list[str]:
    """Medians beside the best of the others, whoever it is and whatever it guarantees."""
    head = ["", BY_NAME[OURS].title, "the best of the others", "", "ratio", "goal", ""]
    return _table(head, [[goal.label, *_judged(goal, peers, runs)] for goal in GOALS])


def _judged(goal: Goal, peers: list[Peer], runs: list[Run]) -> list[str]:
    medians = {peer.title: found.median for peer in peers if (found := figures.spread(map(goal.measure, figures.of(runs, peer.name, goal.workload))))}
    ours = medians.pop(BY_NAME[OURS].title, None)
    best = (min if goal.lower else max)(medians, key=medians.__getitem__, default=None)
    wanted = f"{'at most' if goal.lower else 'at least'} {goal.wanted:g}"
    own, other = number(ours) if ours else "none", number(medians[best]) if best else "none"
    if ours is None or best is None:
        return [own, other, best or "", "", wanted, "not known"]
    ratio = ours / medians[best]
    return [own, other, best, number(ratio), wanted, "met" if (ratio <= goal.wanted if goal.lower else ratio >= goal.wanted) else "missed"]


def _there(runs: list[Run]) -> list[Peer]:
    names = {run["peer"] for run in runs}
    return [peer for peer in PEERS if peer.name in names]


def _origin(report: dict[str, Any]) -> str:
    machine, server = report["machine"], report["postgresql"]
    settings = ", ".join(f"`{name}` {value}" for name, value in server.items() if name != "server_version")
    return (
        f"Begun {report['begun_at']}, {report['rounds']} rounds; {machine['cores']} cores, {machine['system']}, Python {machine['python']}; "
        f"PostgreSQL {server['server_version']} ({settings})."
    )


def _warning(report: dict[str, Any]) -> str:
    why = [f"the load was {report['machine']['load_before']:.1f} before anything ran"]
    if report["quick"]:
        why.append("the sizes are the small ones of `--quick`")
    return f"**Not results:** {' and '.join(why)}. They only show that the comparison runs."


def _named(peer: Peer, runs: list[Run]) -> str:
    versions = {run["version"] for run in runs if run["peer"] == peer.name and "version" in run}
    return f"{peer.title} {', '.join(sorted(versions))}".strip()


def _cells(peer: Peer, runs: list[Run]) -> list[str]:
    return [_cell(figures.spread(map(measure, figures.of(runs, peer.name, workload)))) for _, workload, measure in COLUMNS]


def _cell(found: Spread | None) -> str:
    return f"{number(found.median)} ({number(found.least)} to {number(found.most)})" if found else "none"


def _reasons(peers: list[Peer], runs: list[Run]) -> list[str]:
    found = []
    for peer in peers:
        for workload in WORKLOADS:
            for error in dict.fromkeys(filter(None, map(_error, figures.of(runs, peer.name, workload)))):
                found.append(f"- {peer.title}, {workload}: {_plain(error)}")
    return [*found, ""] if found else []


def _error(run: Run) -> str | None:
    return "ended between two looks, too quick to tell the rate" if run.get("steps") == 0 else run.get("error")


def _plain(error: str) -> str:
    return "`" + error.replace("`", "'").replace("\n", " ") + "`"


def _guarantees() -> list[str]:
    head = ["## What each one guarantees", ""]
    rows = [[peer.title, peer.keeps, peer.history, peer.graph, peer.lost] for peer in PEERS]
    return [*head, *_table(["", "on record after a step", "history", "who knows what comes next", "when a worker is killed"], rows), ""]


def _settings() -> list[str]:
    return ["", *(f"- **{peer.title}:** {peer.settings}." for peer in PEERS), ""]


def _fairness() -> list[str]:
    head = ["## Where it is not the same work", "", "Speed is one thing of many, and a step that does nothing is the worst case for whoever does much around it.", ""]
    return [*head, *(f"- **{peer.title}** {peer.fair}." for peer in PEERS)]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows)]
