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


def last_map(seen: View) -> tuple[nn.Module, bool]:
    """The part of a network without attention that makes its last map of features, and whether channels are last in it."""
    module, _, last = _last_places(seen.visual, seen.pixels)
    return module, last


def _last_places(visual: nn.Module, pixels: Tensor) -> tuple[nn.Module, tuple[int, int], bool]:
    """The last part that returns more than one place an image, how many it returns, and whether its channels are last."""
    found: list[tuple[nn.Module, torch.Size]] = []

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if (
            isinstance(output, Tensor)
            and output.ndim == 4
            and output[0].numel() > max(output.shape[1], output.shape[3])
        ):
            found.append((module, output.shape))

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
    module, (_, first, second, third) = found[-1]
    for last, grid in ((False, (second, third)), (True, (first, second))):  # last: Swin transformers of timm
        if _like_the_image(grid, (pixels.shape[-2], pixels.shape[-1])):
            return module, grid, last
    raise EncoderError("this network keeps its places in an order that is not known here", hint=LIKE)


def _like_the_image(grid: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether places divide both sides of an image alike, but for what strides round."""
    (rows, columns), (high, wide) = grid, size
    return max(grid) > 1 and abs(rows * wide - columns * high) <= max(high, wide)
