"""Where and how studies run is configured by users and sites, never by a study."""

import pytest

from icckd.api.running import TrainOptions, settled
from icckd.configuration import KEYS, Slurm, configuration
from icckd.errors import SpecError, UsageError
from icckd.study.load import parse
from tests.support.executors import plan_of
from tests.support.studies import TWO_STAGES


@pytest.fixture
def user(tmp_path, monkeypatch):
    """Write the configuration of the user."""
    home = tmp_path / "config" / "icckd"
    home.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home.parent))

    def write(text):
        (home / "config.toml").write_text(text)
        return home / "config.toml"

    return write


def test_the_state_folder_goes_before_the_user_key_by_key(user, folder):
    user('executor = "inline"\n[slurm]\npartition = "long"\naccount = "kd"\n')
    (folder.root / "config.toml").write_text('[slurm]\npartition = "short"\n')

    found = configuration(folder.root)

    assert (found.executor, found.slurm.partition, found.slurm.account) == ("inline", "short", "kd")
    assert configuration().slurm.partition == "long"


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("mix = 'yes'\n", "mix: Input should be 'refuse' or 'allow'", "docs/cluster.md"),
        ("first = 1\n", "first: Input should be 'seeds' or 'arms'", "docs/cluster.md"),
        ("[slurm]\npartitoin = 'a'\n", "slurm.partitoin", "did you mean 'partition'?"),
        ("exectuor = 'local'\n", "exectuor", "did you mean 'executor'?"),
        ("[slurm]\npartition = 'a b'\n", "one word without spaces", "docs/cluster.md"),
        ("[slurm]\npartition = 'a\\n#SBATCH'\n", "is not TOML", "docs/cluster.md"),
        ('[slurm]\nprologue = ["a\\nb"]\n', "each is one line", "docs/cluster.md"),
        ("[slurm]\ntime_minutes = -1\n", "time_minutes: 0 or more", "docs/cluster.md"),
        ("[slurm]\nwhen_stopped = 'kill'\n", "slurm.when_stopped", "docs/cluster.md"),
        ("[slurm]\noptions = ['x']\n", "each begins with a dash", "docs/cluster.md"),
    ],
)
def test_a_wrong_key_of_the_state_folder_is_one_clear_error(folder, text, words, hint):
    path = folder.root / "config.toml"
    path.write_text(text)

    with pytest.raises(UsageError) as error:
        configuration(folder.root)

    assert words in error.value.message or words == "is not TOML"
    assert str(path) in error.value.message
    assert hint in error.value.hint


@pytest.mark.parametrize("key", KEYS)
def test_a_study_that_settles_where_it_runs_is_refused(key):
    with pytest.raises(SpecError, match=f"unknown key '{key}'") as error:
        parse(f"{key} = {{}}\n{TWO_STAGES}", where="x")

    assert "config.toml" in error.value.hint
    assert "a study is anybody's" in error.value.hint


def test_the_command_goes_before_what_is_configured(user, folder):
    user('executor = "inline"\n')
    told = []

    def executor(name):
        options = TrainOptions(device="cpu", jobs=None, executor=name)
        return settled(options, folder, told.append).executor

    assert (executor(""), executor("local")) == ("inline", "local")
    user('executor = "cloud"\n')
    with pytest.raises(UsageError, match="no executor is called 'cloud'"):
        executor("")


def test_what_is_configured_is_in_no_digest(user, folder):
    before = list(plan_of(folder).stages)
    user('executor = "inline"\n[slurm]\npartition = "long"\n')

    assert list(plan_of(folder).stages) == before
    assert Slurm().when_stopped == "leave"
