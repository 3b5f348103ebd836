"""What a study can be warned of before it trains: settings that are valid, and mislead. Pure.

Each warning says what is odd, what follows from it for results, and what to do.
"""

from collections.abc import Iterator, Mapping

from icckd.study.data import Data, ImageCounts
from icckd.study.model import Method, Study
from icckd.study.part_words import odd_values
from icckd.study.tasks import uses_engine

SMALL_TEST_SET = 200
"""Test images below which one of them is more than half a percentage point."""
SMALL_VALIDATION_SET = 50


def chance_level(classes: int) -> float:
    """Return the accuracy in percent of guessing among equally frequent classes."""
    return 100 / classes


def study_warnings(
    study: Study,
    methods: Mapping[str, Method],
    metrics: tuple[str, ...],
    counts: Mapping[Data, ImageCounts],
) -> list[str]:
    """Return the warnings of a study, each once, with the arms that it concerns.

    Args:
        study: The study.
        methods: Its methods by arm.
        metrics: The outcomes that its report has.
        counts: Images of each split of data that have told them.
    """
    if not uses_engine(study.task):
        return []
    concerned: dict[str, list[str]] = {}
    for arm, method in methods.items():
        for warning in _of_method(method, counts.get(method.data) or method.data.image_counts()):
            concerned.setdefault(warning, []).append(arm)
    found = [
        warning if len(arms) == len(methods) else f"{', '.join(arms)}: {warning}"
        for warning, arms in concerned.items()
    ]
    return [*found, *_of_targets(study, methods, metrics)]


def changed_meaning(study: Study) -> str:
    """Return what a file means now and meant once, where it leaves the teacher's losses open."""
    teacher = study.teacher
    written = teacher.model_fields_set & {"views", *teacher.loss_names()}
    if not uses_engine(study.task) or written:
        return ""
    return (
        "the file names no loss and no views for the teacher: since training version 2 that is"
        " cross-entropy on one view; before, it was `views = 2` in [teacher] and an empty table"
        " [teacher.intra], which give it again"
    )


def _of_method(method: Method, counts: ImageCounts | None) -> Iterator[str]:
    yield from odd_values(method)
    if warning := identical_views(method):
        yield warning
    if counts is None:
        return
    for kind, training in (
        ("teacher", method.teacher.training), ("student", method.student.training)
    ):  # fmt: skip
        if counts.train // training.batch_size == 1:
            yield (
                f"an epoch of the {kind} is one step: {counts.train} training images make one batch"
                f" of {training.batch_size}, so {training.last_epoch} epochs are"
                f" {training.last_epoch} steps in all, and no loss sees another batch than that;"
                f" lower {kind}.training.batch_size"
            )
    if counts.test < SMALL_TEST_SET:
        yield small_test_set(counts.test)
    if counts.validation < SMALL_VALIDATION_SET:
        yield (
            f"the validation set has {counts.validation} images: its accuracy moves in steps of"
            f" {100 / counts.validation:.3g} points, and convergence is judged by it"
        )


def identical_views(method: Method) -> str:
    """Return the warning of a teacher that compares an image with itself, or ""."""
    if method.teacher.views == 1 or method.data.augment.changes_images():
        return ""
    pairs = [loss.title for loss in method.teacher.losses().values() if loss.views == 2]
    what = f"{' and '.join(pairs)} compares each image with itself" if pairs else (
        "the second view only takes time"
    )  # fmt: skip
    return (
        "the two views of an image are identical, for data.augment changes nothing:"
        f" {what}; set for example data.augment = {{ padding = 4, flip = true }}"
    )


def small_test_set(images: int) -> str:
    """Return the warning of a test set that measures coarsely."""
    error = 100 * (0.8 * 0.2 / images) ** 0.5
    return (
        f"the test set has {images} images: one is {100 / images:.2g} points, and an accuracy of"
        f" 80 % is known to ±{error:.2g} points (standard error), for all seeds the same images"
    )


def _of_targets(
    study: Study, methods: Mapping[str, Method], metrics: tuple[str, ...]
) -> Iterator[str]:
    convergence = study.study.convergence
    for kind in ("teacher", "student"):
        asked = [name for name in metrics if name.startswith(f"{kind}.convergence")]
        if not asked:
            continue
        target: float = getattr(convergence, kind)
        if kind not in convergence.model_fields_set:
            yield (
                f"{' and '.join(asked)} wait for {target:g} % validation accuracy, the default of"
                f" [study.convergence] {kind}: where it is never reached they are infinite and show"
                " no difference; set a target that the baseline reaches"
            )
        reached = {
            arm: classes
            for arm, method in methods.items()
            if (classes := method.data.class_count()) and target <= chance_level(classes)
        }
        if reached:
            classes = min(reached.values())
            yield (
                f"[study.convergence] {kind} = {target:g} % is no more than chance with"
                f" {classes} classes ({chance_level(classes):.3g} %): it is reached at once"
            )
