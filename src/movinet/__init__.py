"""MoViNets: mobile video networks for streaming action recognition (arXiv 2103.11511).

Importing this package is cheap: it loads neither torch nor an inference runtime. Names that need
one are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from movinet.errors import (
    CheckpointError,
    ConfigError,
    DownloadError,
    MissingExtraError,
    MovinetError,
    VideoError,
)

if TYPE_CHECKING:
    from movinet.config import MoViNetConfig
    from movinet.presets import list_models

__version__ = "0.1.0"

#: public name -> module that defines it
_LAZY = {
    "MoViNetConfig": "movinet.config",
    "list_models": "movinet.presets",
}

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DownloadError",
    "MissingExtraError",
    "MoViNetConfig",
    "MovinetError",
    "VideoError",
    "__version__",
    "list_models",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
