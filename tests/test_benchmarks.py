"""The comparison with other engines is whole, and its page says what the figures say; the measuring itself is `make bench-peers`."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import page, place, run, shapes
from benchmarks.peers import BY_NAME, PEERS

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks"
PINNED = re.compile(r"[A-Za-z0-9._-]+(\[[a-z0-9,-]+\])?==[0-9][A-Za-z0-9.]*")


def test_every_peer_has_a_driver_pins_and_an_entry_and_no_folder_is_forgotten() -> None:
    assert {peer.name for peer in PEERS} == {path.parent.name for path in FOLDER.glob("*/drive.py")}
    for peer in PEERS:
        lines = (FOLDER / peer.name / "requirements.txt").read_text().split()
        assert all(PINNED.fullmatch(line) for line in lines), peer.name
        assert lines or peer.name == "tasker"
        assert all([peer.settings, peer.keeps, peer.history, peer.graph, peer.lost, peer.fair]), peer.name


@pytest.mark.parametrize("shape", ["chain_1", "chain_5", "diamond_4", "fan_7"])
def test_a_queue_that_follows_the_children_runs_every_step_once(shape: str) -> None:
    waiting, ran, arrived = shapes.roots(shape), [], 0
    while waiting:
        step = waiting.pop()
        ran.append(step)
        for child in shapes.children(shape, step):
            joins = shapes.joined(shape) > 0 and child == shapes.size(shape) - 1
            arrived += joins
            if not joins or arrived == shapes.joined(shape):
                waiting.append(child)
    assert sorted(ran) == list(range(shapes.size(shape)))


def test_no_process_outlives_its_measurement_even_in_a_session_of_its_own(tmp_path: Path) -> None:
    with place.nothing_left(tmp_path) as environment:
        process = subprocess.Popen([sys.executable, "-c", "print('up', flush=True); input()"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert process.poll() is None
    assert process.wait(60) == -signal.SIGKILL


def given_report(**changed: Any) -> dict[str, Any]:
    runs = [
        {"peer": "tasker", "workload": "W1", "version": "0.1.0", "steps": 10_000, "seconds": seconds} for seconds in (0.5, 1.0, 2.0)
    ] + [
        {"peer": "tasker", "workload": "W4", "version": "0.1.0", "hops_ms": [1.0, 2.0, 9.0], "submits_ms": [4.0]},
        {"peer": "tasker", "workload": "W5", "version": "0.1.0", "tasks": 2_000, "submit_seconds": 1.0, "steps": 0, "seconds": 0.0},
        {"peer": "dbos", "workload": "W1", "version": "3.4.0", "steps": 1_000, "seconds": 2.0},
        {"peer": "pgqueuer", "workload": "W1", "version": "0.25.0", "steps": 800, "seconds": 1.0},
        {"peer": "procrastinate", "workload": "W4", "version": "3.5.0", "hops_ms": [8.0], "submits_ms": [4.0]},
        {"peer": "dbos", "workload": "W4", "version": "3.4.0", "hops_ms": [16.0], "submits_ms": [4.0]},
        {"peer": "dbos", "workload": "W5", "version": "3.4.0", "tasks": 500, "submit_seconds": 2.0, "steps": 0, "seconds": 0.0},
        {"peer": "celery", "workload": "W1", "error": "took longer than 300 s | `x`"},
    ]
    server = dict.fromkeys(page.SERVER_SETTINGS, "on") | {"server_version": "18.1"}
    machine = {"cores": 2, "system": "Linux", "python": "3.11.7", "load_before": 0.1}
    return {"begun_at": "2026-11-26", "quick": False, "rounds": 3, "limit_seconds": 300, "machine": machine, "postgresql": server, "redis": True, "runs": runs} | changed


def test_the_page_shows_medians_with_their_extremes_and_hides_no_failure(tmp_path: Path) -> None:
    page.write(given_report(), tmp_path)
    text = (tmp_path / "peers.md").read_text()
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in text.splitlines() if line.startswith("| ")}
    assert rows["Tasker 0.1.0"] == ["10,000 (5,000 to 20,000)", "none", "none", "2.00 (2.00 to 2.00)", "4.00 (4.00 to 4.00)", "none", "2,000 (2,000 to 2,000)"]
    assert rows["DBOS 3.4.0"] == ["500 (500 to 500)", "none", "none", "16.0 (16.0 to 16.0)", "4.00 (4.00 to 4.00)", "none", "250 (250 to 250)"]
    # beside whoever is best in that workload, and with a verdict
    assert rows["W1, steps/s"] == ["10,000", "800", "PgQueuer", "12.5", "at least 10", "met"]
    assert rows["W2, steps/s"] == ["none", "none", "", "", "at least 10", "not known"]
    assert rows["W4, one hop, ms"] == ["2.00", "8.00", "Procrastinate", "0.25", "at most 0.2", "missed"]
    assert rows["submitted, tasks/s"] == ["2,000", "250", "DBOS", "8.00", "at least 10", "missed"]
    assert "- Celery, W1: `took longer than 300 s | 'x'`" in text
    assert "- DBOS, W5: `ended between two looks, too quick to tell the rate`" in text
    assert "Not results" not in text
    assert json.loads((tmp_path / "performance-peers.json").read_text()) == given_report()
    picture = ElementTree.parse(tmp_path / "pictures" / "peers.svg").getroot()
    words = ["".join(element.itertext()) for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Tasker", "DBOS", "Celery", "10,000", "500", "none"} <= set(words)


def test_where_no_redis_can_be_had_celery_is_left_out_and_the_page_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with place.redis() as url, pytest.raises(place.Missing, match="apt-get install redis-server"):
        run.python_of(BY_NAME["celery"], url)


@pytest.mark.parametrize("changed", [{"quick": True}, {"machine": {"cores": 2, "system": "Linux", "python": "3.11.7", "load_before": 7.5}}])
def test_figures_of_small_sizes_or_a_busy_machine_are_marked_as_no_results(changed: dict[str, Any]) -> None:
    assert "**Not results:**" in page.text(given_report(**changed))


def test_the_published_page_is_the_one_that_its_figures_make() -> None:
    report = json.loads((ROOT / "docs" / "performance-peers.json").read_text())
    assert (ROOT / "docs" / "peers.md").read_text() == page.text(report)
