"""An embedding as a sum: what each place of the image adds to it, and a rest.

A concept of a linear bottleneck is a direction, so one pass through the encoder gives the maps of all concepts, and each
map adds up, with its rest, to the score. What is not of one place, such as biases and the layers that see the whole
image, is in the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn

from cbm.backbones import Backbone
from cbm.encoders import Encoder
from cbm.errors import EncoderError
from cbm.photo_levels import Levels
from probes.attention import attention_tap, tapped
from probes.layer_tokens import tokens_kept
from probes.towers import token_projection, vision_tower
from probes.views import LIKE, View, view

if TYPE_CHECKING:
    from open_clip.timm_model import TimmModel

TOLERANCE = 1e-3  # of the embedding's length, which is one; half floats need more


@dataclass(frozen=True)
class EmbeddingParts:
    """A unit embedding as a sum: what each place of the image adds, and the rest."""

    places: Float[Tensor, "h w d"]
    rest: Float[Tensor, "d"]

    @property
    def embedding(self) -> Float[Tensor, "d"]:
        """The sum of all parts."""
        return self.places.sum((0, 1)) + self.rest


def decompose(encoder: Encoder, image: Image) -> EmbeddingParts:
    """What each place of an image adds to its embedding, checked against the encoder's own answer.

    Raises
    ------
    EncoderError
        If the encoder has no structure that allows it.
    """
    return taken_apart(view(encoder, image))


def can_be_taken_apart(visual: nn.Module) -> bool:
    """Whether an image tower has a structure that allows it."""
    return _way(visual) is not None


def taken_apart(seen: View) -> EmbeddingParts:
    """The same, of an image that an encoder sees."""
    way = _way(seen.visual)
    if way is None:
        raise EncoderError(f"embeddings of a {type(seen.visual).__name__} cannot be taken apart into places", hint=LIKE)
    with torch.no_grad():
        places, rest, whole = way(seen.pixels)
    length = whole.norm()
    parts = EmbeddingParts((places / length).cpu(), (rest / length).cpu())
    off = (parts.embedding - (whole / length).cpu()).norm()
    if off > (TOLERANCE if seen.pixels.dtype == torch.float32 else 30 * TOLERANCE):
        raise EncoderError("the parts of an embedding of this encoder do not add up", hint=LIKE)
    return parts


_Parts = tuple[Tensor, Tensor, Tensor]  # places [h w d], rest [d], embedding [d], before it is scaled to one


def _way(visual: object) -> Callable[[Tensor], _Parts] | None:
    """How a tower is taken apart, by its structure."""
    from open_clip.timm_model import TimmModel

    if isinstance(visual, nn.Module) and token_projection(visual) is not None and _can_be_tapped(visual):
        return partial(_class_token_parts, visual)
    if isinstance(visual, Backbone) and isinstance(visual.trunk, Levels):
        return partial(_level_parts, visual.trunk)
    if isinstance(visual, Backbone) and visual.map_name:
        return partial(_averaged_parts, visual)
    if isinstance(visual, TimmModel) and isinstance(getattr(visual.head, "proj", None), nn.Linear | nn.Identity):
        return partial(_pooled_parts, visual)
    return None


def _can_be_tapped(visual: nn.Module) -> bool:
    try:
        tapped(visual)
    except EncoderError:
        return False
    return True


def _class_token_parts(visual: nn.Module, pixels: Tensor) -> _Parts:
    """What the class token takes from each patch, over all blocks, carried through the last layer norm.

    The mean that the layer norm takes away is linear; only the deviation it divides by is held fixed.
    """
    tower, projection = vision_tower(visual), token_projection(visual)
    if projection is None:
        raise AssertionError("`_way` lets no other through")
    matrix = projection.float()
    with attention_tap(visual) as tap, tokens_kept(visual) as tokens:
        whole: Tensor = visual(pixels)[0]
    token: Tensor = tokens[-1][0, 0].float()
    blocks = zip(tower.blocks, tap.blocks, strict=True)
    taken = [block.scale(seen.to_first())[0, tower.prefix :].float() for block, seen in blocks]
    patches = torch.stack(taken).sum(0)  # [t d]
    gain, bias = layer_norm_at(tower.norm, token)

    def carried(vectors: Tensor) -> Tensor:
        return ((vectors - vectors.mean(-1, keepdim=True)) * gain) @ matrix

    rest = carried(token - patches.sum(0)) + bias @ matrix
    places = carried(patches).reshape(*tower.grid(pixels), len(whole))
    return places, rest, whole.float()


def layer_norm_at(norm: nn.Module, token: Float[Tensor, "e"]) -> tuple[Float[Tensor, "e"], Float[Tensor, "e"]]:
    """What a layer norm multiplies by at a token, once the mean is taken away, and what it adds."""
    weight, bias, eps = (getattr(norm, name) for name in ("weight", "bias", "eps"))
    return (weight.float() / (token.var(unbiased=False) + eps).sqrt()).detach(), bias.float().detach()


def _averaged_parts(visual: Backbone, pixels: Tensor) -> _Parts:
    """The places of the map of features whose mean is the embedding; there is no rest."""
    kept: list[Tensor] = []
    named = visual.trunk.get_submodule(visual.map_name)
    handle = named.register_forward_hook(lambda module, inputs, output: kept.append(output))
    try:
        whole: Tensor = visual(pixels)[0].float()
    finally:
        handle.remove()
    places = kept[-1][0].float() if visual.last else kept[-1][0].float().permute(1, 2, 0)  # [h w c]
    return places / (places.shape[0] * places.shape[1]), torch.zeros_like(whole), whole


def _level_parts(levels: Levels, pixels: Tensor) -> _Parts:
    """The places of the smallest map, with what falls into them of the larger ones; there is no rest."""
    whole = levels(pixels)[0].float()
    return levels.places(pixels), torch.zeros_like(whole), whole


def _pooled_parts(visual: "TimmModel", pixels: Tensor) -> _Parts:
    """The places of the last feature map, whose mean is projected; the rest is the projection's bias."""
    features: Tensor = visual.trunk.forward_features(pixels)
    if features.ndim != 4:
        raise EncoderError("this encoder does not end in a map of features", hint=LIKE)
    whole: Tensor = visual.head(visual.trunk.forward_head(features))[0].float()
    share = features[0].float().permute(1, 2, 0) / features[0, 0].numel()  # [c h w] -> [h w c], of the mean
    proj = visual.head.proj
    rest = torch.zeros_like(whole)
    if isinstance(proj, nn.Identity):
        return share, rest, whole
    return share @ proj.weight.float().T, rest if proj.bias is None else proj.bias.float(), whole
