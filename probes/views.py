"""An image as an encoder takes it: its pixels, its places, and how an embedding follows from the pixels."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn

from cbm.encoders import Encoder
from cbm.errors import EncoderError
from probes.towers import Tower, vision_tower

LIKE = "choose builtin:demo, builtin:photo, or a vision transformer with a class token"


@dataclass(frozen=True, eq=False)
class View:
    """One image in front of an encoder.

    Attributes
    ----------
    visual
        The encoder's image tower: pixels to embeddings of any length.
    pixels
        The image as the encoder takes it.
    tower
        The blocks of a transformer; `None` for a network without.
    grid
        Places from top to bottom and from left to right: patches, or the cells of the last feature map.
    """

    visual: nn.Module
    pixels: Float[Tensor, "1 3 h w"]
    tower: Tower | None
    grid: tuple[int, int]

    def embed(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Unit embeddings, on the autograd path."""
        whole: Tensor = self.visual(pixels)
        return nn.functional.normalize(whole.float(), dim=-1)

    @property
    def flat(self) -> Float[Tensor, "1 3 h w"]:
        """An image that has the mean colour of this one everywhere: what is compared with, and what covers places."""
        return self.pixels.mean((2, 3), keepdim=True).expand_as(self.pixels)

    def sum_places(self, pixels: Float[Tensor, "n h w"]) -> Float[Tensor, "n gh gw"]:
        """The sums of what belongs to pixels, by place."""
        count = pixels[0].numel() / (self.grid[0] * self.grid[1])
        return nn.functional.adaptive_avg_pool2d(pixels[:, None], self.grid)[:, 0] * count


def view(encoder: Encoder, image: Image) -> View:
    """The image in front of the encoder.

    Raises
    ------
    EncoderError
        If the encoder is not one of ours, with an image tower.
    """
    visual = getattr(encoder, "visual", None)
    if not isinstance(visual, nn.Module):
        raise EncoderError(f"embeddings of {encoder.id} cannot be taken apart into places", hint=LIKE)
    like = next(visual.parameters())
    pixels = torch.from_numpy(encoder.preprocessing(image))[None]
    return seen_by(visual, pixels.to(like.device, like.dtype))


def seen_by(visual: nn.Module, pixels: Float[Tensor, "1 3 h w"]) -> View:
    """The same from a bare image tower and its input."""
    try:
        tower = vision_tower(visual)
    except EncoderError:
        return View(visual, pixels, None, _last_places(visual, pixels)[1])
    return View(visual, pixels, tower, tower.grid(pixels))


def last_map(seen: View) -> nn.Module:
    """The part of a network without attention that makes its last map of features."""
    return _last_places(seen.visual, seen.pixels)[0]


def _last_places(visual: nn.Module, pixels: Tensor) -> tuple[nn.Module, tuple[int, int]]:
    """The last part that returns more than one place an image, and how many it returns."""
    found: list[tuple[nn.Module, tuple[int, int]]] = []

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            found.append((module, (output.shape[2], output.shape[3])))

    parts = [part for part in visual.modules() if not list(part.children())]
    hooks = [part.register_forward_hook(note) for part in parts]
    try:
        with torch.no_grad():
            visual(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise EncoderError(f"a {type(visual).__name__} has no map of features", hint=LIKE)
    (high, wide), (rows, columns) = pixels.shape[-2:], found[-1][1]
    if not 0.5 < (rows / high) / (columns / wide) < 2:  # channels last, as in Swin transformers of timm
        raise EncoderError("this network keeps its places in an order that is not known here", hint=LIKE)
    return found[-1]
