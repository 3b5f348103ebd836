"""Reports of a study: one function for each format, from results alone."""

from collections.abc import Callable
from typing import TextIO

from icckd.report.data import write_csv, write_json
from icckd.report.html import write_html
from icckd.report.latex import write_latex
from icckd.report.markdown import write_markdown
from icckd.report.table import write_table
from icckd.results.read import Results
from icckd.results.types import StudyInfo

Reporter = Callable[[Results, StudyInfo, TextIO], None]

REPORTERS: dict[str, Reporter] = {
    "table": write_table,
    "md": write_markdown,
    "latex": write_latex,
    "html": write_html,
    "csv": write_csv,
    "json": write_json,
}
