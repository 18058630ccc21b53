"""Ways to say where in an image a concept is, or where its score comes from; each returns `[k h w]`, signed.

A way gets an image in front of an encoder and what is asked of the embedding. None of them stretches a map to its own
largest value: what they return is in units of the score, or as the table of `probes.maps` says.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cbm.errors import EncoderError, ModelError
from probes.attention import AttentionTap, BlockAttention, attention_tap
from probes.decomposition import taken_apart
from probes.towers import Tower, token_projection
from probes.views import View, last_map

STEPS = 24  # of integrated gradients
SPREAD = 5 / 14  # NACLIP's deviation of 5 patches is for 14 in a row
AT_ONCE = 32  # images


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of an embedding: concept scores, and the directions of which they are sums where they are.

    Attributes
    ----------
    scores
        Of embeddings, differentiable.
    directions
        On this image, or `None` for scores that are not linear in the embedding.
    """

    scores: Callable[[Float[Tensor, "n d"]], Float[Tensor, "n k"]]
    directions: Float[Tensor, "k d"] | None

    def linear(self) -> Float[Tensor, "k d"]:
        """The directions; raises `ModelError` without."""
        if self.directions is None:
            raise ModelError(
                "the scores of this model are not linear in the embedding, so they cannot be taken apart",
                hint="choose occlusion or integrated-gradients, or a model whose concepts are directions, as posthoc makes",
            )
        return self.directions


def by_decomposition(seen: View, asked: Asked) -> Float[Tensor, "k h w"]:
    """What each place adds to the score; see `probes.decomposition`."""
    return torch.einsum("hwd,kd->khw", taken_apart(seen).places, asked.linear())


def occlusion(seen: View, asked: Asked) -> Float[Tensor, "k h w"]:
    """The score that is lost when a place is covered with the image's mean colour."""
    high, wide = seen.grid
    masks = torch.eye(high * wide, device=seen.pixels.device).view(-1, 1, high, wide)
    covers = nn.functional.interpolate(masks, seen.pixels.shape[2:], mode="nearest").to(seen.pixels.dtype)
    with torch.no_grad():
        whole = asked.scores(seen.embed(seen.pixels).cpu())
        parts = [seen.embed(torch.lerp(seen.pixels, seen.flat, cover)) for cover in torch.split(covers, AT_ONCE)]
        without = asked.scores(torch.cat(parts).cpu())
    return (whole - without).T.reshape(-1, high, wide)


def integrated_gradients(seen: View, asked: Asked) -> Float[Tensor, "k h w"]:
    """Gradients of the score summed on the way from the image's mean colour to it, by Captum; they add up to the difference.

    From black, as is usual, nothing black could ever be seen.

    References
    ----------
    Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017.
    """
    from captum.attr import IntegratedGradients

    explained = IntegratedGradients(lambda pixels: asked.scores(seen.embed(pixels).cpu()))
    way = {"inputs": seen.pixels, "baselines": seen.flat, "n_steps": STEPS, "internal_batch_size": AT_ONCE}
    each = [explained.attribute(target=concept, **way) for concept in range(_count(seen, asked))]
    return seen.sum_places(torch.cat(each).float().sum(1)).detach().cpu()


def gradcam(seen: View, asked: Asked) -> Float[Tensor, "k h w"]:
    """Features at the last layer that still mixes places, weighted by the score's gradient; both signs are kept.

    In a transformer that is the input of the last attention: after it, patches have no gradient where only the class
    token is read. Its gradient is summed over the patches, as most have none. In other networks it is the last map of
    features, and the gradient's mean counts.

    References
    ----------
    Selvaraju et al., "Grad-CAM", ICCV 2017; we leave out its last ReLU, to keep what speaks against the concept.
    """
    if seen.tower is None:
        return _gradcam_network(seen, asked)
    kept: list[Tensor] = []
    hook = seen.tower.blocks[-1].norm.register_forward_hook(lambda module, inputs, output: kept.append(output))
    try:
        scores = _scores(seen, asked)
    finally:
        hook.remove()
    features = kept[0][0, seen.tower.prefix :]  # [t d]
    gradients = torch.stack([g[0, seen.tower.prefix :] for g in _gradients(scores, kept)[0]])  # [k t d]
    found = torch.einsum("td,kd->kt", features.float(), gradients.float().sum(1))
    return found.detach().cpu().reshape(-1, *seen.grid)


def _gradcam_network(seen: View, asked: Asked) -> Float[Tensor, "k h w"]:
    module, last = last_map(seen)
    kept: list[Tensor] = []
    hook = module.register_forward_hook(lambda module, inputs, output: kept.append(output))
    try:
        scores = _scores(seen, asked)
    finally:
        hook.remove()
    features, *gradients = (
        found[0].float() if last else found[0].float().permute(1, 2, 0)
        for found in (kept[-1], *_gradients(scores, kept[-1:])[0])
    )  # [h w c]
    means = torch.stack(gradients).mean((1, 2))  # [k c]
    return torch.einsum("hwc,kc->khw", features, means).detach().cpu()


