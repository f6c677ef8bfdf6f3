"""The audit of the environment that these tests run in: real packages, real files, a real page."""

import shutil
from html.parser import HTMLParser
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from engine import HandlerRegistry, TaskRequest
from engine.binding import bindings
from engine.examples.compliance import packages
from engine.examples.compliance.dependency_audit import (
    AUDITS,
    AuditShare,
    ListPackages,
    MapDependencies,
    MergeFindings,
    RankSizes,
    ReviewLicences,
    WriteReport,
)
from engine.examples.compliance.report import readable_size, render
from engine.requests import checked_context
from engine.testing import Said, SaidProgress, run_step

DEFINITION = HandlerRegistry.instance().get("dependency_audit", "compliance").definition
ALPHA = {"name": "alpha", "version": "1.0", "summary": "", "licence": "MIT", "licence_source": "field", "files": 2, "bytes": 30, "requires": ["beta", "gone"]}
BETA = {**ALPHA, "name": "beta", "licence": None, "files": 1, "bytes": 50, "requires": []}
GAMMA = {**ALPHA, "name": "gamma", "licence": "AGPL-3.0", "files": 1, "bytes": 20, "requires": ["beta"]}
FOUND = {"merge_findings": {"packages": [ALPHA, BETA, GAMMA], "skipped_audits": []}}


# The definition


def test_thirty_two_steps_run_side_by_side() -> None:
    audits = [step for step in DEFINITION.steps if step.depends_on == ("list_packages",)]
    assert [step.name for step in audits] == list(AUDITS)
    assert len(AUDITS) == 32
    assert set(DEFINITION.step("merge_findings").depends_on) == set(AUDITS)
    assert DEFINITION.steps[-1].name == "write_report"
    assert all(binding.run and binding.template.description for binding in bindings(DEFINITION))


def test_an_audit_needs_no_input() -> None:
    stored = checked_context(TaskRequest("dependency_audit"), DEFINITION.schema)
    assert stored == {"title": "Dependency audit", "largest": 10, "refused_licences": ["AGPL", "SSPL"]}


# Dealing the packages


def test_every_package_is_dealt_to_exactly_one_step() -> None:
    result = run_step(ListPackages)
    dealt = [name for share in result["shares"].values() for name in share]
    assert sorted(dealt) == packages.installed_names()
    assert result["package_count"] == len(dealt) == len(set(dealt))
    assert list(result["shares"]) == list(AUDITS)
    assert {"pytest", "httpx", "psycopg"} <= set(dealt)


def test_shares_are_even_and_always_the_same() -> None:
    names = [f"package-{number}" for number in range(70)]
    dealt = packages.shares(names, 32)
    assert {len(share) for share in dealt} == {2, 3}
    assert dealt == packages.shares(reversed(names), 32)


def test_fewer_packages_than_steps_leave_steps_idle() -> None:
    assert sorted(map(len, packages.shares(["a", "b"], 4))) == [0, 0, 1, 1]


# Looking at a package


def test_a_package_is_described_as_it_is_on_disk() -> None:
    found = packages.inspect_package("pytest")
    assert found is not None
    assert found["version"] == distribution("pytest").version
    assert found["licence"] == "MIT"
    assert {"iniconfig", "packaging", "pluggy"} <= set(found["requires"])
    assert found["files"] > 50


def test_sizes_are_the_sums_of_real_files() -> None:
    found = packages.inspect_package("iniconfig")
    files = {Path(str(file.locate())) for file in distribution("iniconfig").files or ()}
    assert found is not None
    assert found["bytes"] == sum(file.stat().st_size for file in files if file.exists()) > 1000


def test_other_platforms_and_extras_needs_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needs = ["Requires-Dist: Here_Too", 'Requires-Dist: elsewhere; sys_platform == "nowhere"', 'Requires-Dist: more; extra == "more"', "Requires-Dist: ???"]
    installed(tmp_path, monkeypatch, "sample", *needs)
    assert inspected("sample")["requires"] == ["here-too"]


@pytest.mark.parametrize(
    ("lines", "licence", "source"),
    [
        (["License-Expression: MIT OR Apache-2.0", "License: ignored"], "MIT OR Apache-2.0", "expression"),
        (["License: The MIT License"], "MIT", "field"),
        (["License: UNKNOWN", "Classifier: License :: OSI Approved :: BSD License"], "BSD", "classifier"),
        (["Classifier: License :: OSI Approved", "Classifier: License :: OSI Approved :: MIT License"], "MIT", "classifier"),
        ([f"License: Permission is hereby granted, free of charge, to anyone. {'x' * 100}"], "MIT", "field"),
        (["Classifier: Programming Language :: Python"], None, "nowhere"),
    ],
)
def test_a_licence_is_found_where_the_package_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: list[str], licence: str | None, source: str
) -> None:
    installed(tmp_path, monkeypatch, "sample", *lines)
    found = inspected("sample")
    assert (found["licence"], found["licence_source"]) == (licence, source)


def test_a_licence_is_known_by_its_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = installed(tmp_path, monkeypatch, "sample")
    (folder / "LICENSE.txt").write_text("Apache License\n   Version 2.0, January 2004")
    (folder / "RECORD").write_text("sample-1.0.dist-info/LICENSE.txt,,\nsample-1.0.dist-info/deleted.py,,\n")
    found = inspected("sample")
    assert (found["licence"], found["licence_source"], found["files"]) == ("Apache-2.0", "file", 1)


def test_a_package_removed_meanwhile_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.rmtree(installed(tmp_path, monkeypatch, "sample"))
    result = run_step(AuditShare, {}, {"list_packages": {"shares": {"audit_07": ["sample", "iniconfig"]}}}, name="audit_07")
    assert [package["name"] for package in result["packages"]] == ["iniconfig"]
    assert result["removed_meanwhile"] == ["sample"]


