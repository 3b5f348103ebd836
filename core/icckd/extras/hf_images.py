"""Images of Hugging Face data sets in a local folder: as `save_to_disk` or as the Hub keeps them.

A folder has Arrow files with `dataset_dict.json` (`datasets.DatasetDict.save_to_disk`), or Parquet
files as a data set's repository on the Hub. Nothing is fetched, and nothing is written. Images and
labels are read by pyarrow; what the files say of their columns (the features of `datasets`, kept in
the schema) tells which holds images and which classes.

Shape suffixes: N images, H height, W width, K channels.
"""

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from icckd.errors import MachineError
from icckd.extras import require
from icckd.study.data import (
    About,
    Augmentation,
    ImageCounts,
    ImageShape,
    SmallImages,
    SplitSeed,
    data_set,
)
from icckd.train.data.decode import middle_of
from icckd.train.data.picture import as_seen
from icckd.train.data.splits import Split, Splits, divide
from icckd.train.lazy import Tensor, lazy_module, np, torch

require("pyarrow", "huggingface")
Image: Any = lazy_module("PIL.Image")
ipc: Any = lazy_module("pyarrow.ipc")
parquet: Any = lazy_module("pyarrow.parquet")

HELD_OUT = ("validation", "valid", "val", "dev")
"""How data sets call a split for validation."""


class HfImagesData(SmallImages):
    """A Hugging Face data set of images in a local folder, all resized to one size."""

    about = About(
        images="any, RGB or grey", labels="its class column", test_set="its `test`", files="yours"
    )
    absent_hint = (
        "data.folder is a folder in ICCKD_DATA_DIR that `save_to_disk` wrote, or the Parquet files"
        " of a data set of the Hub"
    )
    places: ClassVar[frozenset[str]] = frozenset({"folder"})

    kind: Literal["hf-images"]
    folder: str = Field(
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$", max_length=500
    )
    size: int = Field(default=32, ge=4, le=1024, description="pixels of a side, after resizing")
    channels: Literal[1, 3] = Field(default=3, description="1 makes images grey")
    image: str = Field(default="", description="column of the images; found where it is empty")
    label: str = Field(default="", description="column of the classes; found where it is empty")
    train_split: str = Field(default="train", min_length=1, description="split to train on")
    test_split: str = Field(default="test", min_length=1, description="split to test on")
    validation: float = Field(
        default=0.1, gt=0, lt=1, description="share of the training images, where no split is"
    )
    split_seed: SplitSeed = 0
    augment: Augmentation = Augmentation()

    def image_shape(self) -> ImageShape:
        """Return the shape of the images as networks see them."""
        return ImageShape(channels=self.channels, height=self.size, width=self.size)

    def class_count(self) -> int | None:
        """Return None: the files tell."""
        return None

    def raw_files(self, root: Path) -> tuple[Path, ...]:
        """Return the files of the splits that are read, in order.

        Raises:
            MachineError: There are none.
        """
        found = self.splits(root)
        return tuple(file for name in sorted(found) for file in found[name])

    def counts_in(self, root: Path) -> ImageCounts:
        """Return the images of each split, from what the files say of themselves."""
        found = {name: sum(map(_rows, files)) for name, files in self.splits(root).items()}
        held = self._held_out(found)
        if held in found:
            return ImageCounts(
                train=found[self.train_split], validation=found[held], test=found[self.test_split]
            )
        validation = self.held_out(found[self.train_split])
        return ImageCounts(
            train=found[self.train_split] - validation,
            validation=validation,
            test=found[self.test_split],
        )

    def held_out(self, images: int) -> int:
        """Return how many training images are held out for validation."""
        return max(1, round(self.validation * images))

    def splits(self, root: Path) -> dict[str, tuple[Path, ...]]:
        """Return the files of each split that is read.

        Raises:
            MachineError: The folder, or a split, is missing.
        """
        folder = root / self.folder
        found = {name: files for name, files in _files(folder).items() if files}
        for wanted in (self.train_split, self.test_split):
            if wanted not in found:
                have = ", ".join(sorted(found)) or "none"
                raise MachineError(
                    f"data set {self.folder!r} cannot be read: {folder} has no split"
                    f" {wanted!r} (splits: {have})",
                    hint=self.absent_hint,
                )
        used = (self.train_split, self.test_split, self._held_out(found))
        return {name: files for name, files in found.items() if name in used}

    def _held_out(self, found: Mapping[str, Any]) -> str:
        """Return the split for validation, "" where the files have none besides the test set."""
        own = (
            name
            for name in HELD_OUT
            if name in found and name not in (self.test_split, self.train_split)
        )
        return next(own, "")


@data_set(HfImagesData)
def load_hf_images(data: HfImagesData, root: Path) -> Splits:
    """Return the splits, every image decoded and resized.

    Raises:
        MachineError: A file is missing or damaged, or tells no images or classes.
    """
    files = data.splits(root)
    read = {name: _read(data, name, files[name]) for name in files}
    names = sorted({each for part in read.values() for each in part.classes}, key=_order)
    number = {name: n for n, name in enumerate(names)}
    made = {
        name: Split(
            images=part.images,
            labels=torch.tensor([number[part.classes[n]] for n in part.labels]),
            subclasses=None,
        )
        for name, part in read.items()
    }
    held = next((name for name in files if name not in (data.train_split, data.test_split)), "")
    train = made[data.train_split]
    if held:
        validation = made[held]
    else:
        sizes = (data.held_out(len(train.labels)),)
        first_N, rest_N = divide(train.labels, sizes, data.split_seed)
        validation, train = train.take(first_N), train.take(rest_N)
    return Splits(
        train=train, validation=validation, test=made[data.test_split], n_classes=len(names)
    )


