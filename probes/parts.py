"""Whether the maps of a model's concepts lie on the parts that they name, concept by concept, on images with part masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cbm.encoders import Encoder
from cbm.images import open_image, open_mask
from cbm.model import ConceptModel
from cbm.progress import OnProgress, silent
from probes.localisation import Localisation, clm_rank, middle, pointing_game, relevance_mass
from probes.maps import concept_maps

FEWEST = 5  # images on which the part is to be seen, below which nothing is said


@dataclass(frozen=True)
class MaskedImage:
    """An image, the mask of its parts, and the concepts that it shows."""

    image: Path
    mask: Path
    concepts: frozenset[str]


@dataclass(frozen=True)
class Place:
    """Where the map of a concept lies on images that show it.

    Attributes
    ----------
    mass, pointing, clm
        Share of positive relevance on the part, of highest places on it, and the rank of its middle, beside chance.
    part
        Names of the parts.
    """

    mass: Localisation
    pointing: Localisation
    clm: Localisation
    part: tuple[str, ...]


def places(
    model: ConceptModel,
    encoder: Encoder,
    images: Sequence[MaskedImage],
    parts: Mapping[str, Mapping[int, str]],
    *,
    seed: int = 0,
    on_progress: OnProgress = silent,
) -> dict[str, Place]:
    """Where the maps of concepts lie, for those with a part that is to be seen on 5 images or more.

    Parameters
    ----------
    parts
        Concept to the numbers, in the masks, and names of the parts that it is about.

    Raises
    ------
    EncoderError, ModelError
        As `probes.maps.concept_maps`.

    Notes
    -----
    Masks are cut and resized as the encoder sees the image. A hit of the pointing game may be half a place of the map's
    grid beside the part, since a map has no finer grain.
    """
    cases: dict[str, list[tuple[torch.Tensor, torch.Tensor, int]]] = {}
    for number, shown in enumerate(images):
        on_progress(number / max(1, len(images)), f"map {number + 1} of {len(images)}")
        wanted = [name for name in model.concepts if name in parts and name in shown.concepts]
        if not wanted:
            continue
        mask = encoder.preprocessing.frame_mask(open_mask(shown.mask))
        for found in concept_maps(model, encoder, open_image(shown.image), wanted):
            on_part = torch.from_numpy(np.isin(mask, list(parts[found.concept])))
            if bool(on_part.any()):
                cases.setdefault(found.concept, []).append((found.values, on_part, number))
    return {
        name: _place(rows, tuple(parts[name].values()), seed) for name, rows in cases.items() if len(rows) >= FEWEST
    }


def _place(rows: list[tuple[torch.Tensor, torch.Tensor, int]], part: tuple[str, ...], seed: int) -> Place:
    maps, masks = (torch.stack(column) for column in list(zip(*rows, strict=True))[:2])
    images = torch.tensor([number for _, _, number in rows])
    points = torch.tensor([middle(mask.numpy()) for mask in masks])
    size = masks.shape[1], masks.shape[2]
    tolerance = size[0] / maps.shape[1] / 2
    return Place(
        relevance_mass(maps, masks, images=images, seed=seed),
        pointing_game(maps, masks, images=images, tolerance=tolerance, seed=seed),
        clm_rank(maps, points, size, images=images, seed=seed),
        part,
    )
