"""The single methods by the `kind` of their settings."""

from icckd.engine.distillers.base import Method
from icckd.engine.distillers.crd import Crd
from icckd.engine.distillers.decoupled import Dkd, Nkd
from icckd.engine.distillers.features import Cc, Pkt, Rkd
from icckd.engine.distillers.kd import Kd
from icckd.engine.distillers.maps import At, Fitnet, Sp, Vid
from icckd.engine.distillers.relations import Ckd, Dist
from icckd.engine.distillers.reviewkd import ReviewKd

METHODS: dict[str, type[Method]] = {
    "kd": Kd,
    "fitnet": Fitnet,
    "at": At,
    "sp": Sp,
    "cc": Cc,
    "rkd": Rkd,
    "pkt": Pkt,
    "vid": Vid,
    "crd": Crd,
    "dkd": Dkd,
    "nkd": Nkd,
    "reviewkd": ReviewKd,
    "dist": Dist,
    "ckd": Ckd,
}
