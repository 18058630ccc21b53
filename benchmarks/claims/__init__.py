"""The central claims of the methods' papers, tried in the demo world, where the truth is known.

    python -m benchmarks.claims                  # every paper, five seeds; writes docs/claims.md
    python -m benchmarks.claims --only labo --seeds 2

One file a paper, named in `PAPERS`, with one function `claims(world, seeds)`. A claim that does not hold is printed as
not holding, with why.
"""

PAPERS = ("posthoc", "labo", "labelfree", "sparse", "cms", "dncbm", "v2c", "ecbm", "testtime", "interventions")
