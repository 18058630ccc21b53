"""The attention tap: the model stays what it is, and what is recorded is what happened."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from cbm.errors import EncoderError
from cbm.torchvision_guard import ensure_torchvision
from probes.attention import attention_tap
from probes.towers import vision_tower


def shaken(module):
    """The module with random weights that are far from small, so that it is far from linear."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.copy_(torch.randn_like(weight) * (0.4 if "ln" not in name and "norm" not in name else 1))
    return module.eval()


def open_clip_tower():
    from open_clip.transformer import VisionTransformer

    return VisionTransformer((32, 48), 8, width=24, layers=3, heads=4, mlp_ratio=2.0, ls_init_value=0.7, output_dim=12)


def transformers_tower(kind):
    import transformers

    settings = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = getattr(transformers, f"{kind}VisionConfig")(**settings, image_size=32, patch_size=8)
    return getattr(transformers, f"{kind}VisionModel")(config)


def timm_tower(name, **settings):
    import timm

    return timm.create_model(name, pretrained=False, embed_dim=24, depth=3, num_heads=4, num_classes=0, **settings)


FAMILIES = {  # how each is made, the tokens before its patches, its grid
    "open_clip": (open_clip_tower, 1, (4, 6)),
    "CLIP of transformers": (lambda: transformers_tower("CLIP"), 1, (4, 4)),
    "SigLIP of transformers": (lambda: transformers_tower("Siglip"), 0, (4, 4)),
    "timm": (lambda: timm_tower("vit_tiny_patch16_224", img_size=(32, 48), patch_size=8), 1, (4, 6)),
    "timm with registers": (lambda: timm_tower("vit_small_patch14_reg4_dinov2", img_size=28), 5, (2, 2)),
    "SigLIP of timm": (lambda: timm_tower("vit_base_patch16_siglip_224", img_size=32), 0, (2, 2)),
}


def embedded(tower, pixels):
    """What a tower returns for an image, whatever its library."""
    output = tower(pixels)
    return output if isinstance(output, torch.Tensor) else output.pooler_output


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request):
    """A tower of each family with random weights, pixels for it, its prefix and its grid."""
    ensure_torchvision()
    make, prefix, grid = FAMILIES[request.param]
    tower = shaken(make())
    high, wide = (side * size for side, size in zip(vision_tower(tower).patch, grid, strict=True))
    return tower, torch.randn(2, 3, high, wide, generator=torch.Generator().manual_seed(1)), prefix, grid


@pytest.fixture(scope="module")
def tower():
    """The one of open_clip."""
    ensure_torchvision()
    return shaken(open_clip_tower())


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))


def hooks_of(tower):
    return [hook for part in tower.modules() for hook in (*part._forward_hooks, *part._forward_pre_hooks)]


def test_every_family_keeps_its_outputs_and_shows_its_attention(family):
    tower, pixels, prefix, grid = family
    before, hooks = embedded(tower, pixels), hooks_of(tower)

    with attention_tap(tower) as tap:
        within = embedded(tower, pixels)
    gradients = torch.autograd.grad(within[0].sum(), [block.weights for block in tap.blocks])

    assert (within - before).abs().max() < 1e-6 * before.abs().max().clamp(min=1)
    assert hooks_of(tower) == hooks
    assert (vision_tower(tower).prefix, vision_tower(tower).grid(pixels)) == (prefix, grid)
    for block, gradient in zip(tap.blocks, gradients, strict=True):
        assert block.weights.shape == (2, 4, prefix + grid[0] * grid[1], prefix + grid[0] * grid[1])
        torch.testing.assert_close(block.weights.sum(-1), torch.ones(block.weights.shape[:3]))
        assert gradient[0].abs().max() > 0 == gradient[1].abs().max()  # the other image has no part in it


