"""Networks of timm as a plug-in: laws, weights from a file, a study trained with them.

Where timm is not installed these are run by `test_own_environment.py`, in the long lane.
"""

import pytest

timm = pytest.importorskip("timm", reason="the extra timm is not installed")
pytestmark = pytest.mark.slow

from tests.support.plugins.running import Desk, laws_broken, python  # noqa: E402

NAMES = ("test_resnet", "test_vit")
STUDY = """
plugins = ["timm"]
[study]
name = "of-timm"
baseline = "kd"
seeds = 1
[data]
kind = "synthetic"
train = 120
validation = 40
test = 60
size = 32
[teacher]
model = { kind = "timm", name = "resnet10t" }
training = { epochs = 2, batch_size = 40 }
[student]
model = { kind = "timm", name = "test_resnet" }
training = { epochs = 2, batch_size = 40 }
[[arm]]
name = "kd"
[[ablation]]
name = "Attention maps"
arm = "at"
part = "student.distiller"
action = "REPLACE"
replacement = [{ kind = "at" }]
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_network_of_timm_keeps_the_laws_of_models(name):
    options = ("--settings", "model timm", f'{{ name = "{name}" }}', "--image", "3x32x32")

    assert laws_broken(python("-m", "icckd.testing", "timm", *options)) == []


def test_a_study_with_them_is_planned_trained_and_reported(tmp_path):
    desk = Desk(tmp_path)
    planned = desk.study("plan", STUDY)
    done = desk.study("run", STUDY, "-j", "1")
    report = desk.icckd("report", "of-timm")
    again = desk.study("plan", STUDY)

    assert "model timm" in planned.stdout, planned.stderr
    assert "changed source" not in planned.stdout
    assert done.returncode == 0, done.stderr
    assert "2 of 2 trials complete" in report.stdout
    assert "code of this study's author" not in report.stdout
    assert "2 already complete" in again.stdout, again.stdout


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ('name = "resnet10x"', "timm has no network 'resnet10x'; did you mean 'resnet10t'?"),
        ('name = "vit_tiny_patch16_224"', "takes no images of 1x32x32"),
        ('name = "hf-hub:a/b"', "wanted a text of the form"),
        ('name = "resnet10t", image_size = 32', "resnet10t of timm cannot be built"),
    ],
)
def test_a_network_that_cannot_be_is_one_error_of_the_plan(tmp_path, model, said):
    text = STUDY.replace('name = "resnet10t"', model)
    done = Desk(tmp_path).study("plan", text)

    assert done.returncode == 3, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_network_of_a_fixed_size_is_built_for_another_one(tmp_path):
    text = STUDY.replace('name = "resnet10t"', 'name = "vit_tiny_patch16_224", image_size = 32')

    done = Desk(tmp_path).study("plan", text.replace('kind = "at"', 'kind = "rkd"'))

    assert done.returncode == 0, done.stderr


WEIGHTS = """
import hashlib, sys
from pathlib import Path
import timm, torch
from safetensors.torch import save_file
from icckd.extras.timm_models import TimmModel
from icckd.errors import StageError
from icckd.study.network import WeightsFile
from icckd.train.networks import build_model

torch.manual_seed(3)
theirs = timm.create_model("test_resnet", num_classes=7, in_chans=3)
file = Path(sys.argv[1]) / "w.safetensors"
save_file(theirs.state_dict(), file)
given = WeightsFile(file=str(file), sha256=hashlib.sha256(file.read_bytes()).hexdigest())

def built(classes, weights, name="test_resnet"):
    settings = TimmModel(kind="timm", name=name, weights=weights)
    how = {"in_channels": 3, "n_classes": classes, "key": ("a",), "device": "cpu"}
    return build_model(settings, **how).eval()

images = torch.randn(2, 3, 64, 64)
with torch.no_grad():
    torch.testing.assert_close(
        built(7, given)(images), theirs.eval()(images), rtol=1e-4, atol=1e-5
    )
    other, fresh = built(5, given), built(5, "off")
    assert torch.equal(other.maps(images).features, built(7, given).maps(images).features)
    assert torch.equal(other.classifier.weight, fresh.classifier.weight)
try:
    built(7, given, "resnet10t")
except StageError as error:
    assert "do not fit resnet10t" in error.message, error.message
else:
    raise AssertionError("weights of another network were taken")
print("as timm computes")
"""


def test_weights_of_a_file_compute_what_timm_computes_and_others_are_refused(tmp_path):
    done = python("-c", WEIGHTS, str(tmp_path))

    assert "as timm computes" in done.stdout, done.stderr


def test_dropout_and_stochastic_depth_are_off():
    code = """
import timm, torch
from icckd.extras.timm_models import Timm, TimmModel
net = Timm(TimmModel(kind="timm", name="convnext_atto"), in_channels=3, n_classes=3).train()
assert not any(getattr(m, "drop_prob", 0) for m in net.modules())
assert not any(getattr(m, "drop_rate", 0) for m in net.modules())
assert not any(m.p for m in net.modules() if isinstance(m, torch.nn.Dropout))
print("off")
"""
    assert python("-c", code).stdout == "off\n"
