"""A metric for each law of `icckd.testing` that breaks it; the law is its name.

They measure every stage, and are apart from the other parts for that.
"""

from icckd.plugins import metric, torch


@metric("it_is_a_finite_number", unit="1", direction="none", about="no number")
def no_number(evaluation):
    return float("nan")


@metric("it_is_the_same_twice", unit="1", direction="none", about="a draw")
def a_draw(evaluation):
    return torch.rand(()).item()


@metric("it_changes_nothing", unit="1", direction="none", about="puts the model to train")
def to_train(evaluation):
    evaluation.model.train()
    return 1.0


@metric("runs_with_one_seed_are_equal", unit="1", direction="none", about="a draw of a stage")
def another_draw(evaluation):
    return torch.rand(()).item()


@metric("good", unit="%", direction="none", about="mean confidence")
def confidence(evaluation):
    return 100 * evaluation.logits.softmax(dim=1).amax(dim=1).mean().item()
