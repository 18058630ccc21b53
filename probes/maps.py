"""Where in an image a concept is, or where its score comes from: several ways behind one function.

The decomposition is exact, and the others answer other questions (`METHODS` says which). Maps are signed and drawn on a
scale that is the same for all concepts and images, so that what is absent stays pale.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor

from cbm.encoders import Encoder, check_contract
from cbm.errors import unknown
from cbm.model import ConceptModel
from probes import map_methods
from probes.decomposition import EmbeddingParts, can_be_taken_apart, decompose
from probes.map_methods import Asked, has_class_token
from probes.views import View, view

__all__ = [
    "METHODS",
    "ConceptMap",
    "EmbeddingParts",
    "MapMethod",
    "common_scale",
    "concept_map",
    "concept_maps",
    "decompose",
    "mappable",
    "maps_from",
    "possible_methods",
    "why_not_exact",
]
STRONG = 0.95


@dataclass(frozen=True)
class MapMethod:
    """A way to make maps.

    Attributes
    ----------
    label, says
        Its name on screens, and what a place's value is.
    full
        The value that is shown in full colour, in strong scores (or as it is, where `blind`); see `common_scale`.
    run
        From an image and what is asked, `[k h w]`.
    adds_up
        Whether the places and a rest add up to the score.
    signed
        Whether places can speak against the concept.
    blind
        Whether the map is the same for every concept.
    slow
        Whether it takes many passes through the encoder.
    """

    label: str
    says: str
    full: float
    run: Callable[[View, Asked], Tensor]
    adds_up: bool = False
    signed: bool = True
    blind: bool = False
    slow: bool = False


METHODS: Mapping[str, MapMethod] = {
    "decomposition": MapMethod(
        "Decomposition", "what the place adds to the score", 1 / 4, map_methods.by_decomposition, adds_up=True
    ),
    "dense": MapMethod(
        "Dense", "what the concept's direction says of the place alone, less the image's mean", 0.3, map_methods.dense
    ),
    "gradcam": MapMethod("Grad-CAM", "features times the score's mean gradient", 1 / 8, map_methods.gradcam),
    "relevance": MapMethod(
        "Relevance",
        "how much the class token takes from the place by attention that raises the score",
        1 / 16,
        map_methods.relevance,
        signed=False,
    ),
    "rollout": MapMethod(
        "Rollout",
        "how much the class token takes from the place by attention alone, in equal shares; the same for every concept",
        3,
        map_methods.rollout,
        signed=False,
        blind=True,
    ),
    "integrated-gradients": MapMethod(
        "Integrated gradients",
        "the gradient summed on the way from the image's mean colour to the image",
        1 / 4,
        map_methods.integrated_gradients,
        adds_up=True,
        slow=True,
    ),
    "occlusion": MapMethod(
        "Occlusion", "the score that is lost when the place is covered", 1 / 4, map_methods.occlusion, slow=True
    ),
}


@dataclass(frozen=True)
class ConceptMap:
    """Where a concept's score on an image comes from.

    Attributes
    ----------
    concept
        Its name.
    values
        One a place; rows from the top, of the part of the image that the encoder sees.
    score
        What the model says of the concept.
    rest
        What belongs to no place: with it, the values sum to the score. `None` where they are no shares of it.
    method
        How the map was made.
    exact
        Whether the rest is known by itself, and not as what is missing.
    """

    concept: str
    values: Float[Tensor, "h w"]
    score: float
    rest: float | None
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
    """Where concepts are in an image, or where their scores come from.

    Parameters
    ----------
    concepts
        Names; all of the model's when not given.
    method
        One of `METHODS`.

    Raises
    ------
    UnknownName
        If there is no such concept or method.
    ModelError
        If a score is not linear in the embedding, and the method needs that.
    EncoderError
        If the encoder did not make the model's embeddings, or cannot be looked into this way.

    Notes
    -----
    In the decomposition, the lengths that the encoder divides by (of the last layer norm, of the embedding) and the
    attention weights are held as they are on this image. So it tells what each place has added, not what would change if
    it were covered; that is occlusion.

    References
    ----------
    Gandelsman et al., "Interpreting CLIP's image representation via text-based decomposition", ICLR 2024, section 3;
    the sources of the others are in `probes.map_methods`.
    """
    if method not in METHODS:
        raise unknown("way to make maps", method, METHODS)
    check_contract(encoder, model.recipe.contract or encoder.contract)
    names = model.concepts if concepts is None else concepts
    wanted = [model.concept(name) for name in names]
    if method == "decomposition":
        return maps_from(model, decompose(encoder, image), names)
    seen = view(encoder, image)
    with torch.no_grad():
        x = seen.embed(seen.pixels).cpu()
    values = METHODS[method].run(seen, asked_of(model, x[0], wanted))
    return _named(names, values, model.scores(x)[0, wanted], method)


def maps_from(model: ConceptModel, parts: EmbeddingParts, concepts: Sequence[str]) -> tuple[ConceptMap, ...]:
    """The decomposition's maps from an embedding that `decompose` took apart; raises as `concept_maps`."""
    wanted = [model.concept(name) for name in concepts]
    x = parts.embedding
    directions = asked_of(model, x, wanted).linear()
    values = torch.einsum("hwd,kd->khw", parts.places, directions)
    return _named(concepts, values, model.scores(x[None])[0, wanted], "decomposition")


