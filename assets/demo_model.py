"""The encoder `builtin:demo`: an ordinary open_clip model with a convolutional stem and a word-level vocabulary.

`config.json` is open_clip's own description of the model. After building it, the patch embedding is replaced
by four small convolutions onto the same 8 x 8 grid of tokens, which learn small parts much sooner.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from assets import path
from assets.word_tokenizer import WordTokenizer

if TYPE_CHECKING:
    from open_clip.model import CLIP

IMAGE_SIZE = 128
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)
INTERPOLATION = "bicubic"
STEM = (32, 64, 128)
"""Channels of the first three convolutions; the fourth has the transformer's width."""


def load_demo_model() -> tuple[CLIP, WordTokenizer]:
    """Return the trained model, in evaluation mode and float32, and its tokenizer.

    Raises
    ------
    FileNotFoundError
        If the weights are missing from the installation.

    Notes
    -----
    Importing open_clip needs a working torchvision; the caller sees to that.
    """
    from safetensors.torch import load_file

    weights = load_file(path("weights/demo/model.safetensors"))
    tokenizer = WordTokenizer.load(path("weights/demo/vocabulary.json"))
    model = build_demo_model(tokenizer)
    model.load_state_dict(
        {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    )
    return model.eval(), tokenizer


def build_demo_model(tokenizer: WordTokenizer, config: Path | None = None) -> CLIP:
    """Return the untrained model for a tokenizer, as its config describes it."""
    from open_clip.model import CLIP

    settings = json.loads((config or path("weights/demo/config.json")).read_text(encoding="utf-8"))
    text = {**settings["text_cfg"], "vocab_size": tokenizer.size, "context_length": tokenizer.context_length}
    model = CLIP(settings["embed_dim"], settings["vision_cfg"], text, init_logit_scale=3.0, init_logit_bias=-3.0)
    model.visual.conv1 = conv_stem(settings["vision_cfg"]["width"])
    return model


def conv_stem(width: int) -> nn.Sequential:
    """Return four 3 x 3 convolutions of stride 2: from 128 px to 8 x 8 tokens, as patches of 16 px would."""
    layers: list[nn.Module] = []
    for before, after in pairwise((3, *STEM)):
        layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(STEM[-1], width, 3, 2, 1))
