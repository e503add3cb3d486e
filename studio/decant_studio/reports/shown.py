"""A report as the body of a page."""

import csv
import io
import json

from decant.errors import DecantError
from markupsafe import Markup, escape

from decant_studio.reports import markdown
from decant_studio.reports.shelf import Report

_MOST_ROWS = 2000
_MOST_TEXT = 400_000  # characters of a record without a table


def body(report: Report) -> Markup:
    """HTML of a text, a record or a table. Raises Refused."""
    text = report.read().decode("utf-8", "replace")
    if report.kind == "text":
        return markdown.rendered(text)
    if report.kind == "table":
        rows = [row for row in csv.reader(io.StringIO(text)) if row][:_MOST_ROWS]
        return markdown.table(rows, report.name) if rows else Markup("<p>The table is empty.</p>")
    return _pre(_record(text))


def _record(text: str) -> str:
    """A record of `decant bench latency` as its own table; any other JSON as it is."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return text[:_MOST_TEXT]
    if isinstance(record, dict) and record.get("kind") == "latency":
        from decant_bench.latency import table

        try:
            return f"{record.get('command', '')}\n\n{table.as_text(record)}"
        except (DecantError, LookupError, TypeError, ValueError, AttributeError):
            pass  # a record of another version: as it is
    return json.dumps(record, indent=1)[:_MOST_TEXT]


def _pre(text: str) -> Markup:
    return Markup('<pre tabindex="0"><code>{}</code></pre>').format(escape(text))
