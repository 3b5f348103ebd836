"""A study in Python: read from a file or made of a dictionary, planned, shown."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, get_args

from icckd import variables
from icckd.api.planning import StudyPlan, plan_study
from icckd.configuration import configuration
from icckd.errors import SpecError, UsageError
from icckd.journal.folder import StateFolder
from icckd.run.prepare import Device
from icckd.study import model
from icckd.study.arms import expand
from icckd.study.load import from_tables, load
from icckd.study.records import Arm
from icckd.study.shipped import is_shipped

if TYPE_CHECKING:
    from icckd.storage.mirror import Puller

PathText = str | os.PathLike[str]


class Study:
    """A study: one question, its arms and seeds. `load` and `from_dict` make one."""

    def __init__(self, settings: model.Study) -> None:
        self._settings = settings

    @classmethod
    def load(cls, path: PathText, overrides: Sequence[str] = ()) -> "Study":
        """Return the study in a file.

        Args:
            path: A study file (TOML), or `shipped:NAME` for a study that comes with icckd.
            overrides: `key=value` each, as `icckd run` takes them.

        Raises:
            SpecError: It is not a valid study; the message names file, key and nearest valid key.
        """
        return cls(load(variables.expanded(os.fspath(path)), overrides))

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any], overrides: Sequence[str] = ()) -> "Study":
        """Return the study in the tables of a study file.

        Files that a task names are meant from the current folder.

        Args:
            tables: As TOML has them: `{"study": {...}, "arm": [{...}], "ablation": [{...}]}`.
            overrides: As for `load`.

        Raises:
            SpecError: They are not a valid study.
        """
        try:
            plain = {str(key): _plain(value) for key, value in tables.items()}
        except RecursionError as error:
            raise SpecError(
                "tables and lists nest without end", hint="a study is a tree"
            ) from error
        return cls(from_tables(plain, overrides))

    @property
    def settings(self) -> model.Study:
        """Every setting, defaults filled in."""
        return self._settings

    @property
    def name(self) -> str:
        """What it is called in the state folder."""
        return self._settings.study.name

    @property
    def question(self) -> str:
        """What it asks."""
        return self._settings.study.question

    @property
    def baseline(self) -> str:
        """The arm that all others are compared with."""
        return self._settings.study.baseline

    @property
    def seeds(self) -> tuple[int, ...]:
        """Its seeds."""
        return self._settings.study.seeds.all()

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Its arms, the baseline first, each with what it changes.

        Raises:
            SpecError: An arm differs from the baseline in more than it declares.
        """
        return tuple(expand(self._settings).arms)

    def to_dict(self) -> dict[str, Any]:
        """Return every setting in the types of JSON, defaults filled in."""
        return self._settings.model_dump(mode="json")

    def plan(
        self, *, device: Device = "auto", accept_code: bool = False, home: PathText | None = None
    ) -> StudyPlan:
        """Return what it takes, as `icckd plan` prints it; trains nothing.

        Args:
            device: Where it would be trained.
            accept_code: Whether changed source is taken to give the same numbers as before.
            home: The state folder whose finished stages count; default: `ICCKD_HOME`, or `.icckd`
                in the current folder.

        Raises:
            SpecError: The study's arms are not sound.
            MachineError: The device cannot be used.
            DataError: Images of a data set are damaged.
        """
        told: list[str] = []
        found = plan_study(
            self._settings,
            state_folder(home),
            checked_device(device),
            say=told.append,
            accept_code=accept_code,
        )
        return replace(found, notices=tuple(told))

    def __repr__(self) -> str:
        return f"<Study {self.name!r}: baseline {self.baseline!r}, {len(self.seeds)} seeds>"


def study_settings(study: "Study | PathText") -> model.Study:
    """Return the settings of a study, or of a study file."""
    return study.settings if isinstance(study, Study) else Study.load(study).settings


def study_name(study: "Study | PathText | None") -> str | None:
    """Return the name of a study, of a study file, or a name as it is."""
    if study is None or isinstance(study, Study):
        return None if study is None else study.name
    text = os.fspath(study)
    is_file = isinstance(study, PurePath) or text.endswith(".toml") or os.sep in text
    is_file = is_file or is_shipped(text)
    return Study.load(text).name if is_file else text


def state_folder(home: PathText | None) -> StateFolder:
    """Return the state folder in a place, or the current one."""
    if home is None:
        return StateFolder.current()
    return StateFolder(Path(variables.expanded(os.fspath(home))).absolute())


def puller_of(folder: StateFolder) -> "Puller | None":
    """Return what brings a state folder up to what machines share; None where nothing is shared."""
    if not (shared := configuration(folder.root).storage).url:
        return None
    from icckd.storage.mirror import Puller  # whoever shares nothing imports no storage

    return Puller(shared, folder)


def checked_device(device: str) -> Device:
    """Return a kind of device that there is.

    Raises:
        UsageError: It is none.
    """
    known: tuple[Device, ...] = get_args(Device)
    for each in known:
        if each == device:
            return each
    raise UsageError(f"there is no kind of device {device!r}", hint=", ".join(known))


def _plain(value: Any) -> Any:
    """Return a value of Python as TOML has it: tuples are lists, paths text, NumPy's numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, PurePath):
        return str(value)
    return value.item() if hasattr(value, "item") and hasattr(value, "dtype") else value
