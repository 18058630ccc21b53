"""What the attention of a transformer does, recorded while it runs, and its heads, gated on request.

`attention_tap` computes each block's attention with an explicit softmax and puts that in the place of the block's own.
So nothing changes for the model, and the recorded weights lie on the way to the output: their gradients exist, which
those of a plain hook on `nn.MultiheadAttention` do not. It is made of hooks only, whatever the library.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import get_ident, local

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cbm.errors import EncoderError
from probes.towers import vision_tower

_open = local()  # the attention modules that this thread has tapped


@dataclass(frozen=True)
class BlockAttention:
    """One block's attention for a batch of `n` images with `t` tokens.

    Attributes
    ----------
    queries, keys, values
        What each head makes of each token, before the output projection.
    weights
        How much each token (rows) takes from each token (columns), for every head; rows sum to one.
    outputs
        What each head gives to each token: `weights @ values`, gated where there are gates.
    projection, bias
        The output projection, of `heads * e` inputs.
    gate
        How much of each head passes, or `None`: all.
    """

    queries: Float[Tensor, "n heads t e"]
    keys: Float[Tensor, "n heads t e"]
    values: Float[Tensor, "n heads t e"]
    weights: Float[Tensor, "n heads t t"]
    outputs: Float[Tensor, "n heads t e"]
    projection: Float[Tensor, "d he"]
    bias: Float[Tensor, "d"]
    gate: Float[Tensor, "*n heads"] | None = None

    def output(self) -> Float[Tensor, "n t d"]:
        """What the attention returns."""
        return nn.functional.linear(_joined(self.outputs), self.projection, self.bias)

    def to_first(self) -> Float[Tensor, "n t d"]:
        """What the first token, the class token, gets from each token; with the bias these sum to its output."""
        moved = self.weights[:, :, 0, :, None] * self.values  # [n h t e]
        return _joined(moved if self.gate is None else moved * self.gate[..., None, None]) @ self.projection.T

    def by_head(self) -> Float[Tensor, "n heads t d"]:
        """What each head adds to each token; with the bias these sum to the output."""
        d, heads = len(self.projection), self.outputs.shape[1]
        return torch.einsum("nhte,dhe->nhtd", self.outputs, self.projection.view(d, heads, -1))


@dataclass
class AttentionTap:
    """What a tap has recorded in its last forward pass: one entry a block, the first block first."""

    blocks: list[BlockAttention] = field(default_factory=list)


@contextmanager
def attention_tap(
    tower: nn.Module,
    *,
    gates: Sequence[Tensor | None] | Tensor | None = None,
    instead: Sequence[Tensor | None] | None = None,
) -> Iterator[AttentionTap]:
    """Within it, the attention of a tower in evaluation mode is recorded; without gates, its outputs stay the same.

    Forward passes of other threads are left alone, and the tap is gone afterwards, also after an error.

    Parameters
    ----------
    tower
        As `probes.towers.vision_tower` takes it, or any module with `transformer.resblocks`, as open_clip's texts.
    gates
        One `[heads]` or `[n heads]` a block, or `None` for a block that is left as it is: each head's output is
        multiplied by its gate. Gradients flow into them.
    instead
        One a block, `[heads e]`, `[heads t e]` or `None`: what a head gives as far as its gate is closed, for instance
        its mean over images; nothing, when not given.

    Raises
    ------
    EncoderError
        If the tower has no blocks whose attention can be tapped, is tapped already in this thread, or has another
        number of blocks than gates are given.

    Examples
    --------
    >>> import torch
    >>> tower = torch.nn.Module()
    >>> tower.transformer = torch.nn.Module()
    >>> tower.transformer.resblocks = torch.nn.ModuleList([torch.nn.Module()])
    >>> tower.transformer.resblocks[0].attn = attention = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
    >>> with attention_tap(tower) as tap:
    ...     _ = attention(x := torch.zeros(1, 3, 8), x, x)
    >>> tap.blocks[0].weights.shape
    torch.Size([1, 2, 3, 3])
    """
    attentions = tapped(tower)
    closing = [_Gate(*pair) for pair in zip(_each(gates, attentions), _each(instead, attentions), strict=True)]
    tap, owner, first = AttentionTap(), get_ident(), attentions[0]
    taken: set[int] = _open.__dict__.setdefault("taken", set())
    if id(first) in taken:
        raise EncoderError("this tower is tapped already", hint="leave the first `with attention_tap` before the next")

    def record(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> BlockAttention:
        if module is first:
            tap.blocks.clear()
        tap.blocks.append(_attention(module, q, k, v, mask, closing[len(tap.blocks)]))
        return tap.blocks[-1]

    with ExitStack() as hooks:
        taken.add(id(first))
        hooks.callback(taken.discard, id(first))
        for attention in attentions:
            for handle in _KINDS[_kind(attention)](attention, record, lambda: get_ident() == owner):
                hooks.callback(handle.remove)
        yield tap


def tapped(tower: nn.Module) -> list[nn.Module]:
    """The attention modules of a tower's blocks, the first block first; raises as `attention_tap`."""
    blocks = getattr(getattr(tower, "transformer", None), "resblocks", None)
    if blocks is None:
        found: list[object] = [block.attention for block in vision_tower(tower).blocks]
    else:
        found = [getattr(block, "attn", None) for block in blocks]
    known = [attention for attention in found if isinstance(attention, nn.Module) and _kind(attention)]
    if not known or len(known) < len(found):
        raise EncoderError(
            "the attention of this encoder cannot be looked into",
            hint="choose a vision transformer with ordinary blocks, such as builtin:demo",
        )
    return known