def relevance(seen: View, asked: Asked) -> Float[Tensor, "k h w"]:
    """How much of the class token comes from each patch through all blocks, counting attention that raises the score.

    References
    ----------
    Chefer, Gur and Wolf, "Generic attention-model explainability", ICCV 2021, equations 5 and 6; over all blocks.
    """
    tower = _with_class_token(seen, "relevance")
    with attention_tap(seen.visual) as tap:
        scores = _scores(seen, asked)
    weights = [block.weights for block in tap.blocks]
    found = torch.eye(weights[0].shape[-1], device=scores.device).expand(len(scores), -1, -1)
    for weight, gradients in zip(weights, _gradients(scores, weights), strict=True):
        raised = torch.stack([(weight[0] * g[0]).clamp(min=0).mean(0) for g in gradients])  # [k t t]
        found = found + raised.float() @ found
    return found[:, 0, tower.prefix :].detach().cpu().reshape(-1, *seen.grid)


def rollout(seen: View, asked: Asked) -> Float[Tensor, "k h w"]:
    """How much of the class token comes from each patch by attention alone, in equal shares: the same for every concept.

    References
    ----------
    Abnar and Zuidema, "Quantifying attention flow in transformers", ACL 2020.
    """
    tower = _with_class_token(seen, "rollout")
    with torch.no_grad():
        tap, embedding = _tapped(seen)
        found = torch.eye(tap.blocks[0].weights.shape[-1], device=embedding.device)
        for block in tap.blocks:
            mixed = block.weights[0].float().mean(0) + torch.eye(len(found), device=found.device)
            found = mixed / mixed.sum(-1, keepdim=True) @ found
    shares = found[0, tower.prefix :].cpu() * (seen.grid[0] * seen.grid[1])
    return shares.reshape(1, *seen.grid).expand(asked.scores(embedding.cpu()).shape[1], -1, -1)


def dense(seen: View, asked: Asked) -> Float[Tensor, "k h w"]:
    """What the concept's direction says of each place by itself, less what it says of all places on average.

    In a transformer the last block is changed: patches look at patches with similar keys and at their neighbours, and
    the sum and the network after the attention are left out.

    References
    ----------
    Hajimiri, Ben Ayed and Dolz, "Pay attention to your neighbours" (NACLIP), WACV 2025.
    """
    network = seen.tower is None
    places = taken_apart(seen).places if network else _dense_tokens(seen, _with_class_token(seen, "dense"))
    found = torch.einsum("hwd,kd->khw", nn.functional.normalize(places, dim=-1), asked.linear())
    return found - found.mean((1, 2), keepdim=True)


def key_attention(
    block: BlockAttention, grid: tuple[int, int], prefix: int, *, spread: float, amount: float = 1.0
) -> Float[Tensor, "n heads p p"]:
    """Attention of patches to patches with similar keys, and to neighbours.

    Parameters
    ----------
    spread
        Deviation of the neighbourhood, in patches.
    amount
        What is added to the logit of a patch itself; zero leaves the keys alone.
    """
    keys = block.keys[:, :, prefix:].float()
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    at = torch.stack([rows.flatten(), columns.flatten()], 1).to(keys)
    near = amount * torch.exp(-torch.cdist(at, at).square() / (2 * spread**2))  # [p p]
    return torch.softmax(keys @ keys.transpose(-1, -2) * keys.shape[-1] ** -0.5 + near, dim=-1)


def _dense_tokens(seen: View, tower: Tower) -> Float[Tensor, "h w d"]:
    with torch.no_grad():
        block = _tapped(seen)[0].blocks[-1]
        attention = key_attention(block, seen.grid, tower.prefix, spread=SPREAD * seen.grid[1])
        mixed = (attention @ block.values[:, :, tower.prefix :].float()).transpose(1, 2).flatten(2)
        moved = mixed @ block.projection.float().T + block.bias.float()
        tokens = tower.norm(tower.blocks[-1].scale(moved.to(seen.pixels.dtype)))[0]
        projected: Tensor = tokens @ token_projection(seen.visual)
    return projected.float().cpu().reshape(*seen.grid, -1)


def _count(seen: View, asked: Asked) -> int:
    with torch.no_grad():
        return asked.scores(seen.embed(seen.flat).cpu()).shape[1]


def _tapped(seen: View) -> tuple[AttentionTap, Tensor]:
    with attention_tap(seen.visual) as tap:
        return tap, seen.embed(seen.pixels)


def _scores(seen: View, asked: Asked) -> Float[Tensor, "k"]:
    with torch.enable_grad():
        return asked.scores(seen.embed(seen.pixels.clone().requires_grad_()).cpu())[0]


def _gradients(scores: Float[Tensor, "k"], of: list[Tensor]) -> list[list[Tensor]]:
    """For each of some tensors on the way, the gradients of all scores."""
    each = [torch.autograd.grad(score, of, retain_graph=True) for score in scores]
    return [list(gradients) for gradients in zip(*each, strict=True)]


def has_class_token(visual: nn.Module) -> bool:
    """Whether the embedding of an image tower is its class token."""
    return token_projection(visual) is not None


def _with_class_token(seen: View, method: str) -> Tower:
    if seen.tower is None or not has_class_token(seen.visual):
        raise EncoderError(
            f"{method} needs a transformer whose class token is the embedding, not a {type(seen.visual).__name__}",
            hint="choose gradcam or occlusion, or an encoder such as builtin:demo",
        )
    return seen.tower
