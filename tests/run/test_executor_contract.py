"""What a session relies on, whoever attempts its stages: the local executor, and one of a package
that was installed beside icckd."""

from importlib.metadata import EntryPoint

import pytest

from icckd.errors import MachineError, UsageError
from icckd.run import executors
from icckd.run.executors import Capabilities, executor_names, find_executor
from icckd.run.inline import InlineExecutor
from icckd.run.local import LocalExecutor
from icckd.testing.__main__ import main
from icckd.testing.executors import (
    LAWS,
    case_of,
    laws_of,
    what_has_not_begun_can_be_taken_back,
)
from icckd.testing.laws import BrokenLawError
from tests.support.executors import FRESH_PROCESS, install_fresh_process
from tests.support.fresh_process import FreshProcessExecutor
from tests.support.lanes import slow_but


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package beside icckd, whose entry points name one executor, and one that is missing."""
    site = tmp_path / "site"
    site.mkdir()
    install_fresh_process(site)
    monkeypatch.syspath_prepend(site)


QUICK = ("local-a_list_is_attempted_in_order", "inline-finishing_returns_what_has_not_begun")
BUILT_IN = {"local": LocalExecutor, "inline": InlineExecutor, FRESH_PROCESS: FreshProcessExecutor}
CASES = {
    f"{name}-{law.__name__}": (name, law)
    for name, kind in BUILT_IN.items()
    for law in laws_of(kind.capabilities)
}


@pytest.mark.parametrize("case", slow_but(CASES, *QUICK))
def test_an_executor_keeps_the_laws_of_what_it_declares(case, installed, tmp_path):
    name, law = CASES[case]
    with case_of(name, tmp_path) as made:
        law(made)


def test_what_an_executor_does_not_declare_is_not_asked_of_it():
    assert set(laws_of(Capabilities(cancels=False, saves=False))) < set(laws_of(Capabilities()))
    every = laws_of(Capabilities(adopts=True, admits=True))
    assert set(every) == set(LAWS)


class DropsTheRest(InlineExecutor):
    """Forgets what it is told to return."""

    def cancel(self, attempts):
        self._orders = [order for order in self._orders if order.attempt not in attempts]


@pytest.mark.slow
def test_an_executor_that_breaks_a_law_is_told_which(tmp_path, monkeypatch):
    entry = EntryPoint("drops", f"{__name__}:DropsTheRest", "icckd.executors")
    monkeypatch.setattr(executors, "_entries", lambda: [entry])
    monkeypatch.setattr(EntryPoint, "load", lambda self: DropsTheRest)
    with case_of("drops", tmp_path) as made:
        made.seconds = 0.5
        with pytest.raises(BrokenLawError, match=r"nothing more within 0\.5 s"):
            what_has_not_begun_can_be_taken_back(made)


@pytest.mark.slow
def test_the_contract_is_a_command_that_another_package_can_run(capsys):
    assert main(["executor", "inline"]) == 0
    told = capsys.readouterr().out
    assert "5 laws hold, 0 are broken" in told
    assert "  holds      a list is attempted in order" in told


def test_executors_are_found_by_name_and_a_wrong_name_says_which_there_are(installed):
    assert executor_names() == ["local", "inline", "ray", "slurm", FRESH_PROCESS, "broken"]
    with pytest.raises(UsageError, match="no executor is called 'cloud'") as caught:
        find_executor("cloud")
    assert caught.value.hint == "installed: local, inline, ray, slurm, fresh-process, broken"
    with pytest.raises(MachineError, match="'broken' cannot be loaded from fresh_process_that"):
        find_executor("broken")


def test_a_name_that_two_packages_give_is_refused(installed, tmp_path, monkeypatch):
    other = tmp_path / "other" / "other-1.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[icckd.executors]\nlocal = other:Executor\n")
    monkeypatch.syspath_prepend(other.parent)

    with pytest.raises(UsageError, match=r"several .* 'local': icckd.run.local.*, other:Executor"):
        find_executor("local")


def test_an_executor_that_does_not_say_what_it_is_capable_of_is_refused(tmp_path, monkeypatch):
    about = tmp_path / "older-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: older\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[icckd.executors]\nolder = older:Executor\n")
    (tmp_path / "older.py").write_text("class Executor:\n    capacity = 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(MachineError, match="'older' of older:Executor does not say what it is cap"):
        find_executor("older")