@dataclass(frozen=True)
class _Gate:
    """How much of each head passes, and what comes instead of the rest."""

    share: Tensor | None
    instead: Tensor | None

    def __call__(self, outputs: Tensor) -> Tensor:
        if self.share is None:
            return outputs
        share = self.share[..., None, None]  # [h 1 1] or [n h 1 1]
        if self.instead is None:
            return outputs * share
        other = self.instead if self.instead.ndim == 3 else self.instead[:, None]  # [h t e] or [h 1 e]
        return outputs * share + other * (1 - share)


def _each(given: Sequence[Tensor | None] | Tensor | None, attentions: Sequence[nn.Module]) -> list[Tensor | None]:
    values = [None] * len(attentions) if given is None else list(given)
    if len(values) != len(attentions):
        raise EncoderError(
            f"gates for {len(values)} blocks are given, but the tower has {len(attentions)}",
            hint="give one tensor a block, or None for a block that stays as it is",
        )
    return values


def _attention(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, gate: _Gate) -> BlockAttention:
    """The attention of `[n heads t e]`; scaling the queries first is what torch does."""
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    weights = torch.softmax(logits if mask is None else logits + mask, dim=-1)
    out = getattr(module, "proj", None) or module.out_proj
    if not isinstance(out, nn.Linear):
        raise AssertionError("`_kind` lets no other through")
    bias = q.new_zeros(out.out_features) if out.bias is None else out.bias
    return BlockAttention(q, k, v, weights, gate(weights @ v), out.weight, bias, gate.share)


def _joined(heads: Float[Tensor, "n heads t e"]) -> Float[Tensor, "n t he"]:
    """The heads one beside the other."""
    return heads.transpose(1, 2).flatten(2)


def _split(x: Float[Tensor, "n t he"], heads: int) -> Float[Tensor, "n heads t e"]:
    n, t, _ = x.shape
    return x.view(n, t, heads, -1).transpose(1, 2)


_Record = Callable[[nn.Module, Tensor, Tensor, Tensor, Tensor | None], BlockAttention]
_Handle = torch.utils.hooks.RemovableHandle


