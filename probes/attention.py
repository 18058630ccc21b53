"""What the attention of an open_clip transformer does, recorded while it runs.

`attention_tap` computes each block's attention once more with an explicit softmax and puts that in the place of the
block's own output. So nothing changes for the model, and the recorded weights lie on the way to the output: their
gradients exist, which those of a plain hook on `nn.MultiheadAttention` do not.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cbm.errors import EncoderError


@dataclass(frozen=True)
class BlockAttention:
    """One block's attention for a batch of `n` images with `t` tokens.

    Attributes
    ----------
    weights
        How much each token (rows) takes from each token (columns), for every head; rows sum to one.
    values
        What each head takes from each token, before the output projection.
    projection
        The output projection and its bias, of width `d = heads * e`.
    """

    weights: Float[Tensor, "n heads t t"]
    values: Float[Tensor, "n heads t e"]
    projection: Float[Tensor, "d d"]
    bias: Float[Tensor, "d"]

    def heads(self) -> Float[Tensor, "n t d"]:
        """The heads' outputs, one beside the other."""
        mixed = self.weights @ self.values  # [n h t t] @ [n h t e] -> [n h t e]
        return mixed.transpose(1, 2).flatten(2)

    def output(self) -> Float[Tensor, "n t d"]:
        """What the attention returns."""
        return self.heads() @ self.projection.T + self.bias

    def to_first(self) -> Float[Tensor, "n t d"]:
        """What the first token, the class token, gets from each token; with the bias these sum to its output."""
        moved = self.weights[:, :, 0, :, None] * self.values  # [n h t e]
        return moved.transpose(1, 2).flatten(2) @ self.projection.T


@dataclass
class AttentionTap:
    """What a tap has recorded in its last forward pass: one entry a block, the first block first."""

    blocks: list[BlockAttention] = field(default_factory=list)


@contextmanager
def attention_tap(tower: nn.Module) -> Iterator[AttentionTap]:
    """Within it, the attention of a tower in evaluation mode is recorded; its outputs stay the same.

    Forward passes of other threads are left alone, and the tap is gone afterwards, also after an error.

    Parameters
    ----------
    tower
        The image or text tower of an open_clip model, `model.visual`.

    Raises
    ------
    EncoderError
        If the tower has no blocks whose attention can be tapped.

    Examples
    --------
    >>> import torch
    >>> from types import SimpleNamespace
    >>> tower = torch.nn.Module()
    >>> tower.transformer = torch.nn.Module()
    >>> tower.transformer.resblocks = torch.nn.ModuleList([torch.nn.Module()])
    >>> tower.transformer.resblocks[0].attn = attention = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
    >>> with attention_tap(tower) as tap:
    ...     _ = attention(x := torch.zeros(1, 3, 8), x, x)
    >>> tap.blocks[0].weights.shape
    torch.Size([1, 2, 3, 3])
    """
    tap, owner, attentions = AttentionTap(), get_ident(), tapped(tower)

    def record(
        module: nn.MultiheadAttention, inputs: tuple[Tensor, ...], options: Mapping[str, object], output: object
    ) -> tuple[Tensor, None] | None:
        if get_ident() != owner:
            return None
        if module is attentions[0]:
            tap.blocks.clear()
        tap.blocks.append(_attention(module, inputs[0], options.get("attn_mask")))
        return tap.blocks[-1].output(), None

    handles = [attention.register_forward_hook(record, with_kwargs=True) for attention in attentions]
    try:
        yield tap
    finally:
        for handle in handles:
            handle.remove()


def tapped(tower: nn.Module) -> list[nn.MultiheadAttention]:
    """The attention modules of a tower's blocks, the first block first; raises as `attention_tap`."""
    blocks = getattr(getattr(tower, "transformer", None), "resblocks", ())
    found = [getattr(block, "attn", None) for block in blocks]
    known = [
        a for a in found if isinstance(a, nn.MultiheadAttention) and a.batch_first and a.in_proj_weight is not None
    ]
    if not known or len(known) < len(found):
        raise EncoderError(
            "the attention of this encoder cannot be looked into",
            hint="choose a vision transformer of open_clip with ordinary blocks, such as builtin:demo",
        )
    return known


def _attention(module: nn.MultiheadAttention, x: Tensor, mask: object) -> BlockAttention:
    """The attention of `x` to itself; scaling the queries first is what torch does."""
    n, t, d = x.shape
    mixed = nn.functional.linear(x, module.in_proj_weight, module.in_proj_bias)
    q, k, v = mixed.view(n, t, 3, module.num_heads, module.head_dim).permute(2, 0, 3, 1, 4)  # each [n h t e]
    logits = (q * module.head_dim**-0.5) @ k.transpose(-1, -2)
    weights = torch.softmax(logits + mask if isinstance(mask, Tensor) else logits, dim=-1)
    bias = module.out_proj.bias
    return BlockAttention(weights, v, module.out_proj.weight, x.new_zeros(d) if bias is None else bias)
