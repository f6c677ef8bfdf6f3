"""Puts what was measured into the pages: `python .ci/measurements.py`, after a bench with `--json` has left its document in docs/measurements/.

What stands in a page between `<!-- table: NAME PART -->` and `<!-- end -->` comes from NAME.json. Where there is no such file, what stands there stays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"
PLACE = re.compile(r"(?P<begin><!-- table: (?P<name>(?P<file>[a-z-]+)[a-z ]*) -->\n)(?P<body>.*?)(?P<end><!-- end -->)", re.DOTALL)
Report = dict[str, Any]
RUNNERS = ("threads", "processes")


def main() -> None:
    """Every page of docs/ says what the files say."""
    for page in sorted(DOCS.glob("*.md")):
        page.write_text(filled(page.read_text(), DOCS / "measurements"))


def filled(text: str, folder: Path) -> str:
    """The page's text with each of its places as the files in the folder make it."""
    return PLACE.sub(lambda place: _filled_place(place, folder / f"{place['file']}.json"), text)


def _filled_place(place: re.Match[str], file: Path) -> str:
    if not file.exists():
        return place[0]
    lines = TABLES[place["name"]](json.loads(file.read_text()))
    return place["begin"] + "\n" + "\n".join(lines) + "\n\n" + place["end"]


# ---- what all of them share


def _origin(report: Report, file: str) -> list[str]:
    server = f", PostgreSQL {report['postgresql']}" if "postgresql" in report else ""
    return [
        f"Begun {report['begun_at']}; {report['cores']} cores, {report['system']}, Python {report['python']}{server}; load {report['load_before']} before and"
        f" {report['load_after']} after. [The raw figures](measurements/{file}.json).",
        "",
    ]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    lines = [list(head), *map(list, rows)]
    return ["| " + " | ".join(line) + " |" for line in (lines[0], ["---"] * len(lines[0]), *lines[1:])]


def _met(met: bool) -> str:
    return "met" if met else "missed"


# ---- tasker bench


def _bench_run(report: Report) -> list[str]:
    before, after, mean = report["floors_before"], report["floors_after"], report["floors"]
    lines = _origin(report, "bench") + [
        f"One run, medians of {report['rounds']} rounds. F2 was {before['F2']:,} steps/s before and {after['F2']:,} after, C1 {before['C1']:.3f} and {after['C1']:.3f} ms, N1"
        f" {before['N1']:.2f} and {after['N1']:.2f} ms: compare the ratios, which are to the means, {mean['F2']:,} steps/s, {mean['C1']:.3f} ms and {mean['N1']:.2f} ms."
    ]
    return lines + (["", "**Not results:** the floors before and after differ by more than 1.5."] if report["noisy"] else [])


def _bench_throughput(report: Report) -> list[str]:
    goals = {"W1: 2,000 chains of 5": (0.12, 0.06), "W2: 1,000 diamonds 1-4-1": (0.10, 0.05), "W3: fan of 1,000 and a join": (0.08, 0.04)}
    rows = []
    for name, wanted in goals.items():
        found = [report["workloads"][name[:2]][runner] for runner in RUNNERS]
        cells = [(f"{goal:.2f}", f"{each['steps_per_s']:,} ({each['ratio']:.2f})") for goal, each in zip(wanted, found, strict=True)]
        rows.append([name, *cells[0], *cells[1]])
    return _table(["throughput, steps/s (ratio to F2)", "goal", "`threads`", "goal", "`processes`"], rows)


def _bench_latency(report: Report) -> list[str]:
    found = [report["workloads"]["W4"][runner] for runner in RUNNERS]
    rows = [
        ["one hop", "4 C1", *(f"{each['hop_p50_ms']:.3f} / {each['hop_p99_ms']:.3f} ({each['hop_ratio']:.1f} C1)" for each in found)],
        ["submit to claimed, one after another", "3 ms", *(f"{each['submit_awake_p50_ms']:.3f} / {each['submit_awake_p99_ms']:.3f}" for each in found)],
        ["the same, 3 ms of rest before", "", *(f"{each['submit_to_claim_p50_ms']:.3f} / {each['submit_to_claim_p99_ms']:.3f}" for each in found)],
        ["the same, 20 ms of rest before", "", *(f"{each['submit_rested_p50_ms']:.3f} / {each['submit_rested_p99_ms']:.3f} ({each['submit_rested_ratio']:.1f} N1)" for each in found)],
    ]
    return _table(["latency on an idle system, ms, p50 / p99", "goal", "`threads`", "`processes`"], rows)


