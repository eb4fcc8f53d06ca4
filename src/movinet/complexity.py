"""Moved: these names are in `movinet` itself, the rest in `movinet.catalog.complexity`."""

import warnings

from movinet.catalog.complexity import count_multiply_adds, count_parameters, count_state_bytes

__all__ = ["count_multiply_adds", "count_parameters", "count_state_bytes"]

warnings.warn(
    "movinet.complexity has moved: import its names from movinet, or from "
    "movinet.catalog.complexity",
    DeprecationWarning,
    stacklevel=2,
)
