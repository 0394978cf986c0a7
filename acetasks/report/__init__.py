"""Report of tasks as one HTML page that needs no server, no network and no framework.

The page is made in three steps: from tasks or journal entries to rows (`rows`), from rows to figures and charts
(`summary`, `durations`, `timeline`), and from these to HTML (`page`). The extra `report` installs Jinja2, which only
the last step needs. Everything that a service sent is text for the page, never markup.
"""

from acetasks.report.journal import read_journal
from acetasks.report.page import render_report, write_report

__all__ = ["read_journal", "render_report", "write_report"]
