"""Embeds a data set in several processes on one or many hosts: of N, each does every N-th shard of images.

Which images share a shard depends neither on the number of processes nor on what is in the store, so the files are the
same, byte for byte, as those that one process writes; and a run that was killed goes on with any number of processes.
"""

from cbm.data import ImageDataset
from cbm.decoding import DECODERS
from cbm.embedding_store import FORMAT, EmbeddingStore
from cbm.embeddings import SHARD_SIZE, Embedded, embed_images
from cbm.encoders import Encoder
from cbm.errors import StoreError
from cbm.process_group import Group
from cbm.progress import OnProgress, silent


def embed_shared(
    dataset: ImageDataset,
    encoder: Encoder,
    store: EmbeddingStore,
    group: Group,
    *,
    batch_size: int = 32,
    shard_size: int = SHARD_SIZE,
    threads: int = 0,
    decoders: int = DECODERS,
    on_progress: OnProgress = silent,
) -> Embedded:
    """As `embed_images`, whose parameters it takes, with the work shared by the processes of a group, which must all call this.

    Parameters
    ----------
    on_progress
        Told about the share of this process.

    Returns
    -------
    What all did together, in every process.

    Raises
    ------
    StoreError
        If the processes would not make the same embeddings, or shards of the same images; before anything is written.
    """
    made = (FORMAT, encoder.contract, dataset.fingerprint, batch_size, shard_size, threads)
    if len(set(group.gather(made))) > 1:
        raise StoreError(
            "the processes do not agree on images, encoder, batches and the format of the store",
            hint="use the same version of Pellucid, the same workspace and the same settings on every host",
        )
    sizes = {"batch_size": batch_size, "shard_size": shard_size, "threads": threads, "decoders": decoders}
    done = group.gather(embed_images(dataset, encoder, store, **sizes, group=group, on_progress=on_progress))
    position = {id: row for row, id in enumerate(dataset.ids)}
    skipped = sorted((image for part in done for image in part.skipped), key=lambda image: position[image.id])
    return Embedded(sum(part.computed for part in done), sum(part.reused for part in done), tuple(skipped))
