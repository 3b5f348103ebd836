"""The laws of one plug-in's parts: which there are, and whether each holds, in this process.

Standard input may bring the questions, as for the other helpers: `icckd.testing` starts this module
as a process of its own, so that a plug-in is imported by none that has read its parts already.
"""

import functools
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from icckd.errors import IcckdError, SpecError
from icckd.plugin_host import Host, PluginError
from icckd.resources.processes import answers
from icckd.study.data import DATASETS, ImageShape
from icckd.study.distillers import DISTILLERS
from icckd.study.metrics import METRICS
from icckd.study.network import MODELS
from icckd.study.plugins import reference_to
from icckd.study.registry import Part, Registry
from icckd.study.teacher import TEACHER_LOSSES
from icckd.testing.laws import BrokenLawError, Law, NotTriedError, require, sentence
from icckd.variables import data_folder

Settings = Mapping[str, Sequence[Mapping[str, Any]]]
"""Tables of settings by part, such as `model perceptron`; with none its defaults are tried."""
Verdict = Literal["holds", "broken", "not tried"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is tried.

    Attributes:
        plugin: A file, or an entry point of the group `icckd.parts`.
        settings: Settings of its parts to try, besides or in place of the defaults.
        image: Channels, height and width of the images that models are tried on.
    """

    plugin: str
    settings: Settings
    image: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A law and what it is tried on.

    Attributes:
        part: The part in words, with its settings where they are not the defaults.
        law: Name of the law.
        text: The law in a sentence.
    """

    part: str
    law: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """Whether a law holds; if not, what was seen, and where in the user's file."""

    verdict: Verdict
    text: str = ""


class Trials:
    """All laws of all parts of a plug-in, which is imported for it.

    Raises:
        SpecError: It cannot be imported or registers nothing, or settings do not fit.
    """

    def __init__(self, asked: Asked) -> None:
        reference = reference_to(asked.plugin, Path.cwd())
        try:
            host = Host([asked.plugin], [reference])
        except PluginError as error:
            raise _refused(error) from error
        torch_came = "torch" in sys.modules
        self._folder = str(Path(reference.partition(":")[2]).parent)
        self._asked = asked
        self._parts = host.parts_of(reference)
        self.trials: list[Trial] = []
        self._laws: list[Callable[[], None]] = []

        def no_torch(case: object) -> None:
            """Importing it loads no torch: plans and reports need none."""
            require(not torch_came, "take torch, nn and functional from icckd.plugins")

        self._add("plug-in " + asked.plugin, (no_torch,), lambda: None)
        known = {f"{sort.noun} {part.kind}" for sort, part in self._parts}
        if unknown := sorted(set(asked.settings) - known):
            raise SpecError(
                f"settings are given for {unknown[0]!r}, which the plug-in does not register",
                hint=f"it registers {', '.join(sorted(known))}",
            )
        for sort, part in self._parts:
            self._add_part(sort, part)

    def hold(self, number: int) -> Tried:
        """Return whether the law of a trial holds."""
        try:
            self._laws[number]()
        except BrokenLawError as error:
            return Tried(verdict="broken", text=str(error))
        except NotTriedError as error:
            return Tried(verdict="not tried", text=str(error))
        except IcckdError as error:
            hint = f" ({error.hint})" if error.hint else ""
            return Tried(verdict="broken", text=f"{error.message}{hint}")
        except Exception as error:
            return Tried(verdict="broken", text=self._raised(error))
        return Tried(verdict="holds")

    def _raised(self, error: Exception) -> str:
        """Return what was raised, and the innermost line of the plug-in's folder on the way."""
        stack = traceback.extract_tb(error.__traceback__)
        mine = [f for f in stack if str(Path(f.filename).parent) == self._folder] or stack[-1:]
        where = f"{Path(mine[-1].filename).name}, line {mine[-1].lineno}"
        return f"{type(error).__name__}: {error} ({where})"

    def _add(self, part: str, laws: Sequence[Law], case: Callable[[], Any]) -> None:
        made = functools.cache(case)
        for law in laws:
            self.trials.append(Trial(part=part, law=law.__name__, text=sentence(law)))
            self._laws.append(functools.partial(_try, law, made))

    def _add_part(self, sort: Registry[Any], part: Part[Any]) -> None:
        from icckd.testing import runs
        from icckd.train.distillers.logits import KdDistiller

        name = f"{sort.noun} {part.kind}"
        if sort is METRICS:
            case = functools.partial(self._metric, part.kind)
            self._add(name, _laws_of(sort), case)
            repeat = (
                runs.runs_with_one_seed_are_equal,
                runs.a_resumed_run_ends_as_if_never_stopped,
            )
            self._add(
                name, repeat, lambda: runs.RunCase(data_folder(), distiller=KdDistiller(kind="kd"))
            )
            return
        for label, settings in self._settings(name, part):
            self._add(label, _laws_of(sort), functools.partial(self._case, sort, part, settings))
            run = functools.partial(self._run, sort, part, settings)
            self._add(label, runs.LAWS, run)

    def _settings(self, name: str, part: Part[Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Yield the settings that a part is tried with, as what makes them."""
        kind = {"kind": part.kind} if "kind" in part.settings.model_fields else {}
        for table in self._asked.settings.get(name, ({},)):
            label = f"{name} {json.dumps(dict(table))}" if table else name
            yield label, functools.partial(_validated, part, {**table, **kind}, name)

    def _metric(self, kind: str) -> Any:
        from icckd.testing.metrics import MetricCase

        return MetricCase(kind, data_folder())

    def _case(self, sort: Registry[Any], part: Part[Any], settings: Callable[[], Any]) -> Any:
        """Return what the laws of a sort are tried on."""
        if sort is MODELS:
            from icckd.testing.models import ModelCase

            return ModelCase(settings(), self._image(settings()))
        if sort is DISTILLERS:
            from icckd.testing.distillers import DistillerCase

            return DistillerCase(settings())
        if sort is TEACHER_LOSSES:
            from icckd.testing.losses import LossCase

            return LossCase(part.kind, settings())
        from icckd.testing.datasets import DataCase

        return DataCase(settings(), data_folder())

    def _run(self, sort: Registry[Any], part: Part[Any], settings: Callable[[], Any]) -> Any:
        """Return the stage that a part is trained in."""
        from icckd.testing.runs import RunCase

        made, root = settings(), data_folder()
        if sort is MODELS:
            image = self._image(made)
            own = (data for data in self._own_data() if data.image_shape() == image)
            data = next(own, None)
            if data is None:
                return RunCase(root, image=image, model=made)
            return RunCase(root, data=data, model=made)
        if sort is DISTILLERS:
            return RunCase(root, distiller=made)
        if sort is TEACHER_LOSSES:
            return RunCase(root, losses={part.kind: made})
        return RunCase(root, data=made)

    def _image(self, model: Any) -> ImageShape:
        """Return the shape of images for a model: as asked, of the plug-in's data, or usual."""
        from icckd.testing.models import SHAPES, image_for

        if self._asked.image is not None:
            channels, height, width = self._asked.image
            return ImageShape(channels=channels, height=height, width=width)
        own = (data.image_shape() for data in self._own_data())
        return image_for(model, (*own, *SHAPES))

    def _own_data(self) -> Iterator[Any]:
        """Yield the data sets of the plug-in, with the first settings that are tried."""
        for sort, part in self._parts:
            if sort is DATASETS:
                for _, settings in self._settings(f"{sort.noun} {part.kind}", part):
                    yield settings()


def _try(law: Law, case: Callable[[], Any]) -> None:
    law(case())


def _validated(part: Part[Any], table: Mapping[str, Any], name: str) -> Any:
    try:
        return part.settings.model_validate_json(json.dumps(table))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise NotTriedError(f"{where}: {first['msg']}; give settings of {name!r} to try") from error


def _laws_of(sort: Registry[Any]) -> tuple[Law, ...]:
    """Return the laws of a sort of parts, besides those of whole runs."""
    from icckd.testing import datasets, distillers, losses, metrics, models

    found: dict[str, tuple[Law, ...]] = {
        MODELS.noun: models.LAWS,
        DISTILLERS.noun: distillers.LAWS,
        TEACHER_LOSSES.noun: losses.LAWS,
        DATASETS.noun: datasets.LAWS,
        METRICS.noun: metrics.LAWS,
    }
    return found[sort.noun]


def _refused(error: PluginError) -> SpecError:
    told = error.told
    where = f" ({told['file']}, line {told['line']})" if told.get("line") else ""
    return SpecError(
        f"plug-in {told['plugin']!r}: {told['text']}{where}", hint=told.get("hint") or "mend it"
    )


def main() -> None:
    """Answer on the descriptor that the first argument names: all trials, then one by one."""
    out = answers()
    lines = iter(sys.stdin.buffer.readline, b"")
    asked = Asked(**json.loads(next(lines)))
    try:
        trials = Trials(asked)
        told: dict[str, Any] = {"trials": [asdict(each) for each in trials.trials]}
    except IcckdError as error:
        told = {"error": error.message, "hint": error.hint}
    out.write(json.dumps(told).encode() + b"\n")
    for line in lines:
        tried = asdict(trials.hold(json.loads(line)))
        sys.stdout.flush()
        out.write(json.dumps(tried).encode() + b"\n")


if __name__ == "__main__":
    main()
