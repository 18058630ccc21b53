"""Trains small autoencoders, alone or together when torchrun runs it, and says what came of it."""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from cbm.process_group import Group, joined_group
from cbm.sae import KINDS, measure
from cbm.sae_steps import WEIGHTS
from cbm.sae_training import Checkpoint, SaeConfig, train_sae, train_saes

CONFIG = SaeConfig(k=3, epochs=6, batch=64, rate=3e-3, resample=2)
WIDTHS = (40, 512)
WIDE = "looked at twice", replace(CONFIG, batch=128, epochs=2), (40, 16_384)  # where processors multiply in bfloat16


def learn(group: Group, folder: Path) -> dict[str, dict]:
    """For each kind what was told and what is the same in all processes; and where a kept training goes on."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(129, 16, generator=g).relu() @ torch.randn(16, 16, generator=g)  # batches of 64, 64 and 1
    told: dict[str, dict] = {}
    for name, config, widths in (*((kind, replace(CONFIG, kind=kind), WIDTHS) for kind in KINDS), WIDE):
        seen: list[str] = []
        found = train_saes(x, config, widths, group=group, on_progress=lambda _, said, seen=seen: seen.append(said))
        weights = b"".join(getattr(one, name).numpy().tobytes() for one in found for name in WEIGHTS)
        told[name] = {
            "bytes": hashlib.sha256(weights).hexdigest(),
            "losses": [said.numbers[f"loss/{width}"] for said in seen[1:] for width in widths],
            "dead": [said.numbers[f"dead/{widths[-1]}"] for said in seen[1:]],
            "threshold": [one.threshold for one in found],
            "explained": [measure(one, x).explained for one in found],
        }
    seen = []
    kept, config = Checkpoint(folder / "kept", every=12), replace(CONFIG, width=40)
    train_sae(x, config, group=group, checkpoint=kept, on_progress=lambda _, said: seen.append(said))
    return told | {"kept": {"began": seen[0]}}


if __name__ == "__main__":
    with joined_group() as group:
        told = learn(group, Path(sys.argv[1]))
        Path(sys.argv[1], f"{group.rank}.json").write_text(json.dumps(told))
