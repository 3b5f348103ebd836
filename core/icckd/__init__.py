"""icckd: ablation studies of knowledge distillation, from a TOML study to DuckDB and a table."""

if __name__ != "icckd":
    # An editable install puts the repository root on the path, where `core.icckd` would be a
    # second copy of every class; isinstance would then lie.
    raise ImportError("core/ is a source root: write `import icckd`, never `import core.icckd`")

__version__ = "0.1.0"

from icckd.study.registry import add_packages

add_packages(
    (
        "icckd.train.distillers",
        "icckd.train.losses",
        "icckd.train.networks",
        "icckd.train.datasets",
        "icckd.train.metrics",
    )
)
