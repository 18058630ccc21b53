"""Backbones: image classifiers without their last layer, whose pooled features are the embedding. They read no text.

Concepts of such an encoder come from annotated images or from a sparse autoencoder. The features are scaled to unit length,
like the embeddings of all other encoders.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn

from cbm.clip import Engine, contract_of, made_ready, unit_embeddings, unit_rows
from cbm.errors import EncoderError
from cbm.preprocessing import Preprocessing


class Backbone(nn.Module):
    """A network without its classifier.

    Attributes
    ----------
    trunk
        From pixels to pooled features.
    map_name
        The part whose map of features is averaged over its places and nothing else; empty where there is none.
    last
        Whether that map has its channels last, as in the Swin transformers of timm.
    """

    def __init__(self, trunk: nn.Module, map_name: str = "", *, last: bool = False) -> None:
        super().__init__()
        self.trunk, self.map_name, self.last = trunk, map_name, last

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        features: Tensor = self.trunk(pixels)
        return features


@dataclass(frozen=True, eq=False)
class BackboneEncoder:
    """A network from pixels to pooled features, with its preprocessing.

    Attributes
    ----------
    id
        What `load_encoder` was given.
    visual
        A `Backbone` in evaluation mode, on any device.
    preprocessing, contract, engine
        As of `cbm.clip.ClipEncoder`.
    """

    id: str
    visual: nn.Module = field(repr=False)
    preprocessing: Preprocessing
    contract: str
    engine: Engine | None = field(default=None, repr=False)

    @cached_property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.encode_pixels(torch.zeros(1, 3, *self.preprocessing.size)).shape[1]

    def encode_images(self, images: Sequence[Image]) -> Float[Tensor, "n d"]:
        """Embeddings of pictures of any size and mode."""
        return self.encode_pixels(torch.stack([torch.from_numpy(self.preprocessing(image)) for image in images]))

    def encode_pixels(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Embeddings of pixels that `preprocessing` made."""
        if self.engine is not None:
            return unit_rows(self.engine(pixels))
        return unit_embeddings(self.visual, self.visual, pixels)


def make_backbone_encoder(
    name: str, network: nn.Module, preprocessing: Preprocessing, *, architecture: str, device: str = "cpu"
) -> BackboneEncoder:
    """The encoder around a network whose weights are loaded and whose classifier is gone.

    Raises
    ------
    EncoderError
        If it cannot take such images, or what it returns is not one row of features an image.
    """
    contract = contract_of(network.state_dict(), preprocessing, architecture)
    noise = torch.randn(1, 3, *preprocessing.size, generator=torch.Generator().manual_seed(0))
    try:
        features, places = _tried(network.eval(), noise)
    except (RuntimeError, ValueError, AssertionError) as error:
        told, (rows, columns) = " ".join(str(error).split())[:200], preprocessing.size
        raise EncoderError(
            f"{name} cannot take images of {rows} x {columns}, as its preprocessing makes them: {told}",
            hint="check that the preprocessing is that of this network",
        ) from error
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise EncoderError(
            f"{architecture} does not end in one row of features an image", hint="choose another backbone"
        )
    averaged, last = _averaged(features, places)
    backbone = Backbone(network, averaged, last=last)
    return BackboneEncoder(name, made_ready(backbone, preprocessing, device=device), preprocessing, contract)


def _tried(network: nn.Module, pixels: Tensor) -> tuple[object, tuple[str, Tensor] | None]:
    """What a network returns, and the last map of features that one of its smallest parts returned, with its name."""
    last: list[tuple[str, Tensor]] = []

    def note(name: str, module: nn.Module, inputs: object, output: object) -> None:
        if (
            isinstance(output, Tensor)
            and output.ndim == 4
            and output[0].numel() > max(output.shape[1], output.shape[3])
        ):
            last[:] = [(name, output)]

    leaves = [(name, part) for name, part in network.named_modules() if not list(part.children())]
    hooks = [part.register_forward_hook(partial(note, name)) for name, part in leaves]
    try:
        with torch.inference_mode():
            return network(pixels.to(next(network.parameters()).dtype)), last[0] if last else None
    finally:
        for hook in hooks:
            hook.remove()


def _averaged(features: Tensor, places: tuple[str, Tensor] | None) -> tuple[str, bool]:
    """The name of the map whose mean the features are, and whether it has its channels last; empty where they are more."""
    if places is None:
        return "", False
    name, found = places
    for last, mean in ((False, found.mean((2, 3))), (True, found.mean((1, 2)))):
        if mean.shape == features.shape and torch.allclose(mean, features, rtol=1e-4, atol=1e-5):
            return name, last
    return "", False


def load_strictly(network: nn.Module, weights: dict[str, Tensor], *, source: str, classifiers: Sequence[str]) -> None:
    """Put weights into a network, leaving out those of its classifier; every other must be there and fit.

    Raises
    ------
    EncoderError
        If they do not fit; nothing is ever left at random numbers.
    """
    starts = tuple(f"{name}." for name in classifiers)
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith(starts)}
    try:
        network.load_state_dict(kept)
    except RuntimeError as error:
        told = " ".join(str(error).split())[:300]
        raise EncoderError(
            f"the weights in {source} do not fit the network: {told}", hint="check that they are of this architecture"
        ) from error
