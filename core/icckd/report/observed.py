"""What a report says of observed trials: runs that were made elsewhere, and imported.

Where they were read, by which rule a value was taken, and what is not known of them: design laws 2
and 7 (docs/laws.md) are claims of whoever made the runs.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from icckd.report.item_text import interval_reach
from icckd.report.text import display, seeds_text
from icckd.results.types import About, Comparison, StudyInfo
from icckd.study.observed import Observed

if TYPE_CHECKING:
    from icckd.results.query import Results

CLAIMS = (
    "That equal seeds of two arms are pairs (the same data order and initial weights), that the"
    " seed decides all randomness, and that runs differ in their arm alone are claims of whoever"
    " made the runs, not verified"
)


def suffix(observed: Observed) -> str:
    """Return what is added to a study's line: where its runs were read, and by which rule."""
    return f", imported from {display(observed.file_names, 200)} ({rule_words(observed)})"


def rule_words(observed: Observed) -> str:
    """Return in a few words the reporting rule, and whether a search chose what ran."""
    return f"{_rule(observed)}{', chosen by a search' if observed.is_chosen_by_search else ''}"


def _rule(observed: Observed) -> str:
    if observed.rule == "last":
        return "last value of a run"
    if observed.rule.startswith("best:"):
        return f"value at the best {display(observed.rule.removeprefix('best:'), 80)}"
    return "rule unknown"


def rule_sentence(observed: Observed) -> str:
    """Return by which rule the values of runs were taken."""
    if observed.rule == "last":
        return "Of each run the last value counts, as declared at the import."
    if observed.rule.startswith("best:"):
        chooser = display(observed.rule.removeprefix("best:"), 80)
        return (
            f"Of each run the value at the step with the best {chooser} counts, as declared at the"
            " import; what was logged once counts as it is."
        )
    return (
        "Each run has one value of a metric, and by which rule it was taken is not known (rule"
        " unknown): it may be the best one on the test set."
    )


def notes(study: StudyInfo, observed: Observed, found: set[About]) -> Iterator[str]:
    """Yield what the numbers are, and what is not known of them."""
    yield (
        f"Observed trials: the runs were made elsewhere and imported from {_files(observed)}; arms"
        f" are told by {display(observed.source.arm, 80)}, seeds by"
        f" {display(observed.source.seed, 80)}. {rule_sentence(observed)} Whether a test set was"
        " used once is not known."
    )
    yield "mean ± standard deviation (n): n counts seeds, each an imported run."
    yield f"{CLAIMS}. Intervals speak about {interval_reach(found)} there."
    if observed.is_chosen_by_search:
        yield _SEARCH
    yield from (display(text, 500) for text in observed.source.notes)


_SEARCH = (
    "Chosen by a search: which runs exist was decided by the results of earlier ones, so that means"
    " are too good and seeds are no replicates unless the study repeated them on purpose."
)


def seeds_without_pair(study: StudyInfo, rows: tuple[Comparison, ...]) -> Iterator[str]:
    """Name the seeds that only one of two arms has, and the arms that share none."""
    judged = [row for row in rows if row.metric == study.primary]
    theirs = sum(row.n for row in judged if row.arm == study.baseline)
    for row in judged:
        name, baseline = display(row.arm), display(study.baseline)
        if row.is_unpaired:
            yield (
                f"{name} shares no seed with {baseline}: their difference is that of the means of"
                f" {row.n} and {theirs} seeds, by Welch's t test with {min(row.n, theirs) - 1}"
                " degrees of freedom, not of pairs."
            )
        elif row.unpaired:
            yield (
                f"{name} and {baseline} share {len(row.unpaired)} seeds less than there are:"
                f" {seeds_text(row.unpaired)} of one of them alone count for no difference."
            )


def methods(results: "Results", study: StudyInfo, observed: Observed) -> Iterator[str]:
    """Yield the sentences of the methods paragraph about the runs."""
    done = results.trial_counts(study)
    yield (
        f"{done.total} runs of {len(study.arms)} arms under {len(study.seeds)} seeds"
        f" ({seeds_text(study.seeds)}), made elsewhere, were read from {_files(observed)};"
        f" {done.complete} of them have a value. {rule_sentence(observed)}"
    )
    if observed.is_chosen_by_search:
        yield _SEARCH
    yield f"{CLAIMS}. n counts seeds."
    apart = [row for row in results.comparisons(study) if row.is_unpaired]
    if apart:
        names = ", ".join(dict.fromkeys(display(row.arm) for row in apart))
        yield (
            f"Arms without a seed in common with {display(study.baseline)} ({names}) were compared"
            " by Welch's t test of the means (one degree of freedom less than the fewer seeds), not"
            " of pairs, in the same family and with the same least number of seeds in each arm."
        )


def threats(study: StudyInfo, observed: Observed) -> Iterator[str]:
    """Yield what may be held against answers from imported runs."""
    yield f"{CLAIMS}."
    yield rule_sentence(observed)
    if observed.is_chosen_by_search:
        yield _SEARCH
    yield (
        "Which runs were imported was not fixed beforehand: runs that were left out, or seeds that"
        " were added until a result looked well, leave no trace in the file."
    )


def _files(observed: Observed) -> str:
    told = [f"{display(f.name, 100)} (SHA-256 {f.sha256[:12]})" for f in observed.source.files[:3]]
    more = len(observed.source.files) - len(told)
    return ", ".join(told) + (f" and {more} more files" if more else "")
