"""A part for each law of `icckd.testing` that breaks it; the law is its kind, with dashes.

What a part breaks is the one line that differs from a part that keeps all laws.
"""

import random
from typing import Literal

from icckd.plugins import (
    About,
    Classifier,
    Diagnostic,
    ImageCounts,
    ImageShape,
    LossSettings,
    LossTerm,
    LossValue,
    Maps,
    Method,
    Model,
    NetworkShape,
    SmallImages,
    Split,
    Splits,
    StageShape,
    TeacherLoss,
    Term,
    data_set,
    distiller,
    functional,
    generator,
    initialise,
    model,
    nn,
    precise,
    teacher_loss,
    torch,
)


def settings(base, law, **changed):
    """Settings of the kind that is called as the law."""
    return type(
        law,
        (base,),
        {
            "__module__": __name__,
            "__annotations__": {"kind": Literal[law.replace("_", "-")]},
            **changed,
        },
    )


# Models.


class GoodModel(Model):
    about = "a convolution"
    hidden: int = 6

    def shape(self, image):
        stage = StageShape(channels=self.hidden, height=image.height, width=image.width)
        return NetworkShape(features=self.hidden, stages=(stage,))


class Good(Classifier):
    def __init__(self, settings, *, in_channels, n_classes):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, settings.hidden, 3, padding=1)
        self.norm = nn.BatchNorm2d(settings.hidden)
        self.classifier = nn.Linear(settings.hidden, n_classes)

    def maps(self, images_BCHW):
        preact = self.norm(self.conv(images_BCHW))
        stage = preact.relu()
        return Maps(stage.mean(dim=(2, 3)), (stage,), (preact,))


def broken_model(law, **changed):
    return model(settings(GoodModel, law, **changed))


def one_more(self, image):
    return NetworkShape(features=self.hidden + 1, stages=GoodModel.shape(self, image).stages)


@broken_model("its_shape_is_what_the_network_gives", shape=one_more)
class OtherShape(Good):
    pass


@broken_model("its_classifier_gives_the_logits")
class OtherLogits(Good):
    def outputs(self, images_BCHW):
        output = super().outputs(images_BCHW)
        return output._replace(logits=output.logits * 2)


@broken_model("each_stage_is_its_activated_preact")
class NotActivated(Good):
    activated = False


@broken_model("its_parameters_start_from_its_key")
class OwnStart(Good):
    def initialise(self, key):
        super().initialise(("always",))


@broken_model("other_classes_start_nothing_else_otherwise")
class StartByClasses(Good):
    def initialise(self, key):
        super().initialise((*key, self.classifier.out_features))


@broken_model("gradients_reach_every_parameter")
class Idle(Good):
    def __init__(self, settings, **more):
        super().__init__(settings, **more)
        self.idle = nn.Linear(2, 2)


@broken_model("training_draws_from_no_shared_stream")
class Dropout(Good):
    def maps(self, images_BCHW):
        found = super().maps(images_BCHW)
        return found._replace(features=functional.dropout(found.features, 0.1, self.training))


@broken_model("evaluation_repeats_and_changes_nothing")
class AlwaysTraining(Good):
    def maps(self, images_BCHW):
        self.norm.train()
        return super().maps(images_BCHW)


@broken_model("an_image_alone_gets_the_same_answer")
class InCompany(Good):
    def maps(self, images_BCHW):
        return super().maps(images_BCHW - images_BCHW.mean(dim=0, keepdim=True))


class Counting(Good):
    """Keeps a number that is no buffer."""

    def __init__(self, settings, **more):
        super().__init__(settings, **more)
        self.seen = 0

    def maps(self, images_BCHW):
        self.seen += self.training
        found = super().maps(images_BCHW)
        return found._replace(features=found.features * (1 + 0.1 * self.seen))


@broken_model("it_comes_back_as_it_was_stored")
class NotStored(Counting):
    pass


@broken_model("a_resumed_run_ends_as_if_never_stopped")
class NotResumed(Counting):
    pass


@broken_model("runs_with_one_seed_are_equal")
class Drawn(Good):
    def maps(self, images_BCHW):
        return super().maps(images_BCHW + 0.01 * self.training * torch.rand(()))


@broken_model("a_run_with_another_seed_differs")
class Deaf(Good):
    """Learns nothing and starts as it always does."""

    def __init__(self, settings, **more):
        super().__init__(settings, **more)
        self.norm = nn.Identity()
        for parameter in self.parameters():
            parameter.register_hook(torch.zeros_like)

    def initialise(self, key):
        super().initialise(("always",))


