"""Makes the encoder `builtin:demo` again: ``python -m assets.train_demo_encoder``.

Renders the pool, trains (or continues) and writes weights, vocabulary and measured quality. With ``--evaluate``
it only measures the shipped weights.
"""

from __future__ import annotations

import argparse
import importlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from assets.captions import words
from assets.demo_model import build_demo_model, load_demo_model
from assets.demo_quality import embed_pictures, measure, write_quality
from assets.train_images import Plan, train_images
from assets.train_texts import TextPlan, train_texts
from assets.training_pool import Pool, open_pool
from assets.word_tokenizer import WordTokenizer

if TYPE_CHECKING:
    from open_clip.model import CLIP

OUT = Path(__file__).resolve().parent / "weights" / "demo"
CONTEXT_LENGTH = 40
PICTURES_FOR_TEXTS = 8_000
_log = logging.getLogger(__name__)


def main() -> None:
    """Train or measure, as the command line asks."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--work", type=Path, default=Path("demo-encoder"), help="folder for the pool and the checkpoint")
    ask.add_argument("--birds", type=int, default=17_000, help="pictures of birds to learn from")
    ask.add_argument("--cells", type=int, default=6_000, help="pictures of cells to learn from")
    ask.add_argument("--steps", type=int, default=Plan.steps)
    ask.add_argument("--seed", type=int, default=Plan.seed)
    ask.add_argument(
        "--processes", type=int, default=Plan.processes, help="processes of one thread that share each step"
    )
    ask.add_argument("--evaluate", action="store_true", help="measure the shipped weights and write quality.json")
    given = ask.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    # A development script may use the library's guard; nothing else in this package may import cbm.
    importlib.import_module("cbm.torchvision_guard").ensure_torchvision()
    if not given.evaluate:
        _train(
            given.work, given.birds, given.cells, Plan(steps=given.steps, seed=given.seed, processes=given.processes)
        )
    model, tokenizer = load_demo_model()
    write_quality(OUT / "quality.json", measure(model, tokenizer, given.work / "pool"))


def _train(work: Path, birds: int, cells: int, plan: Plan) -> None:
    """Train the image tower, then the text tower against it, and write both."""
    torch.manual_seed(plan.seed)
    tokenizer = WordTokenizer(words(), CONTEXT_LENGTH)
    model = build_demo_model(tokenizer)
    pool = open_pool(work / "pool", "train", birds=birds, cells=cells, seed=plan.seed)
    _log.info("%d pictures, %d words, %s", len(pool.birds), len(tokenizer.vocabulary), plan)
    model.visual.load_state_dict(train_images(model.visual, model.visual.output_dim, pool, plan, work))
    _learn_texts(model.eval(), tokenizer, pool, TextPlan(seed=plan.seed))
    write_weights(model.state_dict(), tokenizer)


def _learn_texts(model: CLIP, tokenizer: WordTokenizer, pool: Pool, plan: TextPlan) -> None:
    rows = np.sort(
        np.random.default_rng(plan.seed).choice(len(pool.birds), min(PICTURES_FOR_TEXTS, len(pool.birds)), False)
    )
    x = embed_pictures(model, pool.pictures[rows])
    train_texts(model, tokenizer, x, pool.concepts[rows], pool.birds[rows], plan)


def write_weights(weights: dict[str, Tensor], tokenizer: WordTokenizer) -> None:
    """Write weights in half precision, and the vocabulary, to where `load_demo_model` finds them."""
    tokenizer.save(OUT / "vocabulary.json")
    half = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    save_file({name: value.contiguous() for name, value in half.items()}, OUT / "model.safetensors")


if __name__ == "__main__":
    main()
