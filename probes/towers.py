"""Vision transformers of three libraries, seen as one: blocks of attention over prefix tokens and a grid of patches.

How many tokens come before the patches, and how large a patch is, is read from the model: a class token (CLIP), none
(SigLIP), a class token and registers (DINOv2).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cbm.backbones import Backbone
from cbm.errors import EncoderError


@dataclass(frozen=True)
class Block:
    """One block of a transformer: `x + scale(attention(norm(x)))`, and a network for each token after it."""

    norm: nn.Module
    attention: nn.Module
    scale: nn.Module


@dataclass(frozen=True)
class Tower:
    """A vision transformer.

    Attributes
    ----------
    blocks
        The first block first.
    norm
        The layer norm after the last block.
    prefix
        How many tokens come before the patches; with one or more, the first is the class token.
    patch
        Height and width of a patch, in pixels.
    """

    blocks: tuple[Block, ...]
    norm: nn.Module
    prefix: int
    patch: tuple[int, int]

    def grid(self, pixels: Tensor) -> tuple[int, int]:
        """How many patches an image of `[... h w]` pixels has, from top to bottom and from left to right."""
        return pixels.shape[-2] // self.patch[0], pixels.shape[-1] // self.patch[1]


def vision_tower(module: nn.Module) -> Tower:
    """What a vision transformer consists of.

    Parameters
    ----------
    module
        Of open_clip (`model.visual`), of transformers (`CLIPVisionModel`, `SiglipVisionModel`, with or without a
        projection), of timm (`vit_base_patch16_224`, or the one inside a model of open_clip) or of torchvision (`vit_b_16`).

    Raises
    ------
    EncoderError
        If it is none of these.
    """
    for within in (module, *(getattr(module, name, None) for name in ("trunk", "vision_model"))):
        if isinstance(within, nn.Module):
            found = _open_clip(within) or _timm(within) or _transformers(within) or _torchvision(within)
            if found is not None:
                return found
    raise EncoderError(
        f"a {type(module).__name__} is not a vision transformer that is known here",
        hint="choose one of open_clip, of timm, or CLIP or SigLIP of transformers; builtin:demo is one",
    )


def token_projection(visual: nn.Module) -> Float[Tensor, "e d"] | None:
    """The matrix from the class token, after the last layer norm, to the embedding of an image tower.

    `None` where the embedding is not read from a class token through these two alone.
    """
    trunk: Any = visual.trunk if isinstance(visual, Backbone) else visual
    library = type(trunk).__module__.partition(".")[0]
    if library == "open_clip" and type(trunk).__name__ == "VisionTransformer":
        plain = trunk.attn_pool is None and trunk.pool_type == "tok"
        return _matrix(trunk.proj, trunk.ln_post) if plain else None
    if library == "timm" and type(trunk).__name__ == "VisionTransformer" and isinstance(visual, Backbone):
        plain = trunk.global_pool == "token" and trunk.attn_pool is None
        return _matrix(None, trunk.norm) if plain and _nothing(trunk.fc_norm, trunk.head) else None
    if library == "torchvision" and hasattr(trunk, "class_token"):
        return _matrix(None, trunk.encoder.ln) if _nothing(*trunk.heads) else None
    inner, projection = getattr(trunk, "vision_model", None), getattr(trunk, "visual_projection", None)
    if hasattr(getattr(inner, "embeddings", None), "class_embedding") and isinstance(projection, nn.Linear):
        return projection.weight.T if projection.bias is None else None
    return None


def _nothing(*modules: nn.Module) -> bool:
    return all(isinstance(module, nn.Identity) for module in modules)


def _matrix(projection: object, norm: object) -> Tensor | None:
    """A projection as a matrix, the identity where there is none; `None` without an ordinary layer norm."""
    if not isinstance(norm, nn.LayerNorm):
        return None
    return projection if isinstance(projection, Tensor) else torch.eye(norm.normalized_shape[0]).to(norm.weight)


def _open_clip(module: nn.Module) -> Tower | None:
    blocks = getattr(getattr(module, "transformer", None), "resblocks", None)
    if blocks is None or not all(hasattr(module, name) for name in ("conv1", "class_embedding", "ln_post")):
        return None
    return Tower(_blocks(blocks, "ln_1", "attn", "ls_1"), _part(module, "ln_post"), 1, _pair(module.patch_size))


def _timm(module: nn.Module) -> Tower | None:
    blocks, patches = getattr(module, "blocks", None), getattr(module, "patch_embed", None)
    if blocks is None or not hasattr(patches, "patch_size") or not hasattr(module, "num_prefix_tokens"):
        return None
    found = _blocks(blocks, "norm1", "attn", "ls1")
    return Tower(found, _part(module, "norm"), int(module.num_prefix_tokens), _pair(patches.patch_size))  # type: ignore[arg-type, union-attr]


def _transformers(module: nn.Module) -> Tower | None:
    layers, inputs = getattr(getattr(module, "encoder", None), "layers", None), getattr(module, "embeddings", None)
    if layers is None or not hasattr(inputs, "patch_size"):
        return None
    norm = _part(module, "post_layernorm")
    found = _blocks(layers, "layer_norm1", "self_attn", "")
    return Tower(found, norm, int(hasattr(inputs, "class_embedding")), _pair(inputs.patch_size))  # type: ignore[union-attr]


def _torchvision(module: nn.Module) -> Tower | None:
    encoder = getattr(module, "encoder", None)
    layers, side = getattr(encoder, "layers", None), getattr(module, "patch_size", None)
    if layers is None or encoder is None or side is None or not hasattr(module, "class_token"):
        return None
    return Tower(_blocks(layers, "ln_1", "self_attention", ""), _part(encoder, "ln"), 1, _pair(side))


def _blocks(blocks: object, norm: str, attention: str, scale: str) -> tuple[Block, ...]:
    if not isinstance(blocks, nn.ModuleList | nn.Sequential):
        return ()
    return tuple(Block(_part(b, norm), _part(b, attention), getattr(b, scale, nn.Identity())) for b in blocks)


def _part(module: nn.Module, name: str) -> nn.Module:
    part = getattr(module, name, None)
    if not isinstance(part, nn.Module):
        raise EncoderError(
            f"a {type(module).__name__} has no {name}, so it cannot be looked into",
            hint="choose a vision transformer with ordinary blocks, such as builtin:demo",
        )
    return part


def _pair(size: object) -> tuple[int, int]:
    """A size that a library gives as one number or as two."""
    high, wide = (size, size) if isinstance(size, int) else tuple(size)  # type: ignore[arg-type]
    return int(high), int(wide)
