import math
import string
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icckd.journal.events import (
    EVENT,
    ArtifactPublished,
    AttemptClosed,
    AttemptHeader,
    EpochMetrics,
    Failure,
    LogLine,
    Planned,
    RequestAnswered,
    SessionClosed,
    SessionHeader,
    StageOutcomes,
    StageState,
)
from icckd.journal.file import decode, encode
from icckd.study.paths import Change
from icckd.study.records import Arm, Stage, Trial

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNT = st.integers(0, 2**63 - 1)
NUMBERS = st.dictionaries(TEXT, st.floats(), max_size=4)
TEXTS = st.dictionaries(TEXT, TEXT, max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False,
    allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
SETTINGS = st.dictionaries(TEXT, JSON, max_size=3)
KIND = st.sampled_from(["teacher", "student"])
STATE = st.sampled_from(["pending", "running", "complete", "failed", "blocked", "cancelled"])
SECONDS = st.floats(0, 1e9, allow_nan=False)
FAILURE = st.builds(Failure, type=TEXT, message=TEXT, hint=TEXT, step=st.none() | COUNT,
                    term=st.none() | TEXT, traceback=TEXT)  # fmt: skip


def some(values):
    return st.lists(values, max_size=2).map(tuple)


ARM = st.builds(
    Arm, name=TEXT, title=TEXT, action=TEXT, control_for=st.none() | TEXT,
    role=st.sampled_from(["baseline", "ablation", "control", "combination", "variant"]),
    metrics=some(TEXT), levels=TEXTS,
    changes=some(st.builds(Change, path=TEXT, before=JSON, after=JSON)),
)  # fmt: skip
STAGE = st.builds(Stage, digest=TEXT, kind=KIND, shape=TEXT, seed=COUNT, replicate=COUNT,
                  epochs=COUNT, inputs=TEXTS)  # fmt: skip
EVENTS = st.one_of(
    st.builds(AttemptHeader, attempt=TEXT, session=TEXT, stage=TEXT, kind=KIND, shape=TEXT,
              seed=COUNT, replicate=COUNT, epochs=COUNT, settings=SETTINGS, inputs=TEXTS,
              fingerprint=TEXT, numerics=SETTINGS, code_epoch=COUNT, host=TEXT, boot=TEXT,
              pid=COUNT, environment=TEXTS),
    st.builds(EpochMetrics, epoch=COUNT, values=NUMBERS),
    st.builds(StageOutcomes, values=NUMBERS),
    st.builds(LogLine, level=st.sampled_from(["info", "warning", "error"]), text=TEXT),
    st.builds(ArtifactPublished, files=TEXTS, bytes=COUNT),
    st.builds(AttemptClosed, state=st.sampled_from(["complete", "failed", "cancelled"]),
              count=COUNT, seconds=SECONDS, failure=st.none() | FAILURE),
    st.builds(SessionHeader, session=TEXT, study=TEXT, revision=TEXT,
              arguments=st.lists(TEXT, max_size=2), host=TEXT, boot=TEXT, pid=COUNT, version=TEXT),
    st.builds(Planned, study=SETTINGS, arms=some(ARM),
              trials=some(st.builds(Trial, arm=TEXT, seed=COUNT, stages=some(TEXT))),
              stages=some(STAGE)),
    st.builds(StageState, stage=TEXT, state=STATE, attempt=st.none() | TEXT, reason=TEXT),
    st.builds(RequestAnswered, request=TEXT, kind=TEXT, answer=TEXT),
    st.builds(SessionClosed, exit_code=COUNT, count=COUNT),
)  # fmt: skip


def same(left, right):
    """Equal, with NaN equal to NaN."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    both_nan = isinstance(left, float) and isinstance(right, float) and left != left
    return right != right if both_nan else left == right


@given(EVENTS, st.integers(0, 10**9), st.floats(0, 2e9))
def test_every_event_comes_back_as_it_went(event, sequence, time):
    raw = encode(event.k, sequence, time, event.model_dump(mode="json"))

    line = decode(raw.removesuffix(b"\n"))

    assert raw.count(b"\n") == 1
    assert (line.kind, line.sequence) == (event.k, sequence)
    assert line.time == pytest.approx(time, abs=1e-6)
    back = EVENT.validate_python(line.body)
    assert type(back) is type(event)
    assert same(back.model_dump(), event.model_dump())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_written_as_words(value):
    event = EpochMetrics(epoch=1, values={"teacher.ce": value})
    raw = encode("m", 0, 0.0, event.model_dump(mode="json"))

    assert b'"teacher.ce":"' in raw
    back = EVENT.validate_python(decode(raw[:-1]).body)
    assert same(back.values, event.values)


def test_no_event_has_a_field_that_a_line_needs_for_itself():
    for kind in EVENT.json_schema()["$defs"].values():
        assert not {"v", "s", "t", "c"} & kind["properties"].keys()


@given(EVENTS, st.data())
def test_a_flipped_byte_in_any_place_is_detected(event, data):
    raw = encode(event.k, 3, 1.5, event.model_dump(mode="json")).removesuffix(b"\n")
    place = data.draw(st.integers(0, len(raw) - 1))
    flip = data.draw(st.integers(1, 255))
    damaged = raw[:place] + bytes([raw[place] ^ flip]) + raw[place + 1 :]

    assert all(decode(part) is None for part in damaged.split(b"\n"))


@given(st.binary(max_size=200))
def test_garbage_is_no_line(raw):
    assert decode(raw) is None


@pytest.mark.parametrize(
    "body",
    ["[]", "1", "{}", '{"v":2,"k":"l","s":0,"t":0}', '{"v":1,"k":"l","s":-1,"t":0}',
     '{"v":1,"k":"l","s":"0","t":0}', '{"v":1,"k":3,"s":0,"t":0}', '{"v":1,"k":"l","s":0,"t":[]}',
     '{"v":1,"s":0,"t":0}', "[" * 100_000 + "]" * 100_000],
)  # fmt: skip
def test_a_line_with_a_right_checksum_must_still_be_a_line(body):
    start = body[:-1].encode()
    assert decode(start + b',"c":"%08x"}' % zlib.crc32(start)) is None


@pytest.mark.parametrize("epoch", [-1, 2**63])
def test_counts_fit_a_database(epoch):
    with pytest.raises(ValueError, match="epoch"):
        EpochMetrics(epoch=epoch, values={})


def test_lines_are_plain_ascii():
    raw = encode("l", 0, 0.0, LogLine(text="été \u202e \x1b[31m").model_dump(mode="json"))

    assert set(raw.decode("ascii")) <= set(string.printable)
    assert b"\x1b" not in raw
