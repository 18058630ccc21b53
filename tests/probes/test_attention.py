"""The attention tap: the model stays what it is, and what is recorded is what happened."""

import pytest
import torch
from torch import nn

from cbm.errors import EncoderError
from cbm.torchvision_guard import ensure_torchvision
from probes.attention import attention_tap


@pytest.fixture(scope="module")
def tower():
    """A vision transformer with random weights, large enough to be far from linear."""
    ensure_torchvision()
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(0)
    tower = VisionTransformer(
        32, 8, width=24, layers=3, heads=4, mlp_ratio=2.0, ls_init_value=0.7, output_dim=12
    ).eval()
    with torch.no_grad():
        for name, weight in tower.named_parameters():
            weight.copy_(torch.randn_like(weight) * (0.4 if "ln" not in name else 1))
    return tower


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_outputs_stay_the_same_and_the_tap_is_gone_afterwards(tower, pixels):
    before = tower(pixels)

    with attention_tap(tower) as tap:
        within = tower(pixels)

    assert (within - before).abs().max() < 1e-6 * before.abs().max()
    assert len(tap.blocks) == 3
    assert all(not block.attn._forward_hooks for block in tower.transformer.resblocks)


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


def test_the_weights_have_a_gradient(tower, pixels):
    with attention_tap(tower) as tap:
        score = tower(pixels)[0, 0]

    gradients = torch.autograd.grad(score, [block.weights for block in tap.blocks])

    assert all(gradient[0].abs().max() > 0 for gradient in gradients)
    assert all(gradient[1].abs().max() == 0 for gradient in gradients)  # the other image has no part in it


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

    assert all(not block.attn._forward_hooks for block in tower.transformer.resblocks)


def test_a_tower_without_attention_is_refused_in_words():
    with pytest.raises(EncoderError, match="cannot be looked into"), attention_tap(nn.Linear(2, 2)):
        pass
