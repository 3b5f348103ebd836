"""Plans of studies whose data are not looked at."""

from icckd.study.arms import expand
from icckd.study.numerics import numerics_class
from icckd.study.plan import PlanContext, build, datasets
from icckd.train.contract import code_epoch


def plan_of(study, device="cpu", *, code_epoch=code_epoch, fingerprint="f" * 64, **context):
    """Return the plan of a study on data of one fingerprint."""
    design = expand(study)
    context = PlanContext(
        numerics=numerics_class(study.numerics, device),
        fingerprints=tuple((data, fingerprint) for data in datasets(design)),
        code_epoch=code_epoch,
        compile_long=study.numerics.compile == "auto",
        **context,
    )
    return build(design, context, students_per_teacher=study.study.students_per_teacher)
