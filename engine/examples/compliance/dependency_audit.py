"""`compliance/dependency_audit` 1.0.0: one step lists the packages, 32 look at them side by side, the rest makes a report of it."""

import logging
from collections import Counter, defaultdict
from typing import Any

from engine import StepHandler, TaskHandler, register_handler
from engine.examples import clock, storage
from engine.examples.compliance import packages
from engine.examples.compliance.report import render
from engine.handlers import Sequence, Step, StepTemplates, Task

AUDITS = tuple(f"audit_{number:02d}" for number in range(1, 33))
QUICK = {"base": 0.3, "multiplier": 2.0, "cap": 5.0, "jitter": 0.1}

Result = dict[str, Any]

log = logging.getLogger(__name__)


@register_handler("dependency_audit", namespace_name="compliance", version="1.0.0")
class DependencyAudit(TaskHandler):
    """Audits the Python packages installed beside the engine: licences, sizes on disk and dependencies, as an HTML report.

    The packages are dealt evenly to 32 audit steps that run side by side, two or three packages each in a typical environment.
    """

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {
                "title": {"type": "string", "minLength": 1, "maxLength": 120, "default": "Dependency audit", "title": "Title of the report"},
                "largest": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10, "title": "How many of the largest packages to list"},
                "refused_licences": {
                    "type": "array",
                    "items": {"type": "string", "minLength": 1},
                    "default": ["AGPL", "SSPL"],
                    "title": "Licences to report as refused",
                    "description": "A licence is refused when its name contains one of these words.",
                },
            },
        }

    def define_step_templates(self, templates: StepTemplates) -> None:
        templates.define(
            name="list_packages",
            description="Lists every package that is installed here and deals them to the audit steps.",
            handler_class=ListPackages,
            timeout=30_000,
            backoff=QUICK,
        )
        for name in AUDITS:
            templates.define(
                name=name,
                description="Reads licence, version, requirements and the size on disk of its share of the packages.",
                handler_class=AuditShare,
                depends_on_step="list_packages",
                timeout=60_000,
                retry_on=(OSError,),
                backoff=QUICK,
            )
        self._define_summary(templates)

    def _define_summary(self, templates: StepTemplates) -> None:
        templates.define(
            name="merge_findings",
            description="Brings the findings of all audit steps together, by name.",
            handler_class=MergeFindings,
            depends_on_step=list(AUDITS),
            timeout=30_000,
            backoff=QUICK,
        )
        templates.define(
            name="review_licences",
            description="Counts the packages under each licence; names those without one and those under a refused one.",
            handler_class=ReviewLicences,
            depends_on_step="merge_findings",
            timeout=30_000,
            backoff=QUICK,
        )
        templates.define(
            name="rank_sizes",
            description="Adds up what the packages take on disk and lists the largest.",
            handler_class=RankSizes,
            depends_on_step="merge_findings",
            timeout=30_000,
            backoff=QUICK,
        )
        templates.define(
            name="map_dependencies",
            description="Follows who needs whom: most needed packages, those nobody needs, and needs that are not met.",
            handler_class=MapDependencies,
            depends_on_step="merge_findings",
            timeout=30_000,
            backoff=QUICK,
        )
        templates.define(
            name="write_report",
            description="Writes the report as one HTML file that opens in any browser; its path is the result.",
            handler_class=WriteReport,
            depends_on_step=["review_licences", "rank_sizes", "map_dependencies"],
            timeout=30_000,
            retry_on=(OSError,),
            backoff=QUICK,
        )


class ListPackages(StepHandler):
    """Deals the installed packages to the audit steps."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> Result:
        names = packages.installed_names()
        step.log("dealt the packages to the audit steps", packages=len(names), steps=len(AUDITS))
        dealt = packages.shares(names, len(AUDITS))
        return {"package_count": len(names), "shares": dict(zip(AUDITS, dealt, strict=True)), "listed_at": clock.now()}


class AuditShare(StepHandler):
    """Looks at the packages that were dealt to this step's name."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> Result:
        names = self.step_results(sequence, "list_packages")["shares"][step.name]
        found = [_inspect(name, at, len(names), step) for at, name in enumerate(names, 1)]
        return {"packages": [package for package in found if package], "removed_meanwhile": _missing(names, found)}


