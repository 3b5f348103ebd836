"""The host: a panel beside the log, or one line where there is no room for a panel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.host import host_line, host_panel
from icckd_tui.widgets.lines import LinesWidget

if TYPE_CHECKING:
    from icckd_tui.view_model.host import Host


class HostView(LinesWidget):
    """Shows how busy the machine is; nothing is painted unless its text differs."""

    def __init__(self, *, glyphs: Glyphs, id: str, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(glyphs=glyphs, id=id, classes=classes)
        self._host: Host | None = None
        self.set_titles("Host")

    def show(self, host: Host) -> None:
        """Show this sample."""
        self._host = host
        self.repaint()

    def on_resize(self) -> None:
        """Lay out for the new width."""
        self.repaint()

    def repaint(self) -> None:
        """Write the lines again."""
        width, height = self.size
        if height == 1:
            self.set_lines([host_line(self._host, width, self.glyphs)])
        elif height:
            self.set_lines(host_panel(self._host, width, self.glyphs))
