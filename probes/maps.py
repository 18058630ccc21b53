"""Where in an image a concept's score comes from, exactly.

An embedding is taken apart into what each place of the image adds to it and a rest. A concept of a linear bottleneck is
a direction, so one pass through the encoder gives the maps of all concepts, and each map adds up, with its rest, to the
score. What is not of one place, such as biases and the layers that see the whole image, is in the rest.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn

from cbm.bottleneck import LinearBottleneck
from cbm.clip import ClipEncoder
from cbm.encoders import Encoder, check_contract
from cbm.errors import EncoderError, ModelError, unknown
from cbm.model import ConceptModel
from probes.attention import attention_tap

if TYPE_CHECKING:
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

METHODS = ("decomposition",)
STRONG = 0.95
TOLERANCE = 1e-3  # of the embedding's length, which is one; half floats need more
_LIKE = "choose builtin:demo, builtin:photo or a vision transformer of open_clip with a class token"


@dataclass(frozen=True)
class EmbeddingParts:
    """A unit embedding as a sum: what each place of the image adds, and the rest."""

    places: Float[Tensor, "h w d"]
    rest: Float[Tensor, "d"]

    @property
    def embedding(self) -> Float[Tensor, "d"]:
        """The sum of all parts."""
        return self.places.sum((0, 1)) + self.rest


@dataclass(frozen=True)
class ConceptMap:
    """Where a concept's score on an image comes from.

    Attributes
    ----------
    concept
        Its name.
    values
        What each place adds to the score; rows from the top, of the part of the image that the encoder sees.
    score
        What the model says of the concept.
    rest
        What belongs to no place.
    method
        How the map was made.
    exact
        Whether `values` and `rest` sum to the score.
    """

    concept: str
    values: Float[Tensor, "h w"]
    score: float
    rest: float
    method: str
    exact: bool

    def to_json(self) -> dict[str, object]:
        """A JSON object; the values as rows."""
        named = {"concept": self.concept, "score": self.score, "rest": self.rest, "method": self.method}
        return {**named, "exact": self.exact, "values": self.values.tolist()}


def concept_map(
    model: ConceptModel, encoder: Encoder, image: Image, concept: str, *, method: str = "decomposition"
) -> ConceptMap:
    """The map of one concept; see `concept_maps`."""
    return concept_maps(model, encoder, image, [concept], method=method)[0]


def concept_maps(
    model: ConceptModel,
    encoder: Encoder,
    image: Image,
    concepts: Sequence[str] | None = None,
    *,
    method: str = "decomposition",
) -> tuple[ConceptMap, ...]:
    """Where the scores of concepts on an image come from, in one pass through the encoder.

    Parameters
    ----------
    concepts
        Names; all of the model's when not given.
    method
        Only `"decomposition"`.

    Raises
    ------
    UnknownName
        If there is no such concept or method.
    ModelError
        If a score is not linear in the embedding.
    EncoderError
        If the encoder did not make the model's embeddings, or cannot be taken apart.

    Notes
    -----
    The lengths that the encoder divides by (of the last layer norm, of the embedding) and the attention weights are held
    as they are on this image. So a map tells what each place has added, not what would change if it were covered.

    References
    ----------
    Gandelsman et al., "Interpreting CLIP's image representation via text-based decomposition", ICLR 2024, section 3.
    """
    if method not in METHODS:
        raise unknown("way to make maps", method, METHODS)
    check_contract(encoder, model.recipe.contract or encoder.contract)
    return maps_from(model, decompose(encoder, image), model.concepts if concepts is None else concepts)


def maps_from(model: ConceptModel, parts: EmbeddingParts, concepts: Sequence[str]) -> tuple[ConceptMap, ...]:
    """The maps of concepts from an embedding that `decompose` took apart; raises as `concept_maps`."""
    if not isinstance(model.bottleneck, LinearBottleneck):
        raise ModelError(
            f"the scores of a model made by {model.recipe.method} are not linear in the embedding, so they have no map",
            hint="choose a model whose concepts are directions, such as one made by posthoc",
        )
    wanted = [model.concept(name) for name in concepts]
    x = parts.embedding
    directions, bias = model.bottleneck.directions(x)[wanted], model.bottleneck.bias[wanted]
    values = (parts.places @ directions.T).permute(2, 0, 1)  # [h w d] @ [d k] -> [k h w]
    scores, rest = model.scores(x[None])[0, wanted].tolist(), (directions @ parts.rest + bias).tolist()
    named = zip(concepts, values, scores, rest, strict=True)
    return tuple(ConceptMap(*row, method="decomposition", exact=True) for row in named)


def common_scale(scores: Float[Tensor, "n k"]) -> float:
    """The value of a place that is shown in full colour, the same for all concepts of a model.

    A place reaches it when it adds an eighth of a strong score: one that 95 % of the scores stay under in size.

    Parameters
    ----------
    scores
        The model's, on many images.

    Examples
    --------
    >>> common_scale(torch.full((10, 2), -1.6))
    0.2...
    """
    sizes = scores.abs().flatten().sort().values  # torch.quantile takes no more than 2^24 numbers
    return max(float(sizes[int(STRONG * (len(sizes) - 1))]) / 8, 1e-6) if len(sizes) else 1.0


def decompose(encoder: Encoder, image: Image) -> EmbeddingParts:
    """What each place of an image adds to its embedding, checked against the encoder's own answer.

    Raises
    ------
    EncoderError
        If the encoder has no structure that allows it.
    """
    visual = getattr(encoder.model, "visual", None) if isinstance(encoder, ClipEncoder) else None
    way = _way(visual)
    if not isinstance(encoder, ClipEncoder) or not isinstance(visual, nn.Module) or way is None:
        raise EncoderError(f"embeddings of {encoder.id} cannot be taken apart into places", hint=_LIKE)
    like = next(visual.parameters())
    pixels = torch.from_numpy(encoder.preprocessing(image))[None]
    with torch.no_grad():
        places, rest, whole = way(pixels.to(like.device, like.dtype))
    length = whole.norm()
    parts = EmbeddingParts((places / length).cpu(), (rest / length).cpu())
    off = (parts.embedding - (whole / length).cpu()).norm()
    if off > (TOLERANCE if like.dtype == torch.float32 else 30 * TOLERANCE):
        raise EncoderError(f"the parts of an embedding of {encoder.id} do not add up", hint=_LIKE)
    return parts


def mappable(encoder_id: str) -> bool:
    """Whether maps are to be expected of an encoder, by its id alone; only `decompose` knows for sure.

    Examples
    --------
    >>> mappable("builtin:demo"), mappable("open_clip:RN50/openai")
    (True, False)
    """
    return encoder_id.startswith(("builtin:", "open_clip:ViT-", "open_clip:hf-hub:", "open_clip:local-dir:")) and (
        "siglip" not in encoder_id.lower()
    )


_Parts = tuple[Tensor, Tensor, Tensor]  # places [h w d], rest [d], embedding [d], before it is scaled to one


def _way(visual: object) -> Callable[[Tensor], _Parts] | None:
    """How a tower is taken apart, by its structure."""
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, VisionTransformer) and visual.attn_pool is None and visual.pool_type == "tok":
        return partial(_class_token_parts, visual)
    if isinstance(visual, TimmModel) and isinstance(getattr(visual.head, "proj", None), nn.Linear | nn.Identity):
        return partial(_pooled_parts, visual)
    return None


def _class_token_parts(visual: "VisionTransformer", pixels: Tensor) -> _Parts:
    """What the class token takes from each patch, over all blocks, carried through the last layer norm.

    The mean that the layer norm takes away is linear; only the deviation it divides by is held fixed.
    """
    with attention_tap(visual) as tap, _kept(visual.transformer) as outputs:
        whole: Tensor = visual(pixels)[0]
    token: Tensor = outputs[0][0, 0].float()
    blocks = zip(visual.transformer.resblocks, tap.blocks, strict=True)
    patches = torch.stack([block.ls_1(seen.to_first())[0, 1:].float() for block, seen in blocks]).sum(0)  # [t d]
    norm, projection = visual.ln_post, visual.proj.float()
    gain = norm.weight.float() / (token.var(unbiased=False) + norm.eps).sqrt()

    def carried(vectors: Tensor) -> Tensor:
        moved: Tensor = ((vectors - vectors.mean(-1, keepdim=True)) * gain) @ projection
        return moved

    rest = carried(token - patches.sum(0)) + norm.bias.float() @ projection
    side = visual.patch_size
    places = carried(patches).reshape(pixels.shape[2] // side[0], pixels.shape[3] // side[1], len(whole))
    return places, rest, whole.float()


@contextmanager
def _kept(module: nn.Module) -> Iterator[list[Tensor]]:
    """Within it, what the module returns is kept."""
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def _pooled_parts(visual: "TimmModel", pixels: Tensor) -> _Parts:
    """The places of the last feature map, whose mean is projected; the rest is the projection's bias."""
    features: Tensor = visual.trunk.forward_features(pixels)
    if features.ndim != 4:
        raise EncoderError("this encoder does not end in a map of features", hint=_LIKE)
    whole: Tensor = visual.head(visual.trunk.forward_head(features))[0].float()
    share = features[0].float().permute(1, 2, 0) / features[0, 0].numel()  # [c h w] -> [h w c], of the mean
    proj = visual.head.proj
    rest = torch.zeros_like(whole)
    if isinstance(proj, nn.Identity):
        return share, rest, whole
    return share @ proj.weight.float().T, rest if proj.bias is None else proj.bias.float(), whole
