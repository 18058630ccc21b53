"""One step of training a sparse autoencoder: 2,048 embeddings of 512 dimensions, 4,096 atoms, 32 an image.

    python -m benchmarks.sae topk
    python -m benchmarks.sae batchtopk
    python -m benchmarks.sae relu --warm 30      # once the penalty has made them few
    python -m benchmarks.sae relu --warm 0 --rate 1e-5  # as in the first steps, where half of all codes are positive

Peers are the trainers of dictionary-learning and of overcomplete, whose cost does not depend on how few the codes are.
`apart` is how far ours is from autograd and Adam after five steps from the same weights, the largest difference of any
weight; without the first look in bfloat16, since of two codes that differ by rounding alone each may then choose another
one. `l0` is how many codes an image had in the end.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from unittest.mock import MagicMock, patch

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear, normalize

from benchmarks.data import embeddings
from benchmarks.measure import Row, interleaved, report
from cbm.sae import KINDS, Kind, activate
from cbm.sae_gradients import FEW
from cbm.sae_steps import WEIGHTS, SaeConfig, Training, first_guess
from cbm.torchvision_guard import ensure_torchvision

D, BATCH, STEPS_A_CASE = 512, 2048, 4
LIGHT = (  # imported by peers, and not for a step
    "nnsight",
    "wandb",
    "datasets",
    "cv2",
    "skimage",
    "matplotlib",
    "matplotlib.pyplot",
    "matplotlib.colors",
)
PEERS = {"dictionary-learning": "dictionary_learning", "overcomplete": "overcomplete"}
Batches = list[Float[Tensor, "n d"]]


def batches() -> Batches:
    """Four batches, centred and of mean square length 1."""
    x, _ = embeddings(4 * BATCH, 50, d=D)
    x = x - x.mean(0)
    return [rows.contiguous() for rows in (x / x.square().sum(1).mean().sqrt()).split(BATCH)]


def dictionary_learning(training: Training) -> Callable[[Tensor], object]:
    """A step of its trainer for this kind, from the same weights."""
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.standard import StandardTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    config, start = training.config, training.dictionary
    common = {
        "steps": 100_000,
        "activation_dim": D,
        "dict_size": config.width,
        "layer": 0,
        "lm_name": "",
        "device": "cpu",
    }
    common |= {"lr": config.rate, "warmup_steps": 1}
    if config.kind == "relu":
        peer = StandardTrainer(**common, l1_penalty=config.l1, sparsity_warmup_steps=None, resample_steps=None)
        centre = peer.ae.bias.data
    else:
        trainer = TopKTrainer if config.kind == "topk" else BatchTopKTrainer
        peer = trainer(**common, k=config.k)
        centre = peer.ae.b_dec.data
    peer.ae.encoder.weight.data.copy_(start.encoder)
    peer.ae.encoder.bias.data.copy_(start.bias)
    peer.ae.decoder.weight.data.copy_(start.decoder.T)
    centre.copy_(start.centre)
    steps = iter(range(1, 100_000))
    return lambda x: peer.update(next(steps), x)


def overcomplete(training: Training) -> Callable[[Tensor], object]:
    """The body of its `train_sae`, without monitoring."""
    from overcomplete.sae import SAE, BatchTopKSAE, TopKSAE
    from overcomplete.sae.trackers import DeadCodeTracker

    config = training.config
    model = {
        "relu": lambda: SAE(D, config.width),
        "topk": lambda: TopKSAE(D, config.width, top_k=config.k),
        "batchtopk": lambda: BatchTopKSAE(D, config.width, top_k=config.k * BATCH),
    }[config.kind]().train()
    adam, tracker = torch.optim.Adam(model.parameters(), lr=config.rate), DeadCodeTracker(config.width, "cpu")

    def step(x: Float[Tensor, "n d"]) -> None:
        adam.zero_grad()
        _, codes, found = model(x)
        penalty = config.l1 * codes.abs().sum(1).mean() if config.kind == "relu" else 0
        tracker.update(codes)
        ((x - found).square().mean() + penalty).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()

    return step


def autograd(training: Training) -> tuple[Callable[[Tensor], object], list[Tensor]]:
    """What one would write in an afternoon, from the same weights; and the weights."""
    config = training.config
    weights = [getattr(training.dictionary, name).clone().requires_grad_() for name in WEIGHTS]
    encoder, bias, decoder, centre = weights
    adam = torch.optim.Adam(weights, lr=config.rate)
    for weight, name in zip(weights, WEIGHTS, strict=True):
        held = training.adam.state[getattr(training.dictionary, name)]
        adam.state[weight] = {key: value.clone() for key, value in held.items()}

    def step(x: Float[Tensor, "n d"]) -> None:
        adam.zero_grad()
        codes = activate(linear(x - centre, encoder, bias), config.kind, config.k)
        loss = (codes @ decoder + centre - x).square().sum(1) + training.penalty * codes.sum(1)
        loss.mean().backward()
        with torch.no_grad():
            decoder.grad -= decoder * (decoder * decoder.grad).sum(1, keepdim=True)
        adam.step()
        with torch.no_grad():
            decoder.copy_(normalize(decoder, dim=1))

    return step, weights


def apart(make: Callable[[], Training], data: Batches) -> float:
    """The largest difference of a weight from autograd's after five steps."""
    training = make()
    step, weights = autograd(training)
    for i in range(5):
        with patch("cbm.sae_gradients.worth_a_look", return_value=False):
            training.step(data[i % len(data)])
        step(data[i % len(data)])
    pairs = zip(WEIGHTS, weights, strict=True)
    return max(float((getattr(training.dictionary, name) - weight).abs().max()) for name, weight in pairs)


