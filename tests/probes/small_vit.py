"""A small vision transformer with random weights as an encoder, and the same with heads whose part is known."""

import torch
from torch import nn

from cbm.bottleneck import LinearBottleneck
from cbm.clip import ClipEncoder
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe
from cbm.preprocessing import Preprocessing
from cbm.torchvision_guard import ensure_torchvision

BLOCKS, HEADS, WIDTH, SIDE = 3, 4, 24, 32


class _Clip(nn.Module):
    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.visual(pixels)

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(tokens), self.visual.output_dim)


def _no_words(texts: list[str]) -> torch.Tensor:
    return torch.zeros(len(texts), 1, dtype=torch.long)


def small_encoder(seed: int = 0) -> ClipEncoder:
    """Four patches a side, far from linear, with layer scales."""
    ensure_torchvision()
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(seed)
    tower = VisionTransformer(
        SIDE, 8, width=WIDTH, layers=BLOCKS, heads=HEADS, mlp_ratio=2.0, ls_init_value=0.7, output_dim=12
    ).eval()
    with torch.no_grad():
        for name, weight in tower.named_parameters():
            weight.copy_(torch.randn_like(weight) * (0.4 if "ln" not in name else 1))
    tower.requires_grad_(False)
    return ClipEncoder("small", _Clip(tower).eval(), _no_words, Preprocessing(size=(SIDE, SIDE)), "small-contract")


def without_head(encoder: ClipEncoder, block: int, head: int) -> ClipEncoder:
    """The encoder after the head's part of the output projection has been set to zero."""
    width = WIDTH // HEADS
    projection = encoder.model.visual.transformer.resblocks[block].attn.out_proj
    projection.weight[:, head * width : (head + 1) * width] = 0
    return encoder


def only_head(encoder: ClipEncoder, block: int, head: int) -> ClipEncoder:
    """The encoder after everything that could move tokens but this head has been set to zero."""
    for b, inner in enumerate(encoder.model.visual.transformer.resblocks):
        inner.mlp.c_proj.weight.zero_()
        inner.mlp.c_proj.bias.zero_()
        inner.attn.out_proj.bias.zero_()
        for h in range(HEADS):
            if (b, h) != (block, head):
                without_head(encoder, b, h)
    return encoder


def linear_model(encoder: ClipEncoder, k: int = 3) -> ConceptModel:
    """Random directions as concepts, of mean 0 and variance 1 on the pictures, and two classes that both occur."""
    chance = torch.Generator().manual_seed(3)
    x = encoder.encode_pixels(pictures())
    weight = torch.randn(k, x.shape[1], generator=chance)
    spread, mean = (x @ weight.T).std(0), (x @ weight.T).mean(0)
    head = LinearHead(torch.randn(2, k, generator=chance), torch.zeros(2))
    names = tuple(f"concept {i}" for i in range(k))
    bottleneck = LinearBottleneck(weight / spread[:, None], -mean / spread)
    return ConceptModel(names, ("left", "right"), bottleneck, head, Recipe("posthoc", contract=encoder.contract))


def pictures(n: int = 12, seed: int = 1) -> torch.Tensor:
    """Random pixels."""
    return torch.randn(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
