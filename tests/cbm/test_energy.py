"""Energies and inference against the published code's numbers, enumeration, and a world whose truth is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cbm.bottleneck import Clamp
from cbm.energy import Energies, class_loss, concept_loss, initial
from cbm.energy_inference import corners_of, enumerated, lowest, sampled
from cbm.energy_parts import EnergyBottleneck, parts_of
from cbm.errors import ModelError
from cbm.relaxation import FrozenEnergies, corrected, relaxed

Z = {
    name: torch.from_numpy(value)
    for name, value in np.load(Path(__file__).parents[1] / "reference" / "ecbm.npz").items()
}
K = Z["c"].shape[1]


def published() -> Energies:
    """The parameters of the published network, its concept table as the concept energy reads it."""
    p = {name.removeprefix("param/"): value for name, value in Z.items() if name.startswith("param/")}
    return Energies(
        class_layer=p["xy_fc1.weight"],
        class_offset=p["xy_fc1.bias"],
        class_out=p["classifier_xy.weight"][0],
        class_embedding=p["y_embedding"],
        concept_layer=p["xc_fc1.weight"],
        concept_offset=p["xc_fc1.bias"],
        concept_out=torch.cat([p[f"classifier_xc.{k}.weight"] for k in range(K)]),
        concept_embedding=torch.stack([p["c_embedding"][:K], p["c_embedding"][K:]], 1),
        global_layer=p["concept_proj.weight"].view(-1, K, p["c_embedding"].shape[1]),
        global_offset=p["concept_proj.bias"],
        global_out=p["classifier_cy.weight"][0],
    )


def swapped(energies: Energies) -> Energies:
    """As the published global energy reads the table: absent means present."""
    return replace(energies, concept_embedding=energies.concept_embedding.flip(1))


OURS, GLOBAL = published(), swapped(published())
CLASS_B, GLOBAL_B = Z["param/classifier_xy.bias"], Z["param/classifier_cy.bias"]
CONCEPT_B = torch.cat([Z[f"param/classifier_xc.{k}.bias"] for k in range(K)])


def published_joint() -> EnergyBottleneck:
    """Everything folded in, each energy with weight 1."""
    zero, none = torch.full((K,), 0.5), torch.zeros(Z["x"].shape[1])
    parts = [parts_of(e, torch.ones(3), usual=zero, centre=none, scale=1.0) for e in (OURS, GLOBAL)]
    return replace(parts[0], start=parts[1].start, change=parts[1].change)


def held(columns: list[int], values: torch.Tensor) -> Clamp:
    mask = torch.zeros_like(values, dtype=torch.bool)
    mask[..., columns] = True
    return Clamp(mask, values)


def test_the_three_energies_and_their_losses_are_the_published_ones():
    c, y = Z["c"].float(), Z["y"]
    class_energy, concept_energy = OURS.class_energy(Z["x"]), OURS.concept_energy(Z["x"])

    torch.testing.assert_close(class_energy + CLASS_B, Z["train/E_class"], atol=1e-6, rtol=0)
    torch.testing.assert_close(concept_energy + CONCEPT_B[:, None], Z["train/E_concept"], atol=1e-6, rtol=0)
    torch.testing.assert_close(GLOBAL.global_energy(c) + GLOBAL_B, Z["train/E_global"], atol=1e-6, rtol=0)
    torch.testing.assert_close(
        GLOBAL.global_energy(Z["cube/corners"].float()) + GLOBAL_B, Z["cube/E_global"], atol=1e-6, rtol=0
    )
    torch.testing.assert_close(class_loss(class_energy, y), Z["train/loss_class"], atol=1e-6, rtol=0)
    torch.testing.assert_close(concept_loss(concept_energy, c), Z["train/loss_concept"], atol=1e-6, rtol=0)
    torch.testing.assert_close(class_loss(GLOBAL.global_energy(c), y), Z["train/loss_global"], atol=1e-6, rtol=0)


def test_relaxed_energies_are_the_published_ones():
    found = FrozenEnergies(OURS, Z["x"], reference_sign=True)(Z["infer/c_logits"], Z["infer/y_logits"][..., 0])

    torch.testing.assert_close(found[0][:, None] + CLASS_B, Z["infer/E_class"], atol=1e-6, rtol=0)
    torch.testing.assert_close(found[1][..., None] + CONCEPT_B[:, None], Z["infer/E_concept"], atol=1e-6, rtol=0)
    torch.testing.assert_close(found[2][:, None] + GLOBAL_B, Z["infer/E_global"], atol=1e-6, rtol=0)


def test_reference_mode_takes_the_published_steps():
    found = relaxed(OURS, Z["x"], reference_sign=True)

    assert found.steps == int(Z["relax/steps"])
    torch.testing.assert_close(found.concepts, Z["relax/c_logits"], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.classes, Z["relax/y_logits"][..., 0], atol=1e-4, rtol=0)


def test_published_corrections_move_no_other_concept_since_the_global_energy_has_no_gradient():
    """The fault of the published code: a hard choice inside the energy. Ours moves them, the next test."""
    logits = Z["infer/c_logits"].clone().requires_grad_(True)
    between = FrozenEnergies(OURS, Z["x"], reference_sign=True)(logits, Z["infer/y_logits"][..., 0])[2]
    before = relaxed(OURS, Z["x"], reference_sign=True)
    mask = torch.zeros(Z["c"].shape, dtype=torch.bool)
    mask[:, :2] = True
    after = corrected(OURS, Z["x"], before, Z["c"].float(), mask, reference_sign=True)

    assert not between.requires_grad
    assert torch.equal(after.concepts[:, 2:], before.concepts[:, 2:])
    torch.testing.assert_close(after.concepts, Z["intervene/c_logits_out"], atol=1e-4, rtol=0)
    torch.testing.assert_close(after.classes, Z["intervene/y_logits_out"][..., 0], atol=1e-4, rtol=0)


def test_a_correction_moves_every_other_concept_exactly_as_enumeration_says():
    joint, x = published_joint(), Z["x"]
    log = Z["exact/log_joint"]
    corners = Z["cube/corners"].float()
    for k in range(K):
        moved = enumerated(joint, x, held([k], torch.ones(len(x), K))).concepts
        inside = corners[:, k] == 1
        share = log[:, inside].exp()
        expected = torch.einsum("nmc,mk->nk", share, corners[inside]) / share.sum((1, 2))[:, None]
        torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)
        others = [j for j in range(K) if j != k]
        assert float((moved - Z["exact/p_concept"])[:, others].abs().max()) > 1e-4


def test_enumeration_is_the_exact_posterior():
    found = enumerated(published_joint(), Z["x"])

    torch.testing.assert_close(found.concepts, Z["exact/p_concept"], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.classes, Z["exact/p_class"], atol=1e-5, rtol=0)


def strong(k: int = 7, seed: int = 1) -> tuple[EnergyBottleneck, torch.Tensor]:
    """A joint of `k` concepts that depend on each other, and some images."""
    generator = torch.Generator().manual_seed(seed)
    model = parts_of(
        initial(6, k, 4, 12, generator), torch.tensor([1.0, 0.4, 2.0]),
        usual=torch.full((k,), 0.3), centre=torch.zeros(6), scale=1.0,
    )  # fmt: skip
    return model, torch.randn(5, 6, generator=generator)


def test_gibbs_sampling_agrees_with_enumeration_within_its_error():
    model, x = strong()
    clamp = held([0], torch.ones(len(x), 7))
    found, exact = sampled(model, x, clamp, sweeps=1500, burn=100), enumerated(model, x, clamp)

    assert float((found.concepts - exact.concepts).abs().max()) < 0.03
    assert float((found.classes - exact.classes).abs().max()) < 0.03
    assert float(found.r_hat.max()) < 1.1
    assert torch.equal(found.concepts[:, 0], torch.ones(len(x)))


def test_mean_field_moves_concepts_the_way_the_exact_posterior_does():
    """For couplings of the size that training finds, with and without a held concept."""
    model, x = strong()
    model = replace(model, weights=torch.tensor([1.0, 0.4, 0.7]))
    free, exact = model(x), enumerated(model, x).concepts
    clamp = held([2], torch.ones(len(x), 7))
    moved, truly = model(x, clamp) - free, enumerated(model, x, clamp).concepts - exact

    assert float((free - exact).abs().max()) < 0.03
    assert float(truly.abs().max()) > 0.05
    assert float((moved - truly).abs().mean()) < 0.1 * float(truly.abs().mean()) + 0.005


def test_the_lowest_energy_is_the_lowest_corner_or_no_single_flip_lowers_it():
    model, x = strong()
    c, y = lowest(model, x)
    evidence, classes = model.logits(x)
    corners = corners_of(7)
    energy = -(evidence @ corners.T)[:, :, None] - classes[:, None] + model.head.coupling.energy(corners)
    own = (c[:, None] == corners).all(2).float().argmax(1)
    for i in range(len(x)):
        flips = (corners != c[i]).sum(1) <= 1
        assert float(energy[i, own[i], y[i]]) <= float(energy[i, flips].min()) + 1e-5


def test_a_clamp_is_held_exactly_and_refused_where_it_is_no_probability():
    model, x = strong()
    values = torch.full((len(x), 7), 0.25)

    assert torch.equal(model(x, held([3], values))[:, 3], values[:, 3])
    with pytest.raises(ModelError, match="probability"):
        model(x, held([3], values + 1))
    with pytest.raises(ModelError, match="0 or 1"):
        enumerated(model, x, held([3], values))


def test_too_many_concepts_are_not_enumerated():
    with pytest.raises(ModelError, match="too many"):
        corners_of(17)
