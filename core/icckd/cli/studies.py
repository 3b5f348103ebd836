"""Verbs that plan, train and watch: their arguments. What carries them out is imported inside."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from icckd.cli.completion import arms, studies, study_files
from icckd.errors import UsageError
from icckd.variables import expanded

StudyFile = Annotated[
    Path,
    typer.Argument(
        metavar="STUDY", parser=expanded, help="A study file (TOML).", autocompletion=study_files
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings to override, by full path."),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(help="Where to train; auto takes GPUs if torch can use any."),
]
SeedRange = Annotated[
    str | None,
    typer.Option("--seeds", metavar="A:B", help="Seeds A to B-1, instead of the study's."),
]
Jobs = Annotated[int | None, typer.Option("-j", "--jobs", min=1, max=1024, help="Workers at once.")]
Executor = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="What trains: local (processes here), inline, ray, slurm; or as configured.",
        show_default=False,
    ),
]
Address = Annotated[
    str,
    typer.Option(
        metavar="HOST:PORT",
        help="Of the cluster of the executor ray; else as configured.",
        show_default=False,
    ),
]
First = Annotated[
    Literal["seeds", "arms"] | None,
    typer.Option(
        help="What is finished first: each seed through all arms, or each arm; else as configured.",
        show_default=False,
    ),
]
Mix = Annotated[
    Literal["refuse", "allow"] | None,
    typer.Option(
        help="Whether arms of one seed may be computed on several models of device; else as"
        " configured.",
        show_default=False,
    ),
]


def _use_data(folder: Path | None) -> Path | None:
    """Take a folder given by `--data` as `ICCKD_DATA_DIR`, for worker processes too."""
    if folder is not None:
        os.environ["ICCKD_DATA_DIR"] = str(folder.expanduser().absolute())
    return folder


DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", callback=_use_data, expose_value=False,
        help="Where data sets are; otherwise ICCKD_DATA_DIR, or ./data.",
    ),
]  # fmt: skip
AcceptCode = Annotated[
    bool,
    typer.Option("--accept-code", help="Take changed source to give the same numbers as before."),
]


Sweeps = Annotated[
    list[str] | None,
    typer.Option(
        "--sweep",
        metavar="PATH=v1,v2",
        help="Arms with these values instead of the study's own; several multiply.",
    ),
]


def plan(  # noqa: PLR0913  # every option of the command is an argument
         study: StudyFile, overrides: Overrides = None, seeds: SeedRange = None,
         sweep: Sweeps = None, device: Device = "auto", accept_code: AcceptCode = False,
         data: DataFolder = None,
         every_arm: Annotated[
             bool, typer.Option("--all", help="Name every arm of a large study.")
         ] = False) -> None:  # fmt: skip
    """Show what a study would train, and what it takes; trains nothing."""
    changed = _all_overrides(overrides, seeds)
    _print_plan(
        study, changed, device, tuple(sweep or ()), accept_code=accept_code, every_arm=every_arm
    )


def _print_plan(
    study: Path, overrides: tuple[str, ...], device: Literal["auto", "cpu", "cuda"],
    sweeps: tuple[str, ...], *, accept_code: bool, every_arm: bool = False,
    bound_only: bool = False,
) -> None:  # fmt: skip
    from icckd.api.planning import plan_study
    from icckd.cli.common import fit_to_terminal
    from icckd.cli.importing import load_to_run
    from icckd.cli.run import say
    from icckd.journal.folder import StateFolder
    from icckd.study.requested import refuse_open

    read = load_to_run(study, overrides, sweeps)
    found = plan_study(
        read,
        StateFolder.current(),
        device,
        say=say,
        accept_code=accept_code,
        every_arm=every_arm,
    )
    sys.stdout.write(f"{fit_to_terminal(str(found))}\n")
    if not bound_only:
        sys.stdout.flush()
        refuse_open(read)


def schema(
    study: Annotated[
        Path | None,
        typer.Argument(metavar="[STUDY]", parser=expanded, help="Know its plug-ins' parts, too."),
    ] = None,
) -> None:
    """Print the JSON Schema of study files, for editors."""
    from icckd.study.load import load, study_schema
    from icckd.study.plugins import NONE, plugins_of

    sys.stdout.write(study_schema(NONE if study is None else plugins_of(load(study))))


def run(  # noqa: PLR0913  # every option of the command is an argument
    study: StudyFile,
    overrides: Overrides = None,
    seeds: SeedRange = None,
    device: Device = "auto",
    jobs: Jobs = None,
    executor: Executor = "",
    address: Address = "",
    force: Annotated[bool, typer.Option(help="Train finished stages again.")] = False,
    retrain_mixed: Annotated[
        bool,
        typer.Option(
            "--retrain-mixed",
            help="Train finished stages again that another torch or device model made.",
        ),
    ] = False,
    accept_code: AcceptCode = False,
    data: DataFolder = None,
    bound_only: Annotated[
        bool,
        typer.Option(
            "--bound-only", help="Leave out what an ablation plan asks for and nobody has bound."
        ),
    ] = False,
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
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Another machine owns the study and has ended for sure."),
    ] = False,
    first: First = None,
    mix: Mix = None,
    grace: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="After SIGTERM or a second Ctrl-C, how long to wait for stages to be saved.",
        ),
    ] = 25.0,
    tui: Annotated[bool, typer.Option("--tui/--no-tui", help="Watch it on a full screen.")] = False,
    sweep: Sweeps = None,
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=expanded,
            help="With --sweep: write the equal study file, train nothing; - prints it.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --sweep: train more than 200 trials unasked.")
    ] = False,
) -> None:
    """Train what a study is missing, and say what it answers."""
    changed = _all_overrides(overrides, seeds)
    if dry_run:
        _print_plan(
            study, changed, device, tuple(sweep or ()), accept_code=accept_code,
            bound_only=bound_only,
        )  # fmt: skip
        if executor not in ("local", "inline"):
            from icckd.cli.run import RunOptions, print_scripts

            print_scripts(
                RunOptions(
                    study=study, overrides=changed, device=device, jobs=jobs, executor=executor,
                    sweeps=tuple(sweep or ()), accept_code=accept_code, bound_only=bound_only,
                    first=first or "",
                )
            )  # fmt: skip
        return
    if (write is not None or yes) and not sweep:
        raise UsageError("--write and --yes go with --sweep")
    from icckd.cli.run import AddedSeeds, RunOptions, run_and_watch, run_here, write_sweep

    added_seeds = None
    if until is not None or add_seeds is not None:
        added_seeds = AddedSeeds(
            step=add_seeds or 3, until=until, most=max_seeds, stop_hopeless=stop_hopeless
        )
    elif max_seeds is not None or stop_hopeless:
        raise UsageError("--max-seeds and --stop-hopeless go with --until")
    options = RunOptions(
        study=study,
        overrides=changed,
        device=device,
        jobs=jobs,
        force=force,
        retrain_mixed=retrain_mixed,
        accept_code=accept_code,
        executor=executor,
        address=address,
        bound_only=bound_only,
        take_over=take_over,
        first=first or "",
        mix=mix or "",
        added_seeds=added_seeds,
        grace=grace,
        sweeps=tuple(sweep or ()),
        yes=yes,
    )
    if write is not None:
        write_sweep(options, write)
        return
    sys.exit(run_and_watch(options) if tui else run_here(options))


def check(
    study: StudyFile,
    overrides: Overrides = None,
    seconds: Annotated[
        float, typer.Option(min=1.0, help="How long one run may take; it is stopped then.")
    ] = 60.0,
    device: Device = "auto",
) -> None:
    """Look whether the seed decides all randomness of your code.

    Runs the baseline twice under one seed and once under another.
    """
    from icckd.cli.check import check_here

    sys.exit(check_here(study, tuple(overrides or ()), device, seconds=seconds))


def calibrate(  # noqa: PLR0913  # every option of the command is an argument
    study: StudyFile,
    arm: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only this control; default: all.", autocompletion=arms),
    ] = None,
    device: Device = "auto",
    jobs: Jobs = None,
    executor: Executor = "",
    address: Address = "",
    data: DataFolder = None,
    tolerance: Annotated[
        float, typer.Option(min=0.1, max=10.0, help="How far the ratio may be off, in percent.")
    ] = 5.0,
) -> None:
    """Find the weights of matched controls.

    On the calibration seeds; the weights are written into the study file.
    """
    from icckd.cli.calibrate import calibrate_here
    from icckd.cli.run import RunOptions

    options = RunOptions(
        study=study,
        overrides=(),
        device=device,
        jobs=jobs,
        executor=executor,
        address=address,
    )
    calibrate_here(study, arm, options, tolerance=tolerance)


def watch(
    study: Annotated[
        str | None,
        typer.Argument(metavar="[STUDY]", help="A study's name or file.", autocompletion=studies),
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
    host: Annotated[
        str, typer.Option(help="For --web: the address to listen on, to be seen from elsewhere.")
    ] = "127.0.0.1",
    tabs: Annotated[
        int, typer.Option(min=1, max=64, help="For --web: how many tabs may be open at a time.")
    ] = 4,
) -> None:
    """Watch a study live on a full screen, or in a browser.

    Any number of viewers may come and go; training never waits for one.
    """
    from icckd.cli.report import study_name
    from icckd.journal.folder import StateFolder

    name = study_name(study)
    if web:
        if replay is not None:
            raise UsageError("--web and --replay do not go together", hint="leave one out")
        from icckd_tui.web import serve

        serve(name, host=host, port=port, tabs=tabs)
        return
    from icckd_tui.app import run_watch

    run_watch(StateFolder.current(), name, read_only=read_only, replay=replay)


def fetch(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="cifar10, cifar100, mnist, fashion-mnist or tiny-imagenet."
        ),
    ],
    data: DataFolder = None,
) -> None:
    """Download a data set.

    By torchvision, into --data or ICCKD_DATA_DIR (default: ./data).
    """
    from icckd.run.prepare import data_root
    from icckd.train.data.download import fetch as download

    download(dataset, data_root())


def _all_overrides(overrides: list[str] | None, seeds: str | None) -> tuple[str, ...]:
    given = tuple(overrides or ())
    if seeds is None:
        return given
    first, colon, end = seeds.partition(":")
    if not (colon and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise UsageError(
            f"--seeds {seeds!r} is not a range", hint="--seeds 0:8 means seeds 0, 1, ..., 7"
        )
    return (*given, f"study.seeds.first={int(first)}", f"study.seeds.count={int(end) - int(first)}")
