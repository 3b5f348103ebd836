"""`icckd calibrate`: find the weights of matched controls and write them into the study file."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from icckd.api.running import own_results, run_session, settled
from icckd.cli.run import CommandHost, RunOptions, say
from icckd.errors import UsageError
from icckd.journal.folder import StateFolder
from icckd.results.query import Results
from icckd.run.calibrate import (
    Match,
    Ratios,
    calibration_study,
    find_weights,
    mean_text,
    teachers_of,
)
from icckd.run.executors import find_executor
from icckd.run.prepare import complete_stages, data_root, plan_design
from icckd.run.session import RunRequest
from icckd.study.arms import Design, expand, trials_of
from icckd.study.calibration import RATIO, WEIGHT, matched_controls, set_in_arm
from icckd.study.load import load
from icckd.study.model import Study
from icckd.study.shipped import is_shipped, study_path


def calibrate_here(path: Path, only: str | None, options: RunOptions, *, tolerance: float) -> None:
    """Find the weights and write them into the study file.

    A session that did not complete ends the command with its exit code.

    Args:
        path: The study file.
        only: Name of the one control to match; None matches all.
        options: How to run the sessions.
        tolerance: How far the mean ratio may be off, in percent.
    """
    if is_shipped(str(path)):
        raise UsageError(
            f"{path} comes with icckd, and calibrate writes into the study file",
            hint=f"copy it: cp {study_path(path)} my-study.toml",
        )
    study = load(path)
    design = expand(study)
    controls = matched_controls(study, design, only)
    options = settled(options, StateFolder.current(), say)
    find_executor(options.executor)
    calibration = calibration_study(study)
    folder = StateFolder.current()
    with own_results(folder, say) as results:
        results.refresh()
        host = CommandHost()
        host.begin()
        rounds = _Rounds(
            folder=folder, results=results, study=calibration, options=options, host=host
        )
        matches = find_weights(design, controls, rounds, tolerance=tolerance)
    for match in matches:
        _write(path, match)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rounds:
    """Trains the arms of a round in a session, and reads their ratios."""

    folder: StateFolder
    results: Results
    study: Study
    options: RunOptions
    host: CommandHost

    def __call__(self, tried: Design) -> Ratios:
        round_ = replace(tried, trials=trials_of(tried.arms, self.study.study.seeds.all()))
        plan = plan_design(
            self.study,
            round_,
            device=self.options.device,
            root=data_root(),
            is_remote=find_executor(self.options.executor).capabilities.remote,
        )
        done = complete_stages(self.folder, self.results.complete_stages())
        request = RunRequest(
            study=self.study,
            plan=teachers_of(plan),
            complete=done,
            arguments=sys.argv[1:],
            data_root=data_root(),
            requested_at=self.options.requested_at,
        )
        code, _ = run_session(self.folder, self.results, request, self.options, self.host)
        self.results.refresh()
        if code:
            say(f"the calibration did not complete; {self.options.study} is unchanged")
            sys.exit(code)
        return self.results.values(self.results.study(self.study.study.name), RATIO)


def _write(path: Path, match: Match) -> None:
    intra = match.method.teacher.intra
    assert intra != "off"
    name, before, after = match.control.name, intra.weight, match.weight
    if after != before:
        set_in_arm(path, name, WEIGHT, after)
    done = "as it was" if after == before else f"written to {path}"
    low, high = min(match.by_seed), max(match.by_seed)
    sys.stdout.write(
        f"{name}: {WEIGHT} {before:g} -> {after:g} ({done})\n"
        f"  weight / temperature {before / intra.temperature:g} -> {after / intra.temperature:g}\n"
        f"  {RATIO} {mean_text(match.ratio)}, baseline {mean_text(match.baseline)}"
        f" (mean ± standard deviation over {len(match.ratio)} seeds)\n"
        f"  {match.percent:.1f} % of the baseline's, {low:.0f} to {high:.0f} % by seed\n"
    )
