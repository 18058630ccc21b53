"""A Ray cluster writes what one process writes. Ray is an extra, and is not installed for most runs of the tests."""

import warnings

import pytest

from cbm.embeddings import EmbeddingStore, embed_images
from cbm.ray_embedding import embed_on_ray
from tests.cbm.colours import ColourEncoder, dataset, write_images

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'pellucid[ray]'")


def test_a_ray_cluster_writes_what_one_process_writes(tmp_path):
    paths = write_images(tmp_path / "images", 18)
    paths[5].write_bytes(b"not a picture")
    data, sizes = dataset([*paths, paths[0]]), {"batch_size": 2, "shard_size": 4}
    alone, cluster = EmbeddingStore(tmp_path / "alone"), EmbeddingStore(tmp_path / "cluster")
    expected = embed_images(data, ColourEncoder(), alone, **sizes)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        try:
            done = embed_on_ray(data, ColourEncoder, cluster, actors=2, cpus=0.5, **sizes)
        finally:
            ray.shutdown()

    assert done == expected
    files = [{path.name: path.read_bytes() for path in store.root.rglob("*.*")} for store in (alone, cluster)]
    assert files[0] == files[1]
