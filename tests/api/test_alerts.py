"""Alerts of a session: real commands, a real server, and what fails costs a line."""

import http.server
import json
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from icckd.api.alerts import AlertSender, SessionAlerts
from icckd.configuration import Alerts, configuration
from icckd.errors import UsageError
from icckd.report.alerts import Alert, terminal_sequence
from icckd.run.schedule import Transition
from tests.support import monitor as sample
from tests.support.desk import Desk
from tests.support.studies import SMALL

ALERT = Alert(what="verdict", study="s", text="no-margin: the part helps", time=1.0)


def sent(settings, alert=ALERT):
    """Send an alert, wait for the end, and return what went wrong."""
    sender = AlertSender(settings)
    sender.send(alert)
    sender.close()
    return sender.troubles()


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Write the user's configuration."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def write(text):
        path = tmp_path / "config" / "icckd" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_a_command_gets_the_text_as_its_last_argument_and_json_on_standard_input(tmp_path):
    out = tmp_path / "out"
    code = "import sys; open(sys.argv[1], 'w').write(sys.argv[2] + chr(10) + sys.stdin.read())"

    assert sent(Alerts(command=(sys.executable, "-c", code, str(out)))) == []
    line, found = out.read_text().split("\n")
    assert line == "s: no-margin: the part helps"
    assert json.loads(found) == {
        "study": "s", "what": "verdict", "text": "no-margin: the part helps", "time": 1.0,
    }  # fmt: skip


def test_a_command_that_hangs_is_ended_with_all_that_it_started_and_costs_a_line(tmp_path):
    out = tmp_path / "out"
    script = f"sh -c 'sleep 2; echo late > {out}' & sleep 60"
    start = time.monotonic()

    [trouble] = sent(Alerts(command=("sh", "-c", script), seconds=0.3))

    assert "sh took more than 0.3 s" in trouble
    assert time.monotonic() - start < 30
    time.sleep(max(0.0, 2.5 - (time.monotonic() - start)))
    assert not out.exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("false",), "false ended with exit code 1"),
        (("/no/such/program",), "No such file or directory"),
    ],
)
def test_a_command_that_fails_costs_a_line(command, words):
    [trouble] = sent(Alerts(command=command))

    assert trouble.startswith("an alert was not sent by the command: ")
    assert words in trouble


@pytest.fixture
def server():
    """A server on this machine that answers with the code in its path, and hangs for 0."""
    got, stop = [], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            code = int(self.path.strip("/"))
            if not code:
                stop.wait(20)
                return
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}", got
    stop.set()
    running.shutdown()
    running.server_close()


def test_a_webhook_gets_json_and_one_that_refuses_or_hangs_costs_a_line(server):
    address, got = server

    assert sent(Alerts(webhook=f"{address}/204")) == []
    assert got[0]["text"] == "no-margin: the part helps"
    assert "500" in sent(Alerts(webhook=f"{address}/500"))[0]
    assert "timed out" in sent(Alerts(webhook=f"{address}/0", seconds=0.3))[0]


def test_a_sequence_for_terminals_holds_no_other_sequence_than_its_own():
    text = terminal_sequence("a;b\x1b]52;c;eA==\x07\x9c\nc")

    assert text.startswith("\x07\x1b]2;")
    assert text.count("\x1b]") == 3
    assert text.endswith("\x1b]777;notify;icckd;a,b]52,c,eA== c\x1b\\")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[alerts\n", "is not TOML"),
        ("[alerts]\nwebook = 'x'\n", "alerts.webook: Unexpected keyword argument"),
        ("[alerts]\nwebhook = 'ftp://x'\n", "an address of https:// or http:// is wanted"),
        ("[alerts]\ncommand = 'notify-send'\n", "alerts.command: Input should be a valid tuple"),
        ("[alerts]\non = ['everything']\n", "alerts.on.0: Input should be 'verdict'"),
        ("[alerts]\nseconds = 100\n", "at most 60 are wanted"),
    ],
)
def test_a_wrong_configuration_is_one_clear_error(config, text, words):
    path = config(text)

    with pytest.raises(UsageError) as error:
        configuration()
    assert words in error.value.message
    assert str(path) in error.value.message
    assert "docs/monitor.md" in error.value.hint


