"""What stands above or instead of the panes when there is something to say about the reading."""

from textual.content import Content
from textual.widgets import Static

from icckd_tui.display import display
from icckd_tui.view_model.frame import Failed, News


class Banner(Static):
    """Says that the study cannot be read; what was read before stays below."""

    def show(self, news: News) -> None:
        """Show the reason of a failure, and nothing otherwise."""
        self.display = isinstance(news, Failed)
        if isinstance(news, Failed):
            self.update(Content(f" cannot read the study: {display(news.reason)}; trying again"))


class Notice(Static):
    """Stands where the panes would be."""

    def show(self, text: str) -> None:
        """Show plain text, or nothing."""
        self.display = bool(text)
        self.update(Content(text))
