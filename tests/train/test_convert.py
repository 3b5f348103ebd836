"""Checkpoints of other projects: what is taken, what is refused, and that nothing in them runs."""

import argparse
import datetime
import fractions
import os
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from icckd.errors import IcckdError, MachineError, StageError, UsageError
from icckd.study.network import WeightsFile
from icckd.train.convert import convert
from icckd.train.networks import build_model
from icckd.train.networks.torchvision import TorchvisionModel
from icckd.train.weights import Wanted, wanted


def saved(folder, value, name="given.pth"):
    path = folder / name
    torch.save(value, path)
    return path


def tensors(prefix=""):
    return {f"{prefix}conv.weight": torch.arange(6.0).reshape(2, 3), f"{prefix}n": torch.tensor(7)}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


class Runs:
    """Pickles as a call: an unpickler without limits would make the folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_a_network_starts_from_converted_weights(tmp_path):
    from torchvision.models import resnet18

    given = resnet18(num_classes=5)
    target = tmp_path / "resnet18.safetensors"
    done = convert(saved(tmp_path, given.state_dict()), target)
    weights = WeightsFile(file=str(target), sha256=done.sha256)
    settings = TorchvisionModel(kind="torchvision", name="resnet18", weights=weights)
    model = build_model(settings, in_channels=3, n_classes=5, key=("t",), device="cpu").eval()

    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(images), given.eval()(images))


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: {"epoch": 3, "model": d, "best": 0.5}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_only_state_dict_is_taken_wherever_it_is(tmp_path, wrap, prefix):
    done = convert(saved(tmp_path, wrap(tensors(prefix))), tmp_path / "out.safetensors")

    assert same(load_file(tmp_path / "out.safetensors"), tensors())
    assert (done.tensors, done.values) == (2, 7)


def test_of_several_state_dicts_one_must_be_named(tmp_path):
    given = saved(tmp_path, {"net": tensors(), "averaged": {"net": tensors()}})

    with pytest.raises(UsageError, match=r"2 state dicts \(net, averaged.net\)"):
        convert(given, tmp_path / "out.safetensors")
    with pytest.raises(UsageError, match="none named 'other'"):
        convert(given, tmp_path / "out.safetensors", "other")
    convert(given, tmp_path / "out.safetensors", "averaged.net")
    assert same(load_file(tmp_path / "out.safetensors"), tensors())


def trained_with_momentum():
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


BESIDE = {
    "an optimizer": ({"optimizer": trained_with_momentum()}, "optimizer (an optimizer's state)"),
    "optimizers in a list": (
        {"optimizer_states": [trained_with_momentum()]},
        "optimizer_states.0 (an optimizer's state)",
    ),
    "an average": ({"state_dict_ema": tensors()}, "state_dict_ema (2 tensors"),
    "a loss's weights": ({"criterion": {"weight": torch.ones(3)}}, "criterion (1 tensors"),
    "a NumPy scalar": ({"best_acc1": np.float64(71.25)}, "best_acc1 (numpy.float64)"),
    "a NumPy array": ({"curve": np.arange(3.0)}, "curve (numpy.ndarray)"),
    "arguments": ({"args": argparse.Namespace(lr=0.1, out=Path("x"))}, "args (argparse.Namespace)"),
    "a tensor": ({"best": torch.tensor(0.5), "rng": torch.ones(9)}, "best (a tensor)"),
    "a time": ({"saved": datetime.datetime.now(datetime.UTC)}, "saved (datetime.datetime)"),
    "settings": ({"opt": types.SimpleNamespace(lr=0.1)}, "opt (types.SimpleNamespace)"),
    "a frozen set": ({"tags": frozenset(("a",))}, "tags (frozenset)"),
    "numbers": ({"epoch": 3, "note": None}, "epoch (int)"),
}


@pytest.mark.parametrize("beside", BESIDE)
def test_what_training_leaves_beside_the_weights_is_left_and_named(tmp_path, beside):
    extra, text = BESIDE[beside]
    done = convert(saved(tmp_path, {"state_dict": tensors(), **extra}), tmp_path / "out.st")

    assert same(load_file(tmp_path / "out.st"), tensors())
    assert any(text in each for each in done.left), done.left


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (["_orig_mod.module.conv.weight", "_orig_mod.module.n"], ["conv.weight", "n"]),
        (["module.module.conv.weight", "module.module.n"], ["conv.weight", "n"]),
        (["module._orig_mod.conv.weight", "module._orig_mod.n"], ["conv.weight", "n"]),
        (["n_averaged", "module.conv.weight", "module.n"], ["conv.weight", "n"]),
        (["features.module.0.weight", "fc.weight"], ["features.0.weight", "fc.weight"]),
        (["body._orig_mod.conv.weight", "fc.weight"], ["body.conv.weight", "fc.weight"]),
        (["module.weight", "other.weight"], ["module.weight", "other.weight"]),
        (["module.weight", "module.bias"], ["weight", "bias"]),
        (["a.denselayer1.norm.1.weight", "a.n"], ["a.denselayer1.norm1.weight", "a.n"]),
    ],
)
def test_wrappers_go_in_any_order_number_and_place(tmp_path, given, plain):
    convert(saved(tmp_path, {name: torch.ones(2) for name in given}), tmp_path / "out.st")

    assert sorted(load_file(tmp_path / "out.st")) == sorted(plain)


def test_a_number_among_the_tensors_is_left_and_named(tmp_path):
    done = convert(saved(tmp_path, {**tensors(), "num_updates": 1200}), tmp_path / "out.st")

    assert same(load_file(tmp_path / "out.st"), tensors())
    assert done.left == ("num_updates (int)",)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda d: {name: t.numpy() for name, t in d.items()},
        lambda d: {"model": {name: t.numpy() for name, t in d.items()}, "names": np.array(["a"])},
        lambda d: [d, trained_with_momentum()],
        lambda d: (d, 5),
    ],
)
def test_arrays_instead_of_tensors_and_weights_within_a_list_are_taken(tmp_path, wrap):
    convert(saved(tmp_path, wrap(tensors())), tmp_path / "out.st")

    assert same(load_file(tmp_path / "out.st"), tensors())


def test_a_tensor_that_safetensors_cannot_hold_is_named(tmp_path):
    given = saved(tmp_path, {**tensors(), "mask": torch.eye(3).to_sparse()})
    with pytest.raises(UsageError, match=r"mask in .* is a sparse tensor"):
        convert(given, tmp_path / "out.st")


def test_safetensors_are_taken_too(tmp_path):
    save_file(tensors("module."), tmp_path / "given.st", metadata={"format": "pt"})
    convert(tmp_path / "given.st", tmp_path / "out.st")

    assert same(load_file(tmp_path / "out.st"), tensors())


def test_a_part_of_a_state_dict_can_be_named(tmp_path):
    names = {**tensors("encoder_q."), **tensors("encoder_k.")}
    given = saved(tmp_path, {"state_dict": {f"module.{n}": t for n, t in names.items()}})

    done = convert(given, tmp_path / "out.st", "state_dict.encoder_q")

    assert same(load_file(tmp_path / "out.st"), tensors())
    assert any("2 tensors whose names do not begin with encoder_q." in each for each in done.left)


NEEDED = Wanted(
    name="a network", shapes={"conv.weight": (2, 3), "head.weight": (5, 2)}, head="head"
)


def test_what_a_network_needs_is_found_below_other_names_and_the_rest_is_left(tmp_path):
    own = {"model.conv.weight": torch.ones(2, 3), "model.head.weight": torch.ones(9, 2)}
    given = {"state_dict": {**own, "loss.weight": torch.ones(3)}, "ema": {"n": torch.ones(1)}}
    done = convert(saved(tmp_path, given), tmp_path / "out.st", needed=NEEDED)

    assert sorted(load_file(tmp_path / "out.st")) == ["conv.weight", "head.weight"]
    assert (done.part, done.fit.new_head) == ("state_dict.model", True)


def test_weights_of_another_network_are_refused_with_what_differs_and_the_likely_one(tmp_path):
    from torchvision.models import mnasnet0_5

    given = saved(tmp_path, {"state_dict": mnasnet0_5().state_dict()})
    with pytest.raises(UsageError) as refused:
        convert(given, tmp_path / "out.st", needed=wanted("shufflenet_v2_x0_5"))

    said = refused.value.message
    assert "missing (conv1.0.weight, " in said
    assert "not of this network (classifier.1.bias" in said
    assert "most likely those of mnasnet0_5" in said
    assert len(said) < 700
    assert not (tmp_path / "out.st").exists()


def test_a_stage_whose_weights_are_of_another_network_says_so_shortly(tmp_path):
    from torchvision.models import mnasnet0_5

    done = convert(saved(tmp_path, mnasnet0_5().state_dict()), tmp_path / "out.st")
    weights = WeightsFile(file=str(tmp_path / "out.st"), sha256=done.sha256)
    settings = TorchvisionModel(kind="torchvision", name="shufflenet_v2_x0_5", weights=weights)
    with pytest.raises(StageError) as refused:
        build_model(settings, in_channels=3, n_classes=5, key=("t",), device="cpu")

    said = refused.value.message
    assert "missing (conv1.0.weight" in said
    assert "net." not in said
    assert "most likely those of mnasnet0_5" in said


class Config:
    """What a project of somebody's may pickle beside its weights."""


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"state_dict": tensors(), "config": Config()}, "Config"),
        ({"state_dict": tensors(), "lr": fractions.Fraction(1, 3)}, "fractions.Fraction"),
        (torch.nn.Linear(3, 2), "torch.nn.modules.linear.Linear"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_stands_in_the_way_is_named_with_the_line_that_saves_the_weights(
    tmp_path, value, named, zipped
):
    torch.save(value, tmp_path / "given.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UsageError, match="more than tensors") as refused:
        convert(tmp_path / "given.pth", tmp_path / "out.st")

    assert named in refused.value.message
    assert "torch.save(torch.load('given.pth', weights_only=False)" in refused.value.hint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"<html>404</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"BZh91AY&SY", "it is compressed"),
        (b"PK\x03\x04" + bytes(90), "it is cut short"),
        ((900).to_bytes(8, "little") + b'{"conv.weight": {"dtype"', "it is cut short"),
    ],
)
def test_a_file_of_another_kind_is_called_by_its_name(tmp_path, content, said):
    (tmp_path / "given.pth").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        convert(tmp_path / "given.pth", tmp_path / "out.st")


