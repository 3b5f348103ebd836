"""Files of a state folder, changed at will: a deliberate error or none, never anything else (P11).

Everything that icckd reads there was written by icckd, until it was not.
"""

import contextlib
import hashlib
import json
import os
import shutil
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from icckd.errors import IcckdError, MachineError, StageError, UsageError
from icckd.journal.artifacts import is_complete, verified
from icckd.journal.checkpoints import is_whole
from icckd.journal.file import encode
from icckd.journal.folder import CODE, JOURNAL, StateFolder
from icckd.journal.live_status import LiveStatus, read_live_status
from icckd.journal.owner import next_session_ordinal
from icckd.journal.requests import waiting
from icckd.results.fsck import check, repair
from icckd.results.query import open_results
from icckd.results.seeds import parse as parse_condition
from icckd.train.checkpoint import Checkpoints, Snapshot
from icckd.train.contract import JobContext
from icckd.train.networks import load_model, save_model
from icckd.train.networks.cnn import Cnn, CnnModel
from tests.faults.test_journals import mutate
from tests.support.lab import planned
from tests.support.rows import in_memory

LANE = settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))
DEEP = b"[" * 4000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["../../../etc/passwd", "/dev/zero", "", ".", "a\0b", "\ud800", 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner,
                                                                max_size=3),
    max_leaves=8,
)  # fmt: skip


def altered(original: bytes):
    """Noise, JSON of any form, and the original with bytes changed or one value replaced."""
    told = json.loads(original)
    return st.one_of(
        st.binary(max_size=60),
        st.just(DEEP),
        JSON.map(lambda value: json.dumps(value).encode()),
        st.randoms(use_true_random=False).map(partial(mutate, original)),
        st.tuples(places(told), JSON).map(lambda pair: json.dumps(put(told, *pair)).encode()),
    )


def places(told):
    """Every path into a JSON value."""
    found = []

    def walk(value, path):
        found.append(path)
        if isinstance(value, dict | list):
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for key, part in pairs:
                walk(part, (*path, key))

    walk(told, ())
    return st.sampled_from(found)


def put(told, path, value):
    if not path:
        return value
    copy = dict(told) if isinstance(told, dict) else list(told)
    copy[path[0]] = put(copy[path[0]], path[1:], value)
    return copy


@LANE
@given(altered(b'{"paused": true, "stalled": {"a": "disk full", "": "b"}}'))
def test_any_now_file_says_something_or_nothing(tmp_path_factory, data):
    home = tmp_path_factory.mktemp("home")
    (home / "now.json").write_bytes(data)

    assert isinstance(read_live_status(home), LiveStatus)


REQUEST = b'{"kind": "cancel", "study": "s", "arm": "a", "seed": 3}'


@LANE
@given(altered(REQUEST))
def test_any_request_is_one_or_is_removed(tmp_path_factory, data):
    folder = StateFolder(tmp_path_factory.mktemp("requests"))
    folder.create()
    (folder.requests / "x.json").write_bytes(data)

    found = waiting(folder)

    assert len(found) == len(list(folder.requests.iterdir())) <= 1


def test_a_request_that_is_a_folder_a_pipe_or_has_a_hostile_name_disturbs_no_session(folder):
    (folder.requests / "folder.json").mkdir()
    os.mkfifo(folder.requests / "pipe.json")
    (folder.requests / "zero.json").symlink_to("/dev/zero")
    for name in (b"\xff.json", b"\x1b[2J.json", b"a b.json", b"x" * 200 + b".json"):
        Path(os.fsdecode(os.path.join(os.fsencode(folder.requests), name))).write_bytes(REQUEST)
    (folder.requests / "good.json").write_bytes(REQUEST)

    assert [request.name for request in waiting(folder)] == ["good"]
    assert {path.name for path in folder.requests.iterdir()} == {"folder.json", "good.json"}
    repair(folder, check(folder))
    assert list(folder.requests.iterdir()) == []


SHA = hashlib.sha256(b"w").hexdigest()


@LANE
@given(altered(json.dumps({"stage": "d", "files": {"m": SHA}, "bytes": 1}).encode()))
def test_any_manifest_is_sound_or_damaged_and_fsck_says_which(tmp_path_factory, data):
    folder = StateFolder(tmp_path_factory.mktemp("state"))
    folder.create()
    artifact = folder.artifacts / ("d" * 64)
    artifact.mkdir()
    (artifact / "m").write_bytes(b"w")
    (artifact / "manifest.json").write_bytes(data)

    with contextlib.suppress(MachineError):
        verified(folder, "d" * 64)
    assert not check(folder).is_whole  # no attempt published it, whatever it says


