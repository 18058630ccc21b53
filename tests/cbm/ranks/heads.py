"""Run by torchrun: every process has some of the images; all fit heads together, and say what they got."""

import sys
from pathlib import Path

import numpy as np
import torch

from cbm.linear_scores import LinearScores
from cbm.process_group import joined_group
from cbm.solvers import at_nec, elastic_net_path, fit_elastic_net

given, out = np.load(sys.argv[1]), Path(sys.argv[2])
x, weight, bias, y = (torch.from_numpy(given[name]) for name in ("x", "weight", "bias", "y"))
with joined_group() as group:
    mine = slice(group.rank, None, group.size)
    s, labels, classes = LinearScores(x[mine], weight, bias, rows=64), y[mine], int(y.max()) + 1
    table = x[mine] @ weight.T + bias
    path = elastic_net_path(s, labels, classes, nec=(5,), group=group)
    heads = {
        "multinomial": fit_elastic_net(s, labels, classes, lam=0.01, group=group),
        "table": fit_elastic_net(table, labels, classes, lam=0.01, group=group),
        "one-vs-rest": fit_elastic_net(s, labels, classes, lam=0.01, loss="one-vs-rest", group=group),
        "path": path[-1],
        "cut": at_nec(path, 3, s, labels, validation=(s, labels), group=group),
        "as it was": at_nec(path, 3, table, labels, refit=False, group=group),
    }
    numbers = {f"{name}/weight": head.weight for name, head in heads.items()}
    numbers |= {f"{name}/bias": head.bias for name, head in heads.items()}
    numbers |= {
        f"{name}/known": torch.tensor([head.objective, head.gap, head.converged, head.accuracy(s, labels, group)])
        for name, head in heads.items()
    }
    np.savez(out / f"{group.size}-{group.rank}.npz", **{name: value.numpy() for name, value in numbers.items()})
