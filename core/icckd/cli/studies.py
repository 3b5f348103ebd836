"""Verbs that plan, train and watch: plan, run, watch, fetch. Heavy imports happen inside."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from icckd.errors import UsageError

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="A study file (TOML).")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings to override, by full path."),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train; auto takes a GPU if any.")
]
SeedRange = Annotated[
    str | None,
    typer.Option("--seeds", metavar="A:B", help="Seeds A to B-1, instead of the study's."),
]


def plan(study: StudyFile, overrides: Overrides = None, seeds: SeedRange = None,
         device: Device = "auto") -> None:  # fmt: skip
    """Show arms, what differs, trials, stages, and what they will take. Trains nothing."""
    from icckd.cli.planning import print_plan

    print_plan(study, _all_overrides(overrides, seeds), device)


def run(
    study: StudyFile,
    overrides: Overrides = None,
    seeds: SeedRange = None,
    device: Device = "auto",
    jobs: Annotated[
        int | None, typer.Option("-j", "--jobs", min=1, max=1024, help="Workers at once.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Train finished stages again.")] = False,
    dry_run: Annotated[bool, typer.Option("-n", "--dry-run", help="As `icckd plan`.")] = False,
    add_seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            metavar="K",
            help="Add K seeds to those that ran; with --until, K at a time.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION",
            help="Add seeds until it holds: 'halfwidth(student.top1) < 0.3', or: decided.",
        ),
    ] = None,
    max_seeds: Annotated[
        int | None,
        typer.Option(min=2, max=10_000, metavar="N", help="With --until: no more than N."),
    ] = None,
    stop_hopeless: Annotated[
        bool,
        typer.Option(
            "--stop-hopeless", help="With --until: no more seeds for arms that are surely worse."
        ),
    ] = False,
    tui: Annotated[bool, typer.Option("--tui/--no-tui", help="Watch it on a full screen.")] = False,
) -> None:
    """Train what a study is missing, then print its comparison table."""
    changed = _all_overrides(overrides, seeds)
    if dry_run:
        from icckd.cli.planning import print_plan

        print_plan(study, changed, device)
        return
    from icckd.cli import running

    growth = None
    if until is not None or add_seeds is not None:
        growth = running.Growth(
            add=add_seeds or 3, until=until, most=max_seeds, stop_hopeless=stop_hopeless
        )
    elif max_seeds is not None or stop_hopeless:
        raise UsageError("--max-seeds and --stop-hopeless go with --until")
    wish = running.Wish(
        study=study, overrides=changed, device=device, jobs=jobs, force=force, growth=growth
    )
    if tui:
        sys.exit(running.run_and_watch(wish))
    if growth is None:
        sys.exit(running.run_here(wish))
    from icckd.cli.growing import run_growing

    sys.exit(run_growing(wish, growth))


def calibrate(
    study: StudyFile,
    arm: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this control; default: all.")
    ] = None,
    device: Device = "auto",
    jobs: Annotated[
        int | None, typer.Option("-j", "--jobs", min=1, max=1024, help="Workers at once.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0.1, max=10.0, help="How far the ratio may be off, in percent.")
    ] = 5.0,
) -> None:
    """Find the weights of matched controls on the calibration seeds; write them into the file."""
    from icckd.cli.calibrating import calibrate_here

    calibrate_here(study, arm, device=device, jobs=jobs, tolerance=tolerance)


def watch(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="A study's name or file.")
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Send the session no requests.")
    ] = False,
    replay: Annotated[
        float | None,
        typer.Option(min=0.01, metavar="SPEED", help="Show it again, so many times as fast."),
    ] = None,
    web: Annotated[
        bool, typer.Option("--web", help="Serve it, read-only, to a browser on this machine.")
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="For --web.")] = 8000,
) -> None:
    """Watch a study live on a full screen; any number of viewers may come and go."""
    from icckd.cli.inspect import study_name
    from icckd.journal.folder import StateFolder

    name = study_name(study)
    if web:
        if replay is not None:
            raise UsageError("--web and --replay do not go together", hint="leave one out")
        from icckd_tui.web import serve

        serve(name, port)
        return
    from icckd_tui.app import run_watch

    run_watch(StateFolder.current(), name, read_only=read_only, replay=replay)


def fetch(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="cifar10, cifar100 or tiny-imagenet.")
    ],
) -> None:
    """Download a data set with torchvision into ICCKD_DATA_DIR (default: ./data)."""
    from icckd.engine.data import fetch as download
    from icckd.session.prepare import data_root

    download(dataset, data_root())


def _all_overrides(overrides: list[str] | None, seeds: str | None) -> tuple[str, ...]:
    found = tuple(overrides or ())
    if seeds is None:
        return found
    first, colon, end = seeds.partition(":")
    if not (colon and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise UsageError(
            f"--seeds {seeds!r} is not a range", hint="--seeds 0:8 means seeds 0, 1, ..., 7"
        )
    return (*found, f"study.seeds.first={int(first)}", f"study.seeds.count={int(end) - int(first)}")
