"""Hostile study files and requests: one clear error or a study, never anything else (P11)."""

import contextlib
import json
import random
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icckd.errors import IcckdError, SpecError
from icckd.journal.folder import StateFolder
from icckd.journal.requests import Wanted, submit, waiting
from icckd.study.arms import arms, expand
from icckd.study.load import load, parse
from tests.faults.test_journals import mutate

SHIPPED = (Path(__file__).parents[2] / "studies" / "ablations.toml").read_text()
WORDS = [
    "study", "baseline", "arm", "ablation", "factor", "levels", "path", "teacher.intra.margin",
    "off", "nan", "inf", "-1", "1e308", "9" * 400, "true", '"\\u0000"', '"../../etc/passwd"',
    "[" * 2000, "{" * 500, "[[arm]]", "a." * 200 + "b = 1", "1979-05-27T07:32:00Z", "\u202e", "'''",
    '"[bold]x[/bad]"', "= = =", "study.name", "\r\n", "\x1b]52;c;AAAA\x07", "0x" + "f" * 400,
]  # fmt: skip
LANE = settings(deadline=None, suppress_health_check=list(HealthCheck))


def digest(text):
    """Read and expand a study as `icckd plan` does; only a deliberate error may come out."""
    try:
        study = parse(text, where="x")
        expand(study)
    except IcckdError as error:
        told = error.message
    else:
        return
    assert 0 < len(told) < 10_000


def mangled(seed, rounds):
    """The shipped study with words of the language and bytes put into it at random."""
    chance = random.Random(seed)
    text = SHIPPED
    for _ in range(rounds):
        if chance.random() < 0.5:
            place = chance.randrange(len(text) + 1)
            text = text[:place] + chance.choice(WORDS) + text[place:]
        else:
            data = mutate(text.encode() or b" ", chance)
            text = data.decode("utf-8", "replace")
    return text


@LANE
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_a_mangled_study_gives_a_study_or_one_clear_error(seed, rounds):
    digest(mangled(seed, rounds))


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30),
    st.sampled_from(["off", "teacher.intra", "student.training.lr", "digits", "cnn", "factorial"]),
)  # fmt: skip
KEYS = st.sampled_from(
    ["study", "data", "teacher", "student", "numerics", "arm", "ablation", "factor", "kind", "name",
     "set", "levels", "path", "intra", "margin", "threshold", "training", "epochs", "seeds",
     "count", "baseline", "primary", "metrics", "when", "replacement", "action", "part", "x"]
)  # fmt: skip
TABLES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)  # fmt: skip


@LANE
@given(st.dictionaries(KEYS, TABLES, max_size=6), KEYS, TABLES)
def test_any_tables_give_a_study_or_one_clear_error(tables, key, value):
    base = tomllib.loads(SHIPPED)
    base.update(tables)
    base.setdefault("teacher", {})
    if isinstance(base["teacher"], dict):
        base["teacher"][key] = value
    text = "\n".join(f"{name} = {inline(inner)}" for name, inner in base.items())
    digest(text)


def inline(value):
    """Write a value as TOML; what TOML lacks becomes text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, float):
        return repr(value).replace("Infinity", "inf")
    return json.dumps("" if value is None else value)


@LANE
@given(st.text(max_size=60))
def test_any_override_gives_a_study_or_one_clear_error(text):
    with contextlib.suppress(SpecError):
        parse(SHIPPED, where="x", overrides=[text, f"teacher.training.{text}"])


@pytest.mark.long
def test_a_hundred_thousand_mangled_studies():
    for seed in range(100_000):
        digest(mangled(seed, 1 + seed % 8))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "[" * 8000, "not valid TOML"),
        ("a = " + "{a = " * 3000, "not valid TOML"),
        (".".join("a" * 3000) + " = 1", "more than 32 parts"),
        ("x = '" + "y" * 20_000 + "'", "longer than"),
        ("a = [" + "[" * 400 + "]" * 400 + "]", "nest"),
    ],
)
def test_deep_and_long_study_files_are_refused(text, words):
    with pytest.raises(SpecError, match=words):
        parse(text, where="x")


GRID = """
[study]
name = "grid"
baseline = "base"
design = "factorial"
seeds = { count = 2 }
""" + "".join(
    f'[[factor]]\nname = "f{n}"\npath = "teacher.training.epochs"\nlevels = {list(range(1, 101))}\n'
    for n in range(6)
)


def test_a_huge_grid_is_refused_with_its_count_before_it_is_expanded():
    with pytest.raises(SpecError, match="1000000000000 combinations"):
        arms(parse(GRID, where="x"))


def test_too_many_trials_are_refused_with_their_count():
    many = ["study.seeds.first=10000", "study.seeds.count=10000"]  # beyond the calibration seeds
    study = parse(SHIPPED, where="x", overrides=many)
    assert len(expand(study).trials) == 10_000 * len(arms(study))
    crowd = study.study.model_copy(
        update={"seeds": study.study.seeds.model_copy(update={"count": 10**6})}
    )

    with pytest.raises(SpecError, match="trials; 100000 are the most"):
        expand(study.model_copy(update={"study": crowd}))


def test_a_study_file_of_endless_size_is_refused():
    with pytest.raises(SpecError, match="larger than 1 MiB"):
        load(Path("/dev/zero"))


@LANE
@given(st.binary(max_size=200) | st.builds(lambda b: json.dumps(b).encode(), TABLES))
def test_any_request_file_is_a_request_or_is_removed(tmp_path_factory, data):
    folder = StateFolder(tmp_path_factory.mktemp("requests"))
    folder.create()
    (folder.requests / "x.json").write_bytes(data)

    found = waiting(folder)

    assert len(found) == len(list(folder.requests.iterdir())) <= 1


def test_requests_come_back_as_they_went_oldest_first(tmp_path):
    folder = StateFolder(tmp_path)
    folder.create()
    wanted = [
        Wanted(kind="cancel", study="s", arm="a", seed=3), Wanted(kind="more-seeds", study="s",
        count=2), Wanted(kind="pause", study="s"),
    ]  # fmt: skip
    names = [submit(folder, w) for w in wanted]

    assert {r.name: r.wanted for r in waiting(folder)} == dict(zip(names, wanted, strict=True))
