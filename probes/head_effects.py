"""What each head adds to a concept's score on an image, and from which patch: exactly, from one pass.

The class token's last vector is a sum of what all heads and networks have written to it. With the length that the last layer
norm divides by held fixed, so is the embedding, and so is the score of a concept that is a direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cbm.bottleneck import LinearBottleneck
from cbm.encoders import Encoder
from cbm.errors import EncoderError, ModelError
from cbm.model import ConceptModel
from probes.attention import BlockAttention, attention_tap
from probes.decomposition import layer_norm_at
from probes.gated import tower_of
from probes.layer_tokens import tokens_kept
from probes.towers import Tower, token_projection, vision_tower


@dataclass(frozen=True)
class Look:
    """One image as the encoder's attention saw it.

    Attributes
    ----------
    blocks
        What the attention of each block did.
    token
        The class token's last vector, before the last layer norm; the first patch's where there is none.
    embedding
        Of unit length.
    length
        Of the embedding before it was scaled to one.
    prefix, grid
        Tokens before the patches, and the patches from top to bottom and from left to right.
    """

    blocks: tuple[BlockAttention, ...]
    token: Float[Tensor, "e"]
    embedding: Float[Tensor, "d"]
    length: float
    prefix: int
    grid: tuple[int, int]

    def attention(self) -> Float[Tensor, "b h y x"]:
        """What the class token of every head takes from each patch; without a class token, what all tokens take."""
        rows = [block.weights[0, :, 0] if self.prefix else block.weights[0].mean(1) for block in self.blocks]
        return _in_grid(torch.stack(rows).float().cpu(), self)

    def rollout(self) -> Float[Tensor, "y x"]:
        """Attention of all blocks multiplied, each averaged over its heads and mixed half with the token itself.

        The same for every concept: it tells where information can come from, not what it is used for.

        References
        ----------
        Abnar and Zuidema, "Quantifying attention flow in transformers", ACL 2020, section 3.
        """
        t = self.blocks[0].weights.shape[-1]
        flow = torch.eye(t, device=self.blocks[0].weights.device)
        for block in self.blocks:
            flow = (block.weights[0].float().mean(0) + torch.eye(t, device=flow.device)) / 2 @ flow
        row = flow[0] if self.prefix else flow.mean(0)
        return _in_grid(row.cpu(), self)


def look(encoder: Encoder, pixels: Float[Tensor, "3 y x"]) -> Look:
    """Run the encoder on one image and keep what its attention does.

    Raises
    ------
    EncoderError
        If it has no attention that can be looked into.
    """
    visual = tower_of(encoder)
    tower, like = vision_tower(visual), next(visual.parameters())
    with torch.no_grad(), attention_tap(visual) as tap, tokens_kept(visual) as tokens:
        whole = visual(pixels[None].to(like.device, like.dtype))[0].float().cpu()
    length = float(whole.norm())
    token = tokens[-1][0, 0].float()
    return Look(tuple(tap.blocks), token, whole / length, length, tower.prefix, tower.grid(pixels))


@dataclass(frozen=True)
class HeadEffects:
    """What heads add to the scores of concepts on one image.

    Attributes
    ----------
    places
        From every patch.
    heads
        In all, with what the class token takes from itself; with the rest these sum to the scores.
    rest
        What no head adds: the networks between, the start, all biases.
    """

    places: Float[Tensor, "k b h y x"]
    heads: Float[Tensor, "k b h"]
    rest: Float[Tensor, "k"]


def effects_of_heads(model: ConceptModel, encoder: Encoder, seen: Look, concepts: Sequence[str]) -> HeadEffects:
    """Direct effects of all heads on concepts, from a look at one image; `heads` and `rest` sum to the score.

    Raises
    ------
    EncoderError
        If the embedding is not read from a class token through a layer norm and a matrix.
    ModelError
        If a concept is no direction.
    UnknownName
        If there is no such concept.

    References
    ----------
    Gandelsman et al., "Interpreting CLIP's image representation via text-based decomposition", ICLR 2024, section 3.
    """
    if not isinstance(model.bottleneck, LinearBottleneck):
        raise ModelError(
            f"the scores of a model made by {model.recipe.method} are not linear in the embedding, so heads add nothing to them",
            hint="choose a model whose concepts are directions, such as one made by posthoc",
        )
    wanted = [model.concept(name) for name in concepts]
    directions = model.bottleneck.directions(seen.embedding)[wanted]
    visual = tower_of(encoder)
    tower, projection = vision_tower(visual), token_projection(visual)
    if projection is None:
        raise EncoderError(
            f"the embedding of {encoder.id} is not read from a class token, so what single heads add is not known",
            hint="choose builtin:demo or a vision transformer with a class token",
        )
    back = _pulled_back(tower, projection, seen, directions)  # [k e]
    pairs = zip(seen.blocks, tower.blocks, strict=True)
    found = [_of_block(block, back * _scale(its.scale)) for block, its in pairs]
    every = torch.stack(found, 1).cpu()  # [k b h t]
    heads = every.sum(-1)
    scores = model.scores(seen.embedding[None])[0, wanted]
    return HeadEffects(_in_grid(every, seen), heads, scores - heads.sum((1, 2)))


def _of_block(block: BlockAttention, back: Float[Tensor, "k e"]) -> Float[Tensor, "k h t"]:
    """What each head takes from each token along directions of the tokens' space."""
    heads = block.weights.shape[1]
    read = (back.to(block.projection) @ block.projection).view(len(back), heads, -1)  # [k h e]
    moved = torch.einsum("hte,khe->kht", block.values[0], read) * block.weights[0, :, 0]
    return moved.float()


def _in_grid(tokens: Float[Tensor, "*k t"], seen: Look) -> Float[Tensor, "*k y x"]:
    """The patches among the tokens, as rows and columns."""
    return tokens[..., seen.prefix :].reshape(*tokens.shape[:-1], *seen.grid)


def _pulled_back(
    tower: Tower, projection: Float[Tensor, "e d"], seen: Look, directions: Float[Tensor, "k d"]
) -> Float[Tensor, "k e"]:
    """Directions of the embedding as directions of the class token: through the matrix and the layer norm."""
    gain, _ = layer_norm_at(tower.norm, seen.token)
    read = (directions.to(gain) @ projection.float().T.detach()) * gain / seen.length
    centred: Tensor = read - read.mean(1, keepdim=True)  # the layer norm takes the mean away
    return centred


def _scale(scaling: torch.nn.Module) -> Tensor | float:
    """What a block multiplies its attention by."""
    gamma = getattr(scaling, "gamma", None)
    return gamma.detach().float() if isinstance(gamma, Tensor) else 1.0
