"""Data sets, metrics and short runs of icckd keep the laws that `icckd.testing` tries."""

import pytest

from icckd.study.metrics import METRICS
from icckd.testing import datasets, metrics, runs
from icckd.train.datasets.digits import DigitsData
from icckd.train.datasets.synthetic import SyntheticData
from icckd.train.distillers.crd import CrdDistiller
from icckd.train.losses.contrastive import IntraLoss
from icckd.train.networks.cifar import CifarModel

SETS = [
    DigitsData(),
    DigitsData(labels="coarse"),
    DigitsData(labels="fine"),
    SyntheticData(kind="synthetic"),
    SyntheticData(kind="synthetic", subclasses=1),
]
RUNS = {
    "data": {"data": DigitsData(train=170, validation=40)},
    "model": {"model": CifarModel(kind="cifar", name="resnet8")},
    "loss": {"losses": {"intra": IntraLoss()}},
    "distiller": {"distiller": CrdDistiller(kind="crd", dimensions=8)},
}
each_law = {"ids": lambda law: law.__name__}


@pytest.fixture(scope="module", params=SETS, ids=repr)
def data(request, tmp_path_factory):
    return datasets.DataCase(request.param, tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("law", datasets.LAWS, **each_law)
def test_a_data_set_keeps_its_laws(law, data):
    law(data)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


@pytest.mark.parametrize("name", list(METRICS))
@pytest.mark.parametrize("law", metrics.LAWS, **each_law)
def test_a_metric_keeps_its_laws(law, name, root):
    law(metrics.MetricCase(name, root))


@pytest.mark.parametrize("sort", RUNS)
@pytest.mark.parametrize("law", runs.LAWS, **each_law)
def test_a_run_keeps_its_laws_whatever_part_is_changed(law, sort, root):
    law(runs.RunCase(root, **RUNS[sort]))
