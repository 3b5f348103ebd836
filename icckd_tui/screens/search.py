"""The search prompt of a log."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input

from icckd_tui.glyphs import Glyphs


class SearchPrompt(ModalScreen[str | None]):
    """Gives the text to search for, or None when nothing is to change."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "dismiss(None)", show=False, priority=True),
    ]

    def __init__(self, text: str, *, glyphs: Glyphs) -> None:
        super().__init__(classes="-ascii" if glyphs.ascii else None)
        self._text = text

    def compose(self) -> ComposeResult:
        """Lay out one line."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content("Search the log")
            dialog.border_subtitle = Content("enter searches, n and N step, esc closes")
            yield Input(self._text, placeholder="a part of a line", compact=True)

    def on_mount(self) -> None:
        """Start in the line."""
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())