def _bench_claims(report: Report) -> list[str]:
    rows = [[f"{row['ready']:,} ready", f"{row['p50_ms']:.3f}", f"{row['p99_ms']:.3f}", f"{row['ratio']:.2f}"] for row in report["claim"]]
    return _table(["one claim, ms", "p50", "p99", f"p50 to that at {report['claim'][0]['ready']:,}"], rows)


def _bench_inside(report: Report) -> list[str]:
    rows = [[f"{row['steps']:,} steps", *(f"{row[field]:.3f}" for field in ("ready_in_chain_ms", "ready_in_fan_ms", "hand_over_ms"))] for row in report["readiness"]]
    table = _table(["a task of so many, inside the server, ms", "ready, in a half-done chain", "ready, ten open steps of a fan", "complete and hand over"], rows)
    made = report["creation"]
    return [*table, "", f"Creating tasks: {made['tasks_per_s']:,} chains of 5 per second in calls of 2,000, {made['steps_per_s']:,} steps/s or {made['ratio']:.2f} F2."]


# ---- the others


def _first_hour(report: Report) -> list[str]:
    words = {
        "green_tests_s": ("empty folder to a new project's green tests", "s"),
        "workflow_test_ms": ("test of a whole workflow, after the first", "ms"),
        "help_ms": ("`tasker --help`", "ms"),
        "first_claim_s": ("start of an engine to its first claim", "s"),
        "import_ms": ("`from engine import StepHandler, TaskHandler, TaskRequest, submit`", "ms"),
    }
    rows = []
    for key, (name, unit) in words.items():
        found = report["figures"][key]
        rows.append([name, *(f"{found[field]:.3g} {unit}" if found[field] is not None else "" for field in ("goal", "measured", "processor")), _met(found["met"])])
    return _origin(report, "first-hour") + _table(["", "goal", "measured", "processor", ""], rows)


def _large(report: Report) -> list[str]:
    definition, items = report["definition"], report["map"]
    rows = [
        [f"a definition of {definition['steps']:,} steps with up to {definition['parents']} parents each: checked, and stored", "2 s", f"{definition['checked_s']:.2f} s and {definition['stored_s']:.2f} s"],
        ["a task of it, made", "", f"{definition['task_made_s']:.2f} s"],
        [f"a map step's {items['items']:,} items, made when its list is there", "1 s", f"{items['made_s']:.2f} s"],
        [f"all {items['items']:,} run and joined by one engine with `threads`", "", f"{items['joined_s']:.2f} s"],
    ]
    return _origin(report, "large") + _table(["", "goal", "measured"], rows)


def _pages(report: Report) -> list[str]:
    every, large, rows = report["all"], report["large_task"], []
    for name, found in sorted(report["pages"].items(), key=lambda page: -page[1]["alone"]["p50_ms"]):
        rows.append([name, *_both(found["alone"]), *_both(found["followed"])])
    rows.append([f"all {len(rows)} pages", *_both(every["alone"]), *_both(every["followed"])])
    usable = large["usable"] if isinstance(large["usable"], str) else "after " + " / ".join(_both(large["usable"])) + " ms"
    return [
        *_origin(report, "pages"),
        f"The engine ran {report['engine_steps_per_s']:,.0f} steps/s meanwhile. Milliseconds:",
        "",
        *_table(["page", "p50", "p99", f"p50, with {report['streams']} live pages", "p99"], rows),
        "",
        f"From the commit of an action to the page that follows its task: {' / '.join(_both(report['event_to_page']))} ms. The page of a task of 1,001 steps takes the server"
        f" {' / '.join(_both(large['served']))} ms, and can be used in Chromium: {usable}. The list of tasks weighs {report['kib']['list']:.0f} KiB with all it loads, compressed."
        f" What the dashboard answers in its first {report['first_seconds']:g} seconds is told apart ({' / '.join(_both(every['first']))} ms)."
        f" Goals missed: {', '.join(_missed_by_pages(report)) or 'none'}.",
    ]


