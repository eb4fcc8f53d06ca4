"""What TensorFlow computed, as tools/make_optimizer_fixtures.py kept it."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_ARRAYS = dict(np.load(Path(__file__).parents[1] / "data/optimization.npz"))
#: The variables that were updated, and the updates after which they were looked at.
VARIABLES = ("kernel", "matrix", "bias", "scale")
KEPT_STEPS = (1, 2, 11, 100)


def numbers(key: str) -> Tensor:
    """A copy of one array; gradients as float32."""
    found = torch.from_numpy(_ARRAYS[key].copy())
    return found.float() if found.dtype == torch.float16 else found
