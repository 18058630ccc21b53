"""Training: planted atoms are found, the seed decides, and a stop in the middle changes nothing."""

import json
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from cbm.errors import Cancelled, DataError, ModelError, UsageError
from cbm.process_group import ALONE
from cbm.progress import Reading
from cbm.sae import KINDS, Dictionary, measure
from cbm.sae_steps import Training
from cbm.sae_training import Checkpoint, SaeConfig, _Plan, train_sae, train_saes
from cbm.streams import Scaled, shape_of
from tests.cbm.ranks.sae import learn
from tests.cbm.torchrun import torchrun

QUICK = SaeConfig(width=48, k=3, epochs=30, batch=64, rate=3e-3, resample=10)
ATOMS = normalize(torch.randn(24, 16, generator=torch.Generator().manual_seed(0)), dim=1)


def planted(n: int = 600) -> torch.Tensor:
    """Embeddings of two atoms each, far from the origin, as those of CLIP are."""
    g = torch.Generator().manual_seed(1)
    which = torch.rand(n, len(ATOMS), generator=g).topk(2, dim=1).indices
    codes = torch.zeros(n, len(ATOMS)).scatter_(1, which, 0.5 + torch.rand(n, 2, generator=g))
    return codes @ ATOMS + 3.0


X = planted()


def same(a: Dictionary, b: Dictionary) -> bool:
    tensors = all(torch.equal(getattr(a, n), getattr(b, n)) for n in ("encoder", "bias", "decoder", "centre"))
    return tensors and a.threshold == b.threshold


@pytest.mark.parametrize("kind", KINDS)
def test_planted_atoms_are_found(kind):
    found = train_sae(X, replace(QUICK, kind=kind, epochs=100))

    cosine = (found.decoder @ ATOMS.T).max(0).values
    assert float((cosine > 0.8).float().mean()) > 0.7
    assert measure(found, X).explained > 0.85


def test_atoms_have_unit_length():
    assert torch.allclose(train_sae(X, QUICK).decoder.norm(dim=1), torch.ones(48), atol=1e-6)


def test_the_seed_decides():
    assert same(train_sae(X, QUICK), train_sae(X, QUICK))
    assert not same(train_sae(X, QUICK), train_sae(X, replace(QUICK, seed=1)))


def test_embeddings_ten_times_as_long_have_codes_ten_times_as_large():
    small, large = train_sae(X, QUICK), train_sae(10 * X, QUICK)

    assert torch.allclose(large.encode(10 * X), 10 * small.encode(X), atol=0.05)


def test_a_stopped_training_goes_on_to_the_same_bytes(tmp_path):
    file = tmp_path / "atoms.safetensors"
    kept = Checkpoint(file, every=7)  # in the middle of an epoch of ten steps
    calls = iter(range(1000))

    def stop(fraction: float, message: str) -> None:
        if next(calls) == 17:
            raise Cancelled

    with pytest.raises(Cancelled):
        train_sae(X, QUICK, checkpoint=kept, on_progress=stop)
    seen: list[str] = []
    resumed = train_sae(X, QUICK, checkpoint=kept, on_progress=lambda _, message: seen.append(message))

    assert seen[0] == "epoch 18 of 30"
    assert same(resumed, train_sae(X, QUICK))
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    kept = Checkpoint(tmp_path / "atoms.safetensors", every=5)
    train_sae(X, replace(QUICK, epochs=1), checkpoint=kept)

    with pytest.raises(ModelError, match="another training"):
        train_sae(X, replace(QUICK, epochs=2), checkpoint=kept)
    with pytest.raises(ModelError, match="another training"):
        train_sae(X + 1, replace(QUICK, epochs=1), checkpoint=kept)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    file = tmp_path / "atoms.safetensors"
    file.write_bytes(b"no tensors")

    with pytest.raises(ModelError, match="not a checkpoint"):
        train_sae(X, QUICK, checkpoint=Checkpoint(file))


def test_a_dead_atom_is_drawn_again_towards_an_embedding_seen_from_the_centre():
    """The published code draws the embedding as seen from the origin, while the encoder sees it from the centre."""
    data = Scaled(X, shape_of(X))
    training = Training(dead_first_atom(), QUICK)

    training.step(data.at(slice(None)))
    training.draw_again(data, torch.Generator().manual_seed(1))

    towards = normalize(data.at(slice(None)) - training.dictionary.centre, dim=1)
    assert float((towards @ training.dictionary.decoder[0]).max()) == pytest.approx(1, abs=1e-5)
    assert training.dictionary.bias[0] == 0
    assert training.adam.state[training.dictionary.encoder]["exp_avg"][0].abs().max() == 0


def test_drawing_again_leaves_few_atoms_dead():
    never = replace(QUICK, resample=1000, epochs=40)

    assert measure(train_sae(X, replace(never, resample=8)), X).dead <= measure(train_sae(X, never), X).dead


@pytest.mark.parametrize("x", [torch.ones(5, 3), torch.ones(1, 3), torch.zeros(0, 3)])
def test_embeddings_that_do_not_differ_have_no_atoms(x):
    with pytest.raises(DataError, match="do not differ"):
        train_sae(x, QUICK)


