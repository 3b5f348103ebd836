"""One number of a study file changes; comments, layout and everything else stay."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icckd.errors import SpecError
from icckd.study.calibration import edited, set_in_arm

KEY = "teacher.intra.weight"
TEXT = """# "teacher.intra.weight" = 7.0 stands in a comment
[study]   # head
name = "x"
question = '"teacher.intra.weight" = 0.017 in a string'

[[arm]]
name = "a"
set = { "teacher.intra.weight" = 0.017 }

[[ablation]]   # between the arms
arm = "c"

[[arm]]
name = "b"   # the second
set = { "x" = 1,  'teacher.intra.weight'   =  0.017 }   # literal

[[arm]]
name = "d"
[arm.set]
"teacher.intra.weight" = 1_0.5e-1\t# its own table
"""


@pytest.mark.parametrize(
    ("arm", "old", "new"),
    [
        ("a", '{ "teacher.intra.weight" = 0.017 }', '{ "teacher.intra.weight" = 0.0216 }'),
        ("b", "'teacher.intra.weight'   =  0.017 }", "'teacher.intra.weight'   =  0.0216 }"),
        ("d", "1_0.5e-1", "0.0216"),
    ],
)
def test_only_the_number_of_that_arm_changes(arm, old, new):
    number = list(tomllib.loads(TEXT)["arm"])
    position = [table["name"] for table in number].index(arm)
    pieces = TEXT.split(f'name = "{arm}"')

    changed = edited(TEXT, arm, KEY, 0.0216)

    assert changed == pieces[0] + f'name = "{arm}"' + pieces[1].replace(old, new, 1)
    assert tomllib.loads(changed)["arm"][position]["set"][KEY] == 0.0216


@given(st.floats(1e-6, 1e3))
def test_whatever_is_written_is_read_back(weight):
    for arm in "abd":
        tables = tomllib.loads(edited(TEXT, arm, KEY, weight))["arm"]
        assert next(t for t in tables if t["name"] == arm)["set"][KEY] == weight


@pytest.mark.parametrize(("arm", "key"), [("c", KEY), ("a", "teacher.intra.temperature")])
def test_an_arm_or_key_that_is_not_there_is_refused(arm, key):
    with pytest.raises(SpecError):
        edited(TEXT, arm, key, 1.0)


def test_the_file_keeps_its_line_ends_and_its_mode(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(TEXT.replace("\n", "\r\n").encode())
    path.chmod(0o640)

    set_in_arm(path, "b", KEY, 0.5)

    assert path.read_bytes() == edited(TEXT, "b", KEY, 0.5).replace("\n", "\r\n").encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]
