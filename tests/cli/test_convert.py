"""`icckd convert` as a user meets it: what it says, and what it compares with."""

import pytest
import torch
from torchvision.models import shufflenet_v2_x0_5

STUDY = """
[study]
name = "pretrained"
baseline = "full"
seeds = { count = 1 }
[data]
kind = "cifar10"
[teacher]
model = { kind = "torchvision", name = "NAME" }
[[arm]]
name = "full"
"""


@pytest.fixture
def checkpoint(desk):
    """A desk with a checkpoint of ShuffleNet as a training script leaves it, and a study."""
    weights = {f"module.{name}": t for name, t in shufflenet_v2_x0_5().state_dict().items()}
    torch.save({"epoch": 3, "state_dict": weights, "lr": 0.1}, desk.folder / "best.pth")
    desk.write(STUDY.replace("NAME", "shufflenet_v2_x0_5"), "study.toml")
    return desk


def test_it_says_what_it_took_and_left_and_that_the_network_has_all_it_needs(checkpoint):
    given = (str(checkpoint.folder / "best.pth"), str(checkpoint.folder / "w.safetensors"))
    done = checkpoint.run("convert", *given, "--for", "study.toml", "teacher")

    for text in (
        "from state_dict", "took off the names: module.", "left epoch (int)", "left lr (float)",
        "fits shufflenet_v2_x0_5: nothing is missing; its last layer starts anew",
    ):  # fmt: skip
        assert text in done.stderr
    assert done.stdout.startswith("weights = { file = ")


@pytest.mark.parametrize(
    ("network", "role", "said"),
    [
        ("shufflenet_v2_x1_0", "teacher", "most likely those of shufflenet_v2_x0_5"),
        ("shufflenet_v2_x0_5", "student", "which starts from no file"),
        ("shufflenet_v2_x0_5", "janitor", "a study has no 'janitor'"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(checkpoint, network, role, said):
    checkpoint.write(STUDY.replace("NAME", network), "study.toml")
    target = checkpoint.folder / "w.safetensors"

    refused = checkpoint.run(
        "convert", str(checkpoint.folder / "best.pth"), str(target), "--for", "study.toml", role,
        code=2,
    )  # fmt: skip

    assert said in refused.stderr
    assert not target.exists()


def test_a_path_may_begin_with_the_home_folder(checkpoint, monkeypatch):
    monkeypatch.setenv("HOME", str(checkpoint.folder))
    checkpoint.run("convert", "~/best.pth", "~/w.st", "--for", "~/study.toml", "teacher")

    assert (checkpoint.folder / "w.st").is_file()
