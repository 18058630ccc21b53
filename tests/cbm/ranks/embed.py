"""Run by torchrun: embed a folder of pictures together, twice; the process of rank VICTIM dies after its first shard."""

import json
import os
import signal
import sys
from pathlib import Path

from cbm.embedding_store import EmbeddingStore
from cbm.process_group import joined_group
from cbm.shared_embedding import embed_shared
from tests.cbm.colours import ColourEncoder, dataset

images, root, victim = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

with joined_group() as group:

    def on_progress(fraction: float, message: str) -> None:
        if group.rank == victim and fraction > 0.5:
            os.kill(os.getpid(), signal.SIGKILL)

    data, store = dataset(sorted(images.glob("*.png"))), EmbeddingStore(root)
    for _ in range(2):
        sizes = {"batch_size": 2, "shard_size": 4}
        done = embed_shared(data, ColourEncoder(), store, group, **sizes, on_progress=on_progress)
        if group.leads:
            skipped = [image.id for image in done.skipped]
            print(json.dumps({"computed": done.computed, "reused": done.reused, "skipped": skipped}))
