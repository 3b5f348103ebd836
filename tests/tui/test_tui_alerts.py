"""What the terminal of the monitor alerts to: verdicts, failures, the end."""

from dataclasses import replace

import pytest

from icckd_tui.app import terminal_alerts
from icckd_tui.drivers import TerminalDriver
from icckd_tui.events import alert_text, events_between
from tests.support import monitor as sample
from tests.tui.test_tui_decision import frame

ALL = ("verdict", "failure", "end")


def decided():
    return tuple(
        replace(row, verdict="equivalent", p_equivalence_adjusted=0.01, smallest_effect=0.5)
        if row.verdict == "undecided" else row
        for row in sample.comparisons()
    )  # fmt: skip


def failed():
    rows = list(sample.trials())
    place = next(place for place, row in enumerate(rows) if row.state == "running")
    rows[place] = replace(rows[place], state="failed", reason="out of memory")
    return tuple(rows)


def test_a_verdict_a_failure_and_the_end_alert_once_and_only_as_wanted():
    before = frame()
    now = frame(declared=decided(), trials=failed(), progress=sample.progress("ended"))
    happened = events_between(before, now)

    assert alert_text(happened, ("verdict",)) == "no-margin equivalent on student.top1"
    assert alert_text(happened, ("failure",)).endswith("failed: out of memory")
    assert alert_text(happened, ("end",)) == (
        "the session is ended: no-margin equivalent, no-cache helps"
    )
    assert alert_text(happened, ALL).endswith("(and 2 more)")
    assert alert_text(happened, ()) == ""
    assert alert_text(events_between(now, now), ALL) == ""


def test_a_blocked_trial_is_an_event_of_its_own_and_no_alert():
    rows = list(sample.trials())
    place = next(place for place, row in enumerate(rows) if row.state == "pending")
    rows[place] = replace(rows[place], state="blocked", reason="its teacher failed")
    [event] = events_between(frame(), frame(trials=tuple(rows)))

    assert event.what == "blocked"
    assert alert_text((event,), ALL) == ""


def test_the_monitor_rings_when_a_verdict_falls(watch):
    rung = []

    async def scenario(it):
        it.app._driver.alert = rung.append
        await it.bring(comparisons=decided())
        assert "2 of 2 decided" in it.text()
        await it.bring()

    watch(scenario, alerts=ALL)
    assert rung == ["icc-ablations: no-margin equivalent on student.top1"]


def test_a_view_that_is_not_to_alert_does_not(watch):
    rung = []

    async def scenario(it):
        it.app._driver.alert = rung.append
        await it.bring(comparisons=decided())

    watch(scenario)
    assert rung == []


class Written(TerminalDriver):
    """A driver that keeps what it would write."""

    def __init__(self):
        self.written, self._has_alerted = "", False

    def write(self, data):
        self.written += data


def test_the_title_that_a_terminal_had_is_kept_before_the_first_alert():
    driver = Written()
    driver.alert("one")
    driver.alert("two")

    assert driver.written.startswith("\x1b[22;0t\x07\x1b]2;one")
    assert driver.written.count("\x1b[22;0t") == 1
    assert "\x1b]9;two" in driver.written


@pytest.mark.parametrize(
    ("text", "term", "wanted"),
    [
        ("", "xterm-256color", ALL),
        ("[alerts]\non = ['end']\n", "xterm-256color", ("end",)),
        ("[alerts]\nterminal = false\n", "xterm-256color", ()),
        ("", "linux", ()),
    ],
)
def test_the_users_configuration_says_what_a_terminal_alerts_to(
    tmp_path, monkeypatch, text, term, wanted
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("TERM", term)
    (tmp_path / "icckd").mkdir()
    (tmp_path / "icckd" / "config.toml").write_text(text)

    assert terminal_alerts() == wanted
