"""Agreement of two encoders, on embeddings whose angles are planted."""

import math
from dataclasses import dataclass, field, replace

import pytest
import torch

from cbm.agreement import Agreement, agreement
from tests.cbm.colours import ColourEncoder

IMAGES = torch.eye(4)[:, :3].reshape(4, 3, 1, 1).expand(4, 3, 2, 2).clone()
IMAGES[3] = torch.tensor([1.0, 0.1, 0.0]).reshape(3, 1, 1)  # nearest to the first


@dataclass
class Turned(ColourEncoder):
    """Turns every embedding by an angle, from red to green."""

    angle: float = 0.0
    directions: dict = field(default_factory=dict)

    def encode_pixels(self, pixels):
        c, s = math.cos(self.angle), math.sin(self.angle)
        return super().encode_pixels(pixels) @ torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])


@dataclass
class Reading(Turned):
    def encode_texts(self, texts):
        return torch.stack([torch.eye(3)[("red", "green", "blue").index(text)] for text in texts])


def test_cosines_are_those_of_the_angle():
    found = agreement(Turned(), Turned(angle=0.2), IMAGES)

    assert found.worst_cosine == pytest.approx(math.cos(0.2), abs=1e-6)
    assert found.mean_cosine == pytest.approx((3 * math.cos(0.2) + 1) / 4, abs=1e-6)  # blue does not turn
    assert (found.images, found.among, found.nearest) == (4, 3, 1.0)  # among themselves the images keep their places
    assert found.speed > 0


def test_the_nearest_text_is_another_once_the_angle_is_past_the_middle():
    texts = ["red", "green", "blue"]

    near = agreement(Reading(), Reading(angle=0.5), IMAGES, texts)
    far = agreement(Reading(), Reading(angle=1.0), IMAGES, texts)

    assert (near.nearest, near.among) == (1.0, 3)
    assert far.nearest == 0.5  # both reds have become green; green and blue are still nearest to themselves
    assert not far.enough


def test_what_is_refused_and_what_is_chosen():
    fine = Agreement(images=48, mean_cosine=0.9995, worst_cosine=0.998, nearest=1.0, among=200, speed=2.0)

    assert fine.enough
    assert fine.worthwhile
    assert not replace(fine, speed=1.1).worthwhile
    assert not replace(fine, mean_cosine=0.998).worthwhile
    assert replace(fine, mean_cosine=0.998).enough
    assert not replace(fine, mean_cosine=0.98).enough
    assert not replace(fine, nearest=0.8).enough
    assert str(fine) == (
        "against fp32 on 48 images: cosine 0.9995 on average, 0.9980 at worst, the same nearest of 200 for 100%, "
        "2.0 times as fast"
    )
