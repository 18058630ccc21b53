"""Images to choose options by: the validation split, or a share of the training images where there is none.

What is learned on one part is compared on the other; the test split is never touched while fitting.
"""

import numpy as np

from cbm.training_set import TrainingSet, fitting_split

SHARE = 5  # one training image in five


def fitting_and_held_out(data: TrainingSet, *, seed: int = 0) -> tuple[TrainingSet, TrainingSet]:
    """The images to learn from and the images to choose by, without an image in common.

    With a split "val" these are "train" and "val". Without one, every fifth training image of each class is held
    out; a class with fewer than five keeps them all.

    Raises
    ------
    DataError
        If there is no training image, or all belong to one class.
    """
    train = fitting_split(data)
    if "val" in data.split_names:
        return train, data.split("val")
    held = np.zeros(len(train), dtype=bool)
    labels = train.labels.numpy()
    order = np.random.default_rng(seed).permutation(len(train))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        held[members[: len(members) // SHARE]] = True
    if not held.any():  # too few images to spare any
        return train, train
    return train.where(~held), train.where(held)
