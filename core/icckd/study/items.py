"""Items of a task: test cases that its arms answer one by one, and where their rows are found."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from icckd.study.paths import nearest
from icckd.study.settings import Many, Settings

ShortText = Annotated[str, StringConstraints(max_length=2000)]
Source = Literal["csv", "jsonl"]
Varies = Literal["seeds", "items"]
"""What a verdict can speak about: other seeds, other items."""


class TaskItems(Settings):
    """The rows that a run gives, one an item: reported by `run.item`, or in a file.

    At most one of `csv` and `jsonl` is given; without one the function of an `entry` reports them.
    """

    csv: ShortText | None = Field(
        default=None, description="table in the run folder, read once at the end"
    )
    jsonl: ShortText | None = Field(
        default=None, description="file in the run folder with a JSON object a line"
    )
    id: ShortText = Field(
        default="id", min_length=1, description="column or key that names an item"
    )
    group: ShortText | None = Field(
        default=None, description="column or key of what items share that err together"
    )
    metrics: Many[str] = Field(
        default=(), description="metrics that are means over items; by default all without a source"
    )

    @property
    def file(self) -> tuple[Source, str] | None:
        """Kind and name of the file; None where `run.item` reports the items."""
        if self.csv is not None:
            return "csv", self.csv
        return ("jsonl", self.jsonl) if self.jsonl is not None else None

    @model_validator(mode="after")
    def _one_file_inside(self) -> "TaskItems":
        if self.csv is not None and self.jsonl is not None:
            raise ValueError("items come from csv and from jsonl: keep one of them")
        if self.file is not None:
            name, place = self.file
            if not place or place.startswith("/") or ".." in place.split("/"):
                raise ValueError(f"{name} = {place!r} is not inside the run folder")
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError("metrics names one of them twice")
        return self

    def refuse_unless_fit(self, sources: Mapping[str, str], *, is_command: bool) -> None:
        """Refuse items that do not fit their task.

        Args:
            sources: Where each metric of the task comes from, "log" without a source of its own.
            is_command: Whether the task is a command, which cannot call `run.item`.

        Raises:
            ValueError: It says why.
        """
        if self.file is None and is_command:
            raise ValueError('items says not where they come from: add csv = "items.csv" or jsonl')
        for name in self.metrics:
            if name not in sources:
                known = nearest(name, list(sources))
                raise ValueError(f"items.metrics names {name!r}, which is not in metrics ({known})")
            if sources[name] != "log":
                raise ValueError(
                    f"metrics.{name} comes from {sources[name]} and from items: keep one of them"
                )
        if "log" not in sources.values():
            raise ValueError("items gives no metric: every one has a source of its own")
