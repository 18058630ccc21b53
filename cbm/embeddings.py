"""Embeddings on disk: computed once for each image content and encoder, read back through memory maps.

A store holds one folder an encoder contract, and in it *shards*: files of some hundred rows, each named by the images
that it was planned for and written in one piece (temporary name, fsync, rename). So a run that is killed loses at most
one shard, the next run continues where it stopped and arrives at the same bytes, and several workers can share a store.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import batched, islice
from pathlib import Path
from time import monotonic

import numpy as np
import torch