def test_without_a_file_everything_has_its_default(config, tmp_path):
    assert configuration().alerts == Alerts()
    config("")
    assert configuration().alerts == Alerts()


class Told:
    """A listener that keeps what it is told."""

    def __init__(self):
        self.notices = []

    def transition(self, change, stage):
        """Nothing to keep."""

    def notice(self, text):
        self.notices.append(text)

    def tick(self):
        """Nothing to keep."""


class Reader(sample.FakeReader):
    """Results that a session reads."""

    def study(self, name):
        return self.data["study"]


def session_alerts(settings, results):
    plan = SimpleNamespace(users=lambda digest: [SimpleNamespace(arm="no-margin")])
    study = SimpleNamespace(study=SimpleNamespace(name="icc-ablations"))
    request = SimpleNamespace(plan=plan, study=study)
    return SessionAlerts(Told(), results, request, settings, rings=False)


def test_a_verdict_that_falls_and_a_stage_that_fails_are_told_and_nothing_twice(tmp_path):
    out, results = tmp_path / "out", Reader()
    code = f"import sys; open({str(out)!r}, 'a').write(sys.argv[1] + chr(10))"
    alerts = session_alerts(Alerts(command=(sys.executable, "-c", code)), results)
    stage = SimpleNamespace(digest="d", seed=3, kind="teacher")

    alerts.tick()  # takes in what is decided already: no-cache helps
    alerts.transition(Transition(stage="d", state="failed", reason="not finite"), stage)
    results.data["comparisons"] = tuple(
        replace(row, verdict="helps") if row.verdict == "undecided" else row
        for row in results.data["comparisons"]
    )
    alerts.transition(Transition(stage="d", state="complete", reason=""), stage)
    alerts.tick()
    alerts.tick()
    alerts.end()

    failed, fell, over = out.read_text().splitlines()
    assert failed == "icc-ablations: no-margin/3 teacher failed: not finite"
    assert "Removing the margin filter lowers student.top1" in fell
    assert fell.endswith("the part helps.")
    assert over.endswith(
        "ended with 29 of 56 trials complete, 1 stage failed; 2 of 2 questions decided"
    )


@pytest.mark.slow
def test_a_session_alerts_to_its_end_and_a_broken_command_costs_a_line(tmp_path, fresh_process):
    out, folder = tmp_path / "out", tmp_path / "config" / "icckd"
    folder.mkdir(parents=True)
    code = f"import sys; open({str(out)!r}, 'a').write(sys.stdin.read() + chr(10)); sys.exit(3)"
    words = json.dumps([sys.executable, "-c", code])
    (folder / "config.toml").write_text(f"[alerts]\ncommand = {words}\n")
    desk = Desk(tmp_path, environment={
        "ICCKD_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config"),
    })  # fmt: skip
    desk.write(SMALL)

    done = desk.train("run", "small.toml", "study.seeds.count=1")

    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert [each["what"] for each in told] == ["end"]
    assert "trials complete" in told[0]["text"]
    assert "an alert was not sent by the command" in done.stderr
    assert "ended with exit code 3" in done.stderr


@pytest.mark.slow
def test_a_wrong_configuration_is_told_before_anything_is_trained(tmp_path):
    folder = tmp_path / "config" / "icckd"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("[alert]\n")
    desk = Desk(tmp_path, environment={
        "ICCKD_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config"),
    })  # fmt: skip
    desk.write(SMALL)

    done = desk.run("run", "small.toml", code=2)

    assert "Unexpected keyword argument" in done.stderr
    assert not (tmp_path / "state" / "attempts").exists()
