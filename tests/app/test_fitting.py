"""Jobs that fit: what they hand to a method beside the images' own embeddings."""

from dataclasses import replace

import torch

from app import fitting, store
from cbm.bank import ConceptBank, Origin, Quality
from cbm.data import ImageDataset
from cbm.embeddings import embed_images
from cbm.preprocessing import Preprocessing
from cbm.progress import silent


class Encoder:
    """The colour of a picture of one colour, turned by a matrix."""

    dim = 3
    preprocessing = Preprocessing(size=(4, 4), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    def __init__(self, name, turn):
        self.id, self.contract, self.turn = f"test:{name}", name[0] * 64, turn

    def encode_images(self, images):
        raise NotImplementedError("pixels only")

    def encode_pixels(self, pixels):
        return (pixels.mean((2, 3)) - 0.4) @ self.turn


def test_a_bank_of_another_encoder_comes_with_that_encoder_s_embeddings(workspace, tiles: ImageDataset):
    """The label-free method learns colours on the turned embeddings that the bank names on the plain ones."""
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0))).Q
    store.add_dataset(workspace, replace(tiles, labels=(tiles.labels * 0) + (torch.arange(12).numpy() >= 6)), {})
    for encoder in (Encoder("plain", torch.eye(3)), Encoder("turned", turn)):
        embed_images(tiles, encoder, store.embedding_store(workspace))
        store.mark_embedded(workspace, "tiles", encoder.id, encoder.contract)
    red = ConceptBank(
        ("red",), torch.eye(3)[:1], torch.zeros(1), (Origin("text", "red"),), (Quality(),), "test:plain", "p" * 64
    )
    store.add_bank(workspace, "colours", red, dataset="tiles")

    params = {"method": "labelfree", "dataset": "tiles", "encoder": "test:turned", "bank": "colours", "name": "learned"}
    fitting.fit_model(workspace, {**params, "options": {"nec": 1}}, silent)

    vector = store.model(workspace, "learned").bank.vectors[0]
    x = store.training_set(workspace, "tiles", "test:turned").x
    plain = store.training_set(workspace, "tiles", "test:plain").x
    assert torch.corrcoef(torch.stack([x @ vector, plain[:, 0]]))[0, 1] > 0.95