def _kind(attention: nn.Module) -> str:
    """Which library an attention module is of; empty when it is not one of the ordinary kinds."""
    if isinstance(attention, nn.MultiheadAttention):
        return "torch" if attention.batch_first and attention.in_proj_weight is not None else ""
    if all(
        isinstance(getattr(attention, part, None), nn.Linear) for part in ("q_proj", "k_proj", "v_proj", "out_proj")
    ):
        return "transformers" if hasattr(attention, "num_heads") else ""
    plain = (
        isinstance(getattr(attention, "norm", nn.Identity()), nn.Identity) and getattr(attention, "gate", None) is None
    )
    parts = [getattr(attention, part, None) for part in ("qkv", "proj")]
    ordinary = type(attention).__name__ == "Attention" and all(isinstance(part, nn.Linear) for part in parts)
    return "timm" if ordinary and plain else ""


def _hook_torch(attention: nn.Module, record: _Record, mine: Callable[[], bool]) -> list[_Handle]:
    """`nn.MultiheadAttention` calls none of its parts; a hook cannot skip it, so it is run on a single token instead."""
    held: list[tuple[Tensor, Tensor | None]] = []

    def before(
        module: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, object]
    ) -> tuple[tuple[Tensor, ...], dict[str, object]] | None:
        if not mine():
            return None
        mask = options.get("attn_mask")
        held.append((inputs[0], mask if isinstance(mask, Tensor) else None))
        return (inputs[0][:1, :1].detach(),) * 3, {"need_weights": False}

    def after(module: nn.MultiheadAttention, inputs: object, output: object) -> tuple[Tensor, None] | None:
        if not mine():
            return None
        x, mask = held.pop()
        mixed = nn.functional.linear(x, module.in_proj_weight, module.in_proj_bias)
        q, k, v = (_split(part, module.num_heads) for part in mixed.chunk(3, -1))
        return record(module, q, k, v, mask).output(), None

    return [
        attention.register_forward_pre_hook(before, with_kwargs=True),
        attention.register_forward_hook(after),
    ]


def _hook_parts(
    attention: nn.Module, record: _Record, mine: Callable[[], bool], *, sources: Mapping[str, str], out: str
) -> list[_Handle]:
    """Attention that calls its parts: queries, keys and values are read from them, and what enters the last is replaced."""
    heads: int = attention.num_heads  # type: ignore[assignment]
    read: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: object, output: Tensor) -> None:
        if mine():
            read[name] = output

    def refuse_masks(module: nn.Module, inputs: tuple[object, ...], options: dict[str, object]) -> None:
        mask = options.get("attention_mask", options.get("attn_mask"))
        if mine() and (mask is not None or options.get("is_causal") or any(x is not None for x in inputs[1:2])):
            raise EncoderError("attention with a mask cannot be looked into here", hint="tap the vision tower")

    def replace(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor] | None:
        if not mine():
            return None
        q, k = (read[name] if read[name].ndim == 4 else _split(read[name], heads) for name in ("q", "k"))
        v = read["v"] if sources["v"] != "qkv" else read["v"].chunk(3, -1)[2]
        return (_joined(record(attention, q, k, _split(v, heads), None).outputs),)

    parts = [(name, attention.get_submodule(part)) for name, part in sources.items()]
    return [
        attention.register_forward_pre_hook(refuse_masks, with_kwargs=True),
        *(part.register_forward_hook(partial(keep, name)) for name, part in parts),
        attention.get_submodule(out).register_forward_pre_hook(replace),
    ]


_KINDS: Mapping[str, Callable[[nn.Module, _Record, Callable[[], bool]], list[_Handle]]] = {
    "torch": _hook_torch,
    "transformers": partial(_hook_parts, sources={"q": "q_proj", "k": "k_proj", "v": "v_proj"}, out="out_proj"),
    "timm": partial(_hook_parts, sources={"q": "q_norm", "k": "k_norm", "v": "qkv"}, out="proj"),
}
