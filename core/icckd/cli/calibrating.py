"""`icckd calibrate`: find the weights of matched controls and write them into the study file."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from icckd.cli.running import Signals, Wish, run_session, say
from icckd.design import Arm, arms
from icckd.design.calibration import RATIO, WEIGHT, matched_controls
from icckd.journal.folder import StateFolder
from icckd.results.read import Results
from icckd.session.calibrate import (
    Match,
    Ratios,
    calibration_study,
    find_weights,
    spread_text,
    teachers_of,
    trials_of,
)
from icckd.session.prepare import Device, complete_stages, data_root, plan_trials
from icckd.session.record import Mission
from icckd.spec.edit import set_in_arm
from icckd.spec.load import load
from icckd.spec.study import Study
from icckd.store.lock import owner_lock
from icckd.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rounds:
    """Trains the arms of a round and reads their ratios."""

    folder: StateFolder
    results: Results
    study: Study
    wish: Wish
    signals: Signals

    def __call__(self, tried: Sequence[Arm]) -> Ratios:
        trials = trials_of(tried, self.study.study.seeds)
        plan = plan_trials(self.study, trials, device=self.wish.device, root=data_root())
        done = complete_stages(self.folder, self.results.complete_stages())
        mission = Mission(
            study=self.study,
            plan=teachers_of(plan),
            complete=done,
            arguments=sys.argv[1:],
            data_root=data_root(),
            asked=self.wish.asked,
        )
        code, _ = run_session(self.folder, self.results, mission, self.wish, self.signals.stopping)
        self.results.refresh()
        if code:
            say(f"the calibration did not end; {self.wish.study} is as it was")
            sys.exit(code)
        return self.results.values(self.results.study(self.study.study.name), RATIO)


def calibrate_here(
    path: Path, only: str | None, *, device: Device, jobs: int | None, tolerance: float
) -> None:
    """Find the weights and write them; a session that did not end gives its exit code."""
    study = load(path)
    found = arms(study)
    controls = matched_controls(study, found, only)
    wish = Wish(study=path, overrides=(), device=device, jobs=jobs, force=False)
    own = calibration_study(study)
    folder = StateFolder.current()
    folder.create()
    with (
        owner_lock(folder, waiting=lambda: say("another run owns this state folder; waiting")),
        Store.open_file(folder, notice=say) as store,
    ):
        results = Results(store)
        results.refresh()
        rounds = _Rounds(folder=folder, results=results, study=own, wish=wish, signals=Signals())
        matches = find_weights(found[0], controls, rounds, tolerance=tolerance)
    for match in matches:
        _write(path, match)


def _write(path: Path, match: Match) -> None:
    intra = match.control.method.teacher.intra
    assert intra != "off"
    name, before, after = match.control.name, intra.weight, match.weight
    if after != before:
        set_in_arm(path, name, WEIGHT, after)
    done = "as it was" if after == before else f"written to {path}"
    low, high = min(match.by_seed), max(match.by_seed)
    sys.stdout.write(
        f"{name}: {WEIGHT} {before:g} -> {after:g} ({done})\n"
        f"  weight / temperature {before / intra.temperature:g} -> {after / intra.temperature:g}\n"
        f"  {RATIO} {spread_text(match.ratio)}, baseline {spread_text(match.baseline)}"
        f" (mean ± standard deviation over {len(match.ratio)} seeds)\n"
        f"  {match.percent:.1f} % of the baseline's, {low:.0f} to {high:.0f} % by seed\n"
    )
