"""Run by torchrun: every process says what it saw of the group."""

import json
import sys
from pathlib import Path

import torch

from cbm.process_group import joined_group

with joined_group() as group:
    total, mine = torch.full((3,), group.rank + 1.0), torch.full((2,), float(group.rank))
    group.sum_(total)
    group.from_leader_(mine)
    seen = {
        "share": list(group.share(5)),
        "total": total.tolist(),
        "leader": mine.tolist(),
        "ranks": group.gather(group.rank),
        "leads": group.leads,
    }
    weight = torch.ones(3, requires_grad=True)
    weight.sum().backward()
    torch.optim.Adam([weight]).step()
    group.wait()
threads = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
seen["left behind"] = [name for name in threads if "gloo" in name]
Path(sys.argv[1], f"{group.rank}.json").write_text(json.dumps(seen))
