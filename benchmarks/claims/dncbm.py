"""DN-CBM: atoms bear the name of what they follow, and a head on ten of them a class is as good as label-free CBM's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.claims.claim import Claim, judged
from benchmarks.claims.world import World, accuracy, with_texts
from cbm.atoms import Way, codes_of, codes_of_bank, live_atoms, named_atoms
from cbm.bank import ConceptBank
from cbm.methods import fit
from cbm.model import ConceptModel
from cbm.sae import Dictionary
from cbm.sae_training import SaeConfig, train_saes
from cbm.training_set import TrainingSet, fitting_split

PAPER = "DN-CBM, ECCV 2024"
NEC = 10
WIDTHS, KS = (48, 72), (8, 16)
EPOCHS = 40
FOLLOWS = 0.5  # correlation from which on an atom clearly follows an attribute
RIGHT = 0.75  # share of right names on validation images from which on accuracy decides
TOGETHER = 0.8  # correlation in the truth from which on two attributes are one to the eye, and either name is right


@dataclass(frozen=True)
class Tried:
    """A dictionary with one way of naming, and how often its names are right on validation images."""

    live: Dictionary
    bank: ConceptBank
    settings: str
    right: float


def claims(world: World, seeds: Sequence[int]) -> list[Claim]:
    """Names against the truth, settings chosen on validation images; accuracy against label-free CBM at equal NEC."""
    data = [with_texts(world.data(seed)) for seed in seeds]
    best = [_chosen(one, seed) for seed, one in zip(seeds, data, strict=True)]
    return [_names(data, best), _accuracy(data, best)]


def _names(data: Sequence[TrainingSet], best: Sequence[Tried]) -> Claim:
    rows = [(seed, one, one.split("test"), tried) for seed, (one, tried) in enumerate(zip(data, best, strict=True))]
    found = [right_names(test, tried.bank) for _, _, test, tried in rows]
    chance = [right_names(test, _random(tried, one, seed)) for seed, one, test, tried in rows]
    shuffled = [right_names(test, _shuffled(tried.bank, seed)) for seed, _, test, tried in rows]
    published = [right_names(test, _named(tried.live, one, "direction")) for _, one, test, tried in rows]
    settings = sorted({tried.settings for tried in best})
    claim = judged(
        PAPER,
        "at least 70 of 100 live atoms bear the name of the attribute that they follow, or of one that always comes with it",
        [100 * share for share, _ in found],
        least=70,
        control=f"named by direction, as published {mean(s for s, _ in published):.2f}; random directions instead of "
        f"atoms {mean(s for s, _ in chance):.2f}; names dealt at random {mean(s for s, _ in shuffled):.2f}; "
        f"of atoms that follow one clearly {mean(n for _, n in found):.2f}; settings from val: {' or '.join(settings)}",
        why="atoms follow mixtures of attributes, and the second of a mixture is often the name",
    )
    if not claim.holds:
        return claim
    return replace(
        claim, why="the names fit most random directions too, since images name them: atoms are clearer, not alone"
    )


def _accuracy(data: Sequence[TrainingSet], best: Sequence[Tried]) -> Claim:
    pairs = list(enumerate(zip(data, best, strict=True)))
    ours = [accuracy(_fitted(one, tried.bank), one) for _, (one, tried) in pairs]
    theirs = [accuracy(fit("labelfree", one, nec=NEC), one) for one in data]
    chance = [accuracy(_fitted(one, _random(tried, one, seed)), one) for seed, (one, tried) in pairs]
    return judged(
        PAPER,
        f"accuracy with {NEC} concepts a class not below label-free CBM's",
        [100 * (a - b) for a, b in zip(ours, theirs, strict=True)],
        least=0,
        control=f"label-free CBM {mean(theirs):.3f}, ours {mean(ours):.3f}; as many random atoms {mean(chance):.3f}",
        why="label-free CBM is given the attributes that define the classes; atoms have to find them",
    )


def _chosen(data: TrainingSet, seed: int) -> Tried:
    """The most accurate on validation images of all settings whose names are mostly right there."""
    train, held = fitting_split(data), data.split("val")
    tried = []
    for k in KS:
        for dictionary in train_saes(train.x, SaeConfig(k=k, epochs=EPOCHS, seed=seed), WIDTHS):
            live = live_atoms(dictionary, train.x)
            bank = _named(live, data, "images")
            settings = f"{len(dictionary)} atoms, {k} an image"
            tried.append(Tried(live, bank, settings, right_names(held, bank)[0]))
    good = [one for one in tried if one.right >= RIGHT] or [max(tried, key=lambda one: one.right)]
    return max(good, key=lambda one: accuracy(_fitted(data, one.bank), data, "val"))


def _fitted(data: TrainingSet, bank: ConceptBank) -> ConceptModel:
    return fit("dncbm", replace(data, bank=bank), nec=NEC)


def _named(live: Dictionary, data: TrainingSet, way: Way) -> ConceptBank:
    assert data.encoder is not None
    x = fitting_split(data).x
    return named_atoms(live, x, data.encoder, data.concepts, way, contract=data.contract)


def right_names(images: TrainingSet, bank: ConceptBank) -> tuple[float, float]:
    """Share of right names among all atoms, and among those that clearly follow an attribute.

    An atom follows the attribute with which its codes correlate most. A name is right if it is that attribute, or one
    that goes with it in the truth so closely that they are one to the eye.
    """
    assert images.concept_labels is not None
    truth, codes = images.concept_labels, codes_of_bank(bank, images.x)
    both = torch.corrcoef(torch.cat([codes, truth], 1).T).nan_to_num(0.0)
    best, alike = both[: len(bank), len(bank) :].max(1), both[len(bank) :, len(bank) :] >= TOGETHER
    places = {concept: j for j, concept in enumerate(images.concepts)}
    words = [places[name.partition(" #")[0]] for name in bank.names]
    right = alike[best.indices, words] | (best.indices == torch.tensor(words))
    clear = best.values >= FOLLOWS
    return float(right.double().mean()), float(right[clear].double().mean()) if bool(clear.any()) else 0.0


def _random(tried: Tried, data: TrainingSet, seed: int) -> ConceptBank:
    """As many random directions, each used by as many images as the atom in whose place it is."""
    x = fitting_split(data).x
    g = torch.Generator().manual_seed(seed)
    rows = normalize(torch.randn(tried.live.encoder.shape, generator=g) @ _root(x), dim=1)
    share = (codes_of(tried.live, x) > 0).double().mean(0)
    read = (x - tried.live.centre) @ rows.T
    bias = -torch.stack([torch.quantile(read[:, j], 1 - float(share[j])) for j in range(len(rows))])
    fake = replace(tried.live, encoder=rows, decoder=rows, bias=bias + tried.live.threshold)
    return _named(fake, data, "images")


def _root(x: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """Turns white noise into noise that is spread as the embeddings are."""
    _, s, v = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    return s[:, None] * v


def _shuffled(bank: ConceptBank, seed: int) -> ConceptBank:
    order = torch.randperm(len(bank), generator=torch.Generator().manual_seed(seed)).tolist()
    return replace(bank, names=tuple(bank.names[i] for i in order))
