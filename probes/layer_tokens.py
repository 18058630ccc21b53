"""What leaves each block of a vision transformer: the tokens that probes read.

Layer 0 is what enters the first block, layer `b` what leaves the `b`-th. Features of a layer are the class token or the
mean of the patches.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cbm.encoders import Encoder
from cbm.progress import OnProgress, silent
from probes.gated import BATCH, tower_of
from probes.towers import vision_tower


@contextmanager
def tokens_kept(visual: nn.Module) -> Iterator[list[Tensor]]:
    """Within it, the tokens `[n t d]` of every layer of the last forward pass, layer 0 first."""
    modules = block_modules(visual)
    kept: list[Tensor] = []

    def enter(module: nn.Module, inputs: tuple[Tensor, *tuple[object, ...]]) -> None:
        kept[:] = [inputs[0]]  # transformers passes a mask, which is None, beside the tokens

    def leave(module: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    handles = [modules[0].register_forward_pre_hook(enter), *(m.register_forward_hook(leave) for m in modules)]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def block_modules(visual: nn.Module) -> list[nn.Module]:
    """The blocks themselves: what holds the first layer norm of each."""
    owners = {id(child): parent for parent in visual.modules() for child in parent.children()}
    return [owners[id(block.norm)] for block in vision_tower(visual).blocks]


def layer_features(
    encoder: Encoder, pixels: Float[Tensor, "n 3 y x"], *, on_progress: OnProgress = silent
) -> dict[str, Float[Tensor, "n layers d"]]:
    """Features of every layer: `patches`, their mean, and `class`, the class token, where there is one."""
    prefix = vision_tower(tower_of(encoder)).prefix
    found: list[tuple[Tensor, Tensor]] = []
    for done, tokens in _passes(encoder, pixels):
        found.append((tokens[:, :, 0], tokens[:, :, prefix:].mean(2)))
        on_progress(done / len(pixels), f"looked at {done:,} of {len(pixels):,} images")
    first, mean = (torch.cat(part) for part in zip(*found, strict=True))
    return {"class": first, "patches": mean} if prefix else {"patches": mean}


def patch_tokens(
    encoder: Encoder, pixels: Float[Tensor, "n 3 y x"], layers: Sequence[int], *, on_progress: OnProgress = silent
) -> Float[Tensor, "layers n p d"]:
    """The patches of some layers, each scaled to mean 0 and variance 1, in half precision."""
    prefix = vision_tower(tower_of(encoder)).prefix
    found = []
    for done, tokens in _passes(encoder, pixels):
        chosen = tokens[:, list(layers), prefix:]
        found.append(nn.functional.layer_norm(chosen, chosen.shape[-1:]).half().transpose(0, 1))
        on_progress(done / len(pixels), f"looked at {done:,} of {len(pixels):,} images")
    return torch.cat(found, 1)


def _passes(encoder: Encoder, pixels: Tensor) -> Iterator[tuple[int, Float[Tensor, "n layers t d"]]]:
    """How many images are done, and the tokens of the last of them."""
    visual, done = tower_of(encoder), 0
    like = next(visual.parameters())
    with torch.no_grad(), tokens_kept(visual) as kept:
        for batch in torch.split(pixels, BATCH):
            visual(batch.to(like.device, like.dtype))
            done += len(batch)
            yield done, torch.stack(kept, 1).float().cpu()
