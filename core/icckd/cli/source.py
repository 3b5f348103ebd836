"""What the command line says of source that is not known to give the numbers of this version."""

from collections.abc import Collection

from icckd.report.text import display
from icckd.study.plan import Plan, changed_source
from icckd.study.source import path_text

_SHOWN = 5


def source_notices(plan: Plan, complete: Collection[str]) -> list[str]:
    """Return what the user should know of changed source, in one sentence, or nothing.

    Args:
        plan: The plan, whose stages know their source.
        complete: The stages that need no training.
    """
    changed = changed_source(plan)
    if not changed:
        return []
    files = sorted({path_text(name) for source in changed.values() for name in source})
    shown = ", ".join(display(file) for file in files[:_SHOWN])
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    missing = sum(digest not in complete for digest in changed)
    what = f"changed source ({shown}{more}) concerns {len(changed)} of {len(plan.stages)} stages"
    if all(plan.stages[digest].source.accepted for digest in changed):
        return [
            f"{what}; accepted as giving the same numbers: {len(changed) - missing} complete ones"
            f" are reused, {missing} are trained"
        ]
    return [
        f"{what}: {missing} of them are trained with it, and earlier results stand apart;"
        " if it changes no number, --accept-code reuses them"
    ]
