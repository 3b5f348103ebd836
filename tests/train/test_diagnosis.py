"""When diagnostics run, and that they leave training alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from icckd.study.training import Training
from icckd.train import teacher


@given(st.integers(1, 400))
def test_by_default_at_most_five_epochs_are_diagnosed_evenly_and_the_last_one_is(epochs):
    chosen = sorted(Training(epochs=epochs).diagnosed())
    gaps = [later - earlier for earlier, later in zip([0, *chosen], chosen, strict=False)]

    assert len(chosen) == min(5, epochs)
    assert chosen[-1] == epochs
    assert max(gaps) - min(gaps) <= 1


def test_a_study_may_name_the_epochs_or_none():
    assert Training(diagnose_epochs=(2, 30)).diagnosed() == {2, 30}
    assert Training(diagnose_epochs=()).diagnosed() == set()
    with pytest.raises(ValidationError, match="names epoch 31, there are 30"):
        Training(diagnose_epochs=(31,))


def test_what_is_observed_goes_into_the_record_of_the_declared_epochs(run_teacher, monkeypatch):
    plain = run_teacher(training=Training(epochs=3, batch_size=32))
    original = teacher.fit
    seen = []

    def watched(*arguments, **named):
        def observe(epoch):
            seen.append(epoch)
            return {"probe": 10.0 * epoch}

        return original(*arguments, **{**named, "observe": observe})

    monkeypatch.setattr(teacher, "fit", watched)
    training = Training(epochs=3, batch_size=32, diagnose_epochs=(1, 3))
    notes = run_teacher(training=training)

    assert seen == [1, 3]
    assert [epoch.get("teacher.probe") for epoch in notes.epochs] == [10.0, None, 30.0]
    assert notes.weights == plain.weights
