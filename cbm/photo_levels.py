"""`builtin:photo-levels`: what EfficientNet-Lite0 sees at several depths, for concepts that come from examples.

The last features of a classifier have forgotten most of backgrounds and some of colours, which earlier ones still hold. All
are there after one pass; each depth's map is averaged over its places. It reads no text.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

from cbm import photo
from cbm.errors import EncoderError

STAGES = (1, 2, 4, 6)  # blocks 2, 4, 10 and 15: 24, 40, 112 and 320 channels; with the last 1,280, 1,776
EARLY = 0.25  # length of an earlier level's features; nearly all of what they know, and no loss where they know nothing


class Levels(nn.Module):
    """Means of the maps at several depths of an EfficientNet, side by side: the last of unit length, the others shorter.

    Parameters
    ----------
    trunk
        Of timm.
    stages
        Numbers of the stages whose outputs are used; what the classifier reads always is.
    early
        Length of the features of each stage; those that the classifier reads have 1.
    """

    def __init__(self, trunk: nn.Module, stages: tuple[int, ...] = STAGES, *, early: float = EARLY) -> None:
        super().__init__()
        self.trunk, self.stages = trunk, stages
        self.lengths = (*(early for _ in stages), 1.0)

    def maps(self, pixels: Float[Tensor, "n 3 h w"]) -> list[Tensor]:
        """The maps `[n c rows columns]`, the largest first."""
        trunk, kept = self.trunk, []
        x: Tensor = trunk.bn1(trunk.conv_stem(pixels))  # type: ignore[operator]
        for number, stage in enumerate(trunk.blocks):  # type: ignore[arg-type]
            x = stage(x)
            if number in self.stages:
                kept.append(x)
        return [*kept, trunk.bn2(trunk.conv_head(x))]  # type: ignore[operator]

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        means = [level.mean((2, 3)) for level in self.maps(pixels)]
        return torch.cat([length * normalize(m, dim=1) for length, m in zip(self.lengths, means, strict=True)], dim=1)

    def places(self, pixels: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "rows columns d"]:
        """What each place of the smallest map adds to the features of one image; they sum to them.

        The lengths that the levels are divided by are held.

        Raises
        ------
        EncoderError
            If the places of a larger map do not fall into those of the smallest.
        """
        maps = self.maps(pixels)
        rows, columns = maps[-1].shape[2:]
        if any(level.shape[2] % rows or level.shape[3] % columns for level in maps):
            raise EncoderError("the maps of this network have no places in common", hint="use builtin:photo-levels")
        shares = [
            length * adaptive_avg_pool2d(level.float(), (rows, columns))[0] / level[0].float().mean((1, 2)).norm()
            for length, level in zip(self.lengths, maps, strict=True)
        ]
        return torch.cat(shares).permute(1, 2, 0) / (rows * columns)


def load_levels() -> Levels:
    """The network of `builtin:photo` at several depths; raises as `cbm.photo.load_network`."""
    return Levels(photo.load_network()).eval()
