"""Whatever lies around, prints, is closed or set where icckd runs: it works, or says in a line."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from icckd import variables
from icckd.cli.streams import Notices
from icckd.errors import MachineError, UsageError
from icckd.report.files import write_whole
from icckd.resources.processes import own_environment
from icckd.train.data.files import cache_folder
from tests.support.desk import Desk
from tests.support.studies import TWO_STAGES

QUICK = TWO_STAGES.replace("epochs = 2", "epochs = 1")
BANNER = """
import atexit, sys
sys.stdout.write("Welcome to the cluster")
sys.stdout.flush()
atexit.register(print, "Goodbye")
"""


def problem(done):
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("icckd: ")
    return done.stderr


@pytest.mark.slow
def test_files_of_the_user_banners_and_a_log_reader_that_leaves_do_not_end_a_run(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(BANNER)
    desk = Desk(tmp_path, environment={"PYTHONPATH": str(site)})
    desk.write(QUICK)
    for module in ("random", "torch", "numpy", "json"):
        (tmp_path / f"{module}.py").write_text("open('EXECUTED', 'w').close()\nprint('mine')\n")
    command = str(Path(sys.executable).with_name("icckd"))

    session = subprocess.Popen(
        [command, "run", "small.toml", "-j", "1"], cwd=tmp_path, env=desk.variables(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    session.stderr.readline()
    session.stderr.close()

    assert session.wait(120) == 0
    assert not (tmp_path / "EXECUTED").exists()
    answer = subprocess.run(
        [command, "sql", "select count(*) as n from trial where state = 'complete'"], cwd=tmp_path,
        env=desk.variables(), capture_output=True, text=True,
    )  # fmt: skip
    assert "n\n-\n1\n" in answer.stdout, answer.stderr


def test_an_empty_entry_of_pythonpath_is_not_passed_on_and_a_named_folder_is():
    given = {"PYTHONPATH": f":/more:.:{os.pathsep}./:/home", "A": "b"}

    assert own_environment(given) == {
        "A": "b", "PYTHONPATH": "/more:/home", "PYTHONSAFEPATH": "1",
    }  # fmt: skip
    assert "PYTHONPATH" not in own_environment({"PYTHONPATH": ""})


def test_the_current_folder_is_left_unless_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for named, stays in ((":/more", False), (f"{tmp_path}:", True), ("/more", True)):
        monkeypatch.setenv("PYTHONPATH", named)
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        variables.leave_current_folder()
        assert (str(tmp_path) in sys.path) == stays, named
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("where", "code", "words"),
    [
        (">/dev/full", 4, "icckd: the output cannot be written: No space left on device"),
        (">&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
    ],
)
def test_standard_output_that_is_full_is_an_error_and_one_that_is_closed_is_silence(
    tmp_path, where, code, words
):
    desk = Desk(tmp_path)
    desk.write(QUICK)
    done = subprocess.run(
        f"{sys.executable} -m icckd.cli.main plan small.toml --device cpu {where}", shell=True,
        cwd=tmp_path, env=desk.variables(), capture_output=True, text=True,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(words)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_a_notice_that_nobody_reads_is_lost_and_ends_nothing():
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as stream:
        notices = Notices(stream)
        for _ in range(3):
            notices.write("study s: 2 stages\n" * 10_000)
            notices.flush()


def test_a_folder_that_is_gone_is_told(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.delenv("ICCKD_HOME", raising=False)

    with pytest.raises(MachineError, match="the current folder is gone"):
        variables.check()
    monkeypatch.setenv("ICCKD_HOME", str(tmp_path))
    monkeypatch.setenv("ICCKD_DATA_DIR", str(tmp_path))
    assert variables.check() == []


@pytest.mark.slow
def test_a_tilde_means_the_home_folder_in_variables_and_options(tmp_path, monkeypatch, finished):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ICCKD_HOME", "~/state")
    monkeypatch.setenv("ICCKD_DATA_DIR", "~/sets")

    assert variables.state_folder() == tmp_path / "state"
    assert variables.data_folder() == tmp_path / "sets"
    monkeypatch.setenv("ICCKD_HOME", str(finished.state))
    finished.run("report", "--format", "csv", "--output=~/report.csv")
    assert (tmp_path / "report.csv").read_text().startswith("study,")


def test_without_a_home_folder_only_a_tilde_is_an_error(monkeypatch):
    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "")  # put back afterwards
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)

    assert variables.check() == []
    assert not cache_folder().exists()  # nothing can be kept there
    with pytest.raises(NotADirectoryError):
        cache_folder().mkdir(parents=True)
    monkeypatch.setenv("ICCKD_HOME", "~/state")
    with pytest.raises(MachineError, match="ICCKD_HOME='~/state': there is no home folder"):
        variables.check()


@pytest.mark.parametrize("text", ["5min", "-1", "nan", "inf", "0,5"])
def test_a_variable_that_is_no_number_is_told_before_anything_is_trained(desk, text):
    desk.environment["ICCKD_CHECKPOINT_SECONDS"] = text

    said = problem(desk.run("run", "small.toml", code=2))

    assert f"ICCKD_CHECKPOINT_SECONDS='{text}' is not a number of seconds" in said
    assert not desk.state.exists()


def test_variables_are_read_as_they_are_meant(desk, monkeypatch):
    for text, seconds in (("", 30.0), (" 5 ", 5.0), ("0", 0.0), ("1e3", 1000.0)):
        monkeypatch.setenv("ICCKD_CHECKPOINT_SECONDS", text)
        assert variables.checkpoint_seconds() == seconds
    monkeypatch.setenv("ICCKD_GLYPHS", "unicode")
    with pytest.raises(UsageError, match="ICCKD_GLYPHS='unicode': wanted braille, ascii"):
        variables.check()


def test_a_misspelled_variable_is_told_with_the_nearest(desk):
    desk.environment["ICCKD_HOEM"] = "/elsewhere"

    done = desk.run("plan", "small.toml", "--device", "cpu")

    assert "ICCKD_HOEM is not a variable of icckd; did you mean ICCKD_HOME?" in done.stderr


def test_everything_in_the_state_folder_has_the_rights_that_the_umask_leaves(finished):
    mask = os.umask(0)
    os.umask(mask)
    kept = [finished.state, *finished.state.rglob("*")]
    files = {path for path in kept if path.is_file()}

    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~mask}
    folders = {path.stat().st_mode & 0o777 for path in set(kept) - files}
    assert folders == {0o777 & ~mask}
    assert {"journal.jsonl", "output.log", "icckd.duckdb", "owner.lock", "manifest.json"} <= {
        path.name for path in files
    }


def test_what_is_no_state_folder_is_told_in_a_line(tmp_path, desk):
    file, loop = tmp_path / "file", tmp_path / "loop"
    file.touch()
    loop.symlink_to(loop)
    for home, words in ((file, "Not a directory"), (loop, "Too many levels of symbolic links")):
        desk.environment["ICCKD_HOME"] = str(home)
        assert words in problem(desk.run("run", "small.toml", code=4))
    desk.environment["ICCKD_HOME"] = str(file)
    assert f"{file}: it is a file" in problem(desk.run("status", code=4))


def test_a_state_folder_below_a_file_holds_nothing_and_cannot_be_made(tmp_path, desk):
    (tmp_path / "file").touch()
    desk.environment["ICCKD_HOME"] = str(tmp_path / "file" / "home")

    assert "there is no study in" in problem(desk.run("status", code=2))
    assert "Not a directory" in problem(desk.run("run", "small.toml", code=4))


def test_a_state_folder_that_may_not_be_entered_is_told_in_a_line(tmp_path):
    (tmp_path / "home").mkdir(mode=0)
    unprivileged: list[str] = []
    if os.geteuid() == 0:  # who may read everything, unless that right is given up
        if shutil.which("setpriv") is None:
            pytest.skip("root without setpriv")
        rights = "-dac_override,-dac_read_search"
        unprivileged = ["setpriv", "--bounding-set", rights, "--inh-caps", "-all"]
    done = subprocess.run(
        [*unprivileged, sys.executable, "-m", "icckd.cli.main", "status"],
        env={**os.environ, "ICCKD_HOME": str(tmp_path / "home")}, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 4
    assert f"cannot read the state folder {tmp_path}/home: Permission denied" in problem(done)


INTERRUPTED = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from icckd.cli import main
sys.argv = ["icckd", "ls"]
main()
"""


