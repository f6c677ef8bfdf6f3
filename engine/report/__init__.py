"""The final report on a task: one document for people, as Markdown or as one HTML page that needs nothing else.

`facts` reads what is on record, `document` puts it into words and tables, `markdown` and `page` write these out. The command line and the
dashboard call it. Whatever came from outside stands in the document as `Data`, which each writer makes harmless in its own way.
"""

from engine.db import Database
from engine.report.document import document
from engine.report.facts import read_facts
from engine.report.incident import incident_report
from engine.report.markdown import to_markdown
from engine.report.page import POLICY, to_page

__all__ = ["POLICY", "html_report", "incident_report", "markdown_report"]


def markdown_report(db: Database, task_id: str) -> str:
    """The report as Markdown (CommonMark with tables). Raises `NotFound`."""
    return to_markdown(document(read_facts(db, task_id)))


def html_report(db: Database, task_id: str) -> str:
    """The report as one HTML page, light or dark as its reader likes, fit to be printed. Raises `NotFound`."""
    return to_page(document(read_facts(db, task_id)))
