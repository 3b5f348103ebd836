"""Checkpoints of other projects: what is taken, what is refused, and that nothing in them runs."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from icckd.engine.convert import convert
from icckd.engine.models import build_model
from icckd.errors import IcckdError, MachineError, UsageError
from icckd.spec.models import TorchvisionModel, WeightsFile


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
    with pytest.raises(UsageError, match="no state dict"):
        convert(saved(tmp_path, {"epoch": 3}), tmp_path / "out.safetensors")


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