@model(settings(GoodModel, "good"))
class GoodOne(Good):
    pass


# Distillers.


class GoodDistiller(Term):
    source = "nobody"
    needs = ("features",)
    losses = (LossTerm(unit="1", about="error of features", formula="(f - f)^2"),)


class GoodMethod(Method):
    def __init__(self, settings, pairing, name=None):
        super().__init__(settings, pairing, name)
        widths = (o.features.shape[1] for o in (pairing.student, pairing.teacher))
        self.regressor = nn.Linear(*widths)
        initialise(self, self.key)

    def losses(self, student, teacher, batch, *, step):
        guess = self.regressor(precise(student.features))
        return (functional.mse_loss(guess, precise(teacher.features)),)


def broken_distiller(law, **changed):
    return distiller(settings(GoodDistiller, law, **changed))


@broken_distiller("terms_are_named_as_the_weights")
class OtherNames(GoodMethod):
    def own_weights(self, epoch):
        return {f"{self.name}{epoch}": 1.0}


@broken_distiller("terms_are_finite_scalars")
class NoScalar(GoodMethod):
    def losses(self, *outputs, step):
        return (super().losses(*outputs, step=step)[0] * torch.ones(2),)


@broken_distiller("gradients_reach_the_student_and_never_the_teacher")
class TeachesTheTeacher(GoodMethod):
    def terms(self, student, teacher, batch, *, step):
        ce = functional.cross_entropy(precise(student.logits), batch.labels)
        return {"ce": ce, **self.own_terms(student, teacher, batch, step=step)}


@broken_distiller("each_term_teaches")
class Constant(GoodMethod):
    def losses(self, *outputs, step):
        return (super().losses(*outputs, step=step)[0].detach(),)


@broken_distiller("it_reads_only_what_it_declares")
class ReadsMaps(GoodMethod):
    def losses(self, student, teacher, batch, *, step):
        more = precise(student.stages[-1]).square().mean()
        return (super().losses(student, teacher, batch, step=step)[0] + more,)


@broken_distiller("its_parameters_start_from_its_key")
class AnyStart(GoodMethod):
    def __init__(self, settings, pairing, name=None):
        super().__init__(settings, pairing, name)
        self.regressor = nn.Linear(*self.regressor.weight.shape[::-1])


class Noisy(GoodMethod):
    def losses(self, *outputs, step):
        return (super().losses(*outputs, step=step)[0] * random.random(),)


@broken_distiller("steps_depend_on_no_shared_stream")
class SharedStream(Noisy):
    pass


class Counted(GoodMethod):
    count = 0

    def losses(self, *outputs, step):
        self.count += 1
        return (super().losses(*outputs, step=step)[0] * self.count,)


@broken_distiller("its_state_dict_continues_it")
class NoBuffer(Counted):
    pass


@broken_distiller("half_precision_is_computed_in_float32")
class Rough(GoodMethod):
    def losses(self, student, teacher, batch, *, step):
        kind = self.regressor.weight.dtype
        error = student.features.square().mean() - teacher.features.square().mean()
        return (super().losses(student, teacher, batch, step=step)[0] + error.abs().to(kind),)


@distiller(settings(GoodDistiller, "good"))
class GoodJoin(GoodMethod):
    pass


# Losses of the teacher.


class GoodLoss(LossSettings):
    title = "a loss"
    about = "mean squared feature"
    diagnostics = (
        Diagnostic(name="odd_norm", unit="1", about="mean norm"),
        Diagnostic(name="odd_size", unit="1", about="features", told="stage"),
    )
    weight: float = 0.01


class GoodTerm(TeacherLoss):
    def __init__(self, settings, inputs):
        super().__init__(settings)
        self.head = nn.Linear(inputs.n_features, 4)
        self.size = inputs.n_features
        initialise(self, inputs.key)

    def term(self, seen):
        with torch.autocast("cpu", enabled=False):
            features = precise(seen.features)
            loss = self.head(features).square().mean() + features.square().mean()
            norms = features.detach().norm(dim=1).mean()
        return LossValue(loss, (norms,) * len(self.diagnostics))

    def outcomes(self):
        return {name.name: self.size for name in self.told}

    told = ()


