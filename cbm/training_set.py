"""What methods learn from: embeddings with labels, splits and, where there are any, concept labels.

A training set is a value; everything that a method may need beside the embeddings (a concept bank, a text encoder)
is a field of it, so that "what is missing" can be asked before anything is fitted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.bank import ConceptBank
from cbm.errors import DataError, unknown

if TYPE_CHECKING:
    from cbm.encoders import TextEncoder


@dataclass(frozen=True)
class TrainingSet:
    """Embedded images.

    Attributes
    ----------
    x
        Embeddings `[n d]`, float32.
    labels
        Class of each image, `[n]`, positions in `classes`.
    splits
        Name of the split of each image, `[n]`: "train", "val", "test", or another such as "shifted".
    ids
        One for each image; files or rows of a manifest.
    concepts, concept_labels
        Annotated concepts and their labels `[n k]` in 0 to 1, NaN where unknown.
    groups
        Group of each image (patient, background), or `None`.
    encoder_id, contract
        Which encoder made `x`, and its preprocessing contract.
    bank, encoder
        A concept bank and a text encoder in the same space, when there are any.
    concept_groups
        Concept to the name of its group ("bill colour"), for those that have one.
    candidates
        Sentences that may describe a class, by class, when there are any; see `cbm.vocabulary`.
    vocabulary
        Words and phrases that may become concepts, when they are not to be those that ship; see `cbm.words`.
    concept_x
        Embeddings `[n e]` of the same images by the encoder of the bank, when that is not the one that made `x`.
    """

    x: Float[Tensor, "n d"]
    labels: Int[Tensor, "n"]
    classes: tuple[str, ...]
    splits: np.ndarray
    ids: tuple[str, ...]
    concepts: tuple[str, ...] = ()
    concept_labels: Float[Tensor, "n k"] | None = None
    groups: tuple[str, ...] | None = None
    encoder_id: str = ""
    contract: str = ""
    bank: ConceptBank | None = None
    encoder: "TextEncoder | None" = None
    concept_groups: Mapping[str, str] = field(default_factory=dict)
    candidates: Mapping[str, tuple[str, ...]] | None = None
    vocabulary: tuple[str, ...] | None = None
    concept_x: Float[Tensor, "n e"] | None = None

    def __post_init__(self) -> None:
        n = len(self.x)
        lengths = {"labels": len(self.labels), "splits": len(self.splits), "ids": len(self.ids)}
        lengths |= {} if self.groups is None else {"groups": len(self.groups)}
        lengths |= {} if self.concept_x is None else {"concept_x": len(self.concept_x)}
        lengths |= {} if self.concept_labels is None else {"concept_labels": len(self.concept_labels)}
        wrong = [f"{name} has {length}" for name, length in lengths.items() if length != n]
        if wrong:
            raise DataError(f"there are {n} embeddings, but {', '.join(wrong)}")
        if n and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise DataError(
                f"labels run from {int(self.labels.min())} to {int(self.labels.max())}, "
                f"but there are {len(self.classes)} classes",
                hint="a label is the position of a class",
            )
        if self.concept_labels is not None and self.concept_labels.shape[1] != len(self.concepts):
            raise DataError(f"{self.concept_labels.shape[1]} columns of labels for {len(self.concepts)} concepts")
        if not bool(torch.isfinite(self.x.sum())) and not bool(torch.isfinite(self.x).all()):  # the sum is far quicker
            row = int(torch.nonzero(~torch.isfinite(self.x).all(1))[0])
            raise DataError(
                f"the embedding of image {self.ids[row]!r} is not finite",
                hint="embed the data set again; a half-precision encoder may have overflowed",
            )

    def __len__(self) -> int:
        return len(self.x)

    def where(self, keep: np.ndarray) -> "TrainingSet":
        """The images for which the mask `[n]` is true, or the positions listed, in that order.

        Images that follow one another are not copied: the result looks at the same memory.
        """
        at = np.flatnonzero(keep) if keep.dtype == bool else keep
        if len(at) and at[-1] - at[0] == len(at) - 1 and bool((np.diff(at) == 1).all()):
            run: slice | np.ndarray = slice(int(at[0]), int(at[-1]) + 1)
        else:
            run = at
        index = run if isinstance(run, slice) else torch.as_tensor(run, dtype=torch.long)
        return replace(
            self,
            x=self.x[index],
            labels=self.labels[index],
            splits=self.splits[run],
            ids=_picked(self.ids, run),
            concept_labels=None if self.concept_labels is None else self.concept_labels[index],
            groups=None if self.groups is None else _picked(self.groups, run),
            concept_x=None if self.concept_x is None else self.concept_x[index],
        )

    def split(self, name: str) -> "TrainingSet":
        """The images of one split.

        Raises
        ------
        UnknownName
            If no image is in a split of that name.
        """
        keep = self.splits == name
        if not keep.any():
            raise unknown("split", name, self.split_names)
        return self.where(keep)

    @cached_property
    def split_names(self) -> tuple[str, ...]:
        """Names of the splits that have images: train, val, test first, others after them."""
        order = {"train": 0, "val": 1, "test": 2}
        return tuple(sorted(set(self.splits.tolist()), key=lambda s: (order.get(s, 3), s)))


def _picked(values: tuple[str, ...], at: slice | np.ndarray) -> tuple[str, ...]:
    return values[at] if isinstance(at, slice) else tuple(values[i] for i in at)


def fitting_split(data: TrainingSet) -> TrainingSet:
    """The images to learn from, checked: a "train" split with at least two classes.

    Raises
    ------
    DataError
        If there is no training image, or all belong to one class.
    """
    if "train" not in data.split_names:
        raise DataError("there is no image in the split 'train'", hint="mark some images as train in the manifest")
    train = data.split("train")
    if len(torch.unique(train.labels)) < 2:
        only = data.classes[int(train.labels[0])]
        raise DataError(
            f"all {len(train)} training images belong to the class {only!r}",
            hint="a classifier needs at least two classes",
        )
    return train