def dead_first_atom() -> Dictionary:
    atoms = normalize(torch.randn(48, 16, generator=torch.Generator().manual_seed(2)), dim=1)
    bias = torch.zeros(48)
    bias[0] = -100.0
    return Dictionary(atoms.clone(), bias, atoms, torch.zeros(16), "batchtopk", 3)


def test_several_widths_in_one_pass_are_those_that_are_trained_alone(tmp_path):
    told: list[str] = []
    kept = Checkpoint(tmp_path / "both", every=100)

    together = train_saes(X, QUICK, (16, 48), checkpoint=kept, on_progress=lambda _, said: told.append(said))

    for found, width in zip(together, (16, 48), strict=True):
        assert same(found, train_sae(X, replace(QUICK, width=width)))
    assert len(told) == QUICK.epochs + 1
    assert told[-1].numbers["l0/16"] == pytest.approx(3, abs=0.3)
    assert all(same(*pair) for pair in zip(together, train_saes(X, QUICK, (16, 48), checkpoint=kept), strict=True))
    with pytest.raises(ModelError, match="another training"):
        train_saes(X, QUICK, (48, 16), checkpoint=kept)


@pytest.mark.parametrize("widths", [(), (16, 16)])
def test_widths_have_to_be_distinct(widths):
    with pytest.raises(UsageError, match="not distinct"):
        train_saes(X, QUICK, widths)


KILLED = """
import os, signal, sys
import torch
from pathlib import Path
from cbm.sae_training import Checkpoint, SaeConfig, train_sae

torch.set_num_threads(1)
def stop(done, said):
    if said == "epoch 4 of 9":
        os.kill(os.getpid(), signal.SIGKILL)
x = torch.randn(300, 16, generator=torch.Generator().manual_seed(5))
train_sae(x, SaeConfig(width=32, k=3, epochs=9, resample=2), checkpoint=Checkpoint(Path(sys.argv[1]), every=3), on_progress=stop)
"""


def test_a_training_whose_process_was_killed_goes_on_to_the_same_bytes(tmp_path):
    config, file = SaeConfig(width=32, k=3, epochs=9, resample=2), tmp_path / "atoms"
    x = torch.randn(300, 16, generator=torch.Generator().manual_seed(5))
    seen: list[str] = []

    killed = subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False)
    resumed = train_sae(x, config, checkpoint=Checkpoint(file), on_progress=lambda _, said: seen.append(said))

    assert killed.returncode == -signal.SIGKILL
    assert seen[0] == "epoch 4 of 9"
    assert same(resumed, train_sae(x, config))


def test_embeddings_on_disk_give_the_same_bytes_as_in_memory(tmp_path):
    config = replace(QUICK, epochs=3, resample=1, held=60)
    X.half().numpy().tofile(tmp_path / "x")
    disk = np.memmap(tmp_path / "x", np.float16, "r", shape=tuple(X.shape))

    assert same(train_sae(disk, config), train_sae(X.half().float(), config))


def test_what_is_held_out_is_not_learned_from():
    seen: list[Reading] = []
    config = replace(QUICK, held=100, epochs=2)

    train_sae(X, config, on_progress=lambda _, said: seen.append(said))

    assert 0 < seen[-1].numbers["explained_variance/held"] < 1
    plan = _Plan.of(len(X), config)
    learned = torch.cat(list(plan.batches(0)))
    assert not set(learned.tolist()) & set(plan.held.tolist())
    assert len(learned) == 2 * (len(X) - 100)


def test_more_than_half_cannot_be_held_out():
    with pytest.raises(UsageError, match="cannot be held out"):
        train_sae(X, replace(QUICK, held=400))


def test_atoms_are_drawn_again_within_a_long_epoch():
    plan = _Plan.of(640, replace(QUICK, epochs=2, resample=0.5))

    assert [step for step in range(1, 21) if plan.draws(step)] == [5, 10]


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> tuple[dict, dict, dict]:
    """What `ranks/sae.py` learns: alone, and the first and the second of two processes."""
    folder = tmp_path_factory.mktemp("sae")
    alone = learn(ALONE, folder)
    torchrun("sae", folder, processes=2)
    return alone, *(json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1))


@pytest.mark.parametrize("kind", [*KINDS, "looked at twice"])
def test_two_processes_learn_what_one_learns(kind, learned):
    """Batches are cut in two, the last has one embedding only, and there are atoms that die."""
    alone, first, second = (found[kind] for found in learned)

    assert first == second
    assert len(first["losses"]) >= 4
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    assert first["dead"] == pytest.approx(alone["dead"], abs=3e-3)
    assert first["threshold"] == pytest.approx(alone["threshold"], rel=1e-3, abs=1e-4)
    assert first["explained"] == pytest.approx(alone["explained"], abs=1e-4)


def test_two_processes_go_on_from_what_one_has_kept(learned):
    alone, first, _ = (found["kept"]["began"] for found in learned)

    assert (alone, first) == ("epoch 1 of 6", "epoch 5 of 6")