def broken_loss(law, names):
    mine = tuple(
        Diagnostic(name=f"{names}_{told}", unit="1", about="a number", told=told)
        for told in ("step", "stage")
    )
    kind = type(law, (GoodLoss,), {"__module__": __name__, "diagnostics": mine})
    register = teacher_loss(law, kind)

    def add(build):
        build.told = mine[1:]
        return register(build)

    return add


@broken_loss("a_loss_is_finite_and_moves_the_features", "a")
class NotFinite(GoodTerm):
    def term(self, seen):
        found = super().term(seen)
        return found._replace(loss=found.loss / 0)


@broken_loss("it_tells_what_its_settings_name", "b")
class SaysMore(GoodTerm):
    def observe(self, end):
        return {"unheard_of": 1.0}


@broken_loss("its_parameters_start_from_its_key", "c")
class AnyLossStart(GoodTerm):
    def __init__(self, settings, inputs):
        super().__init__(settings, inputs)
        initialise(self, ("always",))


@broken_loss("steps_depend_on_no_shared_stream", "d")
class NoisyLoss(GoodTerm):
    def term(self, seen):
        found = super().term(seen)
        return found._replace(loss=found.loss * (1 + torch.rand(())))


@broken_loss("features_of_zero_have_a_gradient", "e")
class RootOfZero(GoodTerm):
    def term(self, seen):
        found = super().term(seen)
        return found._replace(loss=found.loss + precise(seen.features).square().sum().sqrt())


@broken_loss("its_state_dict_continues_it", "f")
class CountedLoss(GoodTerm):
    count = 0

    def term(self, seen):
        found = super().term(seen)
        return found._replace(loss=found.loss * (1 + self.count))

    def remember(self, seen, term):
        self.count += 1


@broken_loss("weight_0_leaves_cross_entropy_alone", "g")
class ChangesTheLogits(GoodTerm):
    def term(self, seen):
        if seen.model.classifier.weight.grad is not None:
            seen.model.classifier.weight.grad.add_(1.0)
        return super().term(seen)


@broken_loss("half_precision_is_computed_in_float32", "h")
class RoughLoss(GoodTerm):
    def term(self, seen):
        found = super().term(seen)
        return found._replace(loss=found.loss.to(seen.features.dtype))


@broken_loss("good", "i")
class GoodAddition(GoodTerm):
    pass


# Data sets.


class GoodData(SmallImages):
    about = About(images="8x8", labels="3", test_set="drawn", files="none")
    drawn = "noise, version 1"

    def image_shape(self):
        return ImageShape(channels=1, height=8, width=8)

    def class_count(self):
        return 3

    def image_counts(self):
        return ImageCounts(train=90, validation=30, test=30)


def noise(name, size, **changed):
    shape = (size, 8, 8, 1)
    images = torch.randint(0, 256, shape, generator=generator(("noise", name)), dtype=torch.uint8)
    return Split(
        **{"images": images, "labels": torch.arange(size) % 3, "subclasses": None} | changed
    )


def splits(**changed):
    sizes = {"train": 90, "validation": 30, "test": 30}
    made = {name: noise(name, size) for name, size in sizes.items()}
    return Splits(**made | {"n_classes": 3} | changed)


def broken_data(law, **changed):
    return data_set(settings(GoodData, law, **changed))


@broken_data("images_are_bytes_of_the_shape_that_it_tells")
def floats(data, root):
    good = splits().validation
    return splits(validation=noise("v", 30, images=good.images.float()))


@broken_data("it_has_as_many_images_as_it_tells")
def more(data, root):
    return splits(test=noise("test", 31))


@broken_data("labels_are_within_its_classes")
def from_one(data, root):
    return splits(train=noise("train", 90, labels=1 + torch.arange(90) % 3))


@broken_data("it_has_the_finer_labels_that_it_tells", has_subclasses=lambda self: True)
def no_finer(data, root):
    return splits()


@broken_data("it_loads_the_same_bytes_twice")
def any_order(data, root):
    whole = splits()
    return splits(train=whole.train.take(torch.randperm(90)))


@broken_data("its_splits_share_no_image")
def shared(data, root):
    return splits(test=noise("train", 90).take(torch.arange(30)))


@broken_data("a_fingerprint_tells_which_images_these_are", drawn="")
def nameless(data, root):
    return splits()


@data_set(settings(GoodData, "good"))
def good(data, root):
    return splits()
