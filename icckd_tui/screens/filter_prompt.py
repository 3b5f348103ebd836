"""The filter prompt: one line, and what is wrong with it while it is typed."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input

from icckd.errors import UsageError
from icckd_tui.display import display
from icckd_tui.glyphs import Glyphs
from icckd_tui.view_model.filter import Filter, parse
from icckd_tui.view_model.spans import Span
from icckd_tui.widgets.lines import LinesWidget

_HINTS = (
    "no-cache   seed<3   state:failed   delta<0   has:reason   ci:excludes0",
    'blank: and   |: or   -: not   ~regular expression   ( )   "with blanks"',
)


class FilterPrompt(ModalScreen[Filter | None]):
    """Gives the filter, or None when nothing is to change."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "dismiss(None)", show=False, priority=True),
    ]

    def __init__(self, text: str, *, glyphs: Glyphs) -> None:
        super().__init__(classes="-ascii" if glyphs.ascii else None)
        self._text = text
        self._glyphs = glyphs

    def compose(self) -> ComposeResult:
        """Lay out line, hints and complaint."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = Content("Filter trials and arms")
            dialog.border_subtitle = Content("enter filters, empty shows all, esc closes")
            yield Input(self._text, placeholder="state:running seed<3", compact=True)
            yield LinesWidget(glyphs=self._glyphs, id="hints")

    def on_mount(self) -> None:
        """Start in the line."""
        self.query_one(Input).focus()
        self._explain("")

    def _explain(self, complaint: str) -> None:
        first = (Span(complaint, "error"),) if complaint else ()
        hints = [(Span(hint, "muted"),) for hint in _HINTS]
        self.query_one("#hints", LinesWidget).set_lines([first, *hints])

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        self._explain(_complaint(event.value))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        if not _complaint(event.value):
            self.dismiss(parse(event.value))


def _complaint(text: str) -> str:
    try:
        parse(text)
    except UsageError as error:
        return display(f"{error.message}; {error.hint}" if error.hint else error.message)
    return ""
