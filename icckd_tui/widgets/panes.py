"""The panes of the study screen and where they stand."""

from typing import Literal

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.layout import Layout
from icckd_tui.widgets.curves import CurveChart
from icckd_tui.widgets.grid_table import GridTable
from icckd_tui.widgets.host import HostView

PANES = ("comparison", "curves", "trials", "log")
Row = Literal["comparison", "middle", "bottom"]
_ROWS: dict[Row, tuple[str, ...]] = {
    "comparison": ("comparison",),
    "middle": ("curves", "trials"),
    "bottom": ("log",),
}


class Panes(Vertical):
    """Comparison, curves beside trials, log beside host; the host is no pane to go to."""

    def __init__(self, *, glyphs: Glyphs, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._glyphs = glyphs

    def compose(self) -> ComposeResult:
        """Lay the panes out in three rows."""
        glyphs = self._glyphs
        yield GridTable(glyphs=glyphs, cells=True, detail=True, id="comparison", classes="pane")
        with Horizontal(id="middle"):
            yield CurveChart(glyphs=glyphs, id="curves", classes="pane")
            yield GridTable(glyphs=glyphs, detail=True, id="trials", classes="pane")
        with Horizontal(id="bottom"):
            yield GridTable(glyphs=glyphs, follow=True, id="log", classes="pane")
            yield HostView(glyphs=glyphs, id="host", classes="pane")

    def lay_out(self, layout: Layout, pane: str) -> None:
        """Show what the layout shows, which may be this pane alone, and give it room."""
        for row, names in _ROWS.items():
            self.query_one(f"#{row}").display = not layout.single or pane in names
            for name in names:
                self.query_one(f"#{name}").display = not layout.single or name == pane
        self.query_one("#host").display = layout.host == "panel"
        heights: dict[Row, int] = {"comparison": layout.comparison, "bottom": layout.bottom}
        for row, height in heights.items():
            self.query_one(f"#{row}").styles.height = "1fr" if layout.single else height