def _missed_by_pages(report: Report) -> list[str]:
    alone, followed, large = report["all"]["alone"], report["all"]["followed"], report["large_task"]
    goals = {
        "p50": alone["p50_ms"] <= 100,
        "p99": alone["p99_ms"] <= 500,
        "p99 beside live pages": followed["p99_ms"] <= 1.2 * alone["p99_ms"],
        "event to page": report["event_to_page"]["p50_ms"] <= 1000,
        "the large task in the server": large["served"]["p50_ms"] <= 150,
        "the large task in Chromium": not isinstance(large["usable"], str) and large["usable"]["p50_ms"] <= 1000,
    }
    return [name for name, met in goals.items() if not met]


def _both(found: Report) -> list[str]:
    return [f"{found['p50_ms']:.0f}", f"{found['p99_ms']:.0f}"]


def _api(report: Report) -> list[str]:
    asked, first = report["asked"], f", first {report['first_seconds']:g} seconds"
    rows = [
        ["show a task", "p99 50 ms", *_both(asked["show"])],
        ["create one", "p99 100 ms", *_both(asked["create"])],
        ["create in batches", "500 tasks/s", f"{report['creates_per_s']:,.0f} tasks/s", ""],
    ]
    apart = " and ".join(f"{name} {' / '.join(_both(asked[name + first]))} ms" for name in ("show", "create"))
    return [*_origin(report, "api"), f"The first {report['first_seconds']:g} seconds are told apart ({apart}).", "", *_table(["", "goal", "p50, ms", "p99, ms"], rows)]


def _dropping(report: Report) -> list[str]:
    rows = []
    for name, way in zip(("as an engine does it, with rests", "without rests, as `tasker retention run`"), report["ways"], strict=True):
        claims = [f"{way[field]['p50_ms']:.1f} / {way[field]['p99_ms']:.1f}" for field in ("alone", "beside")]
        rows.append([name, f"{way['steps'] / way['seconds']:,.0f}", *claims, f"{way['beside']['p50_ms'] / way['alone']['p50_ms']:.2f}"])
    return _origin(report, "dropping") + _table(["", "steps/s dropped", "claims alone, ms, p50 / p99", "claims meanwhile", "p50 to that alone"], rows)


def _grown(report: Report) -> list[str]:
    rows = [
        [row["name"], f"{row['empty']:.3f}", f"{row['grown']:.3f}", f"{row['ratio']:.2f} ({row['least']:.2f} to {row['most']:.2f})", _met(row["met"])]
        for row in report["rows"]
    ]
    table = _table(["", "empty", f"{report['steps']:,} steps behind it", "to the empty one", f"within {report['goal']:.0%}"], rows)
    return _origin(report, "grown") + [*table, "", f"The grown database holds {report['moves']:,} moves of history and {report['size']}; {report['turns']} turns. {report['left_out'].capitalize()}."]


def _cost_loads(report: Report) -> list[str]:
    rest = report["rest"]
    rows = [["at rest", "0", *[""] * 5, f"{rest['database'] * 100:.1f}", f"{rest['engine'] * 100:.1f}"]]
    for row in report["loads"]:
        each = [f"{row['database_ms']:.3f}", f"{row['engine_ms']:.3f}", f"{row['wal_bytes']:,.0f}", f"{row['disk_bytes']:,.0f}", f"{row['round_trips']:.3f}"]
        rows.append([_load(row), f"{row['steps_per_s']:,.0f}", *each, f"{row['database'] * 100:.1f}", f"{row['engine'] * 100:.1f}"])
    head = ["load", "steps/s", "database, ms", "engine, ms", "write-ahead log", "disk", "round trips", "database, %", "engine, %"]
    return [*_origin(report, "cost"), f"At least {report['seconds']:g} s per load.", "", *_table(head, rows)]