def measured(config: SaeConfig, warm: int, repetitions: int) -> tuple[list[Row], list[str]]:
    """A row for each trainer that is installed, ours first, and those that are not."""
    data = batches()

    def make() -> Training:
        training = Training(first_guess(D, config), config)
        for i in range(warm):
            training.step(data[i % len(data)])
        return training

    ensure_torchvision()
    sys.modules.update({name: MagicMock() for name in LIGHT})
    training = make()
    makers = {"dictionary-learning": dictionary_learning, "overcomplete": overcomplete}
    there = {name: make_peer for name, make_peer in makers.items() if find_spec(PEERS[name])}
    steps: dict[str, Callable[[Tensor], object]] = {"ours": training.step}
    if config.kind == "relu":
        steps["ours, bfloat16 products"] = Training(training.dictionary, replace(config, precision="bfloat16")).step
    steps |= {name: make_peer(training) for name, make_peer in there.items()}
    steps["autograd, Adam"] = autograd(training)[0]
    equality = apart(make, data)

    def case(name: str) -> Callable[[], str]:
        def run() -> str:
            for x in data[:STEPS_A_CASE]:
                steps[name](x)
            return name

        return run

    def judge(name: str) -> Row:
        if name != "ours":
            return {}
        return {
            "apart": equality,
            "l0": float(activate(training.dictionary.read(data[0]), config.kind, config.k).count_nonzero()) / BATCH,
        }

    rows = interleaved({name: case(name) for name in steps}, judge, repetitions=repetitions, baseline="ours")
    for row in rows:
        row["cpu_s"], row["wall_s"] = (float(row[key]) / STEPS_A_CASE for key in ("cpu_s", "wall_s"))
    return rows, [name for name in makers if name not in there]


def main() -> None:
    """Parse the command line, measure, print and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--warm", type=int, default=60, help="steps before the clock starts")
    parser.add_argument(
        "--rate", type=float, default=1e-3, help="step length of Adam; short ones leave codes as they are"
    )
    parser.add_argument("--repetitions", type=int, default=7)
    a = parser.parse_args()
    kind: Kind = a.kind
    torch.set_num_threads(1)
    config = SaeConfig(kind=kind, width=a.width, k=32, l1=0.05, rate=a.rate, batch=BATCH)
    rows, absent = measured(config, a.warm, a.repetitions)
    title = f"a step of {kind}, {BATCH:,} images, {a.width:,} atoms, after {a.warm} steps"
    few = float(rows[0]["l0"]) < FEW * a.width  # then only what the atoms read is a product of whole matrices
    report(f"sae-{kind}-{a.warm}", title, rows, absent, multiplications=(1 if few else 5) * 2.0 * BATCH * D * a.width)


if __name__ == "__main__":
    main()