def _order(name: str | int) -> tuple[bool, Any]:
    return isinstance(name, str), name


# Files: which there are, and what is in them.


def _files(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Return the files of each split."""
    if (folder / "dataset_dict.json").is_file():
        told = json.loads((folder / "dataset_dict.json").read_text())
        return {name: tuple(sorted((folder / name).glob("*.arrow"))) for name in told["splits"]}
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*.parquet")):
        split = re.match(r"[A-Za-z_]+?(?=[-.]|\d|$)", file.stem)
        name = split[0] if split else file.stem
        if name in ("part", "data") or re.fullmatch(r"\d+", file.stem):  # as train/0000.parquet
            name = file.parent.name
        found.setdefault(name, []).append(file)
    return {name: tuple(files) for name, files in found.items()}


def _rows(file: Path) -> int:
    if file.suffix == ".parquet":
        return int(parquet.read_metadata(file).num_rows)
    with ipc.open_stream(file) as stream:
        return sum(batch.num_rows for batch in stream)


def _table(file: Path) -> Any:
    if file.suffix == ".parquet":
        return parquet.read_table(file)
    with ipc.open_stream(file) as stream:
        return stream.read_all()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """The images of a split, uint8 [N, H, W, K]; each one's class, a row of `classes`."""

    images: Tensor
    labels: Sequence[int]
    classes: Sequence[str | int]


def _read(data: HfImagesData, name: str, files: Sequence[Path]) -> _Part:
    shown: list[Tensor] = []
    labels: list[Any] = []
    classes: Sequence[str | int] = ()
    for file in files:
        try:
            table = _table(file)
        except (OSError, ValueError) as error:  # pyarrow's errors are one or the other
            raise _unreadable(file, str(error)) from error
        features = _features(table.schema)
        image = data.image or _column(table.schema, features, _is_image, "images", file)
        label = data.label or _column(table.schema, features, _is_label, "classes", file)
        for column in (image, label):
            if column not in table.column_names:
                raise _unreadable(file, f"it has no column {column!r}: {table.column_names}")
        classes = features.get(label, {}).get("names", ())
        labels += table.column(label).to_pylist()
        for row, cell in enumerate(table.column(image)):
            shown.append(_pixels(cell.as_py(), data, f"row {row} of {file}"))
    if any(each is None or (classes and each == -1) for each in labels):
        raise _unreadable(files[0], f"images of split {name!r} have no class")
    if not classes:
        classes = sorted(set(labels), key=_order)
        number = {each: n for n, each in enumerate(classes)}
        labels = [number[each] for each in labels]
    return _Part(images=torch.stack(shown), labels=labels, classes=classes)


def _features(schema: Any) -> dict[str, Any]:
    """Return what `datasets` wrote of the columns into a schema, by column."""
    told = (schema.metadata or {}).get(b"huggingface")
    if told is None:
        return {}
    found: dict[str, Any] = json.loads(told).get("info", {}).get("features", {})
    return found


def _is_image(feature: Mapping[str, Any], kind: Any) -> bool:
    if feature:
        return feature.get("_type") == "Image"
    names = {kind.field(i).name for i in range(kind.num_fields)}
    return {"bytes", "path"} <= names


def _is_label(feature: Mapping[str, Any], kind: Any) -> bool:
    return feature.get("_type") == "ClassLabel"


def _column(schema: Any, features: Mapping[str, Any], is_it: Any, what: str, file: Path) -> str:
    """Return the one column of a sort."""
    found = [field.name for field in schema if is_it(features.get(field.name, {}), field.type)]
    if not found and what == "classes":
        found = [name for name in ("label", "labels", "fine_label") if name in schema.names]
    if len(found) != 1:
        key = "data.image" if what == "images" else "data.label"
        raise _unreadable(
            file, f"{len(found)} of its columns {schema.names} hold {what}; {key} names one"
        )
    return str(found[0])


def _pixels(cell: Any, data: HfImagesData, where: str) -> Tensor:
    """Return an image as a viewer shows it, its middle square resized, uint8 [H, W, K]."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        raise MachineError(
            f"data set {data.folder!r} cannot be read: {where} holds no bytes of an image",
            hint="`save_to_disk` and `push_to_hub` write them into the files",
        )
    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels_HWK = np.array(as_seen(image))
    except (OSError, ValueError, SyntaxError) as error:  # Pillow's words for damage
        raise MachineError(
            f"data set {data.folder!r} cannot be read: {where}: {error}",
            hint="write the data set anew",
        ) from error
    square_HWK = middle_of(torch.from_numpy(pixels_HWK).permute(2, 0, 1), data.size, data.size)
    if data.channels == 3:
        return square_HWK
    weights_K = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's "L"
    return (square_HWK.float() @ weights_K).round().to(torch.uint8)[..., None]


def _unreadable(file: Path, why: str) -> MachineError:
    return MachineError(f"{file} cannot be read as images: {why}", hint=HfImagesData.absent_hint)
