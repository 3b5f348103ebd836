"""How a task that a scheduler begins reaches the storage that its session shares."""

import json
from dataclasses import asdict, dataclass
from typing import Self

from icckd.configuration import StorageSettings


@dataclass(frozen=True, slots=True)
class Share:
    """The storage of a session, as a word of a command.

    Attributes:
        settings: Of the storage; they hold no credentials.
        identity: What tells it from all others.
    """

    settings: StorageSettings
    identity: str

    def text(self) -> str:
        """Return it as one word."""
        return json.dumps({"identity": self.identity, **asdict(self.settings)})

    @classmethod
    def read(cls, text: str) -> Self:
        """Return what `text` told."""
        told = json.loads(text)
        return cls(identity=told.pop("identity"), settings=StorageSettings(**told))