def test_every_familys_recorded_output_is_what_its_attention_returns(family):
    tower, pixels, _, _ = family
    returned = []
    last = vision_tower(tower).blocks[-1].attention
    handle = last.register_forward_hook(lambda module, inputs, output: returned.append(output))
    embedded(tower, pixels)
    handle.remove()

    with attention_tap(tower) as tap:
        embedded(tower, pixels)

    plain = returned[0] if isinstance(returned[0], torch.Tensor) else returned[0][0]
    torch.testing.assert_close(tap.blocks[-1].output(), plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(tap.blocks[-1].by_head().sum(1) + tap.blocks[-1].bias, plain, rtol=1e-5, atol=1e-5)


def test_a_closed_gate_is_a_head_whose_part_of_the_projection_is_zero(family):
    tower, pixels, _, _ = family
    gate = torch.ones(4).index_fill(0, torch.tensor([2]), 0.0).requires_grad_()
    with attention_tap(tower, gates=[None, gate, None]):
        gated = embedded(tower, pixels)
    gradient = torch.autograd.grad(gated[0].sum(), gate)[0]
    attention = vision_tower(tower).blocks[1].attention
    out = getattr(attention, "proj", None) or attention.out_proj
    kept = out.weight.detach().clone()

    with torch.no_grad():
        out.weight[:, 12:18] = 0  # the third of four heads, six wide
        without = embedded(tower, pixels)
        out.weight.copy_(kept)

    torch.testing.assert_close(gated, without, rtol=1e-4, atol=1e-5)
    assert gradient.abs().min() > 0


def test_a_head_can_be_replaced_by_a_mean(tower, pixels):
    with attention_tap(tower) as tap:
        before = tower(pixels)
    means = [block.outputs.detach().mean((0, 2)) for block in tap.blocks]  # [h e]

    with attention_tap(tower, gates=[torch.zeros(4)] * 3, instead=means) as tap:
        replaced = tower(pixels)

    assert (replaced - before).abs().max() > 0.1
    for block, mean in zip(tap.blocks, means, strict=True):
        torch.testing.assert_close(block.outputs, mean[None, :, None].expand_as(block.outputs))


def test_gates_of_each_image_act_on_that_image(tower, pixels):
    before = tower(pixels)

    with attention_tap(tower, gates=[torch.tensor([[1.0] * 4, [0.0] * 4])] * 3):
        within = tower(pixels)

    assert (within[0] - before[0]).abs().max() < 1e-5 * before.abs().max()
    assert (within[1] - before[1]).abs().max() > 0.1


def test_wrong_gates_and_a_second_tap_are_refused(tower):
    with pytest.raises(EncoderError, match="gates for 2 blocks"), attention_tap(tower, gates=[None, None]):
        pass
    with attention_tap(tower), pytest.raises(EncoderError, match="tapped already"), attention_tap(tower):
        pass


def test_another_thread_is_left_alone(tower, pixels):
    before = tower(pixels)
    with attention_tap(tower, gates=[torch.zeros(4)] * 3) as tap, ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(tower, pixels).result()

        assert (elsewhere - before).abs().max() < 1e-6 * before.abs().max()
        assert not tap.blocks


def test_weights_are_those_that_torch_gives(tower, pixels):
    seen = []
    attention = tower.transformer.resblocks[1].attn
    handle = attention.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with attention_tap(tower) as tap:
        tower(pixels)
    handle.remove()

    _, weights = attention(seen[0], seen[0], seen[0], need_weights=True, average_attn_weights=False)

    torch.testing.assert_close(tap.blocks[1].weights, weights)


def test_what_the_first_token_gets_from_all_tokens_sums_to_its_output(tower, pixels):
    with attention_tap(tower) as tap:
        tower(pixels)

    for block in tap.blocks:
        torch.testing.assert_close(block.to_first().sum(1) + block.bias, block.output()[:, 0])


def test_a_mask_is_kept(pixels):
    tower = nn.Module()
    tower.transformer, block = nn.Module(), nn.Module()
    tower.transformer.resblocks = nn.ModuleList([block])
    block.attn = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    causal, x = torch.full((5, 5), -torch.inf).triu(1), torch.randn(1, 5, 8)
    before = block.attn(x, x, x, attn_mask=causal)[0]

    with attention_tap(tower) as tap:
        within = block.attn(x, x, x, attn_mask=causal)[0]

    torch.testing.assert_close(within, before)
    assert tap.blocks[0].weights.triu(1).abs().max() == 0


def test_after_an_error_the_tap_is_gone(tower, pixels):
    with pytest.raises(RuntimeError, match="stopped"), attention_tap(tower):
        raise RuntimeError("stopped")

    assert not hooks_of(tower)


def test_a_tower_without_attention_is_refused_in_words():
    with pytest.raises(EncoderError, match="not a vision transformer"), attention_tap(nn.Linear(2, 2)):
        pass
    tower = nn.Module()
    tower.transformer = nn.Module()
    tower.transformer.resblocks = nn.ModuleList([nn.Linear(2, 2)])
    with pytest.raises(EncoderError, match="cannot be looked into"), attention_tap(tower):
        pass
