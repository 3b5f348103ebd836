"""What plan and run say of source that is not known to give the numbers of this version."""

from collections.abc import Collection, Mapping

from icckd.journal.folder import StateFolder
from icckd.report.text import display
from icckd.results.query import open_results
from icckd.study.model import Study
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


def accepted_files(
    study: Study, folder: StateFolder, *, accept_code: bool
) -> Mapping[str, Mapping[str, str]]:
    """Return the files under which earlier runs of a study's tasks stand, if they are to count."""
    if study.task is None or not accept_code or not folder.exists():
        return {}
    with open_results(folder) as results:
        return results.task_files(study.study.name)


def task_file_notices(
    plan: Plan, earlier: Mapping[str, Mapping[str, str]], complete: Collection[str]
) -> list[str]:
    """Return what the user should know of edited files of tasks, a sentence for each task.

    Args:
        plan: The plan.
        earlier: By task, the files under which its newest complete runs stand.
        complete: The stages that need no run.
    """
    found = []
    for kind, files in earlier.items():
        stages = [stage for stage in plan.stages.values() if stage.kind == kind]
        if not stages:
            continue
        now = {**stages[0].files, **stages[0].changed_files}
        changed = sorted(n for n in files.keys() | now.keys() if files.get(n) != now.get(n))
        if not changed:
            continue
        names = display(", ".join(changed), 300)
        if stages[0].changed_files:
            found.append(f"{names} changed since it was run; accepted as giving the same numbers")
            continue
        missing = sum(stage.digest not in complete for stage in stages)
        found.append(
            f"{names} changed since it was run: {missing} {kind} stages are run again; if it"
            " changes no number, --accept-code reuses what ran before"
        )
    return found