def test_a_manifest_that_points_elsewhere_is_damaged(folder, tmp_path):
    (tmp_path / "secret").write_bytes(b"w")
    artifact = folder.artifacts / "d"
    artifact.mkdir()
    for name in ("../../../secret", str(tmp_path / "secret"), "..", ""):
        (artifact / "manifest.json").write_text(json.dumps({"files": {name: SHA}}))
        with pytest.raises(MachineError, match="no manifest"):
            verified(folder, "d")


@cache
def tensors():
    return {"model.w": torch.arange(6.0).view(2, 3), "log": torch.zeros(2, 1)}


class Notes:
    def __init__(self):
        self.lines = []

    def log(self, message):
        self.lines.append(message)


def checkpoints(folder, notes=None):
    place = JobContext(
        device="cpu", data_root=folder, artifact_folder=folder, checkpoint_folder=folder / "kept",
        stage="s", attempt="a",
    )  # fmt: skip
    return Checkpoints(place, notes or Notes())


@cache
def written() -> tuple[bytes, bytes]:
    """The two files of a real checkpoint."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        snapshot = Snapshot(epoch=2, spent={"wall_seconds": 1.0}, series=[{"a": 1.0}, {"a": 0.5}],
                            tensors=tensors())  # fmt: skip
        checkpoints(home)._write(home / "kept", snapshot)
        at = home / "kept" / "epoch-000002"
        return (at / "checkpoint.json").read_bytes(), (at / "state.safetensors").read_bytes()


def newest_of(home, about: bytes, block: bytes):
    at = home / "kept" / "epoch-000002"
    at.mkdir(parents=True)
    (at / "checkpoint.json").write_bytes(about)
    (at / "state.safetensors").write_bytes(block)
    notes = Notes()
    found = checkpoints(home, notes).newest(lambda epoch: tensors())
    assert (found is None) == (len(notes.lines) == 1)
    is_whole(at)
    return found


@LANE
@given(altered(written()[0]))
def test_a_checkpoint_whose_json_is_changed_fits_or_is_refused(tmp_path_factory, about):
    found = newest_of(tmp_path_factory.mktemp("home"), about, written()[1])

    assert found is None or len(found.series) == found.epoch


def headers():
    size = int.from_bytes(written()[1][:8], "little")
    return altered(written()[1][8 : 8 + size])


@LANE
@given(headers(), st.integers(-3, 3), st.booleans())
def test_a_checkpoint_whose_tensors_are_changed_fits_or_is_refused(
    tmp_path_factory, header, off, with_size
):
    """The digest is made to agree, so that the header itself is read."""
    original = written()[1]
    size = max(0, len(header) + off).to_bytes(8, "little") if with_size else original[:8]
    block = size + header + original[8 + int.from_bytes(original[:8], "little") :]
    about = {**json.loads(written()[0]), "sha256": hashlib.sha256(block).hexdigest()}

    newest_of(tmp_path_factory.mktemp("home"), json.dumps(about).encode(), block)


def test_the_checkpoint_that_is_changed_above_fits_as_it_is(tmp_path):
    assert newest_of(tmp_path, *written()).epoch == 2


@cache
def model() -> tuple[bytes, bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        small = CnnModel(widths=(2, 2, 2))
        save_model(Cnn(small, in_channels=1, n_classes=3), small, in_channels=1, n_classes=3,
                   folder=Path(name))  # fmt: skip
        files = (Path(name) / "model.json", Path(name) / "model.safetensors")
        return tuple(path.read_bytes() for path in files)


@settings(LANE, max_examples=60)
@given(altered(model()[0]), st.randoms(use_true_random=False), st.booleans())
def test_a_model_whose_files_are_changed_is_read_or_refused(
    tmp_path_factory, about, chance, is_other_file
):
    home = tmp_path_factory.mktemp("model")
    weights = mutate(model()[1], chance) if is_other_file else model()[1]
    (home / "model.json").write_bytes(model()[0] if is_other_file else about)
    (home / "model.safetensors").write_bytes(weights)

    with contextlib.suppress(StageError):
        load_model(home, device="cpu")


def whole_lines(lab):
    """A line of every kind that sessions and attempts write."""
    with lab.finished("s1", planned(seeds=(0,), arms=planned_arms())) as session:
        session.train(session.stage("full", 0))
    found = {}
    for path in lab.folder.journals():
        for raw in path.read_bytes().splitlines():
            body = {k: v for k, v in json.loads(raw).items() if k not in ("v", "s", "t", "c")}
            found[body["k"]] = body
    return found


def planned_arms():
    from tests.support.lab import ARMS

    return ARMS[:2]


@pytest.mark.slow
def test_lines_with_right_checksums_and_wrong_content_are_counted_never_believed(lab):
    """As in journals that somebody else hands over. Readers look at all views afterwards."""
    originals = whole_lines(lab)
    assert set(originals) >= {"H", "h", "m", "z", "Z"}

    @settings(LANE, max_examples=12)
    @given(st.data())
    def hostile(data):
        homes = []
        for number in range(5):  # one look at several costs no more than a look at one
            kind = data.draw(st.sampled_from(sorted(originals)))
            body = originals[kind]
            changed = put(body, data.draw(places(body).filter(bool)), data.draw(JSON))
            try:
                line = encode(str(changed.get("k", kind)), 0, 1.0, changed)
            except ValueError:  # NaN and half a surrogate pair cannot be written so
                continue
            source = lab.folder.sessions if kind in "HpZsr" else lab.folder.attempts
            homes.append(source / f"hostile-{number}")
            homes[-1].mkdir()
            (homes[-1] / JOURNAL).write_bytes(line)
        try:
            look_at_everything(lab.folder, len(homes))
        finally:
            for home in homes:
                shutil.rmtree(home)

    hostile()


def look_at_everything(folder, hostile):
    with in_memory(folder) as store:
        read = "select count(*) from journal where name like 'hostile-%' and bad_lines <= 1"
        assert store.select(read) == [(hostile,)]
        for view in ("trial", "outcome", "comparison", "log"):
            store.select(f"select * from {view}")
    check(folder)


@pytest.mark.parametrize("ordinal", ["x", [], {}, None, 2.5, -1, 10**400, True])
def test_a_header_with_a_wild_ordinal_stands_at_the_beginning(folder, ordinal):
    digest = "d" * 64
    artifact = folder.artifacts / digest
    artifact.mkdir()
    (artifact / "manifest.json").write_text("{}")
    for home, kind in ((folder.attempts / f"{digest[:16]}-1", "h"), (folder.sessions / "s", "H")):
        home.mkdir()
        head = encode(kind, 0, 1.0, {"ordinal": ordinal, "stage": digest})
        (home / JOURNAL).write_bytes(head + encode("z", 1, 2.0, {"state": "complete"}))

    assert is_complete(folder, digest)
    assert next_session_ordinal(folder) in (1, 2)


@LANE
@given(data=altered(b'{"commit": "a", "patch": "b", "changed": ["c"]}'))
def test_the_code_of_a_session_is_told_or_left_out(tmp_path_factory, data):
    from types import SimpleNamespace

    from icckd.report.manifest import _code

    folder = StateFolder(tmp_path_factory.mktemp("state"))
    (folder.sessions / "s").mkdir(parents=True)
    (folder.sessions / "s" / CODE).write_bytes(data)

    json.dumps(_code(SimpleNamespace(folder=folder), "s"))


def test_conditions_and_study_names_of_any_form_are_answered_or_refused(lab):
    with lab.finished("s1", planned(seeds=(0, 1))) as session:
        session.train_all()
    words = st.sampled_from(
        [
            "diff",
            "(",
            ")",
            "no-margin",
            ",",
            "student.top1",
            ">",
            "<=",
            "1",
            "nan",
            "1e999",
            "halfwidth",
            " ",
            "\0",
            "\u202e",
            "((((",
            "-",
        ]
    )
    with open_results(lab.folder) as results:
        study = results.study()
        rows = {(row.arm, row.metric): row for row in results.comparisons(study)}

        @settings(LANE, max_examples=300)
        @given(st.text(max_size=30) | st.lists(words, max_size=12).map("".join))
        def ask(text):
            with contextlib.suppress(UsageError):
                parse_condition(text, study).holds(rows)
            with contextlib.suppress(IcckdError):
                results.study(text)

        ask()
        with pytest.raises(UsageError, match="UTF-8"):
            results.query("select '\ud800'", rows=1)


@pytest.mark.slow
def test_a_weights_file_of_a_study_is_read_or_refused(tmp_path):
    from icckd.study.network import WeightsFile
    from icckd.train.networks.torchvision import Torchvision, TorchvisionModel

    blocks = [
        b"",
        b"\xff" * 200,
        DEEP,
        save({"a": torch.zeros(1)}),
        save({"fc.bias": torch.zeros(2, dtype=torch.bfloat16)}),
        (10).to_bytes(8, "little") + b'{"a":1}   ',
    ]
    for block in blocks:
        path = tmp_path / "weights.safetensors"
        path.write_bytes(block)
        given_file = WeightsFile(file=str(path), sha256=hashlib.sha256(block).hexdigest())
        small = "shufflenet_v2_x0_5"
        chosen = TorchvisionModel(kind="torchvision", name=small, weights=given_file)
        network = Torchvision(chosen, in_channels=3, n_classes=4)
        with pytest.raises(StageError, match=r"do not fit|no safetensors file"):
            network.initialise(("teacher", 0))