@pytest.mark.parametrize("module", ["typer", "icckd.results.query", "duckdb"])
def test_ctrl_c_while_modules_are_imported_ends_the_command_silently(module, finished):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.replace("sys.argv[1]", repr(module))],
        env={**os.environ, "ICCKD_HOME": str(finished.state)}, capture_output=True, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


@pytest.mark.parametrize("target", ["home", "/nonexistent/x"])
def test_a_state_folder_that_is_a_link_to_nowhere_is_told_as_that(desk, target):
    desk.state.symlink_to(target)
    desk.environment["ICCKD_HOME"] = str(desk.state)

    for command in (("status",), ("run", "small.toml")):
        assert f"it is a link to {target}, which leads nowhere" in problem(
            desk.run(*command, code=4)
        )


def test_what_the_system_refuses_is_one_line_with_the_file(finished, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied", "/somewhere/secret")

    monkeypatch.setattr("icckd.results.query.open_results", refuse)

    said = problem(finished.run("ls", code=4))

    assert said.startswith("icckd: /somewhere/secret: Permission denied\n  hint: ")


def test_a_dash_means_standard_output_where_one_file_is_written(finished):
    printed = finished.run("report", "--format", "csv", "-o", "-")

    assert printed.stdout == finished.run("report", "--format", "csv").stdout
    assert "needs a file" in problem(
        finished.run("report", "--format", "parquet", "-o", "-", code=2)
    )
    for arguments in (
        ("report", "--figures", "-"),
        ("sql", "--export", "-"),
        ("export", "mlflow", "-o", "-"),
    ):
        assert "cannot go to standard output" in problem(finished.run(*arguments, code=2))
    assert not (finished.folder / "-").exists()


def test_a_report_is_written_with_its_provenance_or_not_at_all(finished, tmp_path, monkeypatch):
    target = tmp_path / os.fsdecode(b"r\xe9sum\xe9.md")
    finished.run("report", "-o", str(target))
    beside = target.with_name(f"{target.name}.provenance.json")
    assert '"name": "r\\\\xe9sum\\\\xe9.md"' in beside.read_text()

    other = tmp_path / "other.md"
    other.with_name("other.md.provenance.json").mkdir()
    assert "cannot write" in problem(finished.run("report", "-o", str(other), code=4))
    assert not other.exists()


def test_a_file_that_cannot_be_written_whole_keeps_what_it_held(tmp_path, monkeypatch):
    def full(path, text, encoding):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    target, link = tmp_path / "a.md", tmp_path / "link.md"
    target.write_text("old")
    link.symlink_to(target)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            write_whole(target, "new")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.md", "link.md"]
    assert target.read_text() == "old"
    write_whole(link, "new")
    assert (link.is_symlink(), target.read_text()) == (True, "new")
