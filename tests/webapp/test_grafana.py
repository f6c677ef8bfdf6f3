"""The dashboard for Grafana and the rules for Prometheus speak of metrics and labels that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.monitoring.metrics import EngineFigures, Measures, Moves, Spread, Standing
from engine.monitoring.own_figures import CallTimes, Figures
from webapp import metrics as page

FOLDER = Path(__file__).parents[2] / "docs" / "grafana"
FUNCTIONS = {"sum", "max", "rate", "increase", "delta", "histogram_quantile", "absent", "label_values", "by", "without", "and"}
SCRAPED = {"instance", "pod"}
"""Labels that tell one dashboard from another; what they all read from the database is the same but for these."""
ONCE = "max without ( instance , pod )"
TOKEN = re.compile(r'\s+|"[^"]*"|\d+\.\d+|\$?\w+(?::\w+)*|[{}()\[\],]|=~|!=|==|>=|<=|[=<>/*+-]')
WORD = re.compile(r"[a-z_]\w*\Z")


def samples() -> dict[str, set[str]]:
    """Every sample that `/metrics` has, with the names of its labels."""
    figures = Figures()
    with figures.call("complete_and_claim"):
        figures.batch(3)
    figures.late("reap")
    moves = Moves(task_seconds=Spread([1], 1.0), step_seconds=Spread([1], 1.0), queue_seconds=Spread([1], 1.0))
    moves.tasks["completed"] = moves.steps["completed"] = 1
    engine = EngineFigures("host:1", False, 1.0, 8, figures.written(running=1, listener_seconds=1.0))
    measures = Measures({("shop", "orders"): moves}, list(page.BUCKETS), Standing(1, 1, 1.0, 1, 0, 0.0, 0, 0, 0, 0), [engine])
    requests = page.Requests()
    requests.note("GET", 200, 0.1)
    families = [*page._of_installation(measures), *page._of_process(requests, CallTimes(), 1)]
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def expressions() -> Iterator[Any]:
    dashboard = json.loads((FOLDER / "tasker.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    yield pytest.param(dashboard["templating"]["list"][1]["query"]["query"], id="namespaces")
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield pytest.param(rule["expr"], id=rule["alert"])


def tokens(text: str) -> list[str]:
    found = [match[0] for match in TOKEN.finditer(text)]
    assert "".join(found) == text, "something in it is no token"
    return [token for token in found if token.strip()]


def problems(text: str, known: Mapping[str, set[str]]) -> list[str]:
    """What is wrong with an expression: brackets, metrics, functions, and labels that no metric in it has."""
    words, found, open_ones = tokens(text), [], []
    labels = SCRAPED.union(*(known[word] for word in words if word in known))
    for at, word in enumerate(words):
        if word in "({[":
            open_ones.append(word)
        elif word in ")}]":
            if not open_ones or open_ones.pop() + word not in ("()", "{}", "[]"):
                found.append(f"{word} closes nothing")
        elif WORD.match(word) and "[" not in open_ones:
            in_list = "{" in open_ones or open_ones and _is_grouping(words, at)
            if word not in (labels if in_list else known.keys() | FUNCTIONS) and not (text.startswith("label_values") and word in labels):
                found.append(f"there is no {word}")
    return found + [f"{one} stays open" for one in open_ones]


def _is_grouping(words: list[str], at: int) -> bool:
    opening = max(index for index in range(at) if words[index] == "(")
    return words[opening - 1] in ("by", "without")


def told_twice(text: str) -> list[str]:
    """The metrics in an expression that come from the database and count double when two dashboards are scraped."""
    return [metric for metric, around in _merged(tokens(text)) if not metric.startswith("tasker_web_") and not _once(around)]


def _once(around: list[str]) -> bool:
    """Only the greatest of all dashboards goes on, and with all labels of its own where it is added up."""
    return around[-1:] == [ONCE] or len(around) == 1 and around[0].split()[0] in ("max", "absent", "label_values")


def _merged(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each metric with what makes fewer series of it, the innermost last."""
    open_ones: list[str] = []
    for at, word in enumerate(words):
        if word == "(":
            open_ones.append(_applied(words[:at]))
        elif word == ")":
            open_ones.pop()
        elif word.startswith("tasker_"):
            yield word, [one for one in open_ones if one.split()[:1] in (["sum"], ["max"], ["absent"], ["label_values"])]


def _applied(before: list[str]) -> str:
    """The function, with its grouping, whose bracket opens after these words."""
    if before[-1:] != [")"]:
        return "".join(before[-1:])
    opening = max(index for index, word in enumerate(before) if word == "(")
    return " ".join(before[opening - 2 :])


@pytest.mark.parametrize("expression", expressions())
def test_every_expression_names_what_there_is(expression: str) -> None:
    assert problems(expression, samples()) == []


@pytest.mark.parametrize(
    "wrong", ["sum(tasker_steps)", "sum by (nmae) (tasker_steps_total)", 'tasker_engines{stat="alive"}', "sum(tasker_open_tasks", "summ(tasker_open_tasks)", "max(tasker_open_tasks))"]
)
def test_an_expression_that_is_wrong_is_found(wrong: str) -> None:
    assert problems(wrong, samples())


@pytest.mark.parametrize("expression", expressions())
def test_what_every_dashboard_tells_alike_counts_once(expression: str) -> None:
    assert told_twice(expression) == []


@pytest.mark.parametrize(
    ("doubled", "metrics"),
    [
        ("sum by (state) (rate(tasker_steps_total[5m]))", ["tasker_steps_total"]),
        ("sum(max without (instance, pod) (tasker_engine_steps_in_hand)) / sum(tasker_engine_concurrency)", ["tasker_engine_concurrency"]),
        ("max without (instance, pod) (sum(tasker_engine_concurrency))", ["tasker_engine_concurrency"]),
        ("sum(max by (name) (tasker_tasks_total))", ["tasker_tasks_total"]),
        ("sum(max without (instance) (tasker_engine_concurrency))", ["tasker_engine_concurrency"]),
        ("tasker_open_tasks > 5", ["tasker_open_tasks"]),
        ("sum(tasker_web_live_streams)", []),
    ],
)
def test_a_figure_that_counts_double_is_found(doubled: str, metrics: list[str]) -> None:
    assert told_twice(doubled) == metrics


def test_every_metric_has_its_place_on_the_dashboard_or_in_a_rule() -> None:
    used = " ".join(str(each.values[0]) for each in expressions())
    families = {re.sub(r"_(total|bucket|count|sum)\Z", "", name) for name in samples() if not name.endswith("_created")}
    assert [family for family in sorted(families) if family not in used] == []


def test_the_dashboard_has_room_for_every_panel() -> None:
    panels = json.loads((FOLDER / "tasker.json").read_text())["panels"]
    places = [(x, y) for panel in panels for at in [panel["gridPos"]] for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_rule_says_what_to_do() -> None:
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning", "info")
            assert rule["annotations"]["summary"]
            assert rule["annotations"]["action"]
