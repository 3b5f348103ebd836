"""Requests to the running session: locked at first, and those that give up work ask once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from textual.binding import BindingType

from icckd_tui.decision import seeds_advised
from icckd_tui.keys import Key
from icckd_tui.screens.base import MonitorScreen
from icckd_tui.screens.dialogs import Confirm
from icckd_tui.text import display

if TYPE_CHECKING:
    from icckd.journal.requests import Wanted

MORE_SEEDS = 2  # that one press asks for
RequestKey = Literal["pause", "cancel", "retry", "first", "extend", "decide", "stop"]
_CONFIRMED = ("cancel", "stop", "decide")


class ControlScreen(MonitorScreen):
    """A screen from which requests can be sent to the session."""

    KEYS_HEADING = "on {screens}, once unlocked"
    BINDINGS: ClassVar[list[BindingType]] = [
        Key("p", "ask('pause')", "pause the session, or resume it"),
        Key("X", "ask('cancel')", "cancel the trial under the cursor; asks first"),
        Key("R", "ask('retry')", "retry the trial under the cursor"),
        Key("P", "ask('first')", "put the trial under the cursor first in the queue"),
        Key("A", "ask('extend')", "ask for two more seeds"),
        Key("D", "ask('stop')", "stop after the running stages; asks first"),
    ]

    def trial_in_view(self) -> tuple[str, int] | None:
        """Return the trial that a request would be about."""
        return self.state.choices.trial

    def action_ask(self, what: RequestKey) -> None:
        """Send a request; the session answers in its journal."""
        refusal, request = self._refusal(), None
        try:
            request = None if refusal else self._request(what)
        except ValueError:  # a name from a journal that no session can have written
            refusal = "this trial's name cannot be sent"
        if request is None:
            self.say(refusal or "no trial is chosen", severe=True)
        elif what in _CONFIRMED:
            self.app.push_screen(
                Confirm(question_about(request), glyphs=self.glyphs),
                lambda yes: self._submit(request) if yes else None,
            )
        else:
            self._submit(request)

    def applies(self, action: str) -> bool:
        """Whether an action can do something now: a request needs a session that is asked."""
        if action.startswith("ask("):
            frame = self.frame
            is_live = frame is not None and frame.progress.session == "live"
            return is_live and self.state.submit is not None
        return super().applies(action)

    def _refusal(self) -> str:
        """Return why no request can be sent now, "" where one can."""
        frame, state = self.frame, self.state
        if state.submit is None:
            return "this view is read-only"
        if frame is None or frame.progress.session != "live":
            return "no session is running that could be asked"
        return "" if state.choices.unlocked else "locked: W unlocks requests to the session"

    def _request(self, what: RequestKey) -> Wanted | None:
        from icckd.journal.requests import Wanted  # not needed by the first paint

        assert self.frame is not None
        study, progress = self.frame.study.name, self.frame.progress
        if what == "pause":
            return Wanted(kind="resume" if progress.paused else "pause", study=study)
        if what == "extend" or what == "decide":  # narrows the type
            count = seeds_advised(self.frame) if what == "decide" else MORE_SEEDS
            return Wanted(kind="more-seeds", study=study, count=count) if count else None
        if what == "stop":
            return Wanted(kind="stop", study=study)
        trial = self.trial_in_view()
        return Wanted(kind=what, study=study, arm=trial[0], seed=trial[1]) if trial else None

    def _submit(self, request: Wanted) -> None:
        self.run_worker(lambda: self._write(request), thread=True, exit_on_error=False)

    def _write(self, request: Wanted) -> None:
        """Write the request; it is shown as open until the journal holds its answer."""
        assert self.state.submit is not None
        try:
            name = self.state.submit(request)
        except OSError as error:
            self.app.call_from_thread(self.say, f"cannot ask: {error}", severe=True)
            return
        self.app.call_from_thread(self._was_submitted, name, request)

    def _was_submitted(self, name: str, request: Wanted) -> None:
        self.state.asked[name] = text_of(request)
        self.show_bar()
        self.fill_panes()


def text_of(request: Wanted) -> str:
    """Return what a request asks for, in a few words."""
    if request.kind == "more-seeds":
        return f"{request.count} more seeds"
    seed = "" if request.seed is None else f" s{request.seed}"
    return f"{request.kind} {display(request.arm, 40)}{seed}".rstrip()


def question_about(request: Wanted) -> str:
    """Return what to ask before a request that gives up work is sent."""
    if request.kind == "more-seeds":
        return f"Add {request.count} seeds to every arm? That many should decide what is open."
    if request.kind == "stop":
        return "Stop the session after its running stages?"
    text = text_of(request).capitalize()
    return f"{text}? What it trained so far in the running stage is lost."
