"""Settings for every test."""

import os
import signal

from hypothesis import settings

# One thread for each of pytest-xdist's workers; more would fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no bug: no test is timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Under nohup, or in a script's background, these are ignored, here and in every process that a test
# starts; the tests of what they do want them as a terminal has them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