def test_an_archive_that_torch_did_not_write_is_called_by_its_name(tmp_path):
    np.savez(tmp_path / "arrays.npz", conv=np.ones(2))
    with zipfile.ZipFile(tmp_path / "others.zip", "w") as archive:
        archive.writestr("best.pth", b"")

    with pytest.raises(UsageError, match="an archive of NumPy's arrays"):
        convert(tmp_path / "arrays.npz", tmp_path / "out.st")
    with pytest.raises(UsageError, match="a zip archive"):
        convert(tmp_path / "others.zip", tmp_path / "out.st")


def test_the_line_that_saves_the_weights_names_the_key_that_the_file_has(tmp_path):
    given = saved(tmp_path, {"epoch": 3, "model_state_dict": tensors(), "config": Config()})
    with pytest.raises(UsageError) as refused:
        convert(given, tmp_path / "out.st")

    assert "weights_only=False)['model_state_dict']" in refused.value.hint


def test_shared_and_transposed_tensors_are_written_apart(tmp_path):
    one = torch.arange(6.0).reshape(2, 3)
    convert(saved(tmp_path, {"a": one, "b": one, "c": one.T}), tmp_path / "out.safetensors")

    assert same(load_file(tmp_path / "out.safetensors"), {"a": one, "b": one, "c": one.T})


