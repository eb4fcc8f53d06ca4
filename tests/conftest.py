"""Settings for every test."""

import os

from hypothesis import settings

# One thread for each of pytest-xdist's workers; more would fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no bug: no test is timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
