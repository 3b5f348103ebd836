"""What plan and run say of source that is not known to give the numbers of this version."""

from collections.abc import Collection, Mapping

from icckd.journal.folder import StateFolder
from icckd.report.text import display
from icckd.results.query import open_results
from icckd.study.model import Study
from icckd.study.plan import Plan, changed_source
from icckd.study.plugins import plugins_of
from icckd.study.records import ENGINE_KINDS
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
    """Return the user's files under which earlier stages of a study stand, if they are to count."""
    has_files = study.task is not None or study.plugins
    if not has_files or not accept_code or not folder.exists():
        return {}
    with open_results(folder) as results:
        return results.task_files(study.study.name)


def printed_by_plugins(study: Study) -> list[str]:
    """Return what plug-ins of a study printed when they were imported, a sentence for each."""
    return [
        f"plug-in {display(each.name)} printed when it was read: {display(each.printed, 200)}"
        for each in plugins_of(study).plugins
        if each.printed
    ]


def task_file_notices(
    plan: Plan, earlier: Mapping[str, Mapping[str, str]], complete: Collection[str]
) -> list[str]:
    """Return what the user should know of edited files of tasks and plug-ins, by kind of stage.

    Args:
        plan: The plan.
        earlier: By kind of stage, the files under which its newest complete ones stand.
        complete: The stages that need no run.
    """
    found = []
    for kind, files in earlier.items():
        stages = [stage for stage in plan.stages.values() if stage.kind == kind]
        now: dict[str, str] = {}
        for stage in stages:
            now |= {**stage.files, **stage.changed_files}
        is_engine = kind in ENGINE_KINDS  # one arm's stages read other modules than another's
        names_of = files.keys() & now.keys() if is_engine else files.keys() | now.keys()
        changed = sorted(n for n in names_of if files.get(n) != now.get(n))
        if not stages or not changed:
            continue
        stages = [stage for stage in stages if not is_engine or set(changed) & set(stage.files)]
        names = display(", ".join(changed), 300)
        if any(stage.changed_files for stage in stages):
            found.append(f"{names} changed since it was run; accepted as giving the same numbers")
            continue
        missing = sum(stage.digest not in complete for stage in stages)
        found.append(
            f"{names} changed since it was run: {missing} {kind} stages are run again; if it"
            " changes no number, --accept-code reuses what ran before"
        )
    return found
