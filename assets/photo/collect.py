"""Gathers the sources of the head and their features from a folder, which holds what packages bring:

| in the folder | from |
| --- | --- |
| `wordnet/data.noun` | Debian's wordnet-base |
| `NotoColorEmoji.ttf` | Debian's fonts-noto-color-emoji |
| `fluent/*.webp` | the folder `assets` of npm's @lobehub/fluent-emoji-3d |
| `openclipart/png`, `openclipart/svg` | Debian's openclipart-png and openclipart-svg |
| `stamps` | the stamps of Debian's tuxpaint-stamps-default; to choose and measure with only |
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from assets.photo import creatures, features, looks, materials, photographs, pictures, renders, words
from assets.photo.anchors import Sources
from assets.photo.photographs import Album, Half
from cbm import photo

SEEDS = 1_000_000  # one seed of all draws fewer pictures than this


@dataclass
class Collector:
    """Features of one tier's encoders; with a folder `kept`, what was computed before is read from there."""

    folder: Path
    tier: str
    kept: Path | None

    def __post_init__(self) -> None:
        network = photo.load_network(self.tier)
        self.mean = features.mean_feature(network)
        self.network: nn.Module = features.frozen(network, self.tier)
        self.towers = photo.load_towers()
        self._said = _read_sentences(self.kept) if self.kept else {}

    def sources(self, seed: int = 0) -> Sources:
        """All of them, with the renders of one seed."""
        noto, fluent = pictures.noto(self.folder / "NotoColorEmoji.ttf"), pictures.fluent(self.folder / "fluent")
        clipart = pictures.openclipart(self.folder / "openclipart")
        plain, made, parted = (
            self._drawn(f"{kind.__name__.rpartition('.')[2]}{seed}", kind, count, seed)
            for kind, count in ((renders, looks.RENDERS), (materials, looks.MATERIALS), (creatures, looks.CREATURES))
        )
        return Sources(
            words.read_nouns(self.folder / "wordnet"),
            features.class_rows(self.tier),
            looks.looks_of(plain, made, parted, seed),
            emoji=((noto, self._shown("noto", noto)), (fluent, self._shown("fluent", fluent))),
            clipart=((clipart, self._shown("clipart", clipart)),),
        )

    def photographs(self, half: Half, birds: Path | None) -> list[tuple[Album, Tensor]]:
        """Stamps, and birds where a manifest is given, with their features."""
        albums = {"stamps": photographs.stamps(self.folder / "stamps", half)}
        if birds:
            albums["birds"] = photographs.birds(birds, half)
        return [(album, self._opened(f"{name}-{half}", album.open)) for name, album in albums.items()]

    def sentences(self, texts: tuple[str, ...]) -> Tensor:
        """Sentence embeddings; each text is read once."""
        new = tuple(text for text in dict.fromkeys(texts) if text not in self._said)
        if new:
            self._said |= dict(zip(new, features.sentences(*self.towers, new), strict=True))
            if self.kept:
                _write_sentences(self.kept, self._said)
        return torch.stack([self._said[text] for text in texts])

    def _drawn(self, name: str, kind: ModuleType, count: int, seed: int) -> Tensor:
        """Of renders, materials or creatures, each of which a seed of its own draws."""
        things = kind.choose(count, seed)
        return self._opened(name, [partial(kind.draw, thing, seed * SEEDS + i) for i, thing in enumerate(things)])

    def _shown(self, name: str, shown: list[pictures.Picture]) -> Tensor:
        return self._opened(name, [picture.open for picture in shown])

    def _opened(self, name: str, opens: Sequence[Callable[[], Image.Image]]) -> Tensor:
        """Features of these pictures, or what is kept under the name."""
        file = self.kept / self.tier / f"{name}.npy" if self.kept else None
        if file and file.is_file():
            return torch.from_numpy(np.load(file))
        found = features.pooled(self.network, self.tier, (open() for open in opens))
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, found.numpy())
        return found


def _read_sentences(folder: Path) -> dict[str, Tensor]:
    if not (folder / "texts.json").is_file():
        return {}
    texts = json.loads((folder / "texts.json").read_text())
    return dict(zip(texts, torch.from_numpy(np.load(folder / "sentences.npy")), strict=True))


def _write_sentences(folder: Path, said: dict[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "texts.json").write_text(json.dumps(list(said)))
    np.save(folder / "sentences.npy", torch.stack(list(said.values())).numpy())
