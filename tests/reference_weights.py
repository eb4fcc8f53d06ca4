"""The weights and videos of the reference cases, made from names and shapes alone.

The reference's outputs in tests/data were computed with these, so that neither weights nor videos
need to be stored. numpy does not promise its random streams for ever: test_reference_weights.py
holds checksums of what the stored outputs belong to.
"""

import math
import zlib

import numpy as np

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
#: Last component of a checkpoint key -> (low, high) of uniform values.
_UNIFORM = {"moving_variance": (0.5, 1.5), "gamma": (0.8, 1.2), "scale": (0.3, 0.7)}
#: The axes that a kernel sums over, for the standard deviation of its normal values.
_SUMMED = {"kernel": slice(None, -1), "depthwise_kernel": slice(0, 2)}


def weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 value under a checkpoint key in every reference case."""
    rng = _rng(key)
    name = key.removesuffix(SUFFIX).rsplit("/", 1)[-1]
    if name in _UNIFORM:
        value = rng.uniform(*_UNIFORM[name], shape)
    elif name in _SUMMED:
        value = rng.normal(0, (1.5 / math.prod(shape[_SUMMED[name]])) ** 0.5, shape)
    else:  # moving_mean, beta, bias
        value = rng.normal(0, 0.1, shape)
    return np.asarray(value, np.float32)


def video(shape: tuple[int, int, int, int, int]) -> np.ndarray:
    """The video of a case: (batch, time, height, width, 3) float32 in [0, 1], a drifting noise."""
    rng = _rng(f"video{shape}")
    frame = (shape[0], 1, *shape[2:])
    first = rng.random(frame)
    drift = rng.random(frame) - 0.5
    seconds = np.linspace(0, 1, shape[1]).reshape(1, -1, 1, 1, 1)
    noise = 0.05 * rng.standard_normal(shape)
    return np.clip(first + drift * seconds + noise, 0, 1).astype(np.float32)


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))
