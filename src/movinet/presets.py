"""Moved: what was documented here is in `movinet` itself, the rest in `movinet.network.presets`."""

import warnings

from movinet.network.presets import input_spec, list_models, preset_config

__all__ = ["input_spec", "list_models", "preset_config"]

warnings.warn(
    "movinet.presets has moved: import its names from movinet, or from movinet.network.presets",
    DeprecationWarning,
    stacklevel=2,
)