def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path):
    given = saved(tmp_path, {"model": tensors(), "config": Runs(tmp_path / "ran")})

    with pytest.raises(UsageError, match="more than tensors") as refused:
        convert(given, tmp_path / "out.safetensors")
    assert "nothing in it was run" in refused.value.hint
    assert sorted(p.name for p in tmp_path.iterdir()) == ["given.pth"]
    torch.load(given, weights_only=False)  # the same file does harm where anything is unpickled
    assert (tmp_path / "ran").is_dir()


def test_a_file_that_is_there_is_not_replaced(tmp_path):
    target = tmp_path / "out.safetensors"
    target.write_text("mine")

    with pytest.raises(UsageError, match="exists"):
        convert(saved(tmp_path, tensors()), target)
    assert target.read_text() == "mine"


def test_what_is_not_there_or_holds_no_tensors_is_said(tmp_path):
    with pytest.raises(MachineError, match="cannot read"):
        convert(tmp_path / "missing.pth", tmp_path / "out.safetensors")
    with pytest.raises(UsageError, match=r"no state dict, only epoch \(int\)"):
        convert(saved(tmp_path, {"epoch": 3}), tmp_path / "out.safetensors")
    turning = {}
    turning["again"] = turning
    with pytest.raises(UsageError, match="no state dict"):
        convert(saved(tmp_path, turning), tmp_path / "out.safetensors")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_checkpoint_gives_a_deliberate_error_or_weights(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    whole = bytearray(saved(folder, {"model": tensors()}).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    Path(folder / "given.pth").write_bytes(whole[: cut if data.draw(st.booleans()) else None])

    try:
        convert(folder / "given.pth", folder / "out.safetensors")
    except IcckdError:
        assert not (folder / "out.safetensors").exists()