class MergeFindings(StepHandler):
    """Makes one list of the shares."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> Result:
        # A share whose audit an operator skipped has no result; the rest is still worth a report.
        results = [self.step_results(sequence, name) for name in AUDITS]
        found = [package for result in results if result for package in result["packages"]]
        skipped = [name for name, result in zip(AUDITS, results, strict=True) if not result]
        return {"packages": sorted(found, key=lambda package: str(package["name"])), "skipped_audits": skipped}


class ReviewLicences(StepHandler):
    """Counts licences and points at what needs a look."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> Result:
        found = self.step_results(sequence, "merge_findings")["packages"]
        reviewed = review_licences(found, refused=task.context.get("refused_licences") or [])
        for name in reviewed["refused"]:
            step.log(f"{name} has a refused licence", "warning")
        step.log("reviewed the licences", licences=len(reviewed["licences"]), without=len(reviewed["without_licence"]))
        return reviewed


class RankSizes(StepHandler):
    """Adds up and ranks the sizes."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> Result:
        found = self.step_results(sequence, "merge_findings")["packages"]
        return rank_sizes(found, largest=task.context.get("largest") or 10)


class MapDependencies(StepHandler):
    """Counts the edges between the packages."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> Result:
        return map_dependencies(self.step_results(sequence, "merge_findings")["packages"])


class WriteReport(StepHandler):
    """Writes the HTML file; running again replaces it."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> Result:
        merged, licences, sizes, dependencies = (
            self.step_results(sequence, name) for name in ("merge_findings", "review_licences", "rank_sizes", "map_dependencies")
        )
        title = task.context.get("title") or "Dependency audit"
        page = render(
            title, merged["packages"], licences=licences or {}, sizes=sizes or {}, dependencies=dependencies or {}, written_at=clock.now()
        )
        file = storage.write_file(storage.folder("reports") / f"dependency-audit-{task.task_id}.html", page)
        log.info("wrote %s", file)
        return {
            "report_path": str(file),
            "report_bytes": file.stat().st_size,
            "package_count": len(merged["packages"]),
            "without_licence_count": len((licences or {}).get("without_licence", ())),
        }


def _inspect(name: str, at: int, count: int, step: Step) -> Result | None:
    step.progress(at - 1, count, f"inspecting {name}")
    package = packages.inspect_package(name)
    if package is None:
        step.log(f"{name} was removed meanwhile", "warning")
    else:
        step.log(f"inspected {name} {package['version']}", licence=package["licence"], files=package["files"], bytes=package["bytes"])
    step.progress(at, count)
    return package


def review_licences(found: list[Result], *, refused: list[str]) -> Result:
    """Packages per licence, most frequent first; which have none, and which have a refused one."""
    by_licence: defaultdict[str, list[str]] = defaultdict(list)
    for package in found:
        if package["licence"]:
            by_licence[package["licence"]].append(package["name"])
    table = [{"licence": licence, "package_count": len(names), "packages": names} for licence, names in by_licence.items()]
    return {
        "licences": sorted(table, key=lambda row: (-len(row["packages"]), row["licence"])),
        "without_licence": [package["name"] for package in found if not package["licence"]],
        "refused": [package["name"] for package in found if _is_refused(package["licence"] or "", refused)],
    }


def rank_sizes(found: list[Result], *, largest: int) -> Result:
    """Bytes and files of all packages together, and the `largest` packages in descending order."""
    ranked = sorted(found, key=lambda package: (-package["bytes"], package["name"]))
    return {
        "total_bytes": sum(package["bytes"] for package in found),
        "total_files": sum(package["files"] for package in found),
        "largest": [{part: package[part] for part in ("name", "version", "bytes", "files")} for package in ranked[:largest]],
    }


def map_dependencies(found: list[Result]) -> Result:
    """Who needs whom: edges between installed packages, the most needed, those nobody needs, and needs that are not met."""
    installed = {package["name"] for package in found}
    wanted = [(package["name"], need) for package in found for need in package["requires"]]
    needed = Counter(need for _, need in wanted if need in installed)
    return {
        "edges": [list(edge) for edge in wanted if edge[1] in installed],
        "most_needed": [{"name": name, "dependent_count": count} for name, count in sorted(needed.items(), key=_most_first)[:10]],
        "top_level": sorted(installed - set(needed)),
        "unmet": [{"name": name, "needs": need} for name, need in wanted if need not in installed],
    }


def _missing(names: list[str], found: list[Result | None]) -> list[str]:
    return [name for name, package in zip(names, found, strict=True) if package is None]


def _is_refused(licence: str, refused: list[str]) -> bool:
    return any(word.lower() in licence.lower() for word in refused)


def _most_first(counted: tuple[str, int]) -> tuple[int, str]:
    return -counted[1], counted[0]
