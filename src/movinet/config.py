"""Moved: what was documented here is in `movinet` itself, the rest in `movinet.network.config`."""

import warnings

from movinet.network.config import InputSpec, MoViNetConfig

__all__ = ["InputSpec", "MoViNetConfig"]

warnings.warn(
    "movinet.config has moved: import its names from movinet, or from movinet.network.config",
    DeprecationWarning,
    stacklevel=2,
)
