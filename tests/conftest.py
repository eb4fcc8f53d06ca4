"""Settings for every test."""

import os

# One thread for each of pytest-xdist's workers; more would fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
