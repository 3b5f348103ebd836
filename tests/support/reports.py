"""Reports as text, through the registry of formats."""

import io

from icckd.report.formats import format_names, report_format, write_report

TEXT_FORMATS = [name for name in format_names() if report_format(name).write is not None]


def report(results, name: str) -> str:
    """Return the report of the newest study in one format."""
    out = io.StringIO()
    write_report(results, results.study(), name, out)
    return out.getvalue()
