"""What every executor keeps to, kept by `ray` on a cluster in a network of its own."""

import pytest

from icckd.testing import executor_tests
from tests.support.ray_cluster import need_ray, own_network, ray_cluster

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("address")]


@pytest.fixture(scope="module", autouse=True)
def address():
    need_ray()
    with own_network(), ray_cluster(1) as cluster, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", cluster.address)
        patch.setenv("ICCKD_CHECKPOINT_SECONDS", "0")
        yield


test_ray = executor_tests("ray")