def asked_of(model: ConceptModel, x: Float[Tensor, "d"], wanted: Sequence[int]) -> Asked:
    """What the concepts at these places of the model ask of an embedding."""
    directions = getattr(model.bottleneck, "directions", None)
    rows = None if directions is None else directions(x)[list(wanted)]
    return Asked(lambda embeddings: model.scores(embeddings)[:, list(wanted)], rows)


def _named(names: Sequence[str], values: Tensor, scores: Tensor, method: str) -> tuple[ConceptMap, ...]:
    exact, adds_up = method == "decomposition", METHODS[method].adds_up
    rest = [float(s - v.sum()) if adds_up else None for v, s in zip(values, scores, strict=True)]
    rows = zip(names, values, scores.tolist(), rest, strict=True)
    return tuple(ConceptMap(*row, method=method, exact=exact) for row in rows)


def common_scale(scores: Float[Tensor, "n k"], method: str = "decomposition") -> float:
    """The value of a place that is shown in full colour, the same for all concepts of a model.

    It is a fixed part (`MapMethod.full`) of a strong score: one that 95 % of the scores stay under in size. So a place of
    the decomposition is in full colour when it adds a quarter of a strong score. Rollout knows no scores.

    Parameters
    ----------
    scores
        The model's, on many images.
    method
        One of `METHODS`.

    Examples
    --------
    >>> common_scale(torch.full((10, 2), -1.6))
    0.4...
    """
    way = METHODS[method]
    if way.blind:
        return way.full
    sizes = scores.abs().flatten().sort().values  # torch.quantile takes no more than 2^24 numbers
    return max(float(sizes[int(STRONG * (len(sizes) - 1))]) * way.full, 1e-6) if len(sizes) else 1.0


def mappable(encoder_id: str) -> bool:
    """Whether maps are to be expected of an encoder, by its id alone; `possible_methods` says which.

    Examples
    --------
    >>> mappable("builtin:demo"), mappable("timm:resnet18.a1_in1k"), mappable("words:colours")
    (True, True, False)
    """
    return encoder_id.startswith(("builtin:", "open_clip:", "hf:", "timm:", "torchvision:"))


def possible_methods(encoder: Encoder, model: ConceptModel) -> tuple[str, ...]:
    """The methods that this encoder's structure and this model's scores allow, as `METHODS` orders them."""
    visual = getattr(encoder, "visual", None)
    if visual is None:
        return ()
    linear, token = hasattr(model.bottleneck, "directions"), has_class_token(visual)
    apart = linear and can_be_taken_apart(visual)
    allowed = {"decomposition": apart, "dense": apart, "relevance": token, "rollout": token}
    return tuple(name for name in METHODS if allowed.get(name, True))


def why_not_exact(encoder: Encoder, model: ConceptModel) -> str:
    """Why scores cannot be taken apart into places exactly, in one sentence; empty where they can."""
    if not hasattr(model.bottleneck, "directions"):
        return "The scores of this model are not sums over the embedding, so places have no exact share in them."
    visual = getattr(encoder, "visual", None)
    if visual is None or can_be_taken_apart(visual):
        return ""
    return (
        "This encoder's embedding is neither a mean over places nor a class token (it pools by attention, or passes the "
        "mean through a norm), so places have no exact share in the scores."
    )