def _cost_model(report: Report) -> list[str]:
    model, rows = report["model"], []
    for said, found in zip(model["loads"], report["loads"], strict=True):
        pairs = [f"{said[field]:{shape}} / {found[field]:{shape}}" for field, shape in (("round_trips", ".3f"), ("database_ms", ".3f"), ("wal_bytes", ",.0f"))]
        rows.append([_load(found), *pairs, f"{said['database_ms'] / found['database_ms']:.2f}"])
    head = ["load", "round trips", "database, ms", "write-ahead log", "predicted to measured, ms"]
    carried = f"one core of the database carries {model['carried_steps_per_s']:,.0f} steps/s"
    return [f"Here a step costs {model['step_ms']:.3f} ms and a round trip {model['trip_ms']:.2f} ms; {carried}. Predicted / measured:", "", *_table(head, rows)]


def _load(row: Report) -> str:
    return str(row["load"]).replace(" x ", " × ")


def _many_engines(report: Report) -> list[str]:
    found, goals = report["engines"], report["goals"]
    rows = []
    for name, rates in (("1 engine", found["one"]), (f"{found['count']} engines", found["many"])):
        rows.append([name, f"{sorted(rates)[len(rates) // 2]:,.0f}", f"{min(rates):,.0f} – {max(rates):,.0f}"])
    table = _table(["", "steps/s, median", "lowest – highest"], rows)
    told = (
        f"{found['count']} engines do {found['ratio']:.2f} times what one does there (the goal of {goals['ratio']:g}: {_met(found['ratio'] >= goals['ratio'])}). The share furthest from"
        f" even was {found['unfair']:.0%} off (the goal of {goals['unfair']:.0%}: {_met(found['unfair'] <= goals['unfair'])})."
    )
    return [*_origin(report, "many"), f"{len(found['one'])} rounds of {report['chains']:,} chains of 5, in turns:", "", *table, "", told]


def _many_flood(report: Report) -> list[str]:
    flood = report["flood"]
    rows = [
        [name, f"{times[len(times) // 2]:.1f}", f"{times[-1]:.1f}"]
        for name, times in (("nothing else waits", flood["alone_ms"]), (f"{flood['steps']:,} steps ready in another, {flood['left']:,} still at the end", flood["beside_ms"]))
    ]
    head = ["from launch to start in one namespace, one engine, ms", "p50", f"slowest of {len(flood['alone_ms'])}"]
    wanted = report["goals"]["slowest_ms"]
    return [*_table(head, rows), "", f"The goal of {wanted / 1000:g} s: {_met(flood['beside_ms'][-1] <= wanted)}."]


def _observability(report: Report) -> list[str]:
    head = [f"{report['rounds']} pairs of", "steps/s without", "with", "lost, median", "between", "goal", "processor ms/step without", "with", "more, median", "between", "goal", "spans told at once"]
    rows = [[key, *_observed(row)] for key, row in report["workloads"].items()]
    return [*_origin(report, "observability"), *_table(head, rows), "", f"All {report['spans']:,} spans came."]


def _observed(row: dict[str, Any]) -> list[str]:
    rates, processor = (f"{row['off_steps_per_s']:,}", f"{row['on_steps_per_s']:,}"), (f"{row['off_processor_ms']:.3f}", f"{row['on_processor_ms']:.3f}")
    return [*rates, *_median(row, "lost"), *processor, *_median(row, "more_processor"), f"{row['told_at_once']:.0%}"]


def _median(row: dict[str, Any], name: str) -> list[str]:
    return [f"{row[name]:.1%}", f"{row[f'{name}_low']:.1%} to {row[f'{name}_high']:.1%}", row[f"{name}_goal"]]


TABLES: dict[str, Callable[[Report], list[str]]] = {
    "bench run": _bench_run,
    "bench throughput": _bench_throughput,
    "bench latency": _bench_latency,
    "bench claims": _bench_claims,
    "bench inside": _bench_inside,
    "first-hour": _first_hour,
    "large": _large,
    "pages": _pages,
    "api": _api,
    "dropping": _dropping,
    "grown": _grown,
    "cost loads": _cost_loads,
    "cost model": _cost_model,
    "many engines": _many_engines,
    "many flood": _many_flood,
    "observability": _observability,
}


if __name__ == "__main__":
    main()
