"""Methods that live on texts: choosing sentences for LaBo, and concept matrix search.

    python -m benchmarks.texts selection            # 8 classes x 500 candidates, 50 chosen
    python -m benchmarks.texts profiles             # 10,000 images x 1,000 concepts x 100 classes

`worth` is the objective reached by what was chosen, a class on average; `equal` is the share of predictions that are
those of profiles computed one by one.
"""

import argparse
import contextlib
import io
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from torch.nn.functional import cosine_similarity, normalize

from benchmarks.data import embeddings, texts
from benchmarks.measure import Row, interleaved, report
from cbm.methods.cms import by_strongest_concept, nearest_profile
from cbm.selection import choose, greedy

Chosen = list[list[int]]


def selection(classes: int, candidates: int, count: int, repetitions: int) -> tuple[list[Row], list[str]]:
    """Facility location alone, on cosines: the part of the objective that all peers can compute."""
    vectors = texts(classes * candidates).reshape(classes, candidates, -1)
    owners = [(label,) for label in range(classes) for _ in range(candidates)]
    value = torch.rand(classes * candidates, generator=torch.Generator().manual_seed(0))
    cosines = [(unit @ unit.T).clamp_min(0).double().numpy() for unit in normalize(vectors, dim=2)]

    def ours(share: float) -> Chosen:
        picks = choose(vectors.flatten(0, 1), value, owners, classes, count=count, coverage=share)
        return [[pick.position % candidates for pick in row] for row in picks]

    def judge(chosen: Chosen) -> Row:
        return {"worth": float(np.mean([c[row].max(0).sum() for c, row in zip(cosines, chosen, strict=True)]))}

    cases: dict[str, Callable[[], Chosen]] = {
        "ours, coverage": lambda: ours(1.0),
        "ours, with discriminability": lambda: ours(0.5),
        "lazy greedy, cosines given": lambda: [greedy(np.zeros(candidates), c, count)[0] for c in cosines],
        "plain greedy": lambda: [plain(unit.numpy(), count) for unit in normalize(vectors, dim=2)],
    }
    absent = []
    if find_spec("apricot"):
        for how in ("lazy", "naive"):
            cases[f"apricot, {how}"] = lambda how=how: [apricot(unit.numpy(), count, how) for unit in vectors]
    else:
        absent.append("apricot-select")
    return interleaved(cases, judge, repetitions=repetitions, baseline="ours, coverage"), absent


def plain(unit: np.ndarray, count: int) -> list[int]:
    """Every gain again for every pick."""
    cosine = np.maximum(unit @ unit.T, 0)
    best, chosen = np.zeros(len(unit)), []
    for _ in range(count):
        gains = np.maximum(cosine - best, 0).sum(1)
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        best = np.maximum(best, cosine[chosen[-1]])
    return chosen


def apricot(vectors: np.ndarray, count: int, how: str) -> list[int]:
    """apricot's facility location on cosines (it squares them), as LaBo's selection uses the package."""
    from apricot import FacilityLocationSelection

    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        return list(FacilityLocationSelection(count, metric="cosine", optimizer=how).fit(vectors).ranking)


def profiles(n: int, concepts: int, classes: int, repetitions: int) -> list[Row]:
    """Predictions of concept matrix search; the loops are run on 200 images and counted for all."""
    x, labels = embeddings(n, classes)
    common = normalize(x.mean(0), dim=0)
    d = texts(concepts)
    d = d - d.mean(0)
    d = normalize(d - torch.outer(d @ common, common), dim=1)  # so that sums have either sign and many classes occur
    means = torch.stack([x[labels == label].mean(0) for label in range(classes)])
    rows = normalize(means - x.mean(0), dim=1)
    some = torch.linspace(0, n - 1, 200).long()
    truth = one_by_one(x[some], d, rows)

    def judge(predicted: torch.Tensor) -> Row:
        short = predicted if len(predicted) == len(some) else predicted[some]
        return {"equal": float((short == truth).double().mean()), "classes": len(predicted.unique())}

    found = interleaved(
        {
            "ours": lambda: nearest_profile(x, d, rows, rows="sum"),
            "ours, strongest concept (another rule)": lambda: by_strongest_concept(x, d, rows),
            "profiles in one product": lambda: in_one(x, d, rows),
            "profile by profile, 200 images": lambda: one_by_one(x[some], d, rows),
        },
        judge,
        repetitions=repetitions,
        baseline="ours",
    )
    for row in found:
        images = len(some) if "200" in str(row["case"]) else n
        row |= {"us_an_image": 1e6 * float(row["cpu_s"]) / images}
        row["times"] = float(row["us_an_image"]) / float(found[0]["us_an_image"])
    return found


def in_one(x: torch.Tensor, d: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Every profile of every image, then all cosines."""
    images, classes = x @ d.T, rows @ d.T
    images, classes = images / images.sum(1, keepdim=True), classes / classes.sum(1, keepdim=True)
    return (normalize(images, dim=1) @ normalize(classes, dim=1).T).argmax(1)


def one_by_one(x: torch.Tensor, d: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """A Python loop over images and classes, as the published notebook compares profiles."""
    images, classes = x @ d.T, rows @ d.T
    images, classes = images / images.sum(1, keepdim=True), classes / classes.sum(1, keepdim=True)
    return torch.stack(
        [torch.stack([cosine_similarity(image, row, dim=0) for row in classes]).argmax() for image in images]
    )


def main() -> None:
    """Parse the command line, measure, print and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("selection", "profiles"))
    parser.add_argument("--classes", type=int)
    parser.add_argument("--repetitions", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "selection":
        classes = given.classes or 8
        rows, absent = selection(classes, 500, 50, given.repetitions)
        report("selection", f"choosing sentences, {classes} classes x 500 candidates, 50 chosen", rows, absent)
    else:
        classes = given.classes or 100
        rows = profiles(10_000, 1_000, classes, given.repetitions)
        report("profiles", f"concept matrix search, 10,000 images x 1,000 concepts x {classes} classes", rows)


if __name__ == "__main__":
    main()
