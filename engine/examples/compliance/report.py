"""The audit as one HTML file: no script, nothing fetched from elsewhere, readable in light and dark and on paper.

Called by the last step of `dependency_audit`, with what the steps before it found out.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from engine.examples import clock

STYLE = """
:root { color-scheme: light dark; --ink: #1d2433; --soft: #5d677a; --line: #dde2ea; --page: #f6f7f9; --card: #fff; --bar: #3f6fd8; --warn: #b3541e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --soft: #9aa5b8; --line: #323a48; --page: #14181f; --card: #1c222c; --bar: #7aa2f7; --warn: #f0a06a; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { margin: 0; font-size: 1.9rem; letter-spacing: -.01em; }
h2 { margin: 0 0 .75rem; font-size: 1.1rem; }
p { margin: .25rem 0; }
.soft { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.25rem, 1fr)); gap: .75rem; margin: 1.75rem 0; }
.tile, section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.1rem; }
.tile { padding: .8rem .9rem; }
.tile b { display: block; font-size: 1.35rem; white-space: nowrap; font-variant-numeric: tabular-nums; line-height: 1.25; }
.tile.warn b { color: var(--warn); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1rem; }
section { margin-bottom: 1rem; overflow-x: auto; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
tr:last-child td { border-bottom: 0; }
th { color: var(--soft); font-weight: 600; font-size: .85rem; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.share { width: 45%; }
.bar { display: block; height: .7rem; margin-top: .4rem; min-width: 2px; border-radius: .2rem; background: var(--bar); }
.warn { color: var(--warn); }
@media print { body { background: none; } section, .tile { break-inside: avoid; } }
"""


def render(
    title: str,
    packages: Sequence[dict[str, Any]],
    *,
    licences: dict[str, Any],
    sizes: dict[str, Any],
    dependencies: dict[str, Any],
    written_at: str,
) -> str:
    """The whole page. A part whose step was skipped is an empty object and left out of the page."""
    parts = [
        _tiles(packages, licences, sizes, dependencies),
        '<div class="pair">',
        _licences(licences) if licences else "",
        _largest(sizes) if sizes else "",
        "</div>",
        _attention(licences, dependencies),
        '<div class="pair">',
        _most_needed(dependencies) if dependencies else "",
        _top_level(dependencies) if dependencies else "",
        "</div>",
        _packages(packages),
    ]
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        f'<h1>{escape(title)}</h1><p class="soft">{_packages_on(len(packages), written_at)}</p>\n'
        + "\n".join(part for part in parts if part)
        + "\n</main></body>\n</html>\n"
    )


def readable_size(size: int) -> str:
    """Bytes in the largest unit that leaves at least one of it: `512 B`, `1.5 MB`."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def _packages_on(count: int, written_at: str) -> str:
    at = clock.moment(written_at)
    return f'{count} packages, as installed on <time datetime="{escape(written_at)}">{at.day} {at:%B %Y, %H:%M} UTC</time>'


def _tiles(packages: Sequence[Any], licences: dict[str, Any], sizes: dict[str, Any], dependencies: dict[str, Any]) -> str:
    tiles = [_tile(len(packages), "packages")]
    if sizes:
        tiles += [_tile(readable_size(sizes["total_bytes"]), "on disk"), _tile(f"{sizes['total_files']:,}", "files")]
    if licences:
        tiles += [_tile(len(licences["licences"]), "licences"), _warning_tile(len(licences["without_licence"]), "no licence")]
    if dependencies:
        tiles += [_tile(len(dependencies["edges"]), "dependencies"), _warning_tile(len(dependencies["unmet"]), "unmet needs")]
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _tile(value: object, label: str, css: str = "tile") -> str:
    return f'<div class="{css}"><b>{escape(str(value))}</b><span class="soft">{escape(label)}</span></div>'


def _warning_tile(count: int, label: str) -> str:
    return _tile(count, label, "tile warn" if count else "tile")


def _licences(licences: dict[str, Any]) -> str:
    table = licences["licences"]
    most = max((row["package_count"] for row in table), default=1)
    rows = [(escape(row["licence"]), _number(row["package_count"]), _bar(row["package_count"] / most)) for row in table]
    return _section("Licences", _table(("Licence", "Packages", ""), rows))


def _largest(sizes: dict[str, Any]) -> str:
    most = max((row["bytes"] for row in sizes["largest"]), default=1) or 1
    rows = [(_named(row), _number(readable_size(row["bytes"])), _bar(row["bytes"] / most)) for row in sizes["largest"]]
    return _section("Largest packages", _table(("Package", "Size", ""), rows))


def _attention(licences: dict[str, Any], dependencies: dict[str, Any]) -> str:
    notes = [
        *(f"{name} names no licence" for name in licences.get("without_licence", ())),
        *(f"{name} has a licence that is refused here" for name in licences.get("refused", ())),
        *(f"{edge['name']} needs {edge['needs']}, which is not installed" for edge in dependencies.get("unmet", ())),
    ]
    if not notes:
        return _section("Needs a look", '<p class="soft">Nothing: every package names a licence, none is refused, all needs are met.</p>')
    return _section("Needs a look", "".join(f'<p class="warn">{escape(note)}</p>' for note in notes))


def _most_needed(dependencies: dict[str, Any]) -> str:
    table = dependencies["most_needed"]
    most = max((row["dependent_count"] for row in table), default=1)
    rows = [(escape(row["name"]), _number(row["dependent_count"]), _bar(row["dependent_count"] / most)) for row in table]
    return _section("Needed by most", _table(("Package", "Needed by", ""), rows))


def _top_level(dependencies: dict[str, Any]) -> str:
    names = ", ".join(dependencies["top_level"]) or "none"
    return _section("Needed by no other package", f'<p class="soft">These were asked for by name, or can go.</p><p>{escape(names)}</p>')


def _packages(packages: Sequence[dict[str, Any]]) -> str:
    rows = [
        (
            f'{_named(package)}<br><span class="soft">{escape(package["summary"])}</span>',
            escape(package["licence"] or "not named"),
            _number(readable_size(package["bytes"])),
            escape(", ".join(package["requires"])) or '<span class="soft">nothing</span>',
        )
        for package in packages
    ]
    return _section("All packages", _table(("Package", "Licence", "Size", "Needs"), rows))


def _named(package: dict[str, Any]) -> str:
    return f'<b>{escape(package["name"])}</b> <span class="soft">{escape(package["version"])}</span>'


def _section(heading: str, body: str) -> str:
    return f"<section><h2>{escape(heading)}</h2>{body}</section>"


class _Cell(str):
    """A table cell that brings its own `td`."""

    __slots__ = ()


def _number(value: object) -> _Cell:
    return _Cell(f'<td class="number">{escape(str(value))}</td>')


def _bar(share: float) -> _Cell:
    return _Cell(f'<td class="share"><span class="bar" style="width: {100 * share:.1f}%"></span></td>')


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    numeric = ("Packages", "Size", "Needed by")
    head = "".join(f'<th class="number">{text}</th>' if text in numeric else f"<th>{text}</th>" for text in headings)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(content: str) -> str:
    return content if isinstance(content, _Cell) else f"<td>{content}</td>"
