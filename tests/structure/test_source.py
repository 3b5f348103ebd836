"""Training code that changed has a new training version, or was shown to give equal numbers."""

from icckd.study import source
from icckd.train.contract import EAGER_FP32_ON_A_CPU, EVERYTHING_ELSE

RECORD = "run `uv run python bench/same_numbers.py --record` (CONTRIBUTING.md)"


def test_the_list_of_known_source_is_that_of_the_present_code_epochs():
    epochs = source.known_file()["epochs"]

    assert epochs == [EAGER_FP32_ON_A_CPU, EVERYTHING_ELSE], (
        f"a training version was raised: {RECORD}"
    )


def test_training_code_has_a_new_code_epoch_or_a_recorded_equality_run():
    known = source.known_digests()
    found = source.digests(source.own_modules())

    changed = [source.path_text(name) for name in found if found[name] not in known.get(name, ())]
    assert not changed, f"training code changed: raise the training version, or {RECORD}"


def test_what_trains_is_looked_at():
    found = source.own_modules()

    assert {"icckd.train.trainer", "icckd.train.distillers.logits", "icckd.study.training"} <= found
    assert not any(
        name.startswith(("icckd.results", "icckd.report", "icckd.cli")) for name in found
    )
