"""Requests to the running session: locked at first, and what cannot be undone asks once more."""

from __future__ import annotations

from typing import Literal

from icckd_tui.screens.base import MonitorScreen
from icckd_tui.screens.confirm import Confirm
from icckd_tui.view_model.requests import MORE_SEEDS, Asked

What = Literal["pause", "cancel", "retry", "first", "extend", "stop"]


class Controls(MonitorScreen):
    """A screen from which the session can be asked for something."""

    def trial_in_view(self) -> tuple[str, int] | None:
        """Return the trial that a request would be about."""
        return self.desk.choices.trial

    def action_ask(self, what: What) -> None:
        """Ask the session, which answers in its journal."""
        refused = self._refusal()
        asked = None if refused else self._asked(what)
        if refused or asked is None:
            self.say(refused or "no trial is chosen", severe=True)
        elif asked.destroys:
            self.app.push_screen(
                Confirm(asked.question, glyphs=self.glyphs),
                lambda yes: self._submit(asked) if yes else None,
            )
        else:
            self._submit(asked)

    def _refusal(self) -> str:
        """Return why nothing can be asked now, or nothing."""
        frame, desk = self.frame, self.desk
        if desk.submit is None:
            return "this view is read-only"
        if frame is None or frame.progress.session != "live":
            return "no session is running that could be asked"
        return "" if desk.choices.unlocked else "locked: W unlocks requests to the session"

    def _asked(self, what: What) -> Asked | None:
        assert self.frame is not None
        name = self.frame.study.name
        if what == "pause":
            kind: Literal["pause", "resume"] = "resume" if self.frame.progress.paused else "pause"
            return Asked(kind=kind, study=name)
        if what == "extend":
            return Asked(kind="more-seeds", study=name, count=MORE_SEEDS)
        if what == "stop":
            return Asked(kind="stop", study=name)
        trial = self.trial_in_view()
        return Asked(kind=what, study=name, arm=trial[0], seed=trial[1]) if trial else None

    def _submit(self, asked: Asked) -> None:
        self.run_worker(lambda: self._write(asked), thread=True, exit_on_error=False)

    def _write(self, asked: Asked) -> None:
        """Write the request; it is shown as asked until the journal holds the answer."""
        assert self.desk.submit is not None
        try:
            name = self.desk.submit(asked)
        except OSError as error:
            self.app.call_from_thread(self.say, f"cannot ask: {error}", severe=True)
            return
        self.app.call_from_thread(self._was_asked, name, asked)

    def _was_asked(self, name: str, asked: Asked) -> None:
        self.desk.asked[name] = asked.text
        self.show_bar()
        self.fill_panes()