def test_a_half_removed_package_does_not_stop_the_listing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (installed(tmp_path, monkeypatch, "broken") / "METADATA").unlink()
    assert "pytest" in packages.installed_names()


# Joining the findings


def test_findings_are_merged_by_name() -> None:
    shares: dict[str, Any] = {name: {"packages": []} for name in AUDITS}
    shares |= {"audit_01": {"packages": [GAMMA]}, "audit_32": {"packages": [ALPHA]}, "audit_02": None}
    result = run_step(MergeFindings, {}, shares)
    assert [package["name"] for package in result["packages"]] == ["alpha", "gamma"]
    assert result["skipped_audits"] == ["audit_02"]


def test_licences_are_counted_and_judged() -> None:
    result = run_step(ReviewLicences, {"refused_licences": ["agpl"]}, FOUND)
    assert result["licences"] == [
        {"licence": "AGPL-3.0", "package_count": 1, "packages": ["gamma"]},
        {"licence": "MIT", "package_count": 1, "packages": ["alpha"]},
    ]
    assert (result["without_licence"], result["refused"]) == (["beta"], ["gamma"])


def test_the_largest_come_first() -> None:
    result = run_step(RankSizes, {"largest": 2}, FOUND)
    assert (result["total_bytes"], result["total_files"]) == (100, 4)
    assert [package["name"] for package in result["largest"]] == ["beta", "alpha"]


def test_dependencies_are_followed() -> None:
    result = run_step(MapDependencies, {}, FOUND)
    assert result == {
        "edges": [["alpha", "beta"], ["gamma", "beta"]],
        "most_needed": [{"name": "beta", "dependent_count": 2}],
        "top_level": ["alpha", "gamma"],
        "unmet": [{"name": "alpha", "needs": "gone"}],
    }


# The report


class Page(HTMLParser):
    """Checks that tags close in order, and gathers text and references."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.references: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [str(value) for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def report_on(found: list[dict[str, Any]], title: str = "Audit") -> Page:
    merged = {"merge_findings": {"packages": found, "skipped_audits": []}}
    joined = {name: run_step(handler, {}, merged) for name, handler in (("licences", ReviewLicences), ("sizes", RankSizes), ("dependencies", MapDependencies))}
    return Page(render(title, found, **joined, written_at="2026-01-02T03:04:05Z"))


def test_the_report_tells_what_needs_a_look() -> None:
    text = report_on([ALPHA, BETA, GAMMA]).text
    assert "beta names no licence" in text
    assert "alpha needs gone, which is not installed" in text
    assert "2 January 2026, 03:04 UTC" in text


def test_the_report_fetches_nothing() -> None:
    assert report_on([ALPHA]).references == []


def test_the_report_shows_markup_as_text() -> None:
    evil = "<script>alert(1)</script>"
    page = report_on([{**ALPHA, "name": evil, "version": evil, "summary": evil, "licence": evil, "requires": [evil]}], title=evil)
    assert "script" not in page.open
    assert page.text.count(evil) >= 6


def test_a_report_on_nothing_is_still_a_page() -> None:
    assert "0 packages" in report_on([]).text
    Page(render("Audit", [ALPHA], licences={}, sizes={}, dependencies={}, written_at="2026-01-02T03:04:05Z"))


@pytest.mark.usefixtures("same_task")
def test_the_last_step_returns_the_path_of_the_page(data_dir: Path) -> None:
    before = {
        "merge_findings": FOUND["merge_findings"],
        "review_licences": run_step(ReviewLicences, {}, FOUND),
        "rank_sizes": run_step(RankSizes, {}, FOUND),
        "map_dependencies": None,
    }
    first, second = (run_step(WriteReport, {"title": "Ours"}, before) for _ in range(2))
    file = Path(first["report_path"])
    assert file.is_relative_to(data_dir)
    assert "Ours" in Page(file.read_text(encoding="utf-8")).text
    assert (first["package_count"], first["without_licence_count"]) == (3, 1)
    assert second["report_path"] == first["report_path"]
    assert len(list(file.parent.iterdir())) == 1


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (37_725_751, "37.7 MB"), (5_000_000_000_000, "5000.0 GB")])
def test_sizes_are_readable(size: int, text: str) -> None:
    assert readable_size(size) == text


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, *metadata: str) -> Path:
    """A package that is installed for this test; returns the folder of its metadata."""
    info = folder / "site" / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *metadata]) + "\n")
    monkeypatch.syspath_prepend(folder / "site")
    return info


def inspected(name: str) -> dict[str, Any]:
    found = packages.inspect_package(name)
    assert found is not None
    return found


# What it says while it runs


def test_an_audit_tells_which_packages_it_has_looked_at() -> None:
    names = packages.installed_names()[:2]
    said = Said()
    run_step(AuditShare, results={"list_packages": {"shares": {"audit_01": [*names, "gone-meanwhile"]}}}, name="audit_01", said=said)
    assert said.progress == SaidProgress(3.0, 3.0, None)
    assert [line.level for line in said.lines] == ["info", "info", "warning"]
    assert said.lines[0].message == f"inspected {names[0]} {distribution(names[0]).version}"
    assert said.messages[2] == "gone-meanwhile was removed meanwhile"


def test_refused_licences_are_warned_of() -> None:
    said = Said()
    run_step(ReviewLicences, context={"refused_licences": ["AGPL"]}, results=FOUND, said=said)
    assert [(line.level, line.message) for line in said.lines] == [("warning", "gamma has a refused licence"), ("info", "reviewed the licences")]
