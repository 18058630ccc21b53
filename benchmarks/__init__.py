"""Side by side with other ways to do the same, in one process, on one core unless `OMP_NUM_THREADS` says otherwise."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and BLAS load: idle threads that spin count as CPU time
