"""`icckd check`: run the user's own code a few times, and say which promises it keeps."""

from pathlib import Path

from icckd.api.running import device_for
from icckd.cli.run import say
from icckd.journal.folder import StateFolder
from icckd.report.text import display
from icckd.results.checks import files_of, save
from icckd.run.check import check
from icckd.run.prepare import Device, data_root, make_plan, with_more_seeds
from icckd.study.load import load


def check_here(path: Path, overrides: tuple[str, ...], device: Device, *, seconds: float) -> int:
    """Check the tasks of a study, print what was found and keep it; return the exit code."""
    study = load(path, overrides)
    if study.study.seeds.count < 2:
        study = with_more_seeds(study, 1)
    plan = make_plan(study, device=device_for(device, say), root=data_root())
    found = check(study, plan, seconds=seconds, say=say)
    for text in found.told:
        print(display(text, 1000))
    print("nothing contradicts the claims" if found.is_kept else "not all claims hold")
    save(StateFolder.current(), study.task, files_of(plan, study.study.baseline), found)
    return 0 if found.is_kept else 1
