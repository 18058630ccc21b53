"""Embeddings of a workspace's data sets: where they are, which there are, and encoders to make more."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from app import datasets
from app.datasets import find
from app.db import reading, writing
from app.tables import Embedding, now
from app.workspace import Workspace
from cbm.errors import StoreError

if TYPE_CHECKING:
    from cbm.embedding_store import EmbeddingStore
    from cbm.encoders import Encoder, TextEncoder
    from cbm.training_set import TrainingSet

log = logging.getLogger(__name__)


def embedding_store(ws: Workspace) -> "EmbeddingStore":
    """Where the embeddings of all data sets are, addressed by content."""
    from cbm.embedding_store import EmbeddingStore

    return EmbeddingStore(ws.folder("embeddings"))


def load_encoder(ws: Workspace, id: str) -> "Encoder":
    """An encoder on the device of the settings; downloaded only if they allow it."""
    from cbm.encoder_ids import EncoderId
    from cbm.encoders import load_encoder

    where = "cpu" if EncoderId.parse(id).precision == "int8" else device(ws)
    may = ws.settings.allow_download
    return load_encoder(id, device=where, allow_download=may, keep=ws.folder("towers"))


def load_text_encoder(ws: Workspace, id: str) -> "TextEncoder":
    """The same for one that is to read text; `EncoderError` when it does not."""
    from cbm.encoders import reading

    return reading(load_encoder(ws, id))


def device(ws: Workspace) -> str:
    """The device of the settings, with "auto" resolved to the best one that there is."""
    import torch

    if ws.settings.device != "auto":
        return ws.settings.device
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def mark_embedded(ws: Workspace, dataset: str, encoder_id: str, contract: str) -> None:
    """Note that a data set is embedded, once its embeddings are in the store."""
    found = find(ws, dataset)
    same = (Embedding.dataset_id == found.id, Embedding.encoder == encoder_id)
    with writing(ws.engine) as session:
        changed = session.scalar(
            update(Embedding).where(*same).values(contract=contract, created=now()).returning(Embedding.id)
        )
        if changed is None:
            session.add(Embedding(dataset_id=found.id, encoder=encoder_id, contract=contract))


def training_set(
    ws: Workspace, dataset: str, encoder_id: str, *, encoder: "TextEncoder | None" = None
) -> "TrainingSet":
    """A data set's stored embeddings with its labels; fast, because the encoder is not loaded.

    Candidate sentences come with it where some ship for its classes, as they do for the demo world.

    Parameters
    ----------
    encoder
        Given by those whose method needs a text encoder; see `load_encoder`.

    Raises
    ------
    StoreError
        If the data set is not embedded with this encoder.
    """
    from cbm.embeddings import stored_training_set
    from cbm.vocabulary import shipped_candidates

    contract = _embedding(ws, dataset, encoder_id).contract
    stored = stored_training_set(
        datasets.dataset(ws, dataset), embedding_store(ws), contract, encoder_id=encoder_id, encoder=encoder
    )
    return replace(stored, candidates=shipped_candidates(stored.classes))


def embedded_as(ws: Workspace, dataset: str, encoder_id: str) -> str:
    """A text that differs whenever the images of a data set or their embeddings do, for the keys of caches.

    Raises
    ------
    StoreError
        If the data set is not embedded with this encoder.
    """
    row = _embedding(ws, dataset, encoder_id)
    return f"{find(ws, dataset).fingerprint}|{row.encoder}|{row.contract}|{row.created}"


def _embedding(ws: Workspace, dataset: str, encoder_id: str) -> Embedding:
    same = (Embedding.dataset_id == find(ws, dataset).id, Embedding.encoder == encoder_id)
    with reading(ws.engine) as session:
        row = session.scalars(select(Embedding).where(*same)).one_or_none()
    if row is None:
        raise StoreError(
            f"the data set {dataset!r} is not embedded with {encoder_id}",
            hint=f"run: pellucid embed {dataset} --encoder {encoder_id}",
        )
    return row


def training_set_of(ws: Workspace, method: str, dataset: str, encoder_id: str) -> "TrainingSet":
    """As `training_set`, with the text encoder where the method reads texts, so that its controls can be fitted too.

    Without it where the encoder cannot be loaded here: everything else can still be measured.
    """
    from cbm.errors import EncoderError
    from cbm.methods import method as method_of

    encoder = None
    if method_of(method).reads_text:
        try:
            encoder = load_text_encoder(ws, encoder_id)
        except EncoderError as error:
            log.info("controls that read texts are left out: %s", error)
    return training_set(ws, dataset, encoder_id, encoder=encoder)
