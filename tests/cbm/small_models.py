"""Tiny models with random weights, saved as each library saves its own; each maker returns the encoder's id."""

import json
from pathlib import Path

import torch

from cbm.torchvision_guard import ensure_torchvision

WORDS = ("a", "bird", "dog", "on", "the", "grass", "red", "photo", "of")
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 16,
    "max_position_embeddings": 12,
    "bos_token_id": 14,
    "eos_token_id": 15,
    "pad_token_id": 1,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def clip_folder(folder: Path, *, seed: int = 0, **settings: object) -> str:
    """CLIP of transformers; `settings` change its image processor."""
    ensure_torchvision()
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    torch.manual_seed(seed)
    CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12)).save_pretrained(folder)
    processor = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}} | settings
    CLIPImageProcessor(**processor).save_pretrained(folder)
    _save_tokenizer(folder)
    return f"hf:{folder}"


def siglip_folder(folder: Path, *, seed: int = 0) -> str:
    """SigLIP of transformers."""
    ensure_torchvision()
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(seed)
    vision = VISION | {"hidden_size": 16}
    SiglipModel(SiglipConfig(text_config=TEXT, vision_config=vision)).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    _save_tokenizer(folder)
    return f"hf:{folder}"


TIMM_ARGUMENTS = {  # timm has no small Swin of its own
    "swin_tiny_patch4_window7_224": {
        "embed_dim": 16, "depths": [1, 1, 2], "num_heads": [1, 2, 2], "img_size": 64, "window_size": 4,
    },
}  # fmt: skip


def timm_folder(folder: Path, *, name: str = "test_resnet", seed: int = 0, **settings: object) -> str:
    """A backbone of timm; `settings` change its `pretrained_cfg`."""
    ensure_torchvision()
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    arguments = TIMM_ARGUMENTS.get(name, {})
    model = timm.create_model(name, pretrained=False, num_classes=5, **arguments)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    small = {} if "vit" in name else {"input_size": (3, 64, 64), "crop_pct": 0.9}
    known = {**model.pretrained_cfg, **small, **settings}
    config = {"architecture": name, "num_classes": 5, "model_args": arguments, "pretrained_cfg": known}
    (folder / "config.json").write_text(json.dumps(config))
    return f"timm:local-dir:{folder}"


def torchvision_file(file: Path, *, name: str = "resnet18", seed: int = 0) -> str:
    """A backbone of torchvision with weights in a safetensors file."""
    ensure_torchvision()
    from safetensors.torch import save_file
    from torchvision.models import get_model

    torch.manual_seed(seed)
    save_file(get_model(name, weights=None).state_dict(), file)
    return f"torchvision:{name}@{file}"


def _save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = {word: i for i, word in enumerate(("<unk>", "<pad>", *WORDS))} | {"<s>": 14, "</s>": 15}
    inner = Tokenizer(models.WordLevel(names, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 14), ("</s>", 15)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
