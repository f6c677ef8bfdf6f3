"""Directives that write the reference from the code itself: `{settings}`, `{sql-functions}` and `{event-types}`.

`conf.py` loads this; each directive is a Markdown text that `written.py` has put together, read as if it stood in the page.
"""

import re
from collections.abc import Callable
from typing import Any

import written
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def directive(text: Callable[[], str]) -> type[SphinxDirective]:
    """A directive without arguments that stands for the text."""

    class FromCode(SphinxDirective):
        def run(self) -> list[nodes.Node]:
            return self.parse_text_to_nodes(text(), allow_section_headings=True)

    return FromCode


def taken_literally(app: Sphinx, context: Any, lines: list[str]) -> None:
    """A star in the help of a command is a star, where reStructuredText would begin to emphasise."""
    lines[:] = [re.sub(r"(?<!\*)\*(?!\*)", r"\*", line) for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("settings", directive(written.settings))
    app.add_directive("sql-functions", directive(written.sql_functions))
    app.add_directive("event-types", directive(written.event_types))
    app.connect("sphinx-click-process-description", taken_literally)
    app.connect("sphinx-click-process-options", taken_literally)
    return {"parallel_read_safe": True}
